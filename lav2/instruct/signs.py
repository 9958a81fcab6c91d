"""Text drawn on photos, with the place of every line."""

import math
import random
import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lav2.instruct.photos import Box, Photo

# --- signs --------------------------------------------------------------------------------------------------
_FONT_NAMES = re.compile(
    r"^(DejaVu(Sans|Serif)(?!.*Display)|Liberation|STIXGeneral|cmr10|cmss10|cmtt10|cmb10|Free(Sans|Serif|Mono)|Ubuntu"
    r"|Roboto|Lato|OpenSans|NotoSans-|NotoSerif-)"
)
SMALLEST = 13  # font size px
_COLOURS = (
    ("white", "black"),
    ("black", "white"),
    ("#c1121f", "white"),
    ("#00509d", "white"),
    ("#2d6a4f", "#fefae0"),
    ("#ffd60a", "black"),
    ("#fefae0", "#7f1d1d"),
    ("#e0e0e0", "#1d3557"),
    ("#5a189a", "#ffd60a"),
    ("#f4a261", "#1b1b1b"),
)  # sign, letters


@cache
def fonts() -> tuple[str, ...]:
    """Font files for Latin text that this machine has (matplotlib's, the system's), by name; () means
    Pillow's own font only.
    """
    folders = [
        Path("/usr/share/fonts"),
        Path.home() / ".fonts",
        Path("/Library/Fonts"),
        Path("C:/Windows/Fonts"),
    ]
    try:
        import matplotlib

        folders.append(Path(matplotlib.get_data_path()) / "fonts" / "ttf")
    except ImportError:
        pass
    files = {f.name: str(f) for folder in folders if folder.is_dir() for f in sorted(folder.rglob("*.ttf"))}
    return tuple(files[name] for name in sorted(files) if _FONT_NAMES.match(name) and "Math" not in name)


def sign_text(rng: random.Random, words: Sequence[str], held_out: bool) -> list[str]:
    """One to three lines of words and numbers. A word is in the held-out set or in the training set, never in
    both.
    """
    options = [w for w in words if (zlib.crc32(w.encode()) % 8 == 0) == held_out]
    case = rng.choice((str.upper, str.upper, str.title, str.lower))

    def line() -> str:
        if rng.random() < 0.2:
            return rng.choice(
                (
                    f"{rng.randint(1, 999)}",
                    f"{rng.randint(1, 12)}:{rng.randrange(0, 60, 5):02d}",
                    f"${rng.randint(1, 99)}.{rng.choice(('00', '50', '95', '99'))}",
                    f"{rng.choice('ABCDEFGHKLMNPRTUVWXYZ')}{rng.randint(2, 99)}",
                    f"{rng.randrange(5, 95, 5)}%",
                )
            )
        picked = [case(rng.choice(options)) for _ in range(rng.choice((1, 1, 2, 2, 3)))]
        if rng.random() < 0.2:
            picked.append(str(rng.randint(1, 99)))
        return " ".join(picked)

    return [line() for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))]


def draw_sign(
    background: Image.Image, lines: Sequence[str], rng: random.Random, largest: float = 0.8
) -> tuple[Image.Image, list[list[tuple[float, float]]]]:
    """The picture with the lines drawn on it, and each line's quad (4 points px, clockwise from the text's
    top left).

    Font, colours, size (some small), angle (a third are turned) and place are drawn from `rng`; the sign is
    at most `largest` of the picture's width and height.
    """
    paper, ink = rng.choice(_COLOURS)
    file = rng.choice((*fonts(), None))
    share = rng.uniform(0.35, 0.5) if rng.random() < 0.25 else rng.uniform(0.5, 1.0)
    angle = rng.choice((rng.uniform(-25, 25), rng.uniform(-10, 10), 90.0)) if rng.random() < 0.35 else 0.0
    panel = rng.random() < 0.75
    x_share, y_share = rng.random(), rng.random()
    size = _fitting_size(file, lines, angle, [largest * share * side for side in background.size])
    if size < SMALLEST:  # nobody could read it: upright, with all the room there is
        angle = 0.0
        size = max(SMALLEST, _fitting_size(file, lines, angle, [largest * side for side in background.size]))
    font, boxes, step, pad, width, height = _layout(file, lines, size)
    turn = math.radians(angle)
    layer = Image.new("RGBA", (width, height), paper if panel else (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    corners = []
    for i, (line, (left, top, right, bottom)) in enumerate(zip(lines, boxes, strict=True)):
        x, y = (width - (right - left)) / 2 - left, pad + i * step
        # Without a panel the letters get a rim in the other colour, so that they can be read on any photo.
        pen.text(
            (x, y),
            line,
            font=font,
            fill=ink,
            stroke_width=0 if panel else max(1, size // 12),
            stroke_fill=paper,
        )
        corners.append([(x + left, y + top), (x + right, y + top), (x + right, y + bottom), (x + left, y + bottom)])
    turned = layer.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    at = [round(max(0, b - t) * s) for b, t, s in zip(background.size, turned.size, (x_share, y_share), strict=True)]
    picture = background.convert("RGB")
    picture.paste(turned, tuple(at), turned)
    cos, sin = math.cos(turn), math.sin(turn)

    def moved(x: float, y: float) -> tuple[float, float]:
        dx, dy = x - width / 2, y - height / 2  # counter-clockwise turn, y pointing down
        return at[0] + turned.width / 2 + dx * cos + dy * sin, at[1] + turned.height / 2 - dx * sin + dy * cos

    return picture, [[moved(x, y) for x, y in quad] for quad in corners]


def _layout(file: str | None, lines: Sequence[str], size: int):
    """Font, each line's box (left, top, right, bottom), line step, margin, and the whole block's width and
    height in px.
    """
    font = ImageFont.truetype(file, size) if file else ImageFont.load_default(size)
    boxes = [font.getbbox(line) for line in lines]
    pad, step = size // 2, round(1.15 * sum(font.getmetrics()))
    width = math.ceil(max(b[2] - b[0] for b in boxes)) + 2 * pad
    return font, boxes, step, pad, width, step * len(lines) + 2 * pad


def _fitting_size(file: str | None, lines: Sequence[str], angle: float, room: Sequence[float]) -> int:
    """The largest font size up to 64 px at which the turned block fits into `room` (width, height px)."""
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    size = 64
    while True:
        *_, width, height = _layout(file, lines, size)
        share = min(room[0] / (width * cos + height * sin), room[1] / (width * sin + height * cos))
        if share >= 1 or size <= 5:
            return size
        size = max(5, min(size - 1, int(size * share)))


def with_sign(photo: Photo | None, lines: Sequence[str], target: Path, rng: random.Random) -> Photo:
    """A new picture with the lines drawn on the photo, or on a plain ground where there is none; saved at
    `target`.
    """
    if photo is None:
        ground = tuple(rng.randint(0, 255) for _ in range(3))
        background = Image.new("RGB", rng.choice(((400, 300), (300, 400), (360, 360), (480, 240))), ground)
        photo = Photo(target, (), background.size, ())
    else:
        with Image.open(photo.image) as opened:
            background = opened.convert("RGB")
    picture, quads = draw_sign(background, lines, rng, largest=0.9 if not photo.captions else 0.7)
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target, quality=92)
    xs, ys = zip(*(p for quad in quads for p in quad), strict=True)
    cover = (min(xs), min(ys), max(xs), max(ys))
    boxes = photo.boxes and tuple(replace(b, confidence=0.3) if is_hidden(b, cover) else b for b in photo.boxes)
    signs = tuple((line, tuple(quad)) for line, quad in zip(lines, quads, strict=True))
    return replace(photo, image=target, size=picture.size, boxes=boxes, signs=signs)


def is_hidden(box: Box, cover: tuple[float, float, float, float]) -> bool:
    """True where the sign covers more than a third of the object: nobody can be sure of it any more."""
    width = min(box.xyxy[2], cover[2]) - max(box.xyxy[0], cover[0])
    height = min(box.xyxy[3], cover[3]) - max(box.xyxy[1], cover[1])
    return width > 0 and height > 0 and width * height > box.area / 3
