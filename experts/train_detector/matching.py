"""Which of the boxes that a detector found are right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pycocotools.mask import iou

from experts.train_detector.data import Box

OVERLAP = 0.5  # IoU from which a box is right


def matched(found: np.ndarray, truth: Sequence[Box]) -> Iterator[bool | None]:
    """For boxes [n,4] px of one kind, the surest first: right, wrong, or None inside a crowd, where it does not count.

    Each human box is found once.
    """
    crowd = np.array([b.crowd for b in truth], bool)
    free = ~crowd
    # [n, truth]; with a crowd, the share of the found box that lies in it
    overlaps = iou([xywh(b) for b in found.tolist()], [xywh(b.xyxy) for b in truth], crowd.tolist())
    for row in np.reshape(overlaps, (len(found), len(truth))):
        near = np.where(free, row, 0)
        if near.max(initial=0) >= OVERLAP:
            free[near.argmax()] = False
            yield True
        else:
            yield None if row.max(where=crowd, initial=0) >= OVERLAP else False


def xywh(xyxy: Sequence[float]) -> list[float]:
    left, top, right, bottom = xyxy
    return [float(v) for v in (left, top, right - left, bottom - top)]
