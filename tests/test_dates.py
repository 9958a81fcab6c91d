"""Weekdays and months are those that a text names, and all between the ends of a span."""

import pytest

from lav2.text.dates import dates


@pytest.mark.parametrize(
    ("text", "days", "months"),
    [
        ("Mon - Fri 9 - 18", {0, 1, 2, 3, 4}, set()),
        ("Sat to Mon", {5, 6, 0}, set()),
        ("Tue + Thurs.", {1, 3}, set()),
        ("weekends and Wednesdays", {5, 6, 2}, set()),
        ("daily", set(range(7)), set()),
        ("April to October", set(), {3, 4, 5, 6, 7, 8, 9}),
        ("1 Nov - 28 Feb", set(), {10, 11, 0, 1}),
        ("MAR 3 - MAY 9", set(), {2, 3, 4}),
        ("Sun 3 May", {6}, {4}),
        ("you may march in", set(), set()),
        ("open in may?", set(), {4}),
        ("summer only", set(), {5, 6, 7}),
        ("satin, monkeys, octopus", set(), set()),
    ],
)
def test_days_and_months_of_a_text(text, days, months):
    assert dates(text) == (days, months)
