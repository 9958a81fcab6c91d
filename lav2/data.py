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
    split: str = "train"  # or val, test


def read_captions(
    file: Path, images: Path | None = None, report: Callable[[str], None] = print
) -> list[CaptionRow]:
    """Rows of a caption file: captions.jsonl, COCO-captions JSON or Karpathy's split JSON, told apart by their content.

    Args:
        file: the data file.
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
            captions = tuple(clean_caption(caption) for caption in row["captions"])
            image = folder / row["image"]
            if not captions or not all(captions):
                raise ValueError("an empty caption")
            if not image.is_file():
                raise ValueError(f"no photo {image}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            report(f"{file}:{line}: skipped, {type(error).__name__}: {error}")
            continue
        split = row.get("split", "train")
        rows.append(CaptionRow(str(image), captions, "train" if split == "restval" else split))  # Karpathy's rest
    if not rows:
        raise LAV2Error(f"{file} holds no usable caption row.", "See the lines above; the formats are in the README.")
    return rows


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

    @property
    def complete(self) -> bool:
        return self._count() == len(self.images)

    def _count(self) -> int:
        return int(self._done.read_text()) if self._done.exists() else 0

    def fill(self, encode: Callable[[list], Tensor]) -> None:
        """Encode what is missing; `encode` is VisionTower.encode. Interrupt it and it goes on where it was."""
        done = self._count()
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


@dataclass(frozen=True)
class Batch:
    """Token rows padded on the right, and their photos' features."""

    input_ids: Tensor  # [B, T]
    attention_mask: Tensor  # [B, T]
    labels: Tensor  # [B, T], -100 where nothing is learned
    clip_tokens: Tensor | None  # [B, N, C], None: no row has a photo
    has_image: Tensor | None = None  # [B] bool, None: every row has one

    def to(self, device: torch.device) -> dict[str, Tensor | None]:
        """The arguments of AdaptedLlama.loss."""
        return {name: None if value is None else value.to(device) for name, value in vars(self).items()}

    def split(self, parts: int) -> Iterator[Batch]:
        size = -(-len(self.input_ids) // parts)
        for start in range(0, len(self.input_ids), size):
            rows = slice(start, start + size)
            yield Batch(**{name: None if value is None else value[rows] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Sample:
    """One row to learn: tokens, and how many of the first ones are only context."""

    image: str | None
    tokens: tuple[int, ...]
    context: int
    mirrored: bool = False


class Rows:
    """Samples to draw batches from: `samples(epoch, rng)` gives an epoch's list, so that augmentation can vary."""

    BUCKET = 16  # batches that are sorted by length together: little padding, still random

    def __init__(self, samples: Callable[[np.random.Generator], list[Sample]], features: FeatureCache | None, pad: int):
        self._samples, self._features, self._pad = samples, features, pad

    def batches(self, size: int, seed: int) -> _Batches:
        return _Batches(self, size, seed)

    def fixed(self, size: int) -> list[Batch]:
        """All samples once, in order: for validation."""
        samples = self._samples(np.random.default_rng(0))
        return [self.collate(samples[first : first + size]) for first in range(0, len(samples), size)]

    def epoch(self, size: int, seed: int, epoch: int) -> list[list[Sample]]:
        rng = np.random.default_rng((seed, epoch))
        samples = self._samples(rng)
        order = rng.permutation(len(samples))
        groups = []
        for start in range(0, len(order) - size + 1, size * self.BUCKET):
            bucket = sorted(order[start : start + size * self.BUCKET], key=lambda i: len(samples[i].tokens))
            groups += [bucket[first : first + size] for first in range(0, len(bucket) - size + 1, size)]
        return [[samples[i] for i in groups[place]] for place in rng.permutation(len(groups))]

    def collate(self, samples: Sequence[Sample]) -> Batch:
        length = max(len(sample.tokens) for sample in samples)
        input_ids = torch.full((len(samples), length), self._pad)
        attention_mask = torch.zeros(len(samples), length, dtype=torch.long)
        labels = torch.full((len(samples), length), -100)
        for row, sample in enumerate(samples):
            tokens = torch.tensor(sample.tokens)
            input_ids[row, : len(tokens)] = tokens
            attention_mask[row, : len(tokens)] = 1
            labels[row, sample.context : len(tokens)] = tokens[sample.context :]
        shown = [sample for sample in samples if sample.image is not None]
        if not shown:
            return Batch(input_ids, attention_mask, labels, None)
        flip = np.array([sample.mirrored for sample in shown])
        tokens = self._features.get([sample.image for sample in shown], flip)
        if len(shown) == len(samples):
            return Batch(input_ids, attention_mask, labels, tokens)
        has_image = torch.tensor([sample.image is not None for sample in samples])
        clip_tokens = torch.zeros(len(samples), *tokens.shape[1:])
        clip_tokens[has_image] = tokens
        return Batch(input_ids, attention_mask, labels, clip_tokens, has_image)


class _Batches:
    """An endless iterator over epochs that can skip quickly."""

    def __init__(self, rows: Rows, size: int, seed: int):
        self._rows, self._size, self._seed = rows, size, seed
        self._place, self._epoch, self._groups = 0, -1, []

    def skip(self, count: int) -> None:
        self._place += count

    def __next__(self) -> Batch:
        while self._place >= len(self._groups):
            self._place -= len(self._groups)
            self._epoch += 1
            self._groups = self._rows.epoch(self._size, self._seed, self._epoch)
        samples = self._groups[self._place]
        self._place += 1
        return self._rows.collate(samples)


MIRROR_WORDS = re.compile(r"\b(left|right)\b", re.IGNORECASE)  # captions that a mirrored photo would make wrong


def caption_rows(
    rows: Sequence[CaptionRow], encode: Callable[[str], list[int]], bos: int, eos: int, features: FeatureCache
) -> Rows:
    """Captions as samples: begin token, caption, end token; one caption of each photo per epoch, mirrored at random.

    Args:
        encode: text -> token ids without special ones.
        bos, eos: the caption's first token (context) and last (learned).
        features: of the rows' photos.
    """
    tokens = [[(bos, *encode(caption), eos) for caption in row.captions] for row in rows]
    mirrors = [[not MIRROR_WORDS.search(caption) for caption in row.captions] for row in rows]

    def samples(rng: np.random.Generator) -> list[Sample]:
        drawn = []
        for row, choices, mirrorable in zip(rows, tokens, mirrors, strict=True):
            chosen = int(rng.integers(len(choices)))
            mirrored = features.flips and mirrorable[chosen] and bool(rng.integers(2))
            drawn.append(Sample(row.image, choices[chosen], 1, mirrored))
        return drawn

    return Rows(samples, features, eos)
