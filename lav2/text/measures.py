"""Amounts with a unit that a text names, so that three weeks can be held against 28 days. No torch."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from lav2.text.claims import NUMBERS

SPELLED = 3  # letters of a unit behind a number that is spelled out
# Unit -> how many of the dimension's first unit it has.
_UNITS: Mapping[str, Mapping[str, float]] = {
    "time": {
        r"min(?:ute)?s?": 1, r"h(?:ou)?rs?|h": 60, r"days?|nights?": 1440, r"w(?:ee)?ks?": 10080,
        r"months?": 43800, r"years?|yrs?": 525600,
    },
    "length": {r"mm": 0.001, r"cm|centimet(?:er|re)s?": 0.01, r"m|met(?:er|re)s?": 1, r"km|kilomet(?:er|re)s?": 1000},
    "weight": {r"g|grams?": 0.001, r"lbs?|pounds?": 0.4536, r"kg|kgs|kilos?|kilograms?": 1, r"t|tonn?es?|tons?": 1000},
    "volume": {r"ml": 0.001, r"cl": 0.01, r"l|lit(?:er|re)s?": 1},
}  # fmt: skip
_WORDS = {word: number for number, word in enumerate(NUMBERS) if number} | {
    "a": 1,
    "an": 1,
    "half an": 0.5,
    "half a": 0.5,
}
_UNIT = "|".join(f"(?P<{kind}{i}>{unit})" for kind, units in _UNITS.items() for i, unit in enumerate(units))
# "30-day", "2.1m", "three weeks", "half an hour"; a dozen of anything else has no unit.
_AMOUNT = re.compile(
    rf"(?<![\w.,:])(?P<number>\d+(?:[.,]\d+)?|{'|'.join(sorted(_WORDS, key=len, reverse=True))})"
    rf"[\s-]*(?:{_UNIT})(?!\w|['’]\w)(?P<half> and a half)?",
    re.IGNORECASE,
)
_SIZE = {f"{kind}{i}": (kind, size) for kind, units in _UNITS.items() for i, size in enumerate(units.values())}


def measures(text: str) -> dict[str, list[float]]:
    """The amounts of each dimension that a text names: minutes of "time", metres of "length", kilograms of "weight",
    litres of "volume", in reading order. A month has 30.4 days."""
    found: dict[str, list[float]] = defaultdict(list)
    for match in _AMOUNT.finditer(text):
        name = next(name for name in _SIZE if match[name])
        dimension, size = _SIZE[name]
        number = match["number"].lower()
        if number in _WORDS and len(match[name]) < SPELLED:
            continue  # "a t-shirt", "I am"
        amount = _WORDS[number] if number in _WORDS else float(number.replace(",", "."))
        found[dimension].append((amount + 0.5 * bool(match["half"])) * size)
    return dict(found)
