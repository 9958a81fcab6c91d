"""Parts of photos that people named or boxed, for the image encoder: which words and kinds belong to which place
(phrases tied to boxes: Flickr30k Entities, Plummer et al., arXiv 1505.04870).

Words: B batch, R parts, N image tokens of a square grid, W words, L kinds of object.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lav2.errors import LAV2Error
from lav2.instruct.photos import Photo

MOST = 6  # parts of a photo that are learned from in a step
SURE = 0.5  # confidence from which a teacher's box is one
SEEN = 0.4  # share of a part that a crop must show


@dataclass(frozen=True)
class Region:
    """A part of a photo: left, top, right, bottom as shares of the photo, 0..1.

    Attributes:
        phrases: what people called it; () where nobody did.
        kind: of object; "" where nobody said.
    """

    box: tuple[float, float, float, float]
    phrases: tuple[str, ...] = ()
    kind: str = ""


Regions = Mapping[Path, Sequence[Region]]  # by the photo's file


def read_regions(file: Path, root: Path) -> dict[Path, list[Region]]:
    """Parts of photos with their phrases: JSON lines, gzipped, {"image", "width", "height", "captions": [{"text",
    "phrases": [[start, end, entity, type]]}], "boxes": {entity: [xyxy in pixels]}}.

    Args:
        root: folder that "image" is relative to.

    Raises:
        LAV2Error: the file cannot be read, or a line is not of that form.
    """
    found: dict[Path, list[Region]] = {}
    number = 0
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                number += 1
                row = json.loads(line)
                found[root / row["image"]] = list(_regions(row))
    except (OSError, EOFError, zlib.error, ArithmeticError, ValueError, KeyError, TypeError, AttributeError) as error:
        cause = f"{file}, line {number} is no photo with phrases ({type(error).__name__}: {error})."
        raise LAV2Error(cause, "Give a gzipped file of JSON lines such as entities_flickr8k.jsonl.gz.") from error
    return found


def _regions(row: Mapping[str, Any]) -> Iterable[Region]:
    phrases: dict[str, list[str]] = defaultdict(list)
    for caption in row["captions"]:
        for start, end, entity, _ in caption["phrases"]:
            phrases[entity].append(caption["text"][start:end])
    for entity, boxes in row["boxes"].items():
        for box in boxes:
            if phrases[entity]:
                yield Region(_shares(box, (row["width"], row["height"])), tuple(phrases[entity]))


def _shares(box: Sequence[float], size: tuple[float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (value / size[at % 2] for at, value in enumerate(box))
    return left, top, right, bottom


def with_boxes(photos: Sequence[Photo], named: Regions) -> dict[Path, list[Region]]:
    """The parts that people named, and the photos' boxes with their kinds."""
    found = {photo.image: list(named.get(photo.image, ())) for photo in photos}
    for photo in photos:
        for box in photo.boxes or ():
            if photo.size and box.confidence >= SURE:
                found[photo.image].append(Region(_shares(box.xyxy, photo.size), kind=box.label))
    return {image: regions for image, regions in found.items() if regions}


class Shown(NamedTuple):
    """Parts that the crops of a batch show: of which photo [R], how much of each image token is theirs [R, N] 0..1."""

    regions: list[Region]
    photo: Tensor
    weights: Tensor


def shown(regions: Sequence[Sequence[Region]], turns: Tensor, side: int, generator: torch.Generator) -> Shown:
    """Where parts of photos are in crops of them; at most MOST of each photo, drawn at random.

    Args:
        regions: of each of B photos.
        turns: [B, 2, 3] from places of a crop to those of its photo, both -1..1 (torch's affine_grid).
        side: tokens in a row, so that N is its square.
    """
    kept: list[Region] = []
    photo, weights = [], []
    for at, parts in enumerate(regions):
        for chosen in torch.randperm(len(parts), generator=generator)[:MOST].tolist():
            scale, shift = turns[at].diagonal(), turns[at, :, 2]
            corners = torch.tensor(parts[chosen].box).view(2, 2) * 2 - 1  # two corners, x and y
            corners = ((corners - shift) / scale + 1) / 2 * side  # in tokens
            (left, top), (right, bottom) = corners.amin(0).tolist(), corners.amax(0).tolist()
            columns, rows = _overlap(left, right, side), _overlap(top, bottom, side)
            inside = rows[:, None] * columns[None]
            whole = (right - left) * (bottom - top)
            if whole > 0 and inside.sum() >= SEEN * whole:
                kept.append(parts[chosen])
                photo.append(at)
                weights.append(inside.flatten() + 1e-6)
    empty = torch.zeros(0, side * side)
    return Shown(kept, torch.tensor(photo, dtype=torch.long), torch.stack(weights) if weights else empty)


def _overlap(start: float, end: float, side: int) -> Tensor:
    """How much of each of `side` cells of length 1 lies between start and end."""
    cells = torch.arange(side, dtype=torch.float32)
    return ((cells + 1).clamp(max=end) - cells.clamp(min=start)).clamp(min=0)
