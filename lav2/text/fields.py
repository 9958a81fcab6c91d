"""Times of a journey and numbers of members, orders and the like, which stand behind the one label that a question
means in other words: "When does the train leave?" of "Depart: 10:12". No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence

from experts.headings import labelled
from lav2.text.asking import OPENING
from lav2.text.labels import labelled_values

# Words that mean the same as labels of tickets, forms and cards; those that a question has beside its label.
_SAME = {
    word: name
    for name, same in {
        "depart": "depart departs departure departing leave leaves leaving dep",
        "arrive": "arrive arrives arrival arriving arr",
        "board": "board boarding boards",
        "number": "number no nr num nummer",
    }.items()
    for word in same.split()
}
_FORMS = {
    **dict.fromkeys(
        ("depart", "arrive", "board"), re.compile(r"\d{1,2}[:.h]\d{2}(?: ?[ap]\.?m\.?)?|\d{1,2} ?[ap]m", re.I)
    ),
    "number": re.compile(r"(?=.*\d)[A-Z\d][A-Z\d /.-]{1,24}"),
}
_TRIP = frozenset(("train", "bus", "flight", "plane", "ferry", "boat", "coach", "tram"))
_BESIDE = frozenset(re.findall(
    "[a-z]+",
    "what whats s which when whens who where is are was does do did the my our your his her a an of i we it its this "
    "that please tell me give at on in time date day have has get printed written shown says say exactly there and",
))  # fmt: skip
_ASKS = re.compile(rf"{OPENING}(?:what|whats|which|when|whens|where|who)\b.*|(?:[\w'.#-]+ ?){{1,4}}\?*", re.IGNORECASE)
_OTHER = re.compile(
    r"\b(?:how|why|not|or|first|last|next|most|least|latest|earliest|than|if|before|after|until|till|total|back|return|"
    r"many|much|every|each|all|both|other|another|same)\b",
    re.IGNORECASE,
)


def told(rows: Sequence[Sequence[str]], question: str) -> str:
    """What stands behind the label; "" where the text does not say it outright.

    Args:
        rows: cells of each row of the text.
    """
    if not _ASKS.fullmatch(question) or _OTHER.search(question):
        return ""
    asked = _meant(question)
    form = next((_FORMS[word] for word in _FORMS if word in asked), None)
    if form is None or asked == {"number"}:
        return ""
    values = {value for row in labelled(rows) for label, value in labelled_values(row) if _meant(label) == asked}
    return values.pop() if len(values) == 1 and all(map(form.fullmatch, values)) else ""


def _meant(text: str) -> frozenset[str]:
    """The words of a label or a question, those that mean the same as one."""
    found = re.findall(r"[^\W\d_]+", text.lower())
    meant = {_SAME.get(word, word) for word in found}
    journey = meant & {"depart", "arrive", "board"}
    return frozenset(meant - _BESIDE - (_TRIP if journey else frozenset()))
