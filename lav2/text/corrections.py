"""Findings as a reader corrected them: left out, rewritten, added; and what was changed. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from experts.evidence import Caption, Detections, Evidence, Observations, OcrLines
from experts.render import CAPTION_CHARS, LABEL_CHARS, LINE_CHARS, Item, clean, numbered, placed
from lav2.events import Change

ADDABLE = {"detection": LABEL_CHARS, "ocr": LINE_CHARS}  # expert whose kind of finding a reader can add -> characters
BY_READER = "reader"  # the `detector` of boxes where no detector looked


def added(expert: str, text: str, box: Sequence[float], size: tuple[int, int], number: int) -> Item:
    """A finding of the reader's own.

    Args:
        expert: of ADDABLE, whose kind of finding it is.
        text: the object's name, or what is written there.
        box: left, top, right, bottom in px of the upright original, in any order of the corners.
        size: width and height of the original in px.
        number: of the finding.
    """
    (left, right), (top, bottom) = sorted(box[::2]), sorted(box[1::2])
    polygon = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float32)
    polygon = polygon.clip(0, np.array(size, np.float32))
    return Item(number, expert, clean(text, ADDABLE[expert]), 1.0, polygon, placed(polygon, size))


def corrected(
    evidence: Mapping[str, Evidence],
    kept: Mapping[int, str],
    more: Sequence[Item] = (),
    size: tuple[int, int] | None = None,
) -> dict[str, Evidence]:
    """The evidence with only the findings in `kept` (number -> text), `more` (of `added`) among them. A changed or
    added text counts as certain (1.0) and reliable. `size` of the photo in px is needed where there is `more`.

    A caption left out makes the expert "not run"; of the others, nothing kept is "none found". Failures stay, unless
    something is added in their place.
    """
    more = [item for item in more if item.number in kept]
    looked = dict(evidence)
    for expert in dict.fromkeys(item.expert for item in more):
        if not isinstance(looked.get(expert), Detections | OcrLines):
            looked[expert] = _nothing(expert, size)
    items = [item for item in numbered(evidence) if item.number in kept] + more
    result: dict[str, Evidence] = {}
    for name, found in looked.items():
        own = [item for item in items if item.expert == name]
        if isinstance(found, Caption):
            said = next((kept[item.number] for item in own if not item.kind), "")
            concepts, candidates = (
                tuple((kept[item.number], item.chance if kept[item.number] == item.text else 1.0)
                      for item in own if item.kind == kind) for kind in ("concept", "candidate")
            )  # fmt: skip
            if own:
                certain = found.certain or said != next((item.text for item in own if not item.kind), "")
                result[name] = replace(found, text=said, concepts=concepts, candidates=candidates, certain=certain)
        elif isinstance(found, Detections):
            texts = tuple(kept[item.number].strip() for item in own)
            corners = [(*item.outline.min(0), *item.outline.max(0)) for item in own]
            result[name] = replace(
                found,
                xyxy=np.array(corners, np.float32).reshape(-1, 4),
                confidence=_confidence(own, texts),
                labels=texts,
                classes=tuple(dict.fromkeys((*found.classes, *texts))),
                colours=tuple(item.colour for item in own) if found.colours else (),
            )
        elif isinstance(found, OcrLines):
            texts = tuple(kept[item.number].strip() for item in own)
            quads = np.array([item.polygon for item in own], np.float32).reshape(-1, 4, 2)
            marked = {quad.tobytes() for quad in found.quads[~found.reliable]}
            changed = [text != item.text for item, text in zip(own, texts, strict=True)]
            reliable = [new or quad.tobytes() not in marked for new, quad in zip(changed, quads, strict=True)]
            result[name] = replace(
                found,
                quads=quads,
                confidence=_confidence(own, texts),
                texts=texts,
                reliable=np.array(reliable, bool),
            )
        elif isinstance(found, Observations):
            texts = tuple(kept[item.number].strip() for item in own)
            boxes = [None if item.polygon is None else (*item.polygon.min(0), *item.polygon.max(0)) for item in own]
            result[name] = replace(found, texts=texts, confidence=_confidence(own, texts), boxes=tuple(boxes))
        else:
            result[name] = found
    return result


def _nothing(expert: str, size: tuple[int, int] | None) -> Evidence:
    if size is None:
        raise ValueError("Where findings are added, the size of the photo is needed.")
    if expert == "detection":
        return Detections(np.zeros((0, 4)), np.zeros(0), (), 0.0, BY_READER, (), size)
    return OcrLines(np.zeros((0, 4, 2)), np.zeros(0), (), 0.0, size)


def _confidence(items: Sequence[Item], texts: Sequence[str]) -> np.ndarray:
    pairs = zip(items, texts, strict=True)
    return np.array([item.chance if text == item.text else 1.0 for item, text in pairs], np.float32)


def changes(
    evidence: Mapping[str, Evidence],
    kept: Mapping[int, str],
    more: Sequence[Item] = (),
    earlier: Sequence[Change] = (),
) -> tuple[Change, ...]:
    """What `corrected` changes, on top of `earlier` changes that made this evidence: each finding has one entry, from
    what the expert found to what is there now."""
    previous = {(change.expert, change.after, change.corners): change for change in earlier if change.after is not None}
    now = [change for change in earlier if change.after is None]
    for item in numbered(evidence):
        text, place = kept.get(item.number), corners(item)
        before = previous.get((item.expert, item.text, place))
        first = before.before if before else item.text
        text = None if text is None else clean(text, _characters(item)) or None
        if text != first and (first is not None or text is not None):
            now.append(Change(item.expert, first, text, place))
    own = [(item, clean(kept[item.number], _characters(item))) for item in more if item.number in kept]
    return (*now, *(Change(item.expert, None, text, corners(item)) for item, text in own if text))


def _characters(item: Item) -> int:
    """How many of a finding's text `numbered` keeps."""
    if item.expert == "caption":
        return CAPTION_CHARS if item.confidence is None else LABEL_CHARS
    return ADDABLE.get(item.expert, LINE_CHARS)


def by_reader(evidence: Mapping[str, Evidence], made: Sequence[Change]) -> frozenset[int]:
    """Numbers of the findings that a reader rewrote or added."""
    own = {(change.expert, change.after, change.corners) for change in made}
    return frozenset(item.number for item in numbered(evidence) if (item.expert, item.text, corners(item)) in own)


def corners(item: Item) -> tuple[tuple[float, float], ...]:
    """Of a finding in px, rounded so that they stay the same on their way through a file; () where it has no place."""
    return () if item.polygon is None else tuple((round(float(x), 2), round(float(y), 2)) for x, y in item.polygon)
