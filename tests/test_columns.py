"""Digits that the text search overlooks are looked for in their column, beside rows that lack one, and nowhere else."""

import numpy as np
import pytest

from experts.columns import overlooked


def line(text, x, y, sure=0.9):
    width = 12 * len(text)
    return np.array([[x, y], [x + width, y], [x + width, y + 20], [x, y + 20]], np.float32), text, sure


def board(drawn=(0, 1, 2, 3), found=(0, 2)):
    """Four rows of a name and a digit at x 200; the digits in `drawn` are on the paper, those in `found` are read."""
    grey = np.full((200, 400), 255, np.uint8)
    lines = [line(name, 20, 20 + 40 * k) for k, name in enumerate(("Latte", "Mocha", "Bagel", "Toast"))]
    for k in drawn:
        grey[22 + 40 * k : 38 + 40 * k, 203:209] = 0
    return [*lines, *(line(str(k + 1), 200, 20 + 40 * k) for k in found)], grey


def reading(text="7", sure=0.95):
    asked = []

    def read(quads):
        asked.extend(quads.tolist())
        return [(quad, text, sure) for quad in quads]

    return read, asked


def test_rows_without_a_digit_are_looked_at_where_the_column_stands():
    lines, grey = board()
    read, asked = reading()
    added = overlooked(lines, grey, read)[len(lines) :]
    assert [text for _, text, _ in added] == ["7", "7"] and len(asked) == 2
    for (quad, _, _), row in zip(added, (1, 3), strict=True):
        assert quad[:, 0].min() <= 203 < 209 <= quad[:, 0].max()
        assert quad[:, 1].min() < 22 + 40 * row and 38 + 40 * row < quad[:, 1].max()


@pytest.mark.parametrize(
    ("drawn", "found", "text", "sure"),
    [
        ((0, 2), (0, 2), "7", 0.95),  # the others are paper
        ((0, 1, 2, 3), (0,), "7", 0.95),  # one digit is no column
        ((0, 1, 2, 3), (0, 2), "7", 0.5),  # not sure
        ((0, 1, 2, 3), (0, 2), "x", 0.95),  # no digit
    ],
)
def test_nothing_is_added_that_is_not_sure_to_be_a_digit_of_a_column(drawn, found, text, sure):
    lines, grey = board(drawn, found)
    assert overlooked(lines, grey, reading(text, sure)[0]) == lines


def test_where_something_was_read_already_nothing_is_read_again():
    lines, grey = board()
    lines += [line("x", 200, 60), line("sold out", 190, 140)]
    read, asked = reading()
    assert overlooked(lines, grey, read) == lines and asked == []
    assert overlooked([], grey, read) == []
