"""A page of text, or a photo of things? A captioner of photos says of a page what is not there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from experts.evidence import Caption, Detections, Evidence, OcrLines

# Share of the photo that its text covers from which it is a page, where there is no sure box: of 249 photos of COCO one
# has that much, a sign; of 118 pictures of texts all.
COVERED = 0.04
SURE = 0.5  # a box that is surer is there


def is_page(evidence: Mapping[str, Evidence]) -> bool:
    """Whether there is text and nothing else that the experts found; False where one of them did not look."""
    lines, detections = evidence.get("ocr"), evidence.get("detection")
    if not isinstance(lines, OcrLines) or not isinstance(detections, Detections):
        return False
    return _covered(lines) >= COVERED and not (detections.confidence >= SURE).any()


def caption_of(evidence: Mapping[str, Evidence]) -> Caption | None:
    """The caption that an answer may rest on; None of a page, unless a reader wrote it."""
    caption = evidence.get("caption")
    if not isinstance(caption, Caption) or (is_page(evidence) and not caption.certain):
        return None
    return caption


def _covered(lines: OcrLines) -> float:
    """The share of the photo that lines cover, in a foreign script as well, 0..1; of overlapping ones both count."""
    x, y = np.moveaxis(lines.quads, -1, 0)  # [2, n, 4]
    areas = np.abs((x * np.roll(y, -1, 1) - np.roll(x, -1, 1) * y).sum(1)) / 2
    return float(areas.sum()) / (lines.size[0] * lines.size[1])
