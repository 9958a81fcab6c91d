"""What there is two of, and how many of a thing, where the rows say it outright."""

import pytest

from lav2.text import lookups, quantities

TIMES = [
    ["CORNER HARDWARE"],
    ["2 x Wood glue", "7.98"],
    ["Hammer", "12.50"],
    ["Nails 4 cm x3", "6.00"],
    ["TOTAL", "26.48"],
]
COLUMN = [["Item", "Qty", "Price"], ["Latte", "2", "7.00"], ["Scone", "1", "2.50"], ["Tea", "3", "6.00"]]
BELOW = [["SALADE"], ["2 X 2.60", "5.20"], ["PAIN"], ["1.10"]]
EACH = [["Oranges", "4 @ 0.50", "2.00"], ["Leeks", "2 x £1.20", "£2.40"]]


@pytest.mark.parametrize(
    ("rows", "question", "answer"),
    [
        (TIMES, "what did I buy two of?", "Wood glue"),
        (TIMES, "Which thing did I get 3 of", "Nails 4 cm"),
        (TIMES, "how many nails did I buy?", "3"),
        (COLUMN, "what was bought twice", "Latte"),
        (COLUMN, "How many scones are there?", "1"),
        (COLUMN, "three of which?", "Tea"),
        (BELOW, "what is there two of?", "SALADE"),
        (EACH, "what did they take two of", "Leeks"),
        (EACH, "How many oranges were bought?", "4"),
        (TIMES, "How much did I pay for two of them?", ""),
        (TIMES, "which of the two is cheaper?", ""),
        (TIMES, "What did I buy four of?", ""),
        (TIMES, "How many hammers did I buy?", ""),
        (COLUMN, "how many drinks are there?", ""),
        ([["2 x Tea", "4.00"], ["2 x Scone", "5.00"]], "what did I buy two of?", ""),
        ([], "what did I buy two of?", ""),
        (TIMES, "which twice " + "a" * 3000 + " b c d e f g h", ""),  # no pattern takes forever
        (TIMES, "which " + "a'" * 2000 + " twice of", ""),
    ],
)
def test_numbers_of_things_are_looked_up_where_a_row_says_them(rows, question, answer):
    assert quantities.told(rows, question) == answer
    assert lookups.looked_up(rows, question) == answer
