"""The cache of image features, and the views of a photo."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import uuid
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from lav2 import weights
from lav2.config import VisionConfig
from lav2.data.formats import RowType
from lav2.errors import LAV2Error
from lav2.image import open_image


class FeatureCache:
    """clip_tokens of photos on disk, float16: each photo, known by its content, is encoded once per encoder.

    Shards `*.npy` [photos, N, C], each with a `.txt` that names the photo of every row made so far; one shard per call
    of `fill`, so that several runs may share the folder and an interrupted one loses nothing.

    Photos that cannot be read are left out: `damaged` tells why, by their path, once `fill` has met them.

    Args:
        folder: where it lives; one sub-folder per encoder.
        vision: the encoder's settings.
        images: paths of the photos.
        augmented: those that are also kept in other views, for augmentation.
        views: of each augmented photo (view_of): 1 the photo itself, 2 it and its mirror image, more: crops as well.
    """

    CHUNK = 32  # photos per forward pass

    def __init__(
        self,
        folder: Path,
        vision: VisionConfig,
        images: Collection[str],
        augmented: Collection[str] = (),
        views: int = 2,
    ):
        encoder = json.dumps(asdict(vision)).encode()
        if (vision.weights or "").endswith(".safetensors"):  # tuned by someone, and perhaps again under the same name
            encoder += hashlib.sha256(weights.find(str(vision.weights)).read_bytes()).digest()
        self.folder = folder / hashlib.sha256(encoder).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._views = dict.fromkeys(augmented, views)
        self._shape = (vision.tokens, vision.width)
        self.damaged: dict[str, str] = {}
        self._names: dict[str, str] = {}
        for image in images:
            try:
                self._names[image] = hashlib.sha256(Path(image).read_bytes()).hexdigest()[:24]
            except OSError as error:
                self.damaged[image] = f"{image} cannot be read ({error.strerror})."
        self._rows: dict[str, np.ndarray] = {}  # name -> [N, C] on disk
        for index in sorted(self.folder.glob("*.txt")):
            self._add(index)

    def _add(self, index: Path) -> None:
        try:
            shard = np.load(index.with_suffix(".npy"), mmap_mode="r").reshape(-1, *self._shape)
        except (OSError, ValueError):  # cut off or gone: its photos are encoded again
            self._forget(index)
            return
        self._rows.update(zip(index.read_text().split(), shard, strict=False))  # rows behind the index are not made

    @staticmethod
    def _forget(index: Path) -> None:
        for file in (index, index.with_suffix(".npy")):
            file.unlink(missing_ok=True)

    def views(self, image: str) -> int:
        """How many views of a photo there are."""
        return self._views.get(image, 1)

    def _missing(self) -> dict[str, tuple[str, int]]:
        """Names that are not there yet -> photo and view."""
        every = ((image, name, view) for image, name in self._names.items() for view in range(self.views(image)))
        names = {_name(name, view): (image, view) for image, name, view in every}
        return {name: what for name, what in names.items() if name not in self._rows}

    @property
    def complete(self) -> bool:
        return not self._missing()

    def fill(self, encode: Callable[[list[Image.Image]], Tensor]) -> None:
        """Encode what is missing; `encode` is VisionTower.encode. Interrupt it and it goes on where it was.

        Raises:
            LAV2Error: there is no room for the features.
        """
        missing = list(self._missing().items())
        index = self.folder / f"{uuid.uuid4().hex[:12]}.txt"
        shape, made = (len(missing), *self._shape), 0
        size, free = 2 * math.prod(shape), shutil.disk_usage(self.folder).free  # bytes
        if size > free:  # writing to a mapped file would end the process
            raise LAV2Error(
                f"The image features need {size / 1e9:.1f} GB in {self.folder}, and {free / 1e9:.1f} GB are free.",
                "Free some space, or give another folder as --cache.",
            )
        shard = np.lib.format.open_memmap(index.with_suffix(".npy"), mode="w+", dtype=np.float16, shape=shape)
        with index.open("w") as names, tqdm(total=len(missing), desc="image features", disable=None) as progress:
            for start in range(0, len(missing), self.CHUNK):
                part = missing[start : start + self.CHUNK]
                progress.update(len(part))
                opened = [(name, photo) for name, (image, view) in part if (photo := self._opened(image, view))]
                if not opened:
                    continue
                shard[made : made + len(opened)] = encode([photo for _, photo in opened]).cpu().half().numpy()
                shard.flush()
                names.writelines(f"{name}\n" for name, _ in opened)
                names.flush()
                made += len(opened)
        if made:
            self._add(index)
        else:
            self._forget(index)

    def _opened(self, image: str, view: int) -> Image.Image | None:
        """A view of a photo; None, and a note of it, where the photo is damaged."""
        if image not in self.damaged:
            try:
                return view_of(open_image(image), view)
            except LAV2Error as error:
                same = (other for other, name in self._names.items() if name == self._names[image])
                self.damaged.update(dict.fromkeys(same, error.cause))
        return None

    def content(self) -> str:
        """SHA-256 of all photos' contents, in hexadecimal."""
        return hashlib.sha256("".join(sorted(self._names.values())).encode()).hexdigest()

    def get(self, images: Sequence[str], views: Sequence[int] | None = None) -> Tensor:
        """clip_tokens [B, N, C] float32 of photos, each in one of its views [B], or as it is."""
        chosen = zip(images, [0] * len(images) if views is None else views, strict=True)
        names = [_name(self._names[image], view) for image, view in chosen]
        return torch.from_numpy(np.stack([self._rows[name] for name in names]).astype(np.float32))


CROPPED = (0.6, 1.0)  # of each side of the photo that a crop keeps: a caption's things are mostly still in it


def view_of(photo: Image.Image, view: int) -> Image.Image:
    """A photo as augmentation shows it: view 0 is itself, 2, 4 ... are crops; each odd one is the one before, mirrored.

    A crop is drawn by its number and the photo's pixels alone, so that a cache on disk can hold it.
    """
    if view >= 2:
        rng = np.random.default_rng((view // 2, zlib.crc32(photo.tobytes())))
        crop = rng.uniform(*CROPPED, size=2) * photo.size  # [width, height]
        left, top = rng.uniform(size=2) * (photo.size - crop)
        photo = photo.crop((round(left), round(top), round(left + crop[0]), round(top + crop[1])))
    return ImageOps.mirror(photo) if view % 2 else photo


def without_damaged(
    rows: Sequence[RowType], features: FeatureCache | None, report: Callable[[str], None] = print
) -> list[RowType]:
    """The rows whose photos could be read; the others are told, each photo once, and counted."""
    damaged = features.damaged if features is not None else {}
    left = [row for row in rows if row.image in damaged]
    for image in dict.fromkeys(row.image for row in left if row.image is not None):
        report(f"{image}: left out. {damaged[image]}")
    if left:
        report(f"{len(left)} of {len(rows)} rows are left out for their damaged photos.")
    return [row for row in rows if row.image not in damaged]


def _name(name: str, view: int) -> str:
    return f"{name}-view{view}" if view >= 2 else f"{name}-mirrored" if view else name
