"""Made-up limits mean what they say, with yes and no alike often."""

import re
from random import Random

import pytest

from lav2.documents import limits
from lav2.text.dates import DAYS, MONTHS

MADE = [limits.drawn(Random(seed)) for seed in range(2000)]


def test_yes_and_no_come_alike_often():
    assert 0.45 < sum(one.yes for one in MADE) / len(MADE) < 0.55


@pytest.mark.parametrize(
    ("row", "question", "means"),
    [
        (
            r"(?:Under|Children under) (\d+) free",
            r".*free.*?(\d+).*|.*?(\d+).*(?:free|in free).*",
            lambda limit, n: n < limit,
        ),
        (r"Under (\d+) free", r"(?:do I pay|does a .* have to pay|must I buy).*?(\d+).*", lambda limit, n: n > limit),
        (r"Max (\d+) kg", r".*?(\d+).*", lambda limit, n: n <= limit),
        (r"Last entry (\d+):00", r".*?(\d+):00.*", lambda limit, n: n < limit),
    ],
)
def test_a_number_is_compared_with_the_limit(row, question, means):
    met = 0
    for one in MADE:
        limit, number = re.fullmatch(row, one.row), re.fullmatch(question, one.question)
        if limit and number:
            met += 1
            asked = next(int(n) for n in number.groups() if n)
            assert one.yes == means(int(limit[1]), asked), one
    assert met >= 5


def test_a_weekday_lies_within_its_days_or_not():
    days = [day[:3].lower() for day in DAYS]
    met = 0
    for one in MADE:
        span = re.fullmatch(r"(No parking |Open |Closed )(\w+)(?: - |-| to )(\w+)", one.row)
        asked = [at for at, day in enumerate(days) if re.search(rf"\b{day}\w*", one.question.lower())]
        if span and asked:
            met += 1
            within = days.index(span[2][:3].lower()) <= asked[0] <= days.index(span[3][:3].lower())
            opens = span[1] == "Open "
            turned = "closed" in one.question or "shut" in one.question
            assert one.yes == ((within == opens) != turned), one
    assert met > 100


def test_a_month_lies_within_its_months_or_not():
    names = [month[:3].lower() for month in MONTHS]
    met = 0
    for one in MADE:
        span = re.fullmatch(r"(No dogs |Open |Closed |Boats run )(\w+)(?: - |-| to )(\w+)", one.row)
        asked = re.search(r"\bin (\w{3})", one.question)
        if span and asked and span[2][:3].lower() in names:
            met += 1
            first, last, at = (names.index(name[:3].lower()) for name in (span[2], span[3], asked[1]))
            within = (at - first) % 12 <= (last - first) % 12
            allows = span[1] in ("Open ", "Boats run ")
            turned = "closed" in one.question or "shut" in one.question
            assert one.yes == ((within == allows) != turned), one
    assert met > 30


def test_a_day_and_an_hour_have_both_to_be_within():
    met = 0
    for one in MADE:
        row = re.fullmatch(r"(?:Open )?weekends:? (\d+):00(?: - |-| to )(\d+):00", one.row)
        hour = re.search(r"(\d+):00", one.question)
        if row and hour:
            met += 1
            weekend = "saturday" in one.question.lower() or "sunday" in one.question.lower()
            assert one.yes == (weekend and int(row[1]) <= int(hour[1]) < int(row[2])), one
    assert met > 0


def test_a_mark_of_a_menu_means_its_diet_and_meat_means_none():
    met = 0
    for one in MADE:
        mark = re.search(r"\((v|vg|gf)\)", one.row)
        asked = re.search(r"vegetarian|vegan|is there gluten|gluten free", one.question)
        if asked and mark:
            met += 1
            assert one.yes == (asked[0] != "is there gluten"), one
        elif asked and re.match("(?:Beef burger|Lamb tagine|Salmon fillet)(?: [0-9.]+)?$", one.row):
            assert not one.yes, one
    assert met > 10
