"""Makes the example pictures of the app: `python assets/make_examples.py`.

Those that are drawn are made by us, so free of anyone's rights. The cat is Chelsea of scikit-image's data, a photo by
Stefan van der Walt that its readme gives away (CC0). questions.jsonl has the question of each example, in Korean too
(`ko`), the question that follows (`then`), and words of the right answers (`expected`), which a test compares.
"""

import math
import random
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

FOLDER = Path(__file__).parent / "examples"


def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes inside Pillow, so that the pictures do not depend on the machine."""
    return ImageFont.load_default(size)


def gradient(size: tuple[int, int], top: tuple[int, int, int], bottom: tuple[int, int, int]) -> Image.Image:
    column = Image.linear_gradient("L").resize(size)
    return Image.composite(Image.new("RGB", size, bottom), Image.new("RGB", size, top), column)


def grain(image: Image.Image, strength: float) -> Image.Image:
    """Camera noise and a little blur: flat colours would be an unfair gift to the text reader."""
    noise = Image.effect_noise(image.size, 40).convert("RGB")
    return Image.blend(image.filter(ImageFilter.GaussianBlur(0.6)), noise, strength)


def street_sign() -> Image.Image:
    image = gradient((960, 720), (120, 170, 220), (214, 228, 238))
    draw = ImageDraw.Draw(image)
    draw.ellipse((90, 70, 330, 150), fill=(240, 245, 250))
    draw.ellipse((210, 50, 420, 140), fill=(240, 245, 250))
    draw.polygon([(0, 520), (240, 390), (480, 500), (760, 370), (960, 470), (960, 720), (0, 720)], fill=(104, 140, 92))
    draw.polygon([(330, 720), (450, 505), (540, 505), (900, 720)], fill=(92, 94, 100))
    for y0, y1, half in ((540, 565, 3), (590, 625, 5), (655, 705, 8)):
        middle = 495 + (y0 - 505) * 0.56
        draw.polygon(
            [(middle - half, y0), (middle + half, y0), (middle + half + 6, y1), (middle - half + 6, y1)],
            fill=(236, 226, 160),
        )
    draw.rectangle((262, 250, 280, 690), fill=(128, 130, 134))
    points = [
        (271 + 128 * math.cos(math.radians(22.5 + 45 * i)), 225 + 128 * math.sin(math.radians(22.5 + 45 * i)))
        for i in range(8)
    ]
    draw.polygon(points, fill=(250, 250, 250))
    inner = [
        (271 + 118 * math.cos(math.radians(22.5 + 45 * i)), 225 + 118 * math.sin(math.radians(22.5 + 45 * i)))
        for i in range(8)
    ]
    draw.polygon(inner, fill=(186, 24, 32))
    draw.text(
        (271, 225),
        "STOP",
        font=font(78),
        fill=(250, 250, 250),
        anchor="mm",
        stroke_width=2,
        stroke_fill=(250, 250, 250),
    )
    draw.rectangle((700, 230, 714, 620), fill=(128, 130, 134))
    draw.rounded_rectangle((560, 190, 900, 262), 10, fill=(16, 104, 66), outline=(245, 245, 245), width=4)
    draw.text((730, 226), "MILL ROAD", font=font(46), fill=(250, 250, 250), anchor="mm")
    return grain(image, 0.05)


def shop_sign() -> Image.Image:
    image = Image.new("RGB", (960, 720), (150, 92, 74))
    draw = ImageDraw.Draw(image)
    for row in range(0, 720, 24):
        for column in range(-48, 960, 48):
            left = column + (24 if row % 48 else 0)
            tone = random.Random(row * 1000 + column).randint(-10, 10)
            draw.rectangle((left, row, left + 46, row + 22), fill=(150 + tone, 92 + tone, 74 + tone))
    draw.rectangle((40, 40, 920, 170), fill=(24, 56, 72))
    draw.text((480, 105), "CORNER BAKERY", font=font(84), fill=(246, 226, 178), anchor="mm")
    draw.rectangle((70, 200, 430, 720), fill=(62, 44, 34))
    draw.rectangle((96, 226, 404, 560), fill=(176, 204, 212))
    draw.polygon([(96, 460), (250, 226), (310, 226), (96, 552)], fill=(200, 222, 228))
    draw.ellipse((388, 600, 410, 622), fill=(214, 180, 90))
    draw.rectangle((456, 230, 930, 640), fill=(250, 247, 238), outline=(70, 60, 52), width=6)
    draw.text((693, 282), "OPEN", font=font(60), fill=(20, 110, 60), anchor="mm")
    for i, (day, hours) in enumerate(
        (("Mon - Fri", "7:30 - 18:00"), ("Saturday", "8:00 - 14:00"), ("Sunday", "closed"))
    ):
        draw.text((480, 372 + 84 * i), day, font=font(36), fill=(40, 40, 44), anchor="lm")
        draw.text((906, 372 + 84 * i), hours, font=font(36), fill=(40, 40, 44), anchor="rm")
    return grain(image, 0.04)


def price_label() -> Image.Image:
    image = gradient((900, 640), (226, 218, 204), (188, 172, 150))
    draw = ImageDraw.Draw(image)
    for shelf in (96, 536):
        draw.rectangle((0, shelf, 900, shelf + 26), fill=(120, 92, 62))
    for i in range(6):
        left = 30 + 145 * i
        colour = ((206, 62, 48), (232, 172, 52))[i % 2]
        draw.ellipse((left, 0, left + 110, 96), fill=colour)
        draw.ellipse((left + 20, 12, left + 48, 34), fill=tuple(min(255, c + 40) for c in colour))
    label = Image.new("RGBA", (640, 340), (0, 0, 0, 0))
    pen = ImageDraw.Draw(label)
    pen.rounded_rectangle((0, 0, 639, 339), 18, fill=(255, 252, 240, 255), outline=(196, 30, 40, 255), width=8)
    pen.text((320, 66), "RED APPLES 1 kg", font=font(58), fill=(30, 30, 34, 255), anchor="mm")
    pen.text(
        (320, 188),
        "2.49",
        font=font(150),
        fill=(196, 30, 40, 255),
        anchor="mm",
        stroke_width=2,
        stroke_fill=(196, 30, 40, 255),
    )
    pen.text((320, 298), "was 3.20", font=font(42), fill=(90, 90, 96, 255), anchor="mm")
    tilted = label.rotate(4, expand=True, resample=Image.Resampling.BICUBIC)
    image.paste(tilted, ((900 - tilted.width) // 2, 130), tilted)
    return grain(image, 0.04)


def paper(size: tuple[int, int], table: tuple[int, int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A sheet on a table, with a border of 40 px."""
    image = Image.new("RGB", size, table)
    draw = ImageDraw.Draw(image)
    draw.rectangle((46, 46, size[0] - 34, size[1] - 34), fill=tuple(c - 40 for c in table))  # its shadow
    draw.rectangle((40, 40, size[0] - 40, size[1] - 40), fill=(252, 250, 244))
    return image, draw


def table(draw: ImageDraw.ImageDraw, rows: Sequence[tuple[str, str]], top: int, width: int, size: int, step: int = 0):
    """Rows of a name and a price in a picture of that `width`, `step` px from one to the next."""
    for i, (name, price) in enumerate(rows):
        draw.text((90, top + step * i), name, font=font(size), fill=(34, 34, 40), anchor="lm")
        draw.text((width - 90, top + step * i), price, font=font(size), fill=(34, 34, 40), anchor="rm")


def receipt() -> Image.Image:
    image, draw = paper((640, 900), (132, 112, 92))
    draw.text((320, 110), "GREEN MARKET", font=font(50), fill=(34, 34, 40), anchor="mm")
    draw.text((320, 168), "12 Hill Street", font=font(30), fill=(34, 34, 40), anchor="mm")
    items = (("Milk", "1.35"), ("Eggs", "3.95"), ("Bread", "2.80"), ("Apples", "4.30"))
    table(draw, items, 260, 640, 38, 68)
    draw.line((90, 522, 550, 522), fill=(34, 34, 40), width=3)
    table(draw, (("TOTAL", "12.40"),), 574, 640, 50)
    table(draw, (("Cash", "20.00"), ("Change", "7.60")), 666, 640, 38, 68)
    draw.text((320, 810), "THANK YOU", font=font(34), fill=(34, 34, 40), anchor="mm")
    return grain(image, 0.03)


def menu() -> Image.Image:
    image, draw = paper((760, 820), (66, 86, 78))
    draw.text((380, 120), "CAFE LINDEN", font=font(60), fill=(120, 52, 30), anchor="mm")
    drinks = (("Espresso", "2.50"), ("Latte", "3.80"), ("Tea", "2.20"), ("Lemonade", "3.10"))
    food = (("Croissant", "2.90"), ("Cheese cake", "4.60"), ("Soup", "5.40"))
    table(draw, (*drinks, *food), 226, 760, 42, 82)
    return grain(image, 0.03)


def card() -> Image.Image:
    image, draw = paper((900, 560), (158, 150, 140))
    draw.rectangle((40, 40, 70, 520), fill=(24, 92, 116))
    draw.text((120, 130), "Anna Keller", font=font(64), fill=(34, 34, 40), anchor="lm")
    draw.text((120, 206), "Architect", font=font(40), fill=(24, 92, 116), anchor="lm")
    lines = ("Phone 555 0142", "anna@keller.com", "8 Harbour Road")
    for i, line in enumerate(lines):
        draw.text((120, 326 + 66 * i), line, font=font(40), fill=(34, 34, 40), anchor="lm")
    return grain(image, 0.03)


def cat() -> Image.Image:
    folder = Path(find_spec("skimage").origin).parent  # found without importing it
    return Image.open(folder / "data/chelsea.png").convert("RGB")


def shapes() -> Image.Image:
    image = Image.new("RGB", (800, 600), (244, 243, 238))
    draw = ImageDraw.Draw(image)
    for x, y in ((150, 150), (400, 420), (650, 170)):
        draw.ellipse((x - 62, y - 62, x + 62, y + 62), fill=(204, 52, 52))
    for x, y in ((390, 150), (160, 420)):
        draw.rectangle((x - 58, y - 58, x + 58, y + 58), fill=(44, 96, 184))
    draw.polygon([(650, 350), (575, 480), (725, 480)], fill=(242, 186, 46))
    return image


PICTURES = {
    "street-sign": street_sign,
    "receipt": receipt,
    "menu": menu,
    "shop-hours": shop_sign,
    "card": card,
    "cat": cat,
    "price-label": price_label,
    "shapes": shapes,
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        if not (FOLDER / f"{name}.webp").exists():  # delete those that are to be drawn anew
            draw().save(FOLDER / f"{name}.webp", quality=76, method=6)


if __name__ == "__main__":
    main()
