"""Photos from anywhere to one form: upright RGB `PIL.Image`; bad files get a message that names cause and next step."""

from __future__ import annotations

import io
import os
import re
import warnings
from pathlib import Path

from PIL import Image, ImageFile, ImageOps

from lav2.errors import LAV2Error

MAX_PIXELS = 50_000_000  # larger pictures are refused before they are decoded
MAX_BYTES = 30_000_000
MIRROR_WORDS = re.compile(r"\b(left|right)\b", re.IGNORECASE)  # captions that a mirrored photo would make wrong
_NEXT_FORMAT = "Use a JPEG, PNG, WebP, GIF, BMP or TIFF picture."


def open_image(source: str | Path | bytes | Image.Image) -> Image.Image:
    """An upright RGB copy of a photo: EXIF rotation applied, first frame of an animation, transparency on white,
    16-bit and CMYK converted. No metadata is kept.

    Args:
        source: path, the file's bytes, or an opened picture.

    Raises:
        LAV2Error: no file, empty, too large (MAX_BYTES, MAX_PIXELS), not a picture, or damaged.
    """
    if isinstance(source, Image.Image):
        return _upright_rgb(source, "the picture")
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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            picture = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise LAV2Error(
            "{name} unpacks to more than {limit} megapixels.",
            "Scale it down first.",
            name=name,
            limit=f"{MAX_PIXELS / 1e6:.0f}",
        ) from error
    except Exception as error:  # Pillow's plug-ins raise anything on hostile bytes
        raise LAV2Error("{name} is not a picture that can be read.", _NEXT_FORMAT, name=name) from error
    return _upright_rgb(picture, name)


def _upright_rgb(picture: Image.Image, name: str) -> Image.Image:
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
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        # ultralytics switches Pillow to silent grey filling for the whole process; a damaged photo must be told.
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
            picture = _to_8_bit(picture)
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(white, picture)
        rgb = picture.convert("RGB")
    except MemoryError as error:
        raise LAV2Error(
            f"There is not enough free memory to open {name}.", "Close other programs, or scale the picture down."
        ) from error
    except Exception as error:  # truncated data, broken EXIF or colour tables: Pillow's decoders raise anything
        raise LAV2Error(
            "{name} is damaged or cut off ({why}).",
            "Save it again or choose another picture.",
            name=name,
            why=error,
        ) from error
    rgb.info.clear()
    return rgb.copy() if rgb is picture else rgb


def _to_8_bit(picture: Image.Image) -> Image.Image:
    """16- and 32-bit grey to 8 bit: by 256 where values need 16 bits, else as they are."""
    low, high = picture.getextrema()
    if high > 255:
        top = 65535 if high > 1 and low >= 0 and high <= 65535 else high
        return picture.point(lambda value: value * (255 / top)).convert("L")
    return picture.convert("L")
