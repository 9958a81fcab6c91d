"""Text that does not stand upright is read the way round that it stands, and small marks are not lost."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from experts import ocr
from experts.marks import dashed
from experts.reading_order import rows_of
from experts.turned import level, side_by_side, unstacked, vertical

TOLD = ["GREEN MARKET", "Apples 2.40", "open until seven"]


@pytest.fixture(scope="module")
def reader():
    return ocr.build(device="cpu")


def texts_of(found):
    """Rows of a reading, without marks that stand for the space between words."""
    rows = rows_of(found.quads, found.texts)
    words = (" ".join(found.texts[i] for cell in row for i in cell).split() for row in rows)
    return [" ".join(word for word in row if word not in ("=", "_")) for row in words]


def notice(lines, size=(560, 560), height=38, angle=0, font=None):
    picture = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(picture), font or ImageFont.load_default(height)
    for k, line in enumerate(lines):
        y = size[1] / 2 + 1.8 * height * (k - (len(lines) - 1) / 2)
        pen.text((size[0] / 2, y), line, font=font, fill="black", anchor="mm")
    return picture.rotate(angle, resample=Image.Resampling.BICUBIC, fillcolor="white")


def dejavu(name, height=38):
    """A font with Greek and Cyrillic letters and broad dashes, which matplotlib brings."""
    matplotlib = pytest.importorskip("matplotlib")
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}.ttf", height)


@pytest.mark.slow
@pytest.mark.parametrize("angle", [15, 60, 135, 180, 195, 270])
def test_a_notice_is_read_whichever_way_it_stands(angle, reader):
    found = reader(notice(TOLD, angle=angle))
    assert texts_of(found) == TOLD
    assert found.reliable.all()
    along = (found.quads[:, 1] - found.quads[:, 0])[[len(text) > 3 for text in found.texts]]
    off = (np.degrees(np.arctan2(-along[:, 1], along[:, 0])) - angle + 180) % 360 - 180
    assert np.abs(off).max() < 15, "a quad keeps its text's direction"


@pytest.mark.slow
def test_letters_that_stand_one_below_the_other_are_one_word(reader):
    letters = notice([], size=(240, 640))
    pen, font = ImageDraw.Draw(letters), ImageFont.load_default(80)
    for k, letter in enumerate("HOTEL"):
        pen.text((120, 80 + 115 * k), letter, font=font, fill="black", anchor="mm")
    assert reader(letters).texts == ("HOTEL",)


@pytest.mark.slow
def test_digits_of_separate_strokes_that_fill_the_picture_are_read_whole(reader):
    """As on a clock or a scale."""
    segments = {"1": "bc", "2": "abged", "5": "afgcd", "8": "abcdefg"}
    ends = {"a": (0, 0, 1, 0), "b": (1, 0, 1, 1), "c": (1, 1, 1, 2), "d": (0, 2, 1, 2), "e": (0, 1, 0, 2),
            "f": (0, 0, 0, 1), "g": (0, 1, 1, 1)}  # fmt: skip
    clock = Image.new("RGB", (730, 320), "black")
    pen = ImageDraw.Draw(clock)
    for digit, x in (("1", 40), ("2", 190), ("5", 390), ("8", 540)):
        for name in segments[digit]:
            x1, y1, x2, y2 = ends[name]
            dx, dy = 6 * (x2 - x1), 6 * (y2 - y1)
            start = (x + 100 * x1 + dx, 60 + 100 * y1 + dy)
            end = (x + 100 * x2 - dx, 60 + 100 * y2 - dy)
            pen.line([start, end], fill=(255, 40, 40), width=18)
    for y in (125, 205):
        pen.ellipse([332, y - 13, 358, y + 13], fill=(255, 40, 40))
    assert reader(clock).texts == ("12:58",)


@pytest.mark.slow
def test_foreign_letters_are_marked_and_english_ones_beside_numbers_are_not(reader):
    font = dejavu("DejaVuSans")

    def page(lines):
        picture = Image.new("RGB", (560, 330), "white")
        pen = ImageDraw.Draw(picture)
        for k, line in enumerate(lines):
            pen.text((30, 25 + 75 * k), line, font=font, fill="black")
        return reader(picture)

    foreign = page(["Жёлтая площадь", "Щука и фасоль", "εστιατόριο", "объявление"])
    assert len(foreign.texts) and foreign.reliable.mean() < 0.4
    english = page(["Gate B42 KE123", "7KLM284", "Mr Xu Qvist", "02-123-4567"])
    assert english.reliable.all()


@pytest.mark.slow
def test_the_dash_between_two_texts_is_told(reader):
    found = reader(notice(["Mon - Fri", "8 am - 6 pm"], size=(480, 320), font=dejavu("DejaVuSans-Bold")))
    assert texts_of(found) == ["Mon - Fri", "8 am - 6 pm"]
    assert found.reliable.all()


def test_slanted_boxes_begin_where_their_text_does():
    upright = np.array([[0, 0], [90, 0], [90, 20], [0, 20]], float)
    for degrees in (-80, -45, -10, 0, 30, 45, 85):
        angle = np.radians(degrees)
        quad = upright @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        for first in range(4):  # whichever corner it is given from
            assert np.allclose(level([np.roll(quad, first, axis=0)])[0], quad, atol=1e-3), (degrees, first)
    square = np.array([[0, 0], [20, 2], [18, 22], [-2, 20]], float)
    assert np.allclose(level([square])[0], square)  # which side is the long one cannot be told
    assert level([]).shape == (0, 4, 2)


def test_only_a_column_of_letters_is_set_side_by_side():
    column = np.full((300, 60), 255, np.uint8)
    for top in (10, 80, 150, 220):
        column[top : top + 50, 15:45] = 0
    strip = side_by_side(column)
    assert strip.shape[1] > 2 * strip.shape[0]
    assert ((strip < 128).any(0)[1:] & ~(strip < 128).any(0)[:-1]).sum() == 4  # four letters beside each other
    assert side_by_side(255 - column) is not None  # white on black
    assert side_by_side(column[:140]) is None  # two are a colon, or two words
    column[150:155, 15:45] = 255
    column[155:200] = 255
    assert side_by_side(np.full((300, 60), 255, np.uint8)) is None


def test_single_digits_in_a_tables_column_are_apart_and_a_signs_letters_are_not():
    column = np.full((200, 400), 255, np.uint8)
    for top in (20, 80, 140):
        column[top : top + 40, 300:320] = 0
    joined, rows = [296, 324, 10, 190], [[20, 200, top - 5, top + 45] for top in (20, 80, 140)]
    digits = unstacked([*rows, joined], column)[3:]
    assert [(left, right) for left, right, _, _ in digits] == [(296, 324)] * 3
    for (_, _, top, bottom), at in zip(digits, (20, 80, 140), strict=True):
        assert at - 15 < top <= at and at + 40 <= bottom < at + 55
    assert unstacked([joined], column) == [joined]
    assert unstacked([[20, 200, 20, 180], joined], column) == [[20, 200, 20, 180], joined]  # one high word beside it
    assert vertical([*rows, joined]) == [joined]
    assert vertical([*rows, *digits]) == [] and vertical(digits) == digits


@pytest.mark.slow
def test_a_timetable_keeps_its_platforms(reader):
    board = Image.new("RGB", (900, 400), "#102040")
    pen, font = ImageDraw.Draw(board), dejavu("DejaVuSans", 30)
    rows = [
        ("09:12", "Lausanne", "4", "On time"),
        ("09:25", "Geneva", "2", "Cancelled"),
        ("09:40", "Bern", "7", "Delayed"),
        ("10:05", "Basel", "1", "On time"),
        ("10:18", "Milano", "9", "Boarding"),
    ]
    for k, row in enumerate(rows):
        for x, text in zip((40, 220, 480, 640), row, strict=True):
            pen.text((x, 60 + 48 * k), text, font=font, fill="#ffe060")
    assert texts_of(reader(board)) == [" ".join(row) for row in rows]


def test_a_stroke_is_a_dash_only_between_two_texts_and_alone():
    grey = np.full((60, 300), 255, np.uint8)
    texts = [(20, 10, 120, 50, "9AM"), (134, 20, 166, 41, "5"), (180, 10, 280, 50, "5PM")]
    lines = [(np.array([[a, b], [c, b], [c, d], [a, d]], np.float32), text, 0.8) for a, b, c, d, text in texts]

    def read(some=lines):
        return sorted(text for _, text, _ in dashed(some, grey))

    assert read() == ["5", "5PM", "9AM"]
    grey[29:33, 140:160] = 0
    assert read() == ["-", "5PM", "9AM"]  # instead of what was read there
    assert read(lines[::2]) == ["-", "5PM", "9AM"]
    assert read(lines[:2]) == ["5", "9AM"]  # nothing stands behind it
    grey[38:42, 140:160] = 0
    assert read(lines[::2]) == ["5PM", "9AM", "="]
    grey[20:41, 147:153] = 0  # a plus, or a figure, is as high as wide
    assert read(lines[::2]) == ["5PM", "9AM"]
    grey[:] = 255
    grey[48:52, 140:160] = 0
    assert read(lines[::2]) == ["5PM", "9AM"]  # on the ground: a blank to be filled in
