"""What the things of a printed list cost, from the rows of its text: from low to high, or those within a limit.

A model of this size reads a price beside its name and cannot compare numbers; arithmetic can. It is done only where
every row says clearly what costs how much. No torch.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence, Set
from typing import NamedTuple

from lav2.text.asking import OPENING

_LISTED, _LONGEST = 3, 4  # rows of a name and a whole number that make a list of prices; digits of such a number
_CELL = " | "  # between the cells of a row: "12 | 120.00" is no amount of 12,120
MOST, ENDS, NAME = 8, 3, 40  # things told in a row; of longer lists at either end; characters of a name

_AMOUNT = re.compile(
    r"(?<![\w.,:/-])(?:(?:[$£€¥₩E]|USD|EUR|GBP|CHF)\s?)?(\d{1,3}(?:[,.' ]\d{3})+|\d+)([.,]\d{2})?"
    r"(?:\s?(?:[$£€¥₩]|USD|EUR|GBP|CHF|won|each|ea))?(?![\w,:/%-]|\.\d)"
)
_CURRENCY = re.compile(r"[$£€¥₩]|USD|EUR|GBP|CHF|won")
# Rows about the whole bill, not about a thing on it.
_WHOLE = re.compile(
    r"tota\s?l|\b(?:sub\s?tot|amount|balance|cash|change|card|tax|vat|gst|mwst|iva|tva|tip|service|discount|due|pay|paid|"
    r"payment|bill|rounding|visa|mastercard|credit|debit|net|gross|sum|deposit|savings?|tender(?:ed)?|voucher|coupon|eftpos|"
    r"owed?|gave|given|bal|charged|insured|penalty)\b",
    re.IGNORECASE,
)
_UNIT = re.compile(r"\W*(?:h|ml|cl|cc|kg|g|l|x|pcs?|fr|rm|rs|kr|c|kg \w+)\W*", re.IGNORECASE)
# Names that stand for the whole bill where nothing stands beside them.
_NO_THING = frozenset(["all", "tot", "charged", "delivery", "shipping", "postage", "fee", "fees", "refund", "points"])
_COMPARES = re.compile(
    r"\b(?:cheap(?:er|est)?|(?:most|more|least|less) expensive|pric(?:ier|iest)|"
    r"(?:pay|paid|spend|spent) the (?:most|least)|dear(?:er|est)|costs? (?:the )?(?:most|least|more|less)|"
    r"(?:lowest|highest) (?:price|cost|amount)|(?:lowest|highest) priced?)\b",
    re.IGNORECASE,
)
_LIMIT = re.compile(
    r"\b(?P<way>less than|under|below|cheaper than|up to|at most|more than|over|above|at least)\s+"
    r"(?:[$£€¥₩]|E(?=\d))?\s?"
    r"(?P<limit>\d+(?:[.,]\d{1,2})?)(?!\s*(?:years?|people|items?|%|kg|g|ml|l|cm|m|km|minutes?|hours?|days?)\b)",
    re.IGNORECASE,
)


_MEETS = {"up to": operator.le, "at most": operator.le, "at least": operator.ge, "more than": operator.gt,
          "over": operator.gt, "above": operator.gt}  # fmt: skip
_LEAST = re.compile(r"\b(?:cheap\w*|least|less|lowest)\b", re.IGNORECASE)
_VALUE = re.compile(
    r"\bhow much\b|\bwhat(?:'s| is| was)? the (?:lowest|highest) (?:price|cost|amount)|"
    r"\b(?:price|cost) of the (?:cheapest|dearest|(?:most|least) expensive)\b",
    re.IGNORECASE,
)

# "Is the red one cheaper?" and "how much cheaper is it?" ask for more than a list of prices says.
_MORE = re.compile(
    r"\W*(?:is|are|was|were|do|does|did|can|will)\b(?!.*\bor\b)|.*\bhow much (?:cheaper|more|less)\b", re.IGNORECASE
)
# Words of a question that compares all things of a list; any other sets some of them apart ("the cheapest main").
_OF_ALL = (
    "what which is are was were the cheap cheapest cheaper most least expensive pricier priciest dearest dearer "
    "dear cost price priced lowest highest lower higher more less amount item thing product article option one on "
    "in of this that list menu they have sell do did i we you pay paid spend spent for a an much how here all and "
    "it by name please tell me can get buy bought there than or total between receipt bill hi hello so know could "
    "s excuse looking at picture according to from photo quick question need"
)

# Asks for the price of something; what is left of it without these words is its name.
_PRICE_OF = re.compile(
    r"\bhow much\b.*\b(?:is|are|was|were|costs?)\b|\b(?:price|cost) (?:of|for)\b|"
    r"\bwhat (?:do|does|did)\b.*\bcost\b|\bhow much for (?!\d|two|three|four|five|both|all|everything)",
    re.IGNORECASE,
)
# Asks what has a price: "which one costs 24?", "what sells for 3.20?"
_PRICED_AT = re.compile(
    rf"{OPENING}(?:which|what)(?: \w+){{0,2}}? (?:costs?|is for|sells for|goes for)(?: just| only)? "
    r"(?:[$£€¥₩]\s?)?(?P<price>\d+(?:[.,]\d{2})?)\s?(?:[$£€¥₩]|euros?|dollars?|pounds?|USD|EUR|GBP|CHF)?\W*",
    re.IGNORECASE,
)
# Asks for one of several, or for several: a row may tell the price of another number of them.
_EACH = re.compile(r"\b(?:one|each|single|per|two|three|both|all)\b", re.IGNORECASE)
# Words of a question that name nothing in a text, whatever it asks for.
ASKING = (
    "how much is are was were do does did cost price of for the a an i you please tell me what s and so then can could "
    "it one this that there in on"
)
_ASKING_PRICE = f"{ASKING} we pay paid item"


class Priced(NamedTuple):
    """A thing of a list and its price, as they are written; `value` in the list's own currency."""

    name: str
    price: str
    value: float


def compares(question: str) -> bool:
    """Whether a question compares prices, or sets a limit."""
    return bool(_LIMIT.search(question) or (_COMPARES.search(question) and not _MORE.match(question)))


class Comparison(NamedTuple):
    """What prices say to a question: `line` for the prompt, `begins` how its answer begins ("" where that is open)."""

    line: str
    begins: str


def apart(question: str) -> set[str]:
    """Words by which a question that `compares` prices sets some things of a list apart."""
    return words(question) - words(_OF_ALL)


def compared(rows: Sequence[Sequence[str]], question: str, known: Set[str] = frozenset()) -> Comparison | None:
    """What the prices say to a question that `compares` them; None where they are not clear.

    Args:
        rows: cells of each row of the text.
        known: words of `apart` that all of these rows are meant by.
    """
    limit = _LIMIT.search(question)
    things = sorted(priced(rows), key=lambda thing: thing.value)
    if len(things) < 2:
        return None
    if not limit:
        named = [thing for thing in things if _names(question, thing.name)]
        if len(named) < 2 and apart(question) - known:
            return None
        things = named if len(named) > 1 else things
        best = things[0] if _LEAST.search(question) else things[-1]
        tied = sum(thing.value == best.value for thing in things) > 1
        begins = best.price if _VALUE.search(question) else best.name
        return Comparison(f"prices from low to high: {_told(things)}", "" if tied else begins)
    way, most = limit["way"].lower(), float(limit["limit"].replace(",", "."))
    found = [thing for thing in things if _MEETS.get(way, operator.lt)(thing.value, most)]
    line = f"{way} {limit['limit']}: {_told(found) if found else 'none'}"
    whichever = re.match(r"\s*(?:which|what)\b", question, re.IGNORECASE)
    return Comparison(line, found[0].name if found and whichever else "")


# Words for whom a price is, that lists and people use in turn.
_SAME = {
    word: same[0]
    for same in (("gent", "men", "man", "male"), ("lady", "ladie", "women", "woman", "female"), ("cut", "haircut"),
                 ("child", "children", "kid"), ("senior", "pensioner"))
    for word in same
}  # fmt: skip
_DEAL = r"(?: the (?:deal|discount|sale|offer|reduction|promotion))?"
_BEFORE = re.compile(
    rf"{OPENING}(?:(?:how much|what) (?:was|did) (?:it|this|that|the (?P<thing>[a-z]+))(?: cost)? "
    rf"(?:before{_DEAL}|originally|previously)|"
    r"(?:what(?:'s|s| is| was) )?(?:the )?(?:old|original|previous|regular|former|earlier) price|"
    rf"(?:what(?:'s| was) the )?price before{_DEAL})\W*",
    re.IGNORECASE,
)
_NOW = re.compile(
    rf"{OPENING}(?:how much (?:is|does)|what (?:is|does)|what's) "
    r"(?:it|this|that|they|(?:the|these) (?P<thing>[\w ]+?))(?: cost)? (?:now|today|at the moment)\W*|"
    rf"{OPENING}(?:what(?:'s|s| is) )?(?:the )?(?:new|current|sale|reduced|discounted|offer) price(?: now)?\W*",
    re.IGNORECASE,
)
_ONE_PRICE = (
    r"(?:(?:[$£€]|[A-Z]{1,3}\.?) ?)?(?:\d{1,3}(?:[.,]\d{3})+|\d{1,4})[.,]\d{2}(?: ?(?:€|EUR|kr))?(?![\w.:]|,\d)"
    r"(?! ?(?i:kg|g|lbs?|ml|l|cm|m|km|uhr|h|am|pm|-|–|to|until|meeting)\b| ?[-–])"
)
_SAVED = re.compile(rf"(?:\b(?i:(?:you )?save[sd]?|off|discount|less)\W{{0,3}}|(?<!\w)[-–] ?){_ONE_PRICE}")
_LABEL_BEFORE = r"(?:was|before(?=:)|old price|original price|regular price|instead of|rrp)"
_WAS = re.compile(rf"\b(?i:{_LABEL_BEFORE})[^\w$£€]{{1,3}}(?P<price>{_ONE_PRICE})")
_IS_NOW = re.compile(rf"\b(?i:now|new price|sale price)[^\w$£€]{{1,3}}(?P<price>{_ONE_PRICE})")


def before_and_now(rows: Sequence[Sequence[str]], question: str) -> str:
    """The one price that something had before, or has now, where a question asks for that and the text has both sorts;
    "" where it has none, or several."""
    lines = [" ".join(row) for row in rows]
    asked = _BEFORE.fullmatch(question) or _NOW.fullmatch(question)
    thing = words(asked["thing"] or "") if asked else set[str]()
    if thing and any(thing <= words(line) and re.search(_ONE_PRICE, line) and not _WAS.search(line) for line in lines):
        return ""  # that has a price of its own
    if _BEFORE.fullmatch(question):
        found = {match["price"] for line in lines for match in _WAS.finditer(line)}
    elif _NOW.fullmatch(question):
        found = {match["price"] for line in lines for match in _IS_NOW.finditer(line)}
        was = [line for line in lines if _WAS.search(line)]
        if not found and len(was) == 1:  # "Was 79,99 | 64,99"
            found = {match[0] for match in re.finditer(_ONE_PRICE, _SAVED.sub(" ", _WAS.sub(" ", was[0])))}
    else:
        return ""
    return found.pop() if len(found) == 1 else ""


def _alike(found: set[str]) -> set[str]:
    return {_SAME.get(word, word) for word in found} - {"s"}


def price_of(rows: Sequence[Sequence[str]], question: str) -> Priced | None:
    """The thing whose price a question asks for, where a single row names it and has a single price.

    Args:
        rows: cells of each row of the text.
    """
    if not _PRICE_OF.search(question) or _EACH.search(question):
        return None
    asked = words(question) - words(_ASKING_PRICE)
    texts = [_written(row) for row in rows]
    bare = {} if any(m[2] for text in texts for m in _AMOUNT.finditer(text)) else _bare(rows)
    things = [
        thing
        for at, text in enumerate(texts)
        for thing in _thing(text, exact=True) or _thing(text, exact=False) or bare.get(at, [])
    ]
    found = [thing for thing in things if asked <= words(thing.name)]
    if not found:  # "How much is a men's haircut?" of "Gents cut"
        found = [thing for thing in things if _alike(asked) <= _alike(words(thing.name))]
    return found[0] if asked and len(found) == 1 else None


def priced_at(rows: Sequence[Sequence[str]], question: str) -> str:
    """The name of the one thing that costs what a question says; "" where there is none, or several.

    Args:
        rows: cells of each row of the text.
    """
    asked = _PRICED_AT.fullmatch(question)
    if asked is None:
        return ""
    value = float(asked["price"].replace(",", "."))
    found = {thing.name for thing in priced(rows) if thing.value == value}
    return found.pop() if len(found) == 1 else ""


def words(text: str) -> set[str]:
    """Words, those of several things as of one, and numbers."""
    found = re.findall(r"[^\W\d_]+|\d+", text.lower())
    return {word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in found}


def priced(rows: Sequence[Sequence[str]]) -> list[Priced]:
    """The things of a list with their prices, in its order; [] where a row has a name and several amounts, since which
    of them is the price is not known, or a unit where its name should be."""
    texts = [_written(row) for row in rows]
    exact = any(m[2] for text in texts for m in _AMOUNT.finditer(text))
    bare = {} if exact else _bare(rows)
    things = [bare.get(at) or _thing(text, exact) for at, text in enumerate(texts)]
    unclear = any(len(found) > 1 or any(_UNIT.fullmatch(one.name) for one in found) for found in things)
    return [] if unclear else [thing for found in things for thing in found]


def _bare(rows: Sequence[Sequence[str]]) -> dict[int, list[Priced]]:
    """The things of rows that are a name and a whole number each, by row: a list of prices that says its currency
    elsewhere, once."""
    if not any(_CURRENCY.search(cell) for row in rows for cell in row):
        return {}
    listed = [at for at, row in enumerate(rows) if len(row) == 2 and row[1].isdecimal() and len(row[1]) <= _LONGEST]
    found = {at: _thing(f"{_written(rows[at])} $", exact=False) for at in listed}
    return (
        {at: [one._replace(price=rows[at][1]) for one in things] for at, things in found.items()}
        if len(found) >= _LISTED
        else {}
    )


def _written(row: Sequence[str]) -> str:
    """The cells of a row, parted; a currency stays with the amount beside it."""
    beside = rf"(?<=\d) \| (?={_CURRENCY.pattern})|(?:(?<=[$£€¥₩])|(?<=USD|EUR|GBP|CHF)) \| (?=\d)"
    return re.sub(beside, " ", _CELL.join(row))


def _thing(text: str, exact: bool) -> list[Priced]:
    """What a row says costs how much: one thing; none; or several, if it has several amounts.

    Args:
        text: of the row.
        exact: a price has decimals; otherwise it has a currency.
    """
    amounts = [m for m in _AMOUNT.finditer(text) if (m[2] if exact else _CURRENCY.search(m[0]))]
    name = text[: amounts[0].start()].strip(" .-:|*_") if amounts else ""
    name = re.sub(r"(?: \| \d{1,3}\s?x?)+$", "", name).replace(_CELL, " ")  # quantities
    whole = _WHOLE.search(text) or name.lower() in _NO_THING
    broken = name.count("(") > name.count(")") or name.endswith((" +", " or", " of", " for"))  # goes on in another row
    if whole or broken or not any(c.isalpha() for c in name) or len(name) > NAME:
        return []
    name = re.sub(r"^\d+\s*[xX]?\s+(?=\D)", "", name)
    return [Priced(name, m[0].strip(), _value(m)) for m in amounts]


def _value(amount: re.Match[str]) -> float:
    return float(re.sub(r"[^\d]", "", amount[1])) + (float("0." + amount[2][1:]) if amount[2] else 0.0)


def _names(question: str, name: str) -> bool:
    """Whether a question has all words of a name."""
    words = re.findall(r"[^\W\d_]+", name.lower())
    return bool(words) and set(words) <= set(re.findall(r"[^\W\d_]+", question.lower()))


def _told(things: Sequence[Priced]) -> str:
    """Tea 2.50, Soup 4.50; of long lists the ends."""
    said = [f"{thing.name} {thing.price}" for thing in things]
    if len(said) > MOST:
        said = [*said[:ENDS], "...", *said[-ENDS:]]
    return ", ".join(said)
