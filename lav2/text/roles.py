"""Who a letter, a bill or a parcel is for and from, and the one company of a card. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lav2.text.asking import OPENING

_PAPER = (
    r"(?:it|this|that|(?:the|this) (?:letter|invoice|bill|note|card|postcard|e-?mail|mail|message|parcel|package|"
    r"quote|estimate|order|receipt|envelope|invitation))"
)
_FOR = re.compile(
    rf"{OPENING}who(?:m|'s|s| is| was)? (?:is |was )?{_PAPER} (?:for|to|meant for|made out to|addressed to|"
    r"written to|sent to|billed to)\W*|"
    rf"{OPENING}who(?:m|'s|s| is| was)? (?:is |was )?(?:being )?(?:billed|addressed)\W*|"
    rf"{OPENING}to whom is {_PAPER}(?: addressed| written)?\W*",
    re.IGNORECASE,
)
_FROM = re.compile(
    rf"{OPENING}who (?:sent|wrote|signed) {_PAPER}\W*|"
    rf"{OPENING}who(?:'s|s| is| was) {_PAPER} (?:from|by|signed by|written by|sent by)\W*|{OPENING}who signed\W*",
    re.IGNORECASE,
)
_COMPANY = re.compile(
    rf"{OPENING}(?:which|what)(?:'s| is)?(?: the)?(?: name of the)? (?:company|firm|business)(?:'s name| name)?"
    r"(?: (?:is (?:it|this|that|he|she)(?: (?:with|from|at))?|(?:does|do|did) [\w' ]+ works? (?:for|at)|"
    r"is [\w' ]+ (?:with|from)))?\W*|"
    rf"{OPENING}who (?:does|do) [\w' ]+ work for\W*|{OPENING}where (?:does|do) [\w' ]+ work\W*",
    re.IGNORECASE,
)
_ANYBODY = (
    r"(?:all|sir|madam|customer|parent|colleague|resident|neighbou?r|team|everyone|friend|tenant|member|guest|student|"
    r"patient|client|passenger|owner|driver|applicant|reader|valued)"
)
_DEAR = re.compile(rf"(?:dear|hi|hello) (?!{_ANYBODY}s?\b)(?P<name>[^\W\d][\w .'-]*?)[,;:.!]*", re.IGNORECASE)
_LABEL_FOR = re.compile(
    r"(?:bill(?:ed)?|invoiced?|ship(?:ped)?|sold|deliver(?:y|ed)?|send|quote) to|to|addressee|recipient|receiver|"
    r"customer|client",
    re.IGNORECASE,
)
_LABEL_FROM = re.compile(r"from|sender|sent by|sold by|shipper", re.IGNORECASE)
_CLOSING = re.compile(
    r"(?i:yours(?: sincerely| faithfully| truly)?|sincerely(?: yours)?|(?:kind|best|warm|many)? ?regards|best wishes|"
    r"signed(?: by)?|(?:with )?(?:lots of )?love|cheers|hugs|many thanks|see you)[,;:.! ]*"
    r"(?P<name>(?![a-z])[^\W\d][\w .'-]*?)?[.!]*"
)
_KINDS = (
    r"Ltd|Limited|Inc|LLC|LLP|GmbH|PLC|Corp|Corporation|KG|AG|Oy|AB|ApS|B\.?V\.?|S\.?A\.?|S\.?r\.?l|Pty|& Co|& Sons"
)
_FIRM = re.compile(rf"[^\d:]*\b(?:{_KINDS})\b\.?", re.IGNORECASE)
_TITLE = re.compile(r"^(Mrs?|Ms|Dr)[:;](?= )")  # as "Mr." is read at times
_NAME = re.compile(r"[^\W\d][^\d:@]{1,40}")


def told(rows: Sequence[Sequence[str]], question: str) -> str:
    """Who, or which company, a question asks for; "" where the rows do not say it outright.

    Args:
        rows: cells of each row of the text.
    """
    if _FOR.fullmatch(question):
        named = [match["name"] for row in rows if (match := _DEAR.fullmatch(" ".join(row).strip()))]
        return _only(named) or _labelled(rows, _LABEL_FOR)
    if asked := _FROM.fullmatch(question):
        return _signed(rows) or ("" if "sign" in asked[0].lower() else _labelled(rows, _LABEL_FROM))
    if _COMPANY.fullmatch(question):
        return _only([cell.strip() for row in rows for cell in row if _FIRM.fullmatch(cell.strip())])
    return ""


def _only(found: Sequence[str]) -> str:
    return found[0] if len({one.lower() for one in found}) == 1 else ""


def _labelled(rows: Sequence[Sequence[str]], label: re.Pattern[str]) -> str:
    """What stands behind the one such label: in its cell, in the cell beside it, or alone in the row below."""
    found = []
    for at, row in enumerate(rows):
        below = rows[at + 1] if at + 1 < len(rows) else ()
        others = sum(_is_label(cell) for cell in row)
        for column, cell in enumerate(row):
            name, colon, inside = cell.partition(":")
            if not label.fullmatch(name.partition("/")[0].strip()):  # "TO / EMPFÄNGER"
                continue
            if colon and inside.strip():
                found.append(inside.strip())
            elif len(row) == 2 and column == 0 and others == 1:
                found.append(row[1])
            elif len(below) == len(row) == max(1, others):  # "From | To", and the names below
                found.append(below[column])
            else:
                return ""
    found = [_TITLE.sub(r"\1.", one) for one in found]
    return _only([one for one in found if _NAME.fullmatch(one)])


def _is_label(cell: str) -> bool:
    return any(label.fullmatch(cell.partition("/")[0].strip(" :")) for label in (_LABEL_FOR, _LABEL_FROM))


def _signed(rows: Sequence[Sequence[str]]) -> str:
    """The name that stands behind the closing of a letter, or in the row below it."""
    for at in range(len(rows) - 1, -1, -1):
        closing = _CLOSING.fullmatch(" ".join(rows[at]).strip()) if len(rows[at]) == 1 else None
        if closing and closing["name"]:
            return closing["name"]
        if closing and at + 1 < len(rows) and len(rows[at + 1]) == 1 and _NAME.fullmatch(rows[at + 1][0]):
            return rows[at + 1][0].strip(" .,")
    return ""
