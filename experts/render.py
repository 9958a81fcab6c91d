"""Evidence -> numbered findings with cleaned texts; evidence -> boxes drawn on the photo."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from experts.evidence import Caption, Detections, Evidence, Observations, OcrLines

CAPTION_CHARS, LABEL_CHARS, LINE_CHARS = 200, 30, 160

ROWS, COLUMNS = ("top", "", "bottom"), ("left", "", "right")

# Okabe and Ito's colours, told apart by colour-blind readers as well; text lines get the last one for
# themselves.
PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
TEXT_COLOUR = "#ff3b30"


@dataclass(frozen=True, eq=False)
class Item:
    """One numbered finding. `polygon` is [k,2] px of the upright original; the caption expert's have none, and its
    sentence no confidence either. `colour`: of a box. `kind`: of the caption expert's, "concept", "candidate", or "" of
    the sentence."""

    number: int
    expert: str
    text: str
    confidence: float | None
    polygon: np.ndarray | None
    place: str
    colour: str = ""
    kind: str = ""

    @property
    def chance(self) -> float:
        """The confidence; 1 where the expert tells none."""
        return 1.0 if self.confidence is None else self.confidence

    @property
    def outline(self) -> np.ndarray:
        """The polygon [k,2] of a finding that has a place. Raises ValueError for another."""
        if self.polygon is None:
            raise ValueError(f"Finding {self.number} has no place in the photo.")
        return self.polygon


def numbered(evidence: Mapping[str, Evidence]) -> list[Item]:
    """Every finding with its number: caption, objects by falling confidence, text lines, what experts of other packages
    found, and last what has no place in the photo, the caption expert's candidates for answers and its concepts.

    Texts are cleaned. A text of which nothing is left gets no number.
    """
    found: list[tuple[Any, ...]] = []  # fields of Item behind its number
    caption, detections, lines = (evidence.get(name) for name in ("caption", "detection", "ocr"))
    if isinstance(caption, Caption):
        found.append(("caption", clean(caption.text, CAPTION_CHARS), None, None, ""))
    if isinstance(detections, Detections):
        for i in np.argsort(-detections.confidence, kind="stable"):
            polygon = _corners(detections.xyxy[i])
            label, confidence = clean(detections.labels[i], LABEL_CHARS), float(detections.confidence[i])
            colour = clean(detections.colours[i], LABEL_CHARS) if detections.colours else ""
            found.append(("detection", label, confidence, polygon, placed(polygon, detections.size), colour))
    if isinstance(lines, OcrLines):
        for text, confidence, quad in zip(lines.texts, lines.confidence, lines.quads, strict=True):
            found.append(("ocr", clean(text, LINE_CHARS), float(confidence), quad, placed(quad, lines.size)))
    for name, other in evidence.items():
        if isinstance(other, Observations):
            for text, confidence, box in zip(other.texts, other.confidence, other.boxes, strict=True):
                where = (None, "") if box is None else (_corners(box), placed(_corners(box), other.size))
                found.append((name, clean(text, LINE_CHARS), float(confidence), *where))
    if isinstance(caption, Caption):
        for kind, chances in (("candidate", caption.candidates), ("concept", caption.concepts)):
            found += [("caption", clean(text, LABEL_CHARS), chance, None, "", "", kind) for text, chance in chances]
    return [Item(number, *rest) for number, rest in enumerate((f for f in found if f[1]), start=1)]


def _corners(box: Sequence[float]) -> np.ndarray:
    """[4,2] of (left, top, right, bottom)."""
    left, top, right, bottom = box
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float32)


def label_of(expert: str) -> str:
    """How an expert of another package is called where people and the model read it: bar_code is Bar code."""
    return expert.replace("_", " ").capitalize()


def placed(polygon: np.ndarray, size: tuple[int, int]) -> str:
    """The cell of a 3x3 grid over the photo that holds the centre of the polygon's box."""
    centre = (polygon.min(0) + polygon.max(0)) / 2  # [2]
    column, row = np.clip(np.floor(centre / np.array(size) * 3), 0, 2).astype(int)
    return f"{ROWS[row]} {COLUMNS[column]}".strip() or "center"


# --- untrusted text ---

# Not in a category that is dropped as a whole, yet nothing is seen: fillers, joiners and selectors.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
ACCENTS_IN_A_ROW = 2  # Vietnamese needs two; more is a pile of marks that hides the line

# Markers of chat templates (ChatML, LLaMA 2 and 3, Gemma, DeepSeek), taken out as a whole. White space is
# single spaces by then, and a pattern starts with one bracket: long runs of either cost nothing.
MARKERS = re.compile(
    r"< ?\|[^<>|]{0,40}\| ?>|<< ?/? ?sys ?>>|\[ ?/? ?(?:inst|sys|system_prompt|tool_\w{1,20}) ?\]"
    r"|< ?/? ?(?:s|bos|eos|pad|unk|mask|image|start_of_turn|end_of_turn|begin_of_text|end_of_text) ?>",
    re.IGNORECASE,
)
# What is left of the characters that markers, tags, fences and our own numbering are made of. Each becomes a
# space or its harmless sibling, never nothing: otherwise the pieces around it could join to a new marker.
STRUCTURE = str.maketrans(
    {c: " " for c in "<>|\\\u2581\u00a6\u2502\u2758\u2039\u203a\u3008\u3009\u27e8\u27e9"}
    | {c: "'" for c in '"`\u00ab\u00bb\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2032\u2033'}
    | {c: "'" for c in "\u275b\u275c\u275d\u275e\u300c\u300d\u300e\u300f"}
    | {"[": "(", "]": ")", "\u3010": "(", "\u3011": ")"}
    | {c: ":" for c in "\u02d0\u02f8\u05c3\u2236\ua789"}
)
ROLE = r"(?:system|user|assistant|human|ai|bot|model|tool|instructions?|input|response|question|answer)"
HEADINGS = re.compile(rf"#(?: ?#)+|#(?= ?{ROLE}\b)", re.IGNORECASE)
ROLES = re.compile(rf"\b({ROLE})(?: ?:)+", re.IGNORECASE)


def clean(text: str, limit: int) -> str:
    """Untrusted text on one line of at most `limit` characters, without anything that acts in a prompt.

    Compatibility forms are folded (NFKC), control, invisible and bidirectional characters removed, template
    markers taken out, quotes turned into apostrophes, square brackets into round ones, and the colon after a
    role's name ("system:") dropped. Words stay, so that what a sign says can still be told.
    """
    text = unicodedata.normalize("NFKC", _visible(text))
    text = " ".join(_visible(text).split())  # folding can bring out new ones
    text = MARKERS.sub(" ", text).translate(STRUCTURE)
    text = ROLES.sub(r"\1", HEADINGS.sub(" ", text))
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."


def _visible(text: str) -> str:
    kept, accents = [], 0
    for c in INVISIBLE.sub("", text):
        category = unicodedata.category(c)
        accents = accents + 1 if category in ("Mn", "Me") else 0
        if c.isspace():
            kept.append(" ")
        elif category[0] != "C" and accents <= ACCENTS_IN_A_ROW:  # C: control, bidi, zero width
            kept.append(c)
    return "".join(kept)


# --- drawing ---


def draw(
    image: Image.Image, evidence: Mapping[str, Evidence], added: Sequence[Item] = (), bold: Collection[int] = ()
) -> Image.Image:
    """A copy of the RGB photo with every box and text line outlined and tagged with its number; of `added` too. Those
    with a number in `bold` stand out."""
    picture = image.copy()
    pen = ImageDraw.Draw(picture)
    width = max(1, round(max(image.size) / 300))
    font = ImageFont.load_default(size=max(11, round(max(image.size) / 28)))  # read where the page shows it 310 px wide
    items = [i for i in (*numbered(evidence), *added) if i.polygon is not None]
    for item in items:
        corners, stroke = item.outline, width
        if item.number in bold:  # outwards: a stroke goes inwards from the corners, over what is read there
            corners, stroke = corners + 2 * width * np.sign(corners - corners.mean(0)), 3 * width
        pen.polygon([tuple(p) for p in corners.tolist()], outline=_colour(item), width=stroke)
    for item in reversed(items):  # tags last, over all outlines; the surest on top
        tag = f"{item.number} {item.text}" if item.expert == "detection" else str(item.number)
        left, top, right, bottom = pen.textbbox((0, 0), tag, font=font)
        pad = max(1, width)
        tag_width, tag_height = right - left + 2 * pad, bottom - top + 2 * pad
        x, y = item.outline.min(0).tolist()
        x = max(0, min(x, image.width - tag_width))
        y = y - tag_height if item.expert == "ocr" else y  # above a text line, so that it stays readable
        y = max(0, min(y, image.height - tag_height))
        colour = _colour(item)
        pen.rectangle((x, y, x + tag_width, y + tag_height), fill=colour)
        pen.text((x + pad - left, y + pad - top), tag, font=font, fill=_ink(colour))
    return picture


def _colour(item: Item) -> str:
    return TEXT_COLOUR if item.expert == "ocr" else PALETTE[zlib.crc32(item.text.encode()) % len(PALETTE)]


def _ink(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 120 else "white"
