"""Photos from anywhere to one form: upright RGB `PIL.Image`; bad files get a message that names cause and next step."""

from __future__ import annotations

import io
import math
import os
import re
import threading
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from PIL import Image, ImageChops, ImageFile, ImageFilter, ImageOps

from experts.messages import Message
from lav2.errors import LAV2Error

MAX_PIXELS = 50_000_000  # larger pictures are refused before they are decoded
MAX_BYTES = 30_000_000
HELD_PIXELS = 16_000_000  # larger pictures are halved while they are decoded: no expert looks at more than 1280 px
DECODES = threading.BoundedSemaphore(2)  # a small file can unpack to 200 MB, and several callers send one at once
FRAMES, FRAME_PIXELS = 100, 4 * MAX_PIXELS  # an animation is searched no further for one that is not blank
ORIENTATION = 0x0112  # of EXIF: 5 to 8 lie on their side
BLANK = 8  # levels of 255: a frame that varies by no more shows nothing
HIDDEN = 64  # levels of 255: what differs by less from its background is hard to see
MIRROR_WORDS = re.compile(r"\b(left|right)\b", re.IGNORECASE)  # captions that a mirrored photo would make wrong

# Pillow tries these and no others: EPS would start Ghostscript, and TGA takes almost any bytes for a picture.
FORMATS = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "PSD", "QOI", "TIFF", "WEBP")
PARTS = {  # what a file of several pictures has
    "TIFF": "page", "HEIF": "picture", "GIF": "frame", "PNG": "frame", "WEBP": "frame", "AVIF": "frame",
}  # fmt: skip
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
UNREADABLE = {  # how a file begins -> what it is
    rb"%PDF": Message("a PDF document"),
    rb"%!PS|\xc5\xd0\xd3\xc6": Message("a PostScript file"),
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*(?:<!DOCTYPE svg[^>]*>\s*)?<svg": Message(
        "an SVG drawing"
    ),
    rb"\x1f\x8b": Message("a compressed file"),
    rb"PK\x03\x04": Message("a ZIP archive or an office document"),
    rb"....ftyp(?:isom|mp4|M4V|qt  |avc1|3gp)|\x1a\x45\xdf\xa3": Message("a video"),
    rb"version https://git-lfs": Message("a pointer of Git LFS and not the picture itself"),
}
_NEXT_FORMAT = "Use a JPEG, PNG, WebP, AVIF, HEIC, GIF, BMP or TIFF picture."


class Facts(TypedDict):
    """What of a file was taken. `size` and `file_size` are [width, height] in pixels, upright; `size` is the smaller
    one where a large picture was halved, and places in the evidence are in its pixels. `part` is `page`, `frame` or
    `picture` where the file has several, of which number `number` (from 1) was taken; "" and 1 where it has one."""

    size: list[int]
    file_size: list[int]
    part: str
    number: int


def facts(photo: Image.Image) -> Facts:
    """What of its file `photo` shows; `photo` as `open_image` returned it."""
    size = list(photo.size)
    return photo.info.get("lav2") or Facts(size=size, file_size=size, part="", number=1)


def open_image(source: str | Path | bytes | Image.Image) -> Image.Image:
    """An upright RGB copy of a photo, with all that can be seen of it.

    EXIF rotation is applied. Grey of 10 to 32 bits and floats are scaled to 8 bits by what their values need.
    Transparency is laid on white, or on a background on which the content does not vanish. Of several frames or pages
    the first that is not blank is taken (`facts` says which). Pictures above HELD_PIXELS are halved. No metadata is
    kept.

    Args:
        source: path, the file's bytes, or an opened picture.

    Raises:
        LAV2Error: no file, empty, too large (MAX_BYTES, MAX_PIXELS), not a picture, or damaged.
    """
    if isinstance(source, Image.Image):
        with DECODES:
            return _shown(source.copy(), "the picture", None)
    if isinstance(source, bytes):
        name, data = "the picture", source
    else:
        path = Path(source)
        name = path.name
        if not os.path.isfile(path):  # unlike Path.is_file, also where the name is too long
            raise LAV2Error("There is no file {name}.", "Check the path.", name=name)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise LAV2Error(
                "{name} cannot be read ({why}).", "Check who may read the file.", name=name, why=error.strerror
            ) from error
    if not data:
        raise LAV2Error("{name} is empty (0 bytes).", "Upload it again or choose another picture.", name=name)
    if len(data) > MAX_BYTES:
        raise LAV2Error(
            "{name} has more than {limit} MB.",
            "Save it smaller or as JPEG.",
            name=name,
            limit=f"{MAX_BYTES / 1e6:.0f}",
        )
    heif = data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS
    if heif:
        _register_heif()
    with DECODES:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
                picture = Image.open(io.BytesIO(data), formats=["HEIF"] if heif else _formats())
        except Image.DecompressionBombError as error:
            raise LAV2Error(
                "{name} unpacks to more than {limit} megapixels.",
                "Scale it down first.",
                name=name,
                limit=f"{MAX_PIXELS / 1e6:.0f}",
            ) from error
        except MemoryError as error:
            raise _no_memory(name) from error
        except Exception as error:  # Pillow's plug-ins raise anything on hostile bytes
            kind = next((kind for start, kind in UNREADABLE.items() if re.match(start, data, re.DOTALL)), None)
            if kind:
                raise LAV2Error(
                    "{name} is {kind}, which cannot be read.",
                    "Send a picture of it: a screenshot as PNG or JPEG.",
                    name=name,
                    kind=kind,
                ) from error
            raise LAV2Error("{name} is not a picture that can be read.", _NEXT_FORMAT, name=name) from error
        return _shown(picture, name, data)


@cache
def _formats() -> list[str]:
    """FORMATS without those that this build of Pillow lacks."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


@cache
def _register_heif() -> None:
    """Teach Pillow HEIC and HEIF; at the first such file, since the library takes its time to import."""
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False)


def _shown(picture: Image.Image, name: str, data: bytes | None) -> Image.Image:
    """The first part of an opened file that is not blank, as upright RGB."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        # ultralytics switches Pillow to silent grey filling for the whole process; a damaged photo must be told.
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        kind = PARTS.get(picture.format or "", "") if getattr(picture, "is_animated", False) else ""
        first: Image.Image | None = None
        for number in _numbers(picture) if kind else (1,):
            _check_size(picture, name)
            rgb, size = _upright_rgb(picture, data if number == 1 else None)
            rgb.info = {"lav2": Facts(size=list(rgb.size), file_size=list(size), part=kind, number=number)}
            first = first or rgb
            extrema: Any = rgb.getextrema()  # (darkest, brightest) of each band
            if not kind or any(high - low > BLANK for low, high in extrema):
                return rgb
        return first  # type: ignore[return-value]  # a file has a first part
    except LAV2Error:
        raise
    except MemoryError as error:
        raise _no_memory(name) from error
    except Exception as error:  # truncated data, broken EXIF or colour tables: Pillow's decoders raise anything
        raise LAV2Error(
            "{name} is damaged or cut off ({why}).", "Save it again or choose another picture.", name=name, why=error
        ) from error


def _no_memory(name: str) -> LAV2Error:
    return LAV2Error(
        "There is not enough free memory to open {name}.",
        "Close other programs, or scale the picture down.",
        name=name,
    )


def _numbers(picture: Image.Image) -> Iterator[int]:
    """Seeks a file's parts one after the other, the main one first, and yields their numbers from 1."""
    main = picture.tell()
    yield main + 1
    pixels = 0
    for index in range(FRAMES):
        pixels += picture.width * picture.height
        if pixels > FRAME_PIXELS:
            return
        if index == main:
            continue
        try:
            picture.seek(index)
        except EOFError:
            return
        yield index + 1


def _check_size(picture: Image.Image, name: str) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise LAV2Error(
            "{name} has {width} x {height} pixels; the limit is {limit} megapixels.",
            "Scale it down first.",
            name=name,
            width=width,
            height=height,
            limit=f"{MAX_PIXELS / 1e6:.0f}",
        )


def _upright_rgb(picture: Image.Image, data: bytes | None) -> tuple[Image.Image, tuple[int, int]]:
    """The part that `picture` stands at, and its upright size before it was halved. `data`: the whole file, where it
    may be read once more."""
    size, halved = picture.size, picture.width * picture.height > HELD_PIXELS
    deep = picture.mode in ("RGB", "RGBA", "LA") and any(";16" in str(tile) for tile in getattr(picture, "tile", ()))
    if halved:
        picture.draft(None, (-(-size[0] // 2), -(-size[1] // 2)))  # JPEG decodes to half the size, others ignore it
    picture.load()
    orientation = picture.getexif().get(ORIENTATION, 1)
    if deep and data and _brightest(picture) < 128:
        picture = _deep_colours(data) or picture
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        picture = _to_8_bit(picture)
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    if picture.mode != mode:  # else it would be one more copy of up to 200 MB
        picture = picture.convert(mode)
    if halved and picture.size == size:
        picture = picture.reduce(2)
    if mode == "RGBA":
        picture = _on_background(picture)
    elif isinstance(picture, ImageFile.ImageFile):  # it changes with the file's next frame, and holds the file
        picture = picture.copy()
    picture.info = {}
    picture.getexif()[ORIENTATION] = orientation
    ImageOps.exif_transpose(picture, in_place=True)
    return picture, size[::-1] if orientation >= 5 else size


def _brightest(picture: Image.Image) -> float:
    extrema: Any = picture.getextrema()  # (darkest, brightest) of each band
    return max(float(high) for band, (_, high) in zip(picture.getbands(), extrema, strict=True) if band != "A")


def _top(high: float) -> float:
    """The white of numbers up to `high`: 1, 255, 1023, 4095, 65535 ..., so that 12 bits in 16 are not black."""
    return 2.0 ** math.ceil(math.log2(high + 1)) - 1 if high > 1 else 1.0


def _to_8_bit(picture: Image.Image) -> Image.Image:
    """16- and 32-bit grey, whole numbers or floats, to 8 bits. Where there are negative numbers, the least is black."""
    values = np.asarray(picture)  # [H, W]
    strips = range(0, len(values), 256)  # a large picture in float64 takes 400 MB
    finite = [strip[np.isfinite(strip)] for strip in (values[top : top + 256] for top in strips)]
    low = min((float(strip.min()) for strip in finite if strip.size), default=0.0)
    high = max((float(strip.max()) for strip in finite if strip.size), default=0.0)
    black, white = (low, high) if low < 0 else (0.0, _top(high))
    grey = np.empty(values.shape, np.uint8)
    for top in strips:
        strip = np.nan_to_num(values[top : top + 256].astype(np.float64), nan=black, posinf=white, neginf=black)
        grey[top : top + 256] = np.clip((strip - black) * (255 / max(white - black, 1e-12)) + 0.5, 0, 255)
    return Image.fromarray(grey)


def _deep_colours(data: bytes) -> Image.Image | None:
    """Colours of 10 and 12 bits in a file of 16, of which Pillow takes the upper eight only; None where it is none."""
    import cv2

    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)  # [H, W, BGR or BGRA]
    if found is None or found.dtype != np.uint16 or found.ndim != 3:
        return None
    white = _top(float(found[..., :3].max()))
    scale = np.array([255 / white] * 3 + [255 / 65535], np.float32)[: found.shape[2]]
    order = cv2.COLOR_BGR2RGB if found.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return Image.fromarray(cv2.cvtColor((found * scale + 0.5).astype(np.uint8), order))


def _on_background(picture: Image.Image) -> Image.Image:
    """RGBA on white, or where the content would vanish on it, on black or grey.

    What counts is where visible pixels touch invisible ones: a white letter inside a red disc is seen on white, a white
    letter alone is not.
    """
    sample = picture.resize([min(side, 1024) for side in picture.size], Image.Resampling.NEAREST)
    alpha = sample.getchannel("A")
    opaque: Any = alpha.getextrema()[1]
    shown = alpha.point(lambda value: 255 * (value > opaque // 2))
    edge = ImageChops.subtract(shown, shown.filter(ImageFilter.MinFilter(3)))
    levels = np.array(sample.convert("RGB").convert("L").histogram(edge))  # [256] pixels of each brightness
    brightness = np.arange(256)

    def lost(background: int) -> int:
        return int(levels[abs(brightness - background) < HIDDEN].sum())

    least = min((255, 0, 128), key=lost)
    background = 255 if 4 * lost(255) <= levels.sum() else least
    on = Image.new("RGB", picture.size, (background,) * 3)
    on.paste(picture, mask=picture.getchannel("A"))
    return on
