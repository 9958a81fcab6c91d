"""Rows of cells -> the OCR expert's evidence, with quads that the reading order takes apart into the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

CHARACTER, HEIGHT, LINE, GAP = 10, 20, 30, 60  # px


def ocr_json(rows: Sequence[Sequence[str]], confidence: float = 0.9) -> dict[str, Any]:
    """The JSON form (experts.evidence.from_json) of texts laid out in rows; columns of cells are aligned."""
    starts: list[int] = []
    for place in range(max((len(row) for row in rows), default=0)):
        ends = (
            [starts[place - 1] + CHARACTER * len(row[place - 1]) for row in rows if len(row) > place] if place else []
        )
        starts.append(max(ends) + GAP if ends else 0)
    items = []
    for number, row in enumerate(rows):
        for place, text in enumerate(row):
            left, top = starts[place], number * LINE
            right, bottom = left + CHARACTER * len(text), top + HEIGHT
            quad = [[left, top], [right, top], [right, bottom], [left, bottom]]
            items.append({"text": text, "confidence": confidence, "quad": quad})
    width = max((item["quad"][1][0] for item in items), default=1)
    return {"items": items, "seconds": 0.0, "size": [width + 10, max(1, len(rows)) * LINE]}
