"""Training data: rows of captions and instructions, the cache of image features, batches.

Formats: our captions.jsonl, COCO-captions JSON, Karpathy's split JSON. Bad rows are reported with file and line and
skipped.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ImageOps
from torch import Tensor
from tqdm import tqdm

from lav2.config import VisionConfig
from lav2.errors import LAV2Error
from lav2.image import open_image


@dataclass(frozen=True)
class CaptionRow:
    """A photo and its human captions."""

    image: str  # path
    captions: tuple[str, ...]


def read_captions(
    file: Path, split: str | None = None, images: Path | None = None, report: Callable[[str], None] = print
) -> list[CaptionRow]:
    """Rows of a caption file: captions.jsonl, COCO-captions JSON or Karpathy's split JSON, told apart by their content.

    Args:
        file: the data file.
        split: only rows of that split (`train`, `val`), where the format has splits.
        images: folder of the photos; the file's own folder by default.
        report: gets one line per bad row.

    Raises:
        LAV2Error: the file cannot be read, is of no known format, or holds no good row.
    """
    folder = images or file.parent
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LAV2Error(f"{file} cannot be read ({error}).", "Check the path given with --data.") from error
    raw = _coco_rows(text) if text.lstrip().startswith('{"') and "\n{" not in text.strip() else _json_lines(text)
    rows = []
    for line, row in raw:
        try:
            if split is not None and row.get("split", split) not in _SPLITS.get(split, (split,)):
                continue
            captions = tuple(clean_caption(caption) for caption in row["captions"])
            image = folder / row["image"]
            if not captions or not all(captions):
                raise ValueError("an empty caption")
            if not image.is_file():
                raise ValueError(f"no photo {image}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            report(f"{file}:{line}: skipped, {type(error).__name__}: {error}")
            continue
        rows.append(CaptionRow(str(image), captions))
    if not rows:
        raise LAV2Error(f"{file} holds no usable caption row.", "See the lines above; the formats are in the README.")
    return rows


_SPLITS = {"train": ("train", "restval"), "val": ("val",), "test": ("test",)}  # Karpathy's restval counts as train


def _json_lines(text: str) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                yield number, {"captions": error}  # becomes a reported TypeError of this line


def _coco_rows(text: str) -> Iterator[tuple[int, dict]]:
    """Rows of one JSON document, numbered by their place in its list."""
    document = json.loads(text)
    if "annotations" in document:  # COCO captions
        names = {image["id"]: image["file_name"] for image in document["images"]}
        by_image: dict[int, list[str]] = {}
        for annotation in document["annotations"]:
            by_image.setdefault(annotation["image_id"], []).append(annotation["caption"])
        for number, (image_id, captions) in enumerate(by_image.items(), start=1):
            yield number, {"image": names.get(image_id), "captions": captions}
    elif "images" in document:  # Karpathy's split file
        for number, image in enumerate(document["images"], start=1):
            captions = [sentence["raw"] for sentence in image["sentences"]]
            name = str(Path(image.get("filepath", "")) / image["filename"])
            yield number, {"image": name, "split": image["split"], "captions": captions}
    elif "captions" in document:  # a captions.jsonl of one line
        yield 1, document


def clean_caption(text: str) -> str:
    """One spelling for all sources: single spaces, none before punctuation, no full stop at the end, capital first."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\s+([.,;:!?'])", r"\1", text).rstrip(" .")
    return text[:1].upper() + text[1:]


class FeatureCache:
    """clip_tokens of photos on disk, float16; made once per encoder and list of photos, resumable.

    Args:
        folder: where it lives; one sub-folder per encoder and list of photos.
        vision: the encoder's settings (part of the key).
        images: paths of the photos, in order.
        flips: also keep the mirrored photo's features, for augmentation.
    """

    CHUNK = 32  # photos per forward pass

    def __init__(self, folder: Path, vision: VisionConfig, images: Sequence[str], flips: bool = False):
        self.images = list(images)
        self.rows = {image: row for row, image in enumerate(self.images)}
        self.flips = flips
        key = json.dumps([asdict(vision), self.images, flips])
        self.folder = folder / hashlib.sha256(key.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        shape = (len(self.images), 1 + flips, vision.tokens, vision.width)
        path = self.folder / "features.npy"
        mode = "r+" if path.exists() else "w+"
        self.array = np.lib.format.open_memmap(path, mode=mode, dtype=np.float16, shape=shape)
        self._done = self.folder / "done.txt"  # number of photos encoded so far

    def fill(self, encode: Callable[[list], Tensor]) -> None:
        """Encode what is missing; `encode` is VisionTower.encode. Interrupt it and it goes on where it was."""
        done = int(self._done.read_text()) if self._done.exists() else 0
        progress = tqdm(total=len(self.images), initial=done, desc="image features", unit="photo", disable=None)
        for start in range(done, len(self.images), self.CHUNK):
            photos = [open_image(image) for image in self.images[start : start + self.CHUNK]]
            for flip in range(1 + self.flips):
                tokens = encode([ImageOps.mirror(photo) for photo in photos] if flip else photos)
                self.array[start : start + len(photos), flip] = tokens.cpu().half().numpy()
            self.array.flush()
            self._done.write_text(str(start + len(photos)))
            progress.update(len(photos))
        progress.close()

    def get(self, images: Sequence[str], flip: np.ndarray | None = None) -> Tensor:
        """clip_tokens [B, N, C] float32 of photos; flip [B] bool: the mirrored ones."""
        rows = np.array([self.rows[image] for image in images])
        side = np.zeros(len(rows), dtype=int) if flip is None else flip.astype(int)
        return torch.from_numpy(self.array[rows, side].astype(np.float32))
