"""Facts that papers name in a few ways and people ask for in many: until when something is good, when it must be paid,
how heavy it is, which seat. Looked up where the text has one value behind such a label. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from experts.headings import labelled
from lav2.text.asking import OPENING
from lav2.text.dates import MONTH_OF_DATE
from lav2.text.labels import labelled_values

_DATES = (
    r"\d{1,4}[/.-]\d{1,2}(?:[/.-]\d{2,4})?",
    rf"\d{{1,2}}(?:st|nd|rd|th)?\.? ?{MONTH_OF_DATE}(?:,? ?(?:\d{{4}}|\d{{2}}))?",
    rf"{MONTH_OF_DATE} ?\d{{1,2}}(?:st|nd|rd|th)?(?:,? \d{{4}})?",
    rf"{MONTH_OF_DATE} ?\d{{4}}",
    r"\d{1,2} ?/ ?\d{2,4}",
)
_DATE = rf"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? )?(?:{'|'.join(_DATES)})"
_PACK = (
    r"(?:it|this|that|they|(?:the|this|my) (?:parcel|package|box|bag|pack|packet|jar|bottle|tin|can|product|suitcase|"
    r"luggage|shipment|letter|thing|whole thing|delivery)|(?:it|this) all|everything)(?: in total| altogether| all)?"
)
_NO_UNIT = r"(?! ?(?:days?|weeks?|months?|people|persons?|and|&|/)(?!\w))"
_NOT = r"\b(?!.*\bnot\b)"
_SUM = r"(?:[A-Z]{1,3}\.? ?)?[$£€¥₩₹]? ?\d[\d.,' ]*[.,]\d\d(?: ?(?:€|EUR|kr|zł|Ft|CHF|USD|GBP))?"
_DAY = r"(?:date|day)"
_WHEN = rf"(?:when|what(?:'s| is)? (?:the )?{_DAY}|which {_DAY}|by when|(?:till|until|by) (?:when|what {_DAY}))"
_WHAT = r"(?:what(?:'s|s| is)? )?(?:the |its |my |our |this )?"
_ONE = r"(?:he|she|the (?:holder|patient|owner|member|passenger|student|bearer|applicant))"
_DEBT = r"(?:i|we|it|this|that|(?:the|my|our|this) (?:bill|invoice|payment|rent|fee|money|sum|total|amount))"
_PAPER = r"(?:the |this )?(?:bill|receipt|invoice|order)"


class _Fact(NamedTuple):
    """How people ask for it, how papers name it, how its value is written, and the same where label and value stand
    amid other words; None: it is not clear there where a value ends."""

    asked: re.Pattern[str]
    label: re.Pattern[str]
    value: re.Pattern[str]
    amid: re.Pattern[str] | None


def _fact(asked: Sequence[str], label: str, value: str, amid: bool = True) -> _Fact:
    inside = rf"(?<!\w)(?:{label})[:.]?\s{{1,4}}(?P<value>{value})(?!\w){_NO_UNIT}"
    forms = [rf"{OPENING}(?:{'|'.join(asked)})\W*", label, value, inside]
    asked_for, label_of, value_of, between = (re.compile(form, re.IGNORECASE) for form in forms)
    return _Fact(asked_for, label_of, value_of, between if amid else None)


_FACTS = {
    "expires": _fact(
        [
            rf"{_WHEN}{_NOT}.* (?:expires?|run out|goes? off|go bad)",
            rf"{_WHEN}{_NOT}.* (?:used?|eaten|consumed?|finish(?:ed)?)(?: it| this)?(?: up)? (?:by|before|until)",
            rf"{_WHAT}(?:expir\w+|best before|use by|best by|sell by)(?: date)?(?: is)?(?: of .*| on .*)?",
            rf"{_WHEN} (?:is|are|will) (?:it|this|these|they|(?:the|my) [\w ]+) (?:valid|good|edible|safe)"
            r"(?: for| to eat| until| till)?",
        ],
        r"(?:best (?:before|by)|use (?:before|by)|bb|exp(?:iry|ires|iration|ire)?(?: date| on)?|valid (?:un)?til+|"
        r"valid (?:thru|through|to)|good (?:thru|through|until)|eat by|consume before)(?: end)?(?: date)?",
        _DATE,
    ),
    "due": _fact(
        [
            rf"{_WHEN}{_NOT}(?: (?:is|are|do|must|should|does|has|have|can|will|need))* {_DEBT}"
            rf"(?: (?:to|have|has|need|needs|be|must|should))* (?:pay|paid|due|transfer)"
            r"(?: (?:for )?(?:it|this|that|the (?:bill|invoice|money)))?(?: by| on| until)?",
            rf"{_WHAT}(?:due date|payment (?:date|deadline)|deadline (?:for|of) (?:the )?payment)",
        ],
        r"(?:payment )?due(?: by| on| date)?|pay(?:able|ment)? by|please pay by|pay before",
        _DATE,
    ),
    "weighs": _fact(
        [
            rf"how heavy (?:is|was|are) {_PACK}|(?:how much|what) (?:does|do|did) {_PACK} weigh",
            rf"what(?:'s|s| is| was)?(?: the)? (?:net |gross |total )?weight(?: of {_PACK})?",
        ],
        r"(?:net |gross |total )?(?:weight|wt)\.?",
        r"\d+(?:[.,]\d+)? ?(?:kg|g|lbs?|oz|t|tons?)\b",
    ),
    "seat": _fact(
        [
            r"(?:what|which|whats|what's|where(?:'s| is)?)(?: is| are)?(?: my| our| the| his| her)? seats?"
            r"(?: numbers?| no\.?)?(?: (?:do|did) (?:i|we) (?:have|get)| is (?:it|mine)| am i (?:in|on))?",
            r"(?:my )?seat number",
        ],
        r"seat(?: no\.?| number)?",
        r"\d{1,3} ?[A-Z]?|[A-Z] ?-?\d{1,3}",
    ),
    "born": _fact(
        [rf"when (?:is|was) {_ONE} born", rf"{_WHAT}(?:his |her |their )?(?:date of birth|birth ?date|dob)"],
        r"d\.?o\.?b\.?|date of birth|birth ?date|born(?: on)?|birthday",
        _DATE,
    ),
    "issued": _fact(
        [r"when (?:is|was|were) .* (?:issued|made out)", rf"{_WHAT}(?:issue date|date of issue)"],
        r"date of issue|issued?(?: on| date)?|invoice date|bill date|statement date",
        _DATE,
    ),
    "booking": _fact(
        [
            rf"(?:give me )?{_WHAT}(?:booking|confirmation|reservation)(?: (?:code|number|no\.?|reference|ref|id))?"
            r"(?: of .*)?"
        ],
        r"(?:booking|confirmation|reservation|record locator|pnr)(?: (?:code|number|no\.?|reference|ref\.?|id|#)){0,2}",
        r"(?-i:(?=\S{0,13}\d)[A-Z0-9-]{4,14}|(?!\w*[AEIOU]\w*[AEIOU])[A-Z]{6})",
    ),
    "total": _fact(
        [
            r"(?:(?:how much|what)(?:'s|s| is| was)? )?(?:the |my |our )?(?:grand |final |overall )?total"
            rf"(?: amount| price| sum| cost)?(?: (?:to pay|due|payable|(?:of|on) {_PAPER}))?(?: incl\w*\.? .*)?",
            r"how much (?:do|did|must|should|will) (?:i|we) (?:(?:have|need) to )?(?:owe|pay|spend)"
            r"(?: (?:in total|altogether|all in all|in all))?",
            r"how much (?:is|was) (?:it|this|everything) (?:in total|altogether|all together|in all)",
        ],
        r"(?:(?:grand|invoice|order|bill) )?total(?: (?:due|amount|to pay|payable|price|incl\.? \w+))?"
        r"(?: \(\d+ \w+\))?(?: (?:eur|gbp|usd|chf))?|amount (?:due|payable|to pay)|balance due|to pay",
        _SUM,
        amid=False,
    ),
    "wifi": _fact(
        [
            r"(?:what(?:'s|s| is)?|which) (?:the )?(?:wi-?fi|wlan|network)(?: name| network)?"
            r"(?: (?:am i (?:on|in|using|connected to)|is (?:it|this|the phone) (?:on|connected to)|do i use))?",
            r"(?:the )?(?:wi-?fi|network)(?: network)?(?:'s)? name",
        ],
        r"(?:wi-?fi|wlan|network|ssid)(?: (?:network|name))*",
        r"(?!(?:not|on|off|ask|free|forgot\w*|(?:dis)?connected|yes|no|none|available)\b)[\w .'&-]{2,30}",
        amid=False,
    ),
    "password": _fact(
        [
            rf"{_WHAT}(?:wi-?fi |wlan |network )?(?:password|passcode|pass ?word|pin)"
            r"(?: (?:for|of) (?:the )?(?:wi-?fi|wlan|internet|network))?"
        ],
        r"(?:wi-?fi |wlan |network )?(?:password|passcode|pw)",
        r"(?!\*|•|forgot|required|change)(?=\S*\d)\S{4,24}|(?!\*|•)\S{8,24}",
        amid=False,
    ),
}
_OWED = re.compile(r"\b(?:owe|pay|spend)\b", re.IGNORECASE)
_PART = re.compile(r"\b(?:paid|deposit|outstanding|refund|credit|balance|on arrival|rest)\b", re.IGNORECASE)
_WIFI = re.compile(r"\b(?:wi-?fi|wlan|internet|password|ssid)\b", re.IGNORECASE)
_GROSS = re.compile(r"\b(?:net|gross|excl\w*)\b", re.IGNORECASE)


def told(rows: Sequence[Sequence[str]], question: str) -> str:
    """What stands behind such a label; "" where the text does not say it outright, or twice.

    Args:
        rows: cells of each row of the text.
    """
    fact = next((fact for fact in _FACTS.values() if fact.asked.fullmatch(question)), None)
    if fact is None:
        return ""
    found, amid = [], []
    for row in labelled(rows):
        behind = [value for label, value in labelled_values(row) if fact.label.fullmatch(label.strip(" .:"))]
        found += [value for value in behind if fact.value.fullmatch(value)]
        text = " ".join(filter(None, row))
        amid += [match["value"].strip() for match in fact.amid.finditer(text)] if fact.amid else []
    told = set(found or amid)
    if fact is _FACTS["total"] and _OWED.search(question) and any(_PART.search(cell) for row in rows for cell in row):
        return ""  # what is still to be paid is another sum
    if fact is _FACTS["wifi"] and not any(_WIFI.search(cell) for row in rows for cell in row):
        return ""  # another network
    kind = _GROSS.search(question)
    if kind and not any(kind[0].lower() in cell.lower() for row in rows for cell in row):
        return ""
    return told.pop() if len(told) == 1 else ""
