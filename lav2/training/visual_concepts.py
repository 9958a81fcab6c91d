"""The words that people use of photos and of their parts, and kinds of object, as what an image encoder learns.

Words: B photos, R parts of photos, W words, L kinds of object.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lav2.instruct.photos import Photo
from lav2.training.regions import Region

TEACHER = 0.3  # least confidence of a box that a teacher, not a person, drew

_STOP = frozenset(
    re.findall(
        "[a-z]+",
        "a an the of in on at to and with is are be being been it its his her their this that there as by from for up "
        "down out off over into through while near next him them he she they or who which what has have having s t "
        "very some each other another one i",
    )
)
_ENDINGS = (("sses", "ss"), ("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"))


def words_of(caption: str) -> set[str]:
    """The words of a caption that say something, without their endings: `Two dogs are running` -> {two, dog, run}."""
    return {_stem(word) for word in re.findall(r"[a-z]+", caption.lower()) if word not in _STOP}


def _stem(word: str) -> str:
    for ending, short in _ENDINGS:
        if word.endswith(ending):
            return word[: -len(ending)] + short
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        word = word[:-1]
    if word.endswith("ing") and len(word) > 5:
        word = word[:-3]
        if len(word) > 2 and word[-1] == word[-2] and word[-1] not in "sl":
            word = word[:-1]
    return word


@dataclass(frozen=True)
class Names:
    """What the linear layer tells: words of captions, kinds of object."""

    words: tuple[str, ...]
    kinds: tuple[str, ...]

    @classmethod
    def of(cls, photos: Sequence[Photo], least: int) -> Names:
        """The words said of at least `least` of the photos, the most frequent first, and every kind in their boxes."""
        count = Counter(word for photo in photos for word in set().union(*map(words_of, photo.captions)))
        words = tuple(word for word, n in sorted(count.items(), key=lambda item: (-item[1], item[0])) if n >= least)
        return cls(words, tuple(sorted({box.label for photo in photos for box in photo.boxes or ()})))

    def _blank(self, count: int) -> tuple[dict[str, int], dict[str, int], Tensor, Tensor]:
        """The columns of words and of kinds; labels and known, both 0 [count, W + L]."""
        words = {word: i for i, word in enumerate(self.words)}
        kinds = {kind: i for i, kind in enumerate(self.kinds, start=len(words))}
        labels = torch.zeros(count, len(words) + len(kinds))
        return words, kinds, labels, torch.zeros(labels.shape, dtype=torch.bool)

    def labels(self, photos: Sequence[Photo]) -> tuple[Tensor, Tensor]:
        """(share of a photo's captions with each word, and 0 or 1 for each kind [B, W + L]; known [B, W + L] bool:
        not where a photo has no captions, or nobody drew boxes)."""
        words, kinds, labels, known = self._blank(len(photos))
        for row, photo in enumerate(photos):
            known[row, : len(words)] = bool(photo.captions)
            known[row, len(words) :] = photo.boxes is not None
            for caption in photo.captions:
                for word in words_of(caption) & words.keys():
                    labels[row, words[word]] += 1 / len(photo.captions)
            for box in photo.boxes or ():
                if box.confidence >= TEACHER and box.label in kinds:
                    labels[row, kinds[box.label]] = 1
        return labels, known

    def of_regions(self, parts: Sequence[Region]) -> tuple[Tensor, Tensor]:
        """(share of a part's phrases with each word, and 1 for its kind [R, W + L]; known [R, W + L] bool: words where
        it has phrases, kinds where it has one)."""
        words, kinds, labels, known = self._blank(len(parts))
        for row, part in enumerate(parts):
            known[row, : len(words)] = bool(part.phrases)
            known[row, len(words) :] = part.kind in kinds
            for phrase in part.phrases:
                for word in words_of(phrase) & words.keys():
                    labels[row, words[word]] += 1 / len(part.phrases)
            if part.kind in kinds:
                labels[row, kinds[part.kind]] = 1
        return labels, known
