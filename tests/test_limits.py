"""Made-up limits mean what they say, with yes and no alike often."""

import re
from random import Random

import pytest

from lav2.documents import limits, sames
from lav2.text import dates
from lav2.text.dates import DAYS, MONTHS
from lav2.text.measures import measures

MADE = [limits.drawn(Random(seed)) for seed in range(8000)]


def met(meant):
    """How many limits `meant` knows the answer of (None: it does not); each of them says that."""
    known = [(one, yes) for one in MADE if (yes := meant(one)) is not None]
    for one, yes in known:
        assert one.yes == yes, one
    return len(known)


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
        (r"Max (\d+) kg", r"(?!.*too )[^.]*?(\d+) ?k(?:g|ilos)\b.*", lambda limit, n: n <= limit),
        (r"Last entry (\d+):00", r".*?(\d+):00.*", lambda limit, n: n < limit),
    ],
)
def test_a_number_is_compared_with_the_limit(row, question, means):
    def meant(one):
        limit, number = re.fullmatch(row, one.row), re.fullmatch(question, one.question)
        return means(int(limit[1]), next(int(n) for n in number.groups() if n)) if limit and number else None

    assert met(meant) >= 5


def test_a_weekday_lies_within_its_days_or_not():
    days = [day[:3].lower() for day in DAYS]

    def meant(one):
        span = re.fullmatch(r"(No parking |Open |Closed )(\w+)(?: - |-| to )(\w+)", one.row)
        asked = [at for at, day in enumerate(days) if re.search(rf"\b{day}\w*", one.question.lower())]
        if not span or not asked:
            return None
        within = days.index(span[2][:3].lower()) <= asked[0] <= days.index(span[3][:3].lower())
        turned = "closed" in one.question or "shut" in one.question
        return (within == (span[1] == "Open ")) != turned

    assert met(meant) > 100


def test_a_month_lies_within_its_months_or_not():
    names = [month[:3].lower() for month in MONTHS]

    def meant(one):
        span = re.fullmatch(r"(No dogs |Open |Closed |Boats run )(\w+)(?: - |-| to )(\w+)", one.row)
        asked = re.search(r"\bin (\w{3})", one.question)
        if not span or not asked or span[2][:3].lower() not in names:
            return None
        first, last, at = (names.index(name[:3].lower()) for name in (span[2], span[3], asked[1]))
        within = (at - first) % 12 <= (last - first) % 12
        turned = "closed" in one.question or "shut" in one.question
        return (within == (span[1] in ("Open ", "Boats run "))) != turned

    assert met(meant) > 30


def test_a_day_and_an_hour_have_both_to_be_within():
    def meant(one):
        row = re.fullmatch(r"(?:Open )?weekends:? (\d+):00(?: - |-| to )(\d+):00", one.row)
        hour = re.search(r"(\d+):00", one.question)
        weekend = "saturday" in one.question.lower() or "sunday" in one.question.lower()
        if not row or not hour or any(one.under) or re.search("park|ticket|my car", one.question):
            return None
        return weekend and int(row[1]) <= int(hour[1]) < int(row[2])

    assert met(meant) > 0


def test_a_mark_of_a_menu_means_its_diet_and_meat_means_none():
    diet = re.compile("vegetarian|vegan|is there gluten|gluten free")

    def of_a_mark(one):
        asked = diet.search(one.question)
        return asked[0] != "is there gluten" if asked and re.search(r"\((v|vg|gf)\)", one.row) else None

    def of_meat(one):
        meat = re.match("(?:Beef burger|Lamb tagine|Salmon fillet)(?: [0-9.]+)?$", one.row)
        return False if meat and diet.search(one.question) else None

    assert met(of_a_mark) > 10 and met(of_meat) > 0


def test_an_amount_is_compared_whatever_its_unit():
    row = re.compile(r"(?:Returns? within|Exchange within|Max stay|Max height|Headroom|Weight limit|Letters up to) .*")

    def meant(one):
        limit, asked = measures(one.row), measures(one.question)
        if not row.match(one.row) or "under" in one.question or not limit:
            return None
        more = next(asked[kind][0] > limit[kind][0] for kind in limit)
        return more if re.search(r"\btoo\b|a ticket", one.question) else not more

    assert met(meant) > 60


def test_days_below_a_heading_that_denies_mean_the_opposite():
    def meant(one):
        asked = [at for at, day in enumerate(DAYS) if day.lower() in one.question.lower()]
        span = re.match(r"\w+(?: - |-| to )\w+(?= \d|$)", one.row)
        if not span or not asked or " at " in one.question or not re.search("park|ticket|my car", one.question):
            return None
        turned = bool(re.search("forbidden|ticket|no parking", one.question))
        return ((asked[0] in dates.days(span[0])) != bool(one.under[0])) != turned

    assert met(meant) > 100


def test_a_day_and_an_hour_below_a_heading_that_denies_mean_the_opposite():
    def meant(one):
        row = re.fullmatch(r"(\w+(?: - |-| to )\w+) (\d+):00(?: - |-| to )(\d+):00", one.row)
        asked = re.search(r"(\w+day) at (\d+):00", one.question)
        if not row or not asked or "open" in one.question or "come" in one.question:
            return None
        day = next(at for at, name in enumerate(DAYS) if name.lower() == asked[1].lower())
        within = day in dates.days(row[1]) and int(row[2]) <= int(asked[2]) < int(row[3])
        turned = bool(re.search("forbidden|ticket|no parking", one.question))
        return (within != bool(one.under[0])) != turned

    assert met(meant) > 10


def test_a_row_that_names_another_one_means_no():
    made = [sames.drawn(Random(seed)) for seed in range(2000)]
    assert 0.45 < sum(one.yes for one in made) / len(made) < 0.55
    known = [one for one in made if one.row.startswith("Made in ")]
    assert len(known) > 20
    for one in known:
        assert one.yes == (one.row.removeprefix("Made in ").lower() in one.question.lower()), one


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("within 28 days", {"time": [28 * 1440]}),
        ("eleven days, or half an hour", {"time": [11 * 1440, 30]}),
        ("an hour and a half, 2.4 m", {"time": [90], "length": [2.4]}),
        ("a t-shirt, I am one", {}),
    ],
)
def test_amounts_with_units_are_known_in_digits_and_words(text, told):
    assert measures(text) == told
