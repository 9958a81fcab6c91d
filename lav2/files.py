"""One home for reading and writing users' text files and for telling why a file of weights cannot be read. No torch.

Reading takes UTF-8 with or without a byte order mark, and tells bad rows by file and line. Writing leaves whole files
and whole lines behind, also on a full disk or after a kill.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lav2.errors import LAV2Error, missing_package

LFS_POINTER = b"version https://git-lfs"
LFS_SIZE = 1024  # bytes; the specification's limit of a pointer file


def parse(text: str) -> object:
    """The value of a JSON text.

    Raises:
        ValueError: broken, nested too deeply, or with half a character (a lone surrogate), which no file can hold.
    """
    return parse_from(text, 0)[0]


def parse_from(text: str, start: int) -> tuple[object, int]:
    """The JSON value that begins at `start`, and where it ends; from 0, nothing may stand behind it.

    Raises:
        ValueError: as `parse`.
    """
    try:
        value, end = (json.loads(text), len(text)) if not start else json.JSONDecoder().raw_decode(text, start)
        if "\\ud" in text[start:end].lower():
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a text has half a character (a lone surrogate)") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value, end


def read_text(file: str | Path, next_step: str = "Check the path.") -> str:
    """A UTF-8 text, without its byte order mark.

    Raises:
        LAV2Error: it cannot be read, or is not UTF-8; names the line.
    """
    data = _read(Path(file), next_step)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LAV2Error(f"{file}, line {line} is not UTF-8 text.", "Save the file as UTF-8.") from error


def _read(file: Path, next_step: str) -> bytes:
    try:
        data = file.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise LAV2Error(f"{file} cannot be read ({getattr(error, 'strerror', None) or error}).", next_step) from error
    if data.startswith(LFS_POINTER):
        raise lfs_error(file)
    return data


def read_json(file: str | Path, next_step: str = "Mend the file, or get it again.") -> Any:
    """The value of a JSON file.

    Raises:
        LAV2Error: it cannot be read or is not JSON.
    """
    try:
        return parse(read_text(file))
    except ValueError as error:
        raise LAV2Error(f"{file} is not JSON ({error}).", next_step) from error


def json_lines(file: str | Path, next_step: str = "Check the path.") -> Iterator[tuple[int, Any]]:
    """(line number, value) of every line of a JSON-lines file that is not empty; a broken line comes as a ValueError.

    Raises:
        LAV2Error: the file cannot be read, from this call.
    """
    return parse_lines(_read(Path(file), next_step).removeprefix(codecs.BOM_UTF8).split(b"\n"))


def parse_lines(lines: Sequence[str | bytes]) -> Iterator[tuple[int, Any]]:
    """As `json_lines`, of lines."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield number, parse(line if isinstance(line, str) else line.decode("utf-8"))
            except ValueError as error:
                yield number, error


def json_rows(file: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of a JSON-lines file in which every line must be one.

    Raises:
        LAV2Error: otherwise; names the line.
    """
    for number, row in json_lines(file):
        if not isinstance(row, dict):
            why = row if isinstance(row, ValueError) else f"{type(row).__name__} in place of an object"
            raise LAV2Error(f"{file}, line {number} is not a JSON object ({why}).", "Mend or remove that line.")
        yield number, row


@contextlib.contextmanager
def replacing(file: Path, private: bool = False) -> Iterator[Path]:
    """A path to write to, which takes the place of `file` when the block ends; after an error `file` is as before.

    `private`: others on this machine cannot read it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.parent / f".{file.name[:100]}.{uuid.uuid4().hex[:8]}"
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if private else 0o666))
    try:
        yield part
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """Write a UTF-8 text; an interruption or a full disk leaves what was there before."""
    with replacing(file) as part:
        part.write_text(text, encoding="utf-8")


def append_line(file: Path, line: str, private: bool = False) -> None:
    """Add a whole line to a text file, or nothing; what an earlier crash cut off stays a line of its own.

    Raises:
        OSError: it cannot be written; the file has the lines that it had.
    """
    mode = 0o600 if private else 0o666
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, mode)
    try:
        size = os.lseek(handle, 0, os.SEEK_END)
        if private:
            os.fchmod(handle, mode)
        cut = size and os.pread(handle, 1, size - 1) != b"\n"
        left = memoryview((("\n" if cut else "") + line + "\n").encode("utf-8"))
        try:
            while left:
                left = left[os.write(handle, left) :]
        except BaseException:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)


def whole_lines(file: Path) -> list[str]:
    """The lines of an unfinished file of results; a last one that was cut off is removed from it.

    Raises:
        LAV2Error: the file cannot be read.
    """
    if not file.exists():
        return []
    data = _read(file, "Check the path.")
    if data and not data.endswith(b"\n"):
        data = data[: data.rfind(b"\n") + 1]
        with replacing(file) as part:
            part.write_bytes(data)
    return data.decode("utf-8", "replace").split("\n")[:-1]


# --- files of weights ---


def is_lfs_pointer(file: Path) -> bool:
    """Whether git left a pointer in place of a large file."""
    try:
        if file.stat().st_size > LFS_SIZE:
            return False
        with file.open("rb") as opened:
            return opened.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        return False


def lfs_error(file: Path) -> LAV2Error:
    """What to tell where a pointer lies in place of a file."""
    return LAV2Error(
        f"{file} is only a git-lfs pointer; the file itself was not fetched.",
        f"Run git lfs pull in {file.parent} (install git-lfs first), or download the file itself.",
    )


def unreadable(file: Path, error: BaseException, next_step: str) -> LAV2Error:
    """Why a file of weights cannot be read: a missing package, a pointer, too little memory, or the file itself, then
    with `next_step`."""
    if isinstance(error, ModuleNotFoundError):
        return missing_package(error)
    if is_lfs_pointer(file):
        return lfs_error(file)
    if is_out_of_memory(error):
        return LAV2Error(
            f"There is not enough free memory to read {file}.", "Close other programs, or use a smaller model."
        )
    return LAV2Error(f"{file} cannot be read ({first_line(error)}).", next_step)


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, the system or torch says that memory ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text


# --- caches that heal ---

MANIFEST = "manifest.json"


def digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def write_manifest(folder: Path) -> None:
    """Put size and hash of every file of a folder beside them."""
    files = {path.name: [path.stat().st_size, digest(path)] for path in sorted(folder.iterdir()) if path.is_file()}
    write_text(folder / MANIFEST, json.dumps(files, indent=1) + "\n")


def is_whole(folder: Path) -> bool:
    """Whether every file of a folder is as `write_manifest` saw it."""
    try:
        known: Any = parse((folder / MANIFEST).read_text(encoding="utf-8"))
        sized = all((folder / name).stat().st_size == size for name, (size, _) in known.items())
        return sized and all(digest(folder / name) == value for name, (_, value) in known.items())
    except (OSError, ValueError, TypeError, AttributeError):
        return False


def _warn(line: str) -> None:
    print(line, file=sys.stderr)  # what a command answers is on standard output


def mended(
    path: Path, make: Callable[[], None], whole: Callable[[Path], bool], report: Callable[[str], None] = _warn
) -> Path:
    """A cached file or folder that is whole: made if it is missing, deleted and made once more if it is damaged.

    Args:
        make: puts it in its place, complete.
        whole: whether it can be trusted.
        report: told that a damaged one is made again.

    Raises:
        LAV2Error: it is damaged again; what `make` raises.
    """
    if path.exists() and not whole(path):
        report(f"{path} is damaged or from an earlier version: it is made again.")
        remove(path)
    if not path.exists():
        make()
        if not whole(path):
            remove(path)
            raise LAV2Error(
                f"{path} was made and came out damaged.", "Check the disk's free space and health, or set LAV2_CACHE."
            )
    return path


def remove(path: Path) -> None:
    """Delete a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
