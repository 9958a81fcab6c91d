"""Parts of a page that stand side by side are read one after the other; a table's rows stay together."""

import numpy as np
import pytest
from laid_out import page, read

DISHES = [("Onion soup", "5.50"), ("Green salad", "6.25"), ("Mackerel", "7.80"), ("Beetroot", "6.10")]
SWEETS = [("Lemon tart", "4.20"), ("Rice pudding", "3.90"), ("Ice cream", "2.50"), ("Cheese", "6.00")]
SIDES = (20, 260, 480, 760)  # columns of two parts with names and prices


def joined(*rows):
    return [" | ".join(row) for row in rows]


def test_the_two_columns_of_a_menu_are_read_one_after_the_other():
    rows = [(*left, *right) for left, right in zip(DISHES, SWEETS, strict=True)]
    menu = page("Marlowe's", ("STARTERS", None, "SWEETS"), *rows, columns=SIDES)
    assert read(*menu) == ["Marlowe's", "STARTERS", *joined(*DISHES), "SWEETS", *joined(*SWEETS)]


def test_parts_whose_lines_stand_at_heights_of_their_own_are_read_one_after_the_other():
    facts = ["per 100 g", "Energy 350 kJ", "Fat 12 g", "Sugars 23 g", "Salt 0.8 g", "Protein 7 g"]
    notes = ["Ingredients", "Oats, sugar", "Cocoa mass", "Whole milk", "Sea salt", "Rapeseed oil"]
    texts, quads = page(*facts)
    more, others = page(*notes, columns=(420,), pitch=45)
    assert read([*texts, *more], np.concatenate([quads, others])) == [*facts, *notes]


def test_an_address_stands_apart_from_the_facts_beside_it():
    letter = page(
        ("Bill to", "Invoice no:", "2025-0638"),
        ("Cafe Zimtstern", "Invoice date:", "03.06.2025"),
        ("Hafengasse 5", "Due date:", "17.06.2025"),
        ("99981 Obernau", None, None),
        columns=(20, 420, 640),
    )
    facts = ["Invoice no: | 2025-0638", "Invoice date: | 03.06.2025", "Due date: | 17.06.2025"]
    rows = read(*letter)
    assert sorted(rows) == sorted(["Bill to", "Cafe Zimtstern", "Hafengasse 5", "99981 Obernau", *facts])
    assert [row for row in rows if row in facts] == facts
    parcel = page(
        ("From", "Ship date"), ("Anna Berg", "14.11.2024"), ("Kiln Lane 27", "Weight"), ("Leeds", "3.4 kg"),
        ("England", "Parcel"), ("UK", "1 of 2"), columns=(20, 420),
    )  # fmt: skip
    assert read(*parcel)[6:] == ["Ship date", "14.11.2024", "Weight", "3.4 kg", "Parcel", "1 of 2"]


UNITS = [
    ("Tape", "2", "roll", "3.25"),
    ("Glue", "1", "tube", "7.80"),
    ("Nails", "9", "box", "2"),
    ("Nut", "4", "box", "1"),
]
OFTEN = [("Mon", "9:00", "5 min", "23:00"), ("Sat", "9:30", "12 min", "22:30"), ("Sun", "9:45", "15 min", "21:45")]
GRID = [("Person ID", "Birth date"), ("G378", "08-FEB-2023"), ("Card no.", "Expiry"), ("4201", "11-MAR-2027")]
BELOW = [
    ("Milk 2L", None),
    (None, "4.35"),
    ("Loaf", None),
    (None, "7.20"),
    ("Eggs", None),
    (None, "6.80"),
    ("Oil", "9"),
]


TOOLS = [("Tool", "Qty", "Place", "Price"), ("Hammer", "4", "Shelf A", "12.50"), ("Pliers", "6", "Shelf B", "8.40")]
TRAINS = [
    ("From", "Depart", "To", "Arrive"),
    ("Exeter", "10:12", "Truro", "12:59"),
    ("Bath", "11:10", "Rye", "11:30"),
]
GOALS = [("Bayern", "2", "Dortmund", "1"), ("Mainz", "0", "Berlin", "3"), ("Bremen", "1", "Kiel", "1")]
PLAN = [("Monday", "Doctor", "9:00"), ("Tuesday", "Meeting", "10:00"), ("Friday", "Class", "12:00")]
JOBS = [("Anna Berg", "Doctor"), ("Ben Roth", "Intern"), ("Cleo Wolf", "Driver"), ("Dan Kurz", "Nurse")]
BOUGHT = [("Qty", "Item", "Price"), ("2", "Garden hose", "12.00"), (None, "Total", "12.00")]
TABLES = [
    [*TOOLS, ("Saw", "2", "Shelf C", "18.90")],
    [*TRAINS, ("York", "9:05", "Leeds", "9:40")],
    [*GOALS, ("Ulm", "2", "Jena", "4")],
    [*PLAN, ("Sunday", "Lunch", "13:00")],
    [*JOBS, ("Eva Lang", "Teacher"), ("Finn Moor", "Porter")],
    BOUGHT,
    UNITS,
    [*OFTEN, OFTEN[0]],
    [*GRID, ("Room", "Floor"), ("12", "3")],
    BELOW,
]


@pytest.mark.parametrize("rows", TABLES)
def test_rows_of_a_table_stay_together(rows):
    expected = [" | ".join(filter(None, row)) for row in rows]
    assert read(*page(*rows, columns=(20, 260, 480, 700))) == expected


def test_what_two_people_write_in_turn_stays_in_its_order():
    said = ["Are you home?", "Yes, come over", "Shall I bring tea?", "We have some", "See you at six", "See you then"]
    chat = [(text, None) if k % 2 == 0 else (None, text) for k, text in enumerate([*said, "Thanks a lot", "Welcome"])]
    assert read(*page(*chat, columns=(20, 520), pitch=80)) == [left or right for left, right in chat]
