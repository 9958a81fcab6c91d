"""Prices of a printed list are compared by arithmetic, or not at all (lav2.text.amounts)."""

import numpy as np
import pytest

from experts.evidence import OcrLines
from lav2.text import amounts, grounding, weighing

RECEIPT = [
    ["GREEN MARKET"],
    ["14/03/2026", "10:33"],
    ["Eggs", "3.95"],
    ["2 x Olive oil", "E7.49"],
    ["Bread", "2,20 A"],
    ["Subtota l", "13.64"],
    ["VAT 10%", "1.36"],
    ["CASH", "20.00"],
]


def test_prices_stand_from_low_to_high_without_sums_dates_and_payments():
    result = amounts.compared(RECEIPT, "What was the most expensive item?")
    assert result.begins == "Olive oil"
    assert result.line == "prices from low to high: Bread 2,20, Eggs 3.95, Olive oil E7.49"


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("Which drinks cost less than 3?", "less than 3: Bread 2,20"),
        ("What costs more than 3.50 euros?", "more than 3.50: Eggs 3.95, Olive oil E7.49"),
        ("What can I get for under $2?", "under 2: none"),
        ("Is there anything up to 2.20?", "up to 2.20: Bread 2,20"),
        ("Which is cheaper, the eggs or the olive oil?", "prices from low to high: Eggs 3.95, Olive oil E7.49"),
    ],
)
def test_a_limit_and_named_things_choose_among_the_prices(question, said):
    assert amounts.compares(question)
    assert amounts.compared(RECEIPT, question).line == said


@pytest.mark.parametrize(
    ("question", "begins"),
    [
        ("What is the cheapest item?", "Bread"),
        ("How much is the most expensive one?", "E7.49"),
        ("What is the lowest price?", "2,20"),
        ("Which costs more, eggs or bread?", "Eggs"),
        ("Which things are under 4?", "Bread"),
        ("What did I pay the most for?", "Olive oil"),
        ("Is there anything under 4?", ""),
        ("What costs more than 100?", ""),
    ],
)
def test_how_the_answer_begins_is_computed_where_it_is_one_thing_or_price(question, begins):
    assert amounts.compared(RECEIPT, question).begins == begins


TABLE = [["Item", "Qty", "Price"], ["Pens", "12", "18.00"], ["Paper A4", "3", "14.70"], ["Paper A5", "1", "9.95"]]
LISTED = [["Line 41:", "Item 41 costs 41.50"], ["Line 42:", "Item 42 costs 42.50"], ["Lot 7", "€264"]]


@pytest.mark.parametrize(
    ("rows", "question", "price"),
    [
        (RECEIPT, "How much are the eggs?", "3.95"),
        (RECEIPT, "What does the olive oil cost?", "E7.49"),
        (TABLE, "How much do the pens cost?", "18.00"),  # not how many there are
        (TABLE, "Price of paper A5?", "9.95"),
        ([["Hosting", "12", "120.00"]], "How much is the hosting?", "120.00"),  # not 12 120.00
        ([["Room", "EUR", "85"], ["Spa", "20", "€"]], "How much is the room?", "EUR 85"),
        (LISTED, "How much does item 42 cost?", "42.50"),
        (LISTED, "and what is the price of lot 7", "€264"),
    ],
)
def test_the_price_of_the_one_thing_that_a_question_names_is_known(rows, question, price):
    assert amounts.price_of(rows, question).price == price


@pytest.mark.parametrize(
    ("rows", "question"),
    [
        (TABLE, "How much is the paper?"),  # of two
        (RECEIPT, "How much was the subtotal?"),  # not a thing on the bill
        (RECEIPT, "How much are two breads?"),
        (RECEIPT, "How much is it?"),
        (RECEIPT, "How many eggs are there?"),
        (RECEIPT, "How much does the fish cost?"),
        ([["Tea", "2", "2.50", "5.00"]], "How much is the tea?"),  # which of the two?
        ([["6 bottles", "46.96"]], "How much is one bottle?"),
        ([["Use", "63.03"]], "How much do I use?"),
    ],
)
def test_a_price_is_not_told_of_what_is_not_named_by_one_row_with_one_price(rows, question):
    assert amounts.price_of(rows, question) is None


def test_of_two_things_that_cost_the_same_none_is_said_to_be_the_cheapest():
    assert amounts.compared([["Tea", "2.00"], ["Milk", "2.00"], ["Soup", "4.50"]], "What is the cheapest?").begins == ""


@pytest.mark.parametrize(
    "question", ["Most expensive main?", "Which drink is the cheapest?", "Which is cheapest in April?"]
)
def test_where_some_of_a_list_are_compared_the_model_has_to_tell_which(question):
    assert amounts.compared(RECEIPT, question) is None


@pytest.mark.parametrize(
    "question",
    [
        "How much are the eggs?",
        "What is under the table?",
        "Is he under 3 years old?",
        "Which is the tallest?",
        "What is below?",
        "Is it cheaper in April?",  # more than a list of prices says
        "Do students get it cheaper?",
        "How much cheaper is the bread?",
    ],
)
def test_other_questions_are_no_comparison_of_prices(question):
    assert not amounts.compares(question)


@pytest.mark.parametrize(
    "rows",
    [
        [["Tea", "2", "2.50", "5.00"], ["Soup", "1", "4.50", "4.50"]],  # which of the two is the price?
        [["Tea", "2.50"]],  # nothing to compare with
        [["Open", "9"], ["Platform", "12"]],  # numbers without currency or cents
        [["Monday 10.30 - 18.00"], ["Sunday 11.00 - 16.00"]],
        [],
    ],
)
def test_where_prices_are_not_clear_nothing_is_said(rows):
    assert amounts.compared(rows, "What is the cheapest?") is None


def test_of_a_long_list_both_ends_are_told():
    rows = [[f"Dish {chr(97 + i)}", f"{i + 1}.00"] for i in range(20)]
    result = amounts.compared(rows, "What is the cheapest?")
    assert result.line == (
        "prices from low to high: Dish a 1.00, Dish b 2.00, Dish c 3.00, ..., Dish r 18.00, Dish s 19.00, Dish t 20.00"
    )


def test_the_prompt_has_the_comparison_where_a_question_asks_for_one_and_experts_read_the_prices():
    rows = [("Bread", "2,20"), ("Eggs", "3.95")]
    quads = np.array(
        [[[x, y], [x + 60, y], [x + 60, y + 10], [x, y + 10]] for y in (0, 30) for x in (0, 200)], np.float32
    )
    ocr = OcrLines(quads, np.ones(4, np.float32), tuple(cell for row in rows for cell in row), 0.1, (300, 60))
    line = "Computed: prices from low to high: Bread 2,20, Eggs 3.95"
    assert grounding.block({"ocr": ocr}, "Which is the cheapest?", len).text.endswith(line)
    assert "Computed" not in grounding.block({"ocr": ocr}, "How much are the eggs?", len).text
    assert "Computed" not in grounding.block({"ocr": ocr}, "Which is the cheapest?", len, computed_line=False).text


def test_the_answer_is_weighed_by_what_prices_compute():
    rows = [("Bread", "2,20"), ("Eggs", "3.95")]
    quads = np.array(
        [[[x, y], [x + 60, y], [x + 60, y + 10], [x, y + 10]] for y in (0, 30) for x in (0, 200)], np.float32
    )
    ocr = OcrLines(quads, np.ones(4, np.float32), tuple(cell for row in rows for cell in row), 0.1, (300, 60))
    assert list(weighing.likely({"ocr": ocr}, "Which is the cheapest?").answers) == ["Bread"]
    assert list(weighing.likely({"ocr": ocr}, "How much are the eggs?").whole) == ["3.95"]


@pytest.mark.parametrize(
    ("rows", "cheapest"),
    [
        ([["Soup", "4.50"], ["Loyalty voucher", "0.50"], ["all", "3.00"], ["Steak", "12.00"]], "Soup"),
        ([["All Day Breakfast", "4.50"], ["Soup", "5.00"]], "All Day Breakfast"),
        ([["(V) Soup", "4.50"], ["Pie", "8.00"]], "(V) Soup"),
        ([["Disney+", "7.99"], ["Netflix", "10.99"]], "Disney+"),
        ([["Green fee", "25.00"], ["Buggy", "45.00"]], "Green fee"),
        ([["Taste all four for", "2.00"], ["Brie", "5.00"], ["Manchego", "8.00"]], "Brie"),
    ],
)
def test_what_stands_for_the_bill_or_goes_on_in_another_row_is_no_thing(rows, cheapest):
    assert amounts.compared(rows, "Which is the cheapest?").begins == cheapest


SALON = [["HAIR STUDIO"], ["Ladies cut", "38"], ["Child (under 12)", "€ 15"], ["Fringe trim", "9"], ["Blow dry", "24"]]


def test_a_list_that_says_its_currency_once_has_prices_in_all_rows():
    assert [thing.value for thing in amounts.priced(SALON)] == [38, 15, 9, 24]
    assert amounts.compared(SALON, "What is the cheapest thing they do?").begins == "Fringe trim"
    assert amounts.price_of(SALON, "how much is a blow dry?").price == "24"
    assert not amounts.priced([["Chairs", "12"], ["Tables", "3"], ["Lamps", "4"]])


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("which one costs 24?", "Blow dry"),
        ("What costs €15?", "Child (under 12)"),
        ("which treatment costs 9 euros", "Fringe trim"),
        ("which one costs 10?", ""),
        ("what costs 9 minutes", ""),
    ],
)
def test_what_has_a_price_is_looked_up_by_it(question, name):
    assert amounts.priced_at(SALON, question) == name


def test_a_row_with_a_unit_for_its_name_makes_a_list_unclear():
    assert not amounts.priced([["Beer", "3.20"], ["ml", "4.10"], ["Wine", "5.00"]])


@pytest.mark.parametrize(
    ("question", "price"),
    [
        ("What did it cost before?", "$5.50"),
        ("old price", "$5.50"),
        ("what was the original price?", "$5.50"),
        ("What does it cost?", ""),
        ("what was the price before the deal", "$5.50"),
        ("how much is the oat drink now?", "$3.99"),
        ("sale price", "$3.99"),
        ("what did it cost before tax", ""),
    ],
)
def test_what_something_cost_before_and_costs_now_is_looked_up(question, price):
    assert amounts.before_and_now([["Oat drink"], ["Was $5.50", "NOW $3.99"]], question) == price
    assert amounts.before_and_now([["Was 5.50"], ["Was 4.50"]], question) == ""


@pytest.mark.parametrize(
    ("rows", "question"),
    [
        ([["Was 79.99", "save 15.00"]], "how much is it now"),
        ([["Open today 9.30 - 18.00"]], "how much does it cost today"),
        ([["Call before 10.30"], ["Price", "4.99"]], "what's the original price"),
        ([["Before: 82.50 kg"], ["Now: 71.20 kg"]], "how much is it now"),
        ([["Milk 1.20"], ["Coffee 4.99 was 5.99"]], "how much is the milk now"),
        ([["Milk 1.20"], ["Coffee 4.99 was 5.99"]], "how much was the milk before"),
    ],
)
def test_savings_times_weights_and_other_things_are_no_price_now_or_before(rows, question):
    assert amounts.before_and_now(rows, question) == ""


@pytest.mark.parametrize(
    ("question", "price"),
    [
        ("how much for a men's haircut?", "22.00"),
        ("price of a ladies cut", "38.00"),
        ("how much is a kid's ticket", ""),
        ("how much is a cut?", ""),  # of two
    ],
)
def test_whom_a_price_is_for_is_said_in_several_ways(question, price):
    found = amounts.price_of([["Ladies cut", "38.00"], ["Gents cut", "22.00"]], question)
    assert (found.price if found else "") == price
