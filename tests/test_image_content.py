"""What a file holds is seen: deep greys and colours, transparency, blank first pages, HEIC; large photos are halved."""

import io
import subprocess
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from lav2.errors import LAV2Error
from lav2.image import DECODES, HELD_PIXELS, facts, open_image


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def contrast(photo: Image.Image) -> int:
    low, high = photo.convert("L").getextrema()
    return high - low


def text(colour, background=(0, 0, 0, 0)) -> Image.Image:
    picture = Image.new("RGBA", (200, 60), background)
    ImageDraw.Draw(picture).text((10, 10), "CAFE", fill=colour, font_size=36)
    return picture


# ---------------------------------------------------------------- depth


@pytest.mark.parametrize("bits", [4, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_any_depth_in_16_bits_fills_the_8_bits(bits, kind):
    ramp = np.tile(np.linspace(0, 2**bits - 1, 64).astype(np.uint16), (8, 1))
    photo = open_image(encoded(Image.fromarray(ramp), kind))
    assert (photo.getpixel((0, 0))[0], photo.getpixel((63, 0))[0]) == (0, 255)
    assert abs(photo.getpixel((32, 0))[0] - 128) <= 10


@pytest.mark.parametrize(
    ("low", "high", "levels"),
    [(0, 1, (0, 255)), (0, 0.5, (0, 128)), (0, 255, (0, 255)), (0, 4095, (0, 255)), (-1024, 3071, (0, 255))],
)
def test_floats_and_negative_numbers_fill_the_8_bits(low, high, levels):
    ramp = np.tile(np.linspace(low, high, 64, dtype=np.float32), (8, 1))
    ramp[4] = np.nan
    photo = open_image(encoded(Image.fromarray(ramp), "TIFF"))
    assert photo.getchannel("R").getextrema() == levels


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_colours_of_10_and_12_bits_in_16_keep_their_colour(bits, suffix):
    pixels = np.zeros((40, 60, 3), np.uint16)
    pixels[:20] = (2**bits - 1) * np.array([0.25, 0.5, 1])  # cv2 writes BGR
    photo = open_image(cv2.imencode(suffix, pixels)[1].tobytes())
    assert np.abs(np.subtract(photo.getpixel((3, 3)), (255, 128, 64))).max() <= 1
    assert photo.getpixel((3, 30)) == (0, 0, 0)


# ---------------------------------------------------------------- transparency


@pytest.mark.parametrize("colour", ["white", "black", "grey", "#ffffc0", "red"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_text_of_any_colour_on_a_transparent_background_is_seen(colour, kind):
    assert contrast(open_image(encoded(text(colour), kind))) >= 64


def test_white_and_black_text_on_a_transparent_background_are_both_seen():
    both = Image.new("RGBA", (200, 120))
    both.paste(text("white"), (0, 0))
    both.paste(text("black"), (0, 60))
    photo = open_image(encoded(both, "PNG"))
    assert min(contrast(photo.crop((0, top, 200, top + 60))) for top in (0, 60)) >= 64


def test_dark_content_and_coloured_badges_stay_on_white():
    badge = Image.new("RGBA", (100, 100))
    draw = ImageDraw.Draw(badge)
    draw.ellipse((10, 10, 90, 90), fill="red")
    draw.text((30, 30), "A", fill="white", font_size=40)
    for picture in (text("black"), badge):
        assert open_image(encoded(picture, "PNG")).getpixel((0, 0)) == (255, 255, 255)


# ---------------------------------------------------------------- several frames or pages


@pytest.mark.parametrize(
    ("kind", "part"), [("GIF", "frame"), ("PNG", "frame"), ("WEBP", "frame"), ("AVIF", "frame"), ("TIFF", "page")]
)
def test_the_first_frame_that_is_not_blank_is_taken_and_told(kind, part):
    parts = [Image.new("RGB", (200, 60), "white"), Image.new("RGB", (200, 60), "black"), text("red", "white")]
    first, *rest = [picture.convert("RGB") for picture in parts]
    photo = open_image(encoded(first, kind, save_all=True, append_images=rest))
    assert contrast(photo) > 100
    assert (facts(photo)["part"], facts(photo)["number"]) == (part, 3)


def test_of_blank_frames_and_of_frames_with_content_the_first_is_taken():
    def animated(*colours):
        first, *rest = [Image.new("RGB", (20, 20), colour) for colour in colours]
        return open_image(encoded(first, "TIFF", save_all=True, append_images=rest))

    blank = animated("blue", "red")
    assert blank.getpixel((5, 5)) == (0, 0, 255) and facts(blank)["number"] == 1
    pages = [text("black", "white").convert("RGB"), Image.new("RGB", (20, 20), "red")]
    photo = open_image(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert (photo.size, facts(photo)["part"], facts(photo)["number"]) == ((200, 60), "page", 1)


def test_a_file_with_one_picture_names_no_part():
    photo = open_image(encoded(text("red", "white").convert("RGB"), "PNG"))
    assert facts(photo) == {"size": [200, 60], "file_size": [200, 60], "part": "", "number": 1}
    assert facts(Image.new("RGB", (3, 2))) == {"size": [3, 2], "file_size": [3, 2], "part": "", "number": 1}


def test_an_animation_of_very_many_blank_frames_ends_quickly():
    head = b"GIF89a" + b"\x01\0\x01\0" + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    frame = b"," + bytes(4) + b"\x01\0\x01\0" + b"\0" + b"\x02\x02\x44\x01\0"
    assert open_image(head + frame * 1_000_000 + b";").size == (1, 1)


# ---------------------------------------------------------------- formats


def test_heic_opens_upright():
    import pillow_heif

    stored = pillow_heif.from_pillow(text("red", "white").convert("RGB"))
    for brand in (b"heic", b"mif1"):
        buffer = io.BytesIO()
        stored.save(buffer, quality=90)
        data = bytearray(buffer.getvalue())
        data[8:12] = brand
        photo = open_image(bytes(data))
        assert photo.size == (200, 60) and contrast(photo) > 100


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%PDF-1.7\n", "a PDF document"),
        (b'<?xml version="1.0"?>\n<!-- a\nb -->\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"<svg/>", "an SVG drawing"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "a video"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    ],
)
def test_what_is_no_picture_is_named(data, what):
    with pytest.raises(LAV2Error, match=what) as raised:
        open_image(data)
    assert "PNG" in raised.value.next_step


def test_postscript_starts_no_program(monkeypatch):
    def started(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr(subprocess, "check_call", started)
    with pytest.raises(LAV2Error, match="a PostScript file"):
        open_image(encoded(Image.new("RGB", (20, 20)), "EPS"))


# ---------------------------------------------------------------- load


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "JPEG"), ("RGB", "PNG"), ("RGBA", "PNG"), ("CMYK", "JPEG")])
def test_a_large_picture_is_halved_and_says_so(mode, kind):
    side = round(HELD_PIXELS**0.5)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("RGB", (side + 2, side), "white")
    picture.paste("black", (0, 0, side // 2, side))
    photo = open_image(encoded(picture.convert(mode), kind, exif=exif))
    assert photo.size == (side // 2, side // 2 + 1)
    assert facts(photo)["file_size"] == [side, side + 2] and facts(photo)["size"] == list(photo.size)
    assert contrast(photo) > 200


def test_only_a_few_pictures_are_decoded_at_once():
    data, done = encoded(text("red"), "PNG"), threading.Event()
    taken = 0
    while DECODES.acquire(blocking=False):
        taken += 1
    assert 1 <= taken <= 4
    waiting = threading.Thread(target=lambda: (open_image(data), done.set()), daemon=True)
    waiting.start()
    assert not done.wait(0.2)
    for _ in range(taken):
        DECODES.release()
    assert done.wait(60)


def test_a_picture_that_cannot_be_decoded_gives_its_turn_back():
    data = encoded(Image.effect_noise((200, 200), 50), "PNG")[:9000]
    for _ in range(5):
        with pytest.raises(LAV2Error):
            open_image(data)
    open_image(encoded(text("red"), "PNG"))


# ---------------------------------------------------------------- the pictures that were tried


def test_the_pictures_whose_content_was_lost_are_seen(shared: Path):
    folder = shared / "everyday/pictures"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    for name in ("anim_blank_first.gif", "grey16_12bit.png", "white_on_transparent.png"):
        assert contrast(open_image(folder / name)) > 200, name
    assert facts(open_image(folder / "anim_blank_first.gif"))["number"] == 2
