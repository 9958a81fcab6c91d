"""A cell stands under its heading where its row lacks others, and the lines of a cell are one."""

import pytest
from laid_out import page, read

from experts.headings import labelled

RUNS = ("Train no.", "4102", "4106", "4110", "4118")
COLUMNS = (20, 260, 400, 540, 680)


def cells(*rows, columns=COLUMNS, pitch=36):
    return [row.split(" | ") for row in read(*page(*rows, columns=columns, pitch=pitch))]


def test_a_run_that_does_not_stop_leaves_its_cell_empty():
    rows = cells(
        RUNS, ("Altmatt", "6:12", "7:12", "9:42", "13:12"), ("Bern", "6:19", "7:19", None, "13:19"),
        ("Guldental", "7:16", "8:19", "10:37", None),
    )  # fmt: skip
    assert rows[2] == ["Bern", "6:19", "7:19", "", "13:19"]
    assert rows[3] == ["Guldental", "7:16", "8:19", "10:37", ""]
    assert labelled(rows)[2] == ["Bern", "4102: 6:19", "4106: 7:19", "", "4118: 13:19"]


def test_departures_and_arrivals_belong_to_the_name_of_their_stop():
    named = [("Bern", "arr", "6:44", "7:44", "10:10", "13:44"), ("Bern", "dep", "6:47", "7:50", None, "13:47"),
             ("Thun", "arr", "7:16", "8:19", "10:37", "14:16")]  # fmt: skip
    rows = cells((RUNS[0], None, *RUNS[1:]), *named, columns=(20, 180, 260, 400, 540, 680))
    assert [row[0] for row in rows[1:]] == ["Bern arr", "Bern dep", "Thun arr"]
    assert rows[2][3] == ""


def test_the_lines_of_a_cell_are_one():
    week = [("Time", "Mon", "Tue", "Wed"),
            (None, "Yoga", None, "Stretch"), ("7:15", "Room 1", None, "Room 2"), (None, "Noemi", None, "Bruno"),
            None, None,
            (None, None, "Pilates", None), ("12:30", None, "Room 2", None), (None, None, "Carla", None)]  # fmt: skip
    rows = cells(*[row or "" for row in week])
    assert rows[1:] == [
        ["7:15", "Yoga Room 1 Noemi", "", "Stretch Room 2 Bruno"],
        ["12:30", "", "Pilates Room 2 Carla", ""],
    ]
    assert labelled(rows)[2] == ["Time: 12:30", "", "Tue: Pilates Room 2 Carla", ""]


@pytest.mark.parametrize(
    "last",
    [("Total", None, None, "27.09"), ("12:10", None, "LUNCH", None, None), ("Goods may go", None, "back in 30 days")],
)  # fmt: skip
def test_sums_and_notes_below_a_table_stay_as_they_were_read(last):
    heads = ("Item", "Qty", "Price", "Sum", "Code")
    rows = cells(heads, ("Tape", "2", "3.25", "6.50", "A7"), ("Glue", "1", "7.80", "7.80", "B2"), last)
    assert rows[-1] == [cell for cell in last if cell]
    assert rows[:3] == [list(heads), ["Tape", "2", "3.25", "6.50", "A7"], ["Glue", "1", "7.80", "7.80", "B2"]]


@pytest.mark.parametrize(
    "rows",
    [
        [("Item", "Qty", "Price", "All"), ("Hose", "2", "6", "12"), (None, None, "VAT", "2"), (None, None, "Sum", "9")],
        [("Day", "Time", "Class"), ("Mon", "9:00", "Yoga"), (None, "11:00", "Pilates"), (None, "12:00", "Spin")],
        [("Table", "Item", "Price"), ("12", "Burger", "9.00"), (None, "Fries", "4.00"), (None, "Cola", "3.00")],
    ],
    ids=["sums", "a day", "a table"],
)  # fmt: skip
def test_rows_with_numbers_of_their_own_are_no_further_lines_of_a_cell(rows):
    assert cells(*rows) == [[cell for cell in row if cell] for row in rows]


def test_the_one_row_of_a_pass_leaves_what_was_not_read_empty():
    rows = cells(("Boarding", "Group", "Seat", "Gate"), ("10:50", None, "22F", "B14"))
    assert labelled(rows)[1] == ["Boarding: 10:50", "", "Seat: 22F", "Gate: B14"]
