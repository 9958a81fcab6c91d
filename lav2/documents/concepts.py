"""The words that the caption expert tells of photos beside its sentence (lav2.captioning.reranker), for training rows.

A judge that learned from a photo's own captions is surer of it than of any photo it will be asked about, so each photo is
told by one that learned from the others (cross-fitting).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import torch
from tqdm import tqdm

from lav2.captioning import reranker
from lav2.config import EMBEDDED
from lav2.data.features import FeatureCache
from lav2.errors import LAV2Error
from lav2.model import checkpoint
from lav2.model.vision import VisionTower
from lav2.weights import cache_dir, find

FOLDS = 2
TOLD = 0.8  # share of captions that come with concepts
Concepts = tuple[tuple[str, float], ...]


def cross_fitted(captions: Mapping[str, Sequence[str]], photos: Sequence[str]) -> dict[str, Concepts]:
    """Photo -> its concepts, told by a judge that did not learn from it; {} of too few photos. About a minute a fold on
    a CPU.

    Args:
        captions: of each photo that a judge may learn from.
        photos: those that are told.
    """
    learned = sorted(captions)
    Random(0).shuffle(learned)
    fold = {photo: i % FOLDS for i, photo in enumerate(learned)}
    features = _features([*learned, *photos])
    seen = torch.cat([reranker.pooled(features.get(learned[i : i + 256])) for i in range(0, len(learned), 256)])
    found: dict[str, Concepts] = {}
    for left_out in range(FOLDS):
        others = [i for i, photo in enumerate(learned) if fold[photo] != left_out]
        said = [captions[learned[i]] for i in others]
        try:
            judge = reranker.learn(seen[others][:, None], said, EMBEDDED.vision, report=lambda line: None)
        except LAV2Error:  # too few photos to learn from: their captions come without
            return {}
        found |= _told(judge, features, [photo for photo in photos if fold.get(photo, 0) == left_out])
    return found


def of_pages(pages: Sequence[str]) -> dict[str, Concepts]:
    """Picture of a page or sign -> what the shipped judge tells of it."""
    folder = find(EMBEDDED.caption_adapter)
    judge = reranker.load(folder, checkpoint.read_vision(folder))
    return _told(judge, _features(pages), pages) if judge and pages else {}


def add(captions: Sequence[dict], told: Sequence[Concepts | None], rng: Random) -> None:
    """Adds concepts to most of the captions in JSON form; None: this photo has none."""
    for caption, concepts in zip(captions, told, strict=True):
        if "text" in caption and concepts and rng.random() < TOLD:
            caption["concepts"] = [[word, round(chance, 4)] for word, chance in concepts]


def _features(photos: Sequence[str]) -> FeatureCache:
    cache = FeatureCache(cache_dir() / "features", EMBEDDED.vision, photos, (), 1)
    if not cache.complete:
        cache.fill(VisionTower(EMBEDDED.vision).encode)
    return cache


def _told(judge: reranker.ConceptReranker, features: FeatureCache, photos: Sequence[str]) -> dict[str, Concepts]:
    found: dict[str, Concepts] = {}
    for start in tqdm(range(0, len(photos), 128), desc="concepts", unit="part", disable=None):
        part = photos[start : start + 128]
        found |= zip(part, judge.concepts(features.get(part)), strict=True)
    return found
