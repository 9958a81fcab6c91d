"""Pictures of signs, for the experts to read."""

from PIL import Image, ImageDraw, ImageFont


def sign(text, size=(480, 320), ground="white", ink="black", angle=0.0, at=None, height=40):
    """A photo-like picture with a sign, turned by `angle` degrees counter-clockwise."""
    picture = Image.new("RGB", size, ground)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=height)
    pen.text(at or (size[0] / 2, size[1] / 2), text, font=font, fill=ink, anchor="mm")
    return picture.rotate(angle, resample=Image.Resampling.BICUBIC, fillcolor=ground)
