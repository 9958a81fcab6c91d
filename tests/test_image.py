"""Photos from anywhere become upright RGB, and tokens; bad ones are told with cause and next step."""

import io

import numpy as np
import pytest
import timm
import torch
from PIL import Image, ImageFile

from lav2 import config, weights
from lav2.errors import LAV2Error
from lav2.image import MAX_BYTES, open_image
from lav2.model.vision import VisionTower

RED, BLUE = (255, 0, 0), (0, 0, 255)


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def two_halves(mode: str = "RGB") -> Image.Image:
    """Left red, right blue, 40 x 20."""
    picture = Image.new("RGB", (40, 20), RED)
    picture.paste(BLUE, (20, 0, 40, 20))
    return picture.convert(mode)


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGB", "PNG"), ("P", "GIF"), ("CMYK", "TIFF"), ("RGBA", "PNG"), ("RGB", "BMP")]
)
def test_every_mode_and_format_keeps_its_colours(mode, kind):
    photo = open_image(encoded(two_halves(mode), kind))
    assert (photo.mode, photo.size) == ("RGB", (40, 20))
    assert np.abs(np.subtract(photo.getpixel((5, 10)), RED)).max() < 12
    assert np.abs(np.subtract(photo.getpixel((35, 10)), BLUE)).max() < 12


def test_exif_rotation_is_applied_and_metadata_dropped():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    exif[0x010E] = "secret place"
    photo = open_image(encoded(two_halves(), "JPEG", exif=exif, quality=95))
    assert photo.size == (20, 40)
    assert photo.getpixel((10, 5))[0] > 200  # left became top
    assert not photo.getexif()
    assert set(photo.info) == {"lav2"}


def test_transparency_is_shown_on_white():
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert open_image(encoded(clear, "PNG")).getpixel((4, 4)) == (255, 255, 255)
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([10, 20, 30] + [0] * 765)
    assert open_image(encoded(palette, "PNG", transparency=0)).getpixel((4, 4)) == (255, 255, 255)


def test_16_bit_grey_keeps_its_brightness():
    grey = Image.fromarray(np.full((4, 4), 32768, dtype=np.uint16))
    assert abs(open_image(encoded(grey, "PNG")).getpixel((1, 1))[0] - 128) <= 1


def test_the_first_frame_of_an_animation_is_used():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert open_image(data).getpixel((4, 4))[0] > 240


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (2, 3000)])
def test_extreme_sizes_open(size):
    assert open_image(encoded(Image.new("RGB", size, RED), "PNG")).size == size


def bomb() -> bytes:
    """A PNG of a few hundred kB that claims 400 megapixels."""
    return encoded(Image.new("1", (20_000, 20_000)), "PNG")


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "empty"),
        (b"<html>not a picture</html>", "not a picture"),
        (encoded(two_halves(), "JPEG")[:300], "not a picture|damaged"),
        (encoded(Image.effect_noise((200, 200), 50).convert("RGB"), "PNG")[:20_000], "damaged or cut off"),
        (b"\xff\xd8\xff" + b"0" * (MAX_BYTES + 1), "30 MB"),
    ],
    ids=["empty", "text", "cut header", "cut data", "too many bytes"],
)
def test_a_bad_file_is_told_with_cause_and_next_step(data, cause):
    with pytest.raises(LAV2Error, match=cause) as raised:
        open_image(data)
    assert raised.value.next_step


def test_a_decompression_bomb_is_refused_before_it_is_unpacked():
    with pytest.raises(LAV2Error, match="megapixels"):
        open_image(bomb())


def test_a_cut_photo_is_refused_even_where_another_library_made_pillow_lenient():
    data = encoded(Image.effect_noise((200, 200), 50).convert("RGB"), "JPEG")
    ImageFile.LOAD_TRUNCATED_IMAGES = True  # ultralytics does this when it is imported
    with pytest.raises(LAV2Error, match="damaged"):
        open_image(data[: len(data) // 2])


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(LAV2Error, match="There is no file"):
        open_image(tmp_path / "none.jpg")


def test_an_encoder_with_folded_norms_gives_the_tokens_of_the_net_as_it_was():
    tower = VisionTower(config.EFFICIENTNET_LITE2)
    plain = timm.create_model(config.EFFICIENTNET_LITE2.name, num_classes=1000).eval()
    stored = torch.load(weights.find(config.EFFICIENTNET_LITE2.weights), weights_only=True)
    plain.load_state_dict(dict(zip(plain.state_dict(), stored.values(), strict=True)))
    assert not [m for m in tower.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    photos = [Image.effect_noise((300, 200), 80).convert("RGB")]
    pixels = tower.pixels(photos)
    with torch.inference_mode():
        expected = plain.forward_features(pixels).flatten(2).transpose(1, 2)
    torch.testing.assert_close(tower.encode(photos), expected, rtol=1e-4, atol=1e-4)


def test_a_picture_above_the_limit_is_refused_and_one_below_it_opens():
    def saved(height):
        buffer = io.BytesIO()
        Image.new("1", (8000, height)).save(buffer, "PNG")
        return buffer.getvalue()

    with pytest.raises(LAV2Error, match="8000 x 6251 pixels; the limit is 50 megapixels"):
        open_image(saved(6251))
    assert open_image(saved(6250)).size == (4000, 3125)
