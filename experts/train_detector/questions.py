"""Questions that human boxes answer: is there one, and how many? What the detection expert is for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experts.train_detector.data import Photo

MOST_COUNTED = 5  # objects of a kind that one is asked to count


class Question(NamedTuple):
    """Of photo number `photo`, about `kind`; `count`: how many there are."""

    photo: int
    kind: str
    count: int


def presence(photos: Sequence[Photo], several: int = 1) -> list[Question]:
    """Half "yes": of each kind that a photo shows, and for each a kind that it does not show but that often goes with
    those it does (`several` times another one), as one asks for what one expects."""
    shown = [Counter(b.label for b in photo.boxes) for photo in photos]
    kinds = sorted({kind for counts in shown for kind in counts})
    together = Counter((a, b) for counts in shown for a in counts for b in counts)
    questions = []
    for i, (photo, counts) in enumerate(zip(photos, shown, strict=True)):
        absent = [kind for kind in kinds if kind not in counts and photo.absence(kind) == 1]
        often = np.array([sum(together[kind, own] for own in counts) for kind in absent], float)
        n = min(several * len(counts), int((often > 0).sum()))
        drawn = np.random.default_rng(i).choice(len(absent), n, False, often / often.sum()) if n else ()
        questions += [Question(i, kind, n) for kind, n in counts.items()] + [Question(i, absent[j], 0) for j in drawn]
    return questions


def counting(photos: Sequence[Photo]) -> list[Question]:
    """Kinds of which a photo shows 1 to MOST_COUNTED; groups that one box holds cannot be counted."""
    return [
        Question(i, kind, n)
        for i, photo in enumerate(photos)
        for kind, n in Counter(b.label for b in photo.boxes).items()
        if n <= MOST_COUNTED and not any(b.crowd for b in photo.boxes if b.label == kind)
    ]
