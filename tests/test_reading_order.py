"""Texts are put in the order in which a reader takes them, whatever the layout, and quickly."""

import cProfile

import numpy as np
import pytest
from laid_out import box, page, read
from PIL import Image, ImageDraw, ImageFont

from experts import ocr
from experts.reading_order import rows_of


def flat(quads):
    return [i for row in rows_of(np.array(quads, float)) for cell in row for i in cell]


LEFT = ["The quick fox", "jumped over a", "very lazy dog", "and ran home", "to its den."]
RIGHT = ["Rain fell on", "the old town", "all through the", "night; no one", "was about."]


def test_lines_are_in_reading_order():
    quads = [box(100, 3), box(50, 32), box(0, 0), box(0, 30), box(50, -2), box(0, 60)]
    assert flat(quads) == [2, 4, 0, 3, 1, 5]
    tilted = [[[100, -30], [140, -45], [144, -35], [104, -20]], [[0, 8], [90, -26], [94, -16], [4, 18]]]
    assert flat(tilted) == [1, 0]  # the second word of a rising line is higher
    upward = np.array([[[40, 90], [40, 10], [50, 10], [50, 90]], [[20, 80], [20, 10], [30, 10], [30, 80]]], float)
    assert flat(upward) == [1, 0]  # lines that are read from below stand from left to right
    assert flat(upward[:, [2, 3, 0, 1]]) == [0, 1]  # and the other way round from above
    assert rows_of(np.zeros((0, 4, 2), np.float32)) == []
    assert rows_of(np.array([box(5, 5)], np.float32)) == [[[0]]]


def test_a_table_keeps_its_rows_and_the_words_of_a_cell_stay_together():
    rows = [("Item", "Qty", "Price"), ("Blue~pens", "12", "18.00"), ("Copy~paper", "3", "14.70"), ("Stapler", "1", "9")]
    expected = [" | ".join(row).replace("~", " ") for row in rows]
    for known in (True, False):
        assert read(*page(*rows), known=known) == expected
    narrow = page(*rows, columns=(20, 190, 260))  # columns as near as two letters
    assert read(*narrow) == expected


@pytest.mark.parametrize(
    "rows",
    [
        [("Monday", "8:00 to 14:00"), ("Tuesday", "8:00 to 14:00"), ("Wednesday", "9:00 to 14:00"), ("Friday", "")],
        [("Soup of the day", "4.50"), ("Flat white", "3.40"), ("Chai latte", "3.90"), ("Carrot cake", "4.10")],
        [("Anna Berg", "Head of Sales"), ("Carl Dunn", "Chief Editor"), ("Eve Falk", "Head of Print"), ("Gus", "Cook")],
        [("milk chocolate", "12 pieces"), ("dark chocolate", "10 pieces"), ("white nougat", "8 pieces"), ("fudge", "")],
        [("Energy", "250 kJ", "Fat", "3 g"), ("Salt", "1 g", "Fibre", "9 g"), ("Iron", "2 mg", "Zinc", "1 mg")],
    ],
    ids=["hours", "menu", "staff", "lower case", "four columns"],
)  # fmt: skip
def test_a_list_of_keys_and_values_is_read_row_by_row(rows):
    assert read(*page(*rows)) == [" | ".join(cell for cell in row if cell) for row in rows]


def test_a_list_whose_cells_repeat_is_no_prose_though_all_of_it_is_in_lower_case():
    rows = [
        ("falafel", "none left"),
        ("penne arrabbiata", "16 left"),
        ("dumplings", "in stock"),
        ("double espresso", "in stock"),
    ]
    quads = [
        box(x, 40 * k, 10 * len(text)) for k, row in enumerate(rows) for x, text in zip((0, 220), row, strict=True)
    ]
    texts = [text for row in rows for text in row]
    assert [[texts[i] for cell in row for i in cell] for row in rows_of(np.array(quads), texts)] == [
        list(row) for row in rows
    ]


@pytest.mark.parametrize("shift", [0, 11])
def test_columns_of_prose_are_read_one_after_the_other_under_what_they_share(shift):
    """Whether or not the lines of one stand at the height of the other's."""
    across = "News from the valley and from the hills"
    texts, quads = page(across, *zip(LEFT, RIGHT, strict=True), "Printed every week in the old town hall")
    quads[[texts.index(line) for line in RIGHT], :, 1] += shift
    assert read(texts, quads) == [across, *LEFT, *RIGHT, texts[-1]]


def test_three_columns_and_columns_of_unequal_length_are_read_in_turn():
    third = ["Snow is due on", "the high road", "from noon; take", "chains with you", None]
    rows = list(zip(LEFT, RIGHT, third, strict=True))
    assert read(*page(*rows)) == [*LEFT, *RIGHT, *third[:4]]
    longer = [*LEFT, "It slept well.", "The end came", "soon after that."]
    assert read(*page(*zip(longer, [*RIGHT, None, None, None], strict=True))) == [*longer, *RIGHT]


def test_long_lines_in_two_columns_are_told_from_a_table_by_their_shape_alone():
    left = [f"{line} {line.lower()}" for line in LEFT]
    right = [f"{line} {line.lower()}" for line in RIGHT]
    wide = page(*zip(left, right, strict=True), columns=(20, 500))
    assert read(*wide, known=False) == [*left, *right]


@pytest.mark.parametrize("degrees", [-15, -3, 3, 15, 45])
def test_rows_of_a_tilted_table_stay_together(degrees):
    rows = [(f"{name} {name.lower()}", f"{k}.50") for k, name in enumerate(["Milk", "Bread", "Coffee", "Tea", "Rice"])]
    texts, quads = page(*rows, columns=(20, 420))
    angle = np.radians(degrees)
    turned = quads @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if abs(degrees) < 5:  # EasyOCR's boxes stand upright for words of a slight tilt
        low, high = turned.min(1), turned.max(1)
        turned = np.stack([low, np.c_[high[:, 0], low[:, 1]], high, np.c_[low[:, 0], high[:, 1]]], axis=1)
    assert read(texts, turned) == [" | ".join(row) for row in rows]


def test_rows_of_a_wavy_receipt_stay_together():
    rows = [(f"{name} 1 kg", f"{k}.50") for k, name in enumerate(["Milk", "Bread", "Coffee", "Tea", "Rice", "Flour"])]
    texts, quads = page("GREEN MARKET", *rows, columns=(20, 320))
    quads[..., 1] += 9 * np.sin(quads[..., 0].mean(1) / 120)[:, None]
    assert read(texts, quads) == ["GREEN MARKET", *(" | ".join(row) for row in rows)]


def test_text_that_stands_on_its_side_is_kept_out_of_the_rows_beside_it():
    texts, quads = page(("Milk", "2.50"), ("Bread", "3.25"), ("Coffee", "7.80"), ("Apples", "4.10"))
    spine = [[200, 150], [200, 20], [228, 20], [228, 150]]  # upward, between the columns
    rows = read([*texts, "RECEIPT"], np.concatenate([quads, [spine]]))
    assert rows.count("RECEIPT") == 1
    rows.remove("RECEIPT")
    assert rows == ["Milk | 2.50", "Bread | 3.25", "Coffee | 7.80", "Apples | 4.10"]


def test_a_short_word_whose_box_leans_stays_beside_its_price():
    """The tail of its last letter tilts the box of "dry"; EasyOCR found these."""
    texts = ["Fringe trim", "9", "24", "Blow", "dry", "Full colour", "65"]
    leans = [[180, 540], [248, 554], [237, 596], [170, 582]]
    quads = [
        [[80, 468], [273, 468], [273, 522], [80, 522]], [[647, 473], [671, 473], [671, 506], [647, 506]],
        [[629, 546], [674, 546], [674, 582], [629, 582]], [[86, 546], [174, 546], [174, 582], [86, 582]], leans,
        [[86, 617], [268, 617], [268, 654], [86, 654]], [[627, 615], [674, 615], [674, 654], [627, 654]],
    ]  # fmt: skip
    assert read(texts, np.array(quads, float)) == ["Fringe trim | 9", "Blow dry | 24", "Full colour | 65"]


def test_every_text_is_in_one_row_once_whatever_the_boxes_are():
    random = np.random.default_rng(1)
    for n in (1, 2, 9, 60):
        quads = random.uniform(-50, 500, (n, 4, 2))
        quads[n // 2 :] = quads[0]  # some one upon the other
        assert sorted(flat(quads)) == list(range(n))
    assert sorted(flat(np.zeros((12, 4, 2)))) == list(range(12))  # without any size


def test_the_work_for_a_long_text_does_not_grow_with_its_square():
    def calls(n):
        quads = np.array([box(x, 30 * y, 80, 20) for y in range(n // 4) for x in (0, 200, 400, 600)], float)
        profile = cProfile.Profile()
        rows = profile.runcall(rows_of, quads, ["price"] * len(quads))
        assert len(rows) == n // 4
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(2000) < 8 * calls(400)  # five times as many texts; the square would be 25 times


@pytest.mark.slow
def test_the_reader_hands_two_columns_on_in_their_order():
    picture = Image.new("RGB", (800, 340), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(34)
    for x, lines in ((30, LEFT), (440, RIGHT)):
        for k, line in enumerate(lines):
            pen.text((x, 30 + 56 * k), line, font=font, fill="black")
    found = " ".join(ocr.build(device="cpu")(picture).texts).lower()
    assert found.index("quick") < found.index("home") < found.index("rain") < found.index("about")
