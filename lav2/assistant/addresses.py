"""Files behind an address of an object store or a distributed file system, by pyarrow, which Ray reads with too.
No torch."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from lav2.errors import LAV2Error, Unavailable
from lav2.image import MAX_BYTES, open_image


class Address:
    """A file or folder such as s3://bucket/photos or gs://bucket/questions.jsonl, with what Path has of it here.

    Raises:
        LAV2Error: from each method: pyarrow is not installed, has no such kind of address, or cannot read it.
    """

    def __init__(self, text: str):
        self._text = text.rstrip("/")

    def __str__(self) -> str:
        return self._text

    def __truediv__(self, name: str) -> Address:
        return Address(f"{self._text}/{name}")

    @property
    def parent(self) -> Address:
        return Address(posixpath.dirname(self._text))

    @property
    def suffix(self) -> str:
        return posixpath.splitext(self._text)[1]

    def is_dir(self) -> bool:
        with self._system() as (system, path, fs):
            return bool(system.get_file_info(path).type == fs.FileType.Directory)

    def names(self) -> list[str]:
        """Of all files below the folder, as paths in it."""
        with self._system() as (system, path, fs):
            found = system.get_file_info(fs.FileSelector(path, recursive=True))
            return [posixpath.relpath(one.path, path) for one in found if one.type == fs.FileType.File]

    def read_bytes(self, most: int | None = None) -> bytes:
        """The file's bytes; at most the first `most`."""
        with self._system() as (system, path, _), system.open_input_stream(path) as stream:
            return bytes(stream.read(most))

    @contextmanager
    def _system(self) -> Iterator[tuple[Any, str, Any]]:
        try:
            from pyarrow import ArrowException, fs
        except ModuleNotFoundError as error:
            raise LAV2Error(
                "{file} needs the Python package {package}, which is not installed.",
                "Run `pip install -r requirements-cluster.txt`, or give a file of this machine.",
                file=self._text,
                package=error.name,
            ) from error
        try:
            system, path = fs.FileSystem.from_uri(self._text)
            yield system, path, fs
        except FileNotFoundError as error:
            raise LAV2Error("There is no file {name}.", "Check the path.", name=self._text) from error
        except (OSError, ArrowException) as error:
            raise Unavailable(
                "{file} cannot be read ({why}).", "Check the address and who may read it.", file=self._text, why=error
            ) from error


def place(text: str) -> Path | Address:
    """What a user names: an address where it has a scheme, else a path."""
    return Address(text) if "://" in text else Path(text)


def photo(where: str | Path | Address) -> Image.Image:
    """The upright photo there; see lav2.image.open_image."""
    where = place(where) if isinstance(where, str) else where
    return open_image(where if isinstance(where, Path) else where.read_bytes(MAX_BYTES + 1))
