"""Of a printed list the section that a question names is compared and counted."""

import pytest

from lav2.text import sections
from lav2.text.lookups import looked_up

MENU = [
    ["Marlowe's"],
    ["STARTERS"],
    ["Leek soup", "5.50"],
    ["Smoked mackerel", "7.25"],
    ["MAINS"],
    ["Lamb tagine", "16.50"],
    ["with apricots"],
    ["Mushroom risotto", "13.90"],
    ["Sea bass", "18.75"],
    ["DESSERTS"],
    ["Lemon tart", "6.20"],
    ["Toffee pudding", "6.50"],
]


@pytest.mark.parametrize(
    ("question", "begins"),
    [
        ("what's the cheapest main?", "Mushroom risotto"),
        ("most expensive starter", "Smoked mackerel"),
        ("which dessert costs most?", "Toffee pudding"),
        ("how much is the cheapest dessert?", "6.20"),
        ("price of the dearest main", "18.75"),
        ("cheapest dish?", "Leek soup"),
        ("what is the cheapest?", "Leek soup"),
    ],
)
def test_prices_of_the_section_are_compared(question, begins):
    assert sections.compared(MENU, question).begins == begins


@pytest.mark.parametrize("question", ["cheapest vegetarian one", "cheapest fish", "cheapest soup on the MENU card"])
def test_what_no_heading_names_is_not_compared(question):
    assert sections.compared(MENU, question) is None


def test_things_of_a_section_are_counted_where_all_of_its_rows_have_a_price():
    assert looked_up(MENU, "how many desserts are there?") == "2"
    assert looked_up(MENU, "How many starters do they have?") == "2"
    assert looked_up(MENU, "how many mains are there?") == ""
    assert looked_up(MENU, "how many people are there?") == ""
