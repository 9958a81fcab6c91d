"""What a text says outright: the price of the one thing, the cell of the one row and column that a question names, the
one date that is written there, the opening hours of a day, the state of a list's rows, whom a letter is for. A model of
this size takes a neighbouring row or column at times, or refuses; looking up does not. Where more than one part of the
text fits, nothing is looked up. No torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lav2.text import (
    amounts,
    entries,
    fields,
    hours,
    mentions,
    named_fields,
    quantities,
    roles,
    sections,
    states,
    timetables,
)
from lav2.text.amounts import words
from lav2.text.asking import OPENING, straight
from lav2.text.dates import MONTH_OF_DATE

_DATE = re.compile(
    r"(?<![\w/.-])(?:\d{1,2}(?P<one>[/.-])\d{1,2}(?P=one)(?:\d{4}|\d{2})|\d{4}(?P<two>[/-])\d{1,2}(?P=two)\d{1,2}|"
    rf"\d{{1,2}}\.?[ -]{MONTH_OF_DATE},?[ -]\d{{4}}|{MONTH_OF_DATE} \d{{1,2}},? \d{{4}})(?![\w/])",
    re.IGNORECASE,
)
_BILL = r"(?:receipt|bill|invoice|slip|ticket|purchase|transaction|sale|visit)"
# Asks for the date of the text as a whole: "due date?", "date of birth?" and "when does it open?" do not.
_ASKS_DATE = re.compile(
    rf"{OPENING}(?:(?:what|which)(?:'s| is| was)?(?: the)? )?(?:date|day)(?: of (?:the )?{_BILL})?(?: is| was)?"
    rf"(?: (?:printed|given|shown|written))?(?: (?:on|of) (?:it|this|the)(?: {_BILL})?)?\W*|"
    rf"{OPENING}(?:on )?(?:what|which) (?:date|day) (?:is|was) (?:it|this|that|the)(?: {_BILL})?"
    r"(?: (?:from|issued|printed|made|bought|paid|purchased))?\W*|"
    rf"{OPENING}when (?:is|was) (?:it|this|the)(?: {_BILL})?"
    r"(?: (?:from|issued|printed|made|bought|paid|purchased))?\W*",
    re.IGNORECASE,
)
_BEFORE = re.compile(r"\b(?:issued|made|paid)\b", re.IGNORECASE)
_TO_COME = re.compile(r"\b(?:due|expir\w+|valid|until)\b", re.IGNORECASE)  # beside a date, or its label
# Sums stand in rows of their own, below columns that mean something else.
_SUM = re.compile(r"\b(?:sub)?total\b|\bamount\b|\bsum\b|\bin all\b|\btogether\b", re.IGNORECASE)
_ASKING_CELL = (
    f"{amounts.ASKING} which who whose where when many have has had at to its know looking picture photo from say said "
    "listed row column table get go"
)

_PHONE = re.compile(r"(?<![\w.,(/-])\+?(?:\(\d{2,4}\) ?)?\d(?:[ /-]?\d){5,13}(?![\w.,/-]?\d)")
_ASKS_PHONE = re.compile(
    r"(?!.*\b(?:when|can't)\b)(?=.*\b(?:who|whom|which|what|number|phone (?:of|for|number))\b)"
    r".*\b(?:call|ring|phone|telephone|dial|reach|number (?:for|in))\b",
    re.IGNORECASE,
)
_ASKING_PHONE = (
    "what which who whom when where how is are do does did can could i we you my our the a an of for to in on at if it "
    "number phone telephone call ring dial reach tel please this that should must there have has give tell me s"
)

# A reader of letters loses a dot at times: "info@firm example", alone in its cell.
_MAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}|^[\w.+-]{1,64}@[\w-]{1,63} [\w-]{2,8}$"
)
_WEB = re.compile(
    r"(?<![@\w.-])(?:https?://)?(?:www\.)?[a-z][\w-]{2,62}(?:\.[\w-]{1,63}){0,4}\."
    r"(?:com|org|net|biz|uk|eu|io|info|shop|app|dev|example|gov|edu|de|fr|it|es|at|ch|nl)(?:/[\w./?=#&-]*)?(?![\w@])",
    re.IGNORECASE,
)
_GIVE = rf"{OPENING}(?:(?:(?:can|could) you )?give me )?(?:(?:what|which)(?:'?s| is| was)? )?"
_WHOSE = r"(?:(?:the|their|his|her|your|contact|\w+'s) )*"
_END = r"(?: (?:given|there|here|please|pls|thanks|on (?:it|this|the card)))*\W*"
_ASKS_MAIL = re.compile(rf"{_GIVE}{_WHOSE}(?:e-?mail(?: ad?dress)?|mail ad?dress){_END}", re.IGNORECASE)
_ASKS_WEB = re.compile(
    rf"{_GIVE}{_WHOSE}(?:web ?(?:site|page)|home ?page|url|(?:web|internet) address)(?: address)?{_END}", re.IGNORECASE
)

_STATE = re.compile(r"(?:yes|no|not|none)\b", re.IGNORECASE)
_WHETHER = re.compile(r"\W*(?:is|are|was|were|do|does|did|has|have|can|may|will)\b", re.IGNORECASE)

# Beside the name of a label: "Which gate?", "When does boarding start?"; not "where does the flight go?".
_ASKING_LABEL = (
    "what which when who is are was does do the my our your a an of number no code it this on printed given say says "
    "start begin at time please tell me and"
)


def looked_up(rows: Sequence[Sequence[str]], question: str) -> str:
    """The answer as the text writes it; "" where the text does not say it outright.

    Args:
        rows: cells of each row of the text.
    """
    question = straight(question)
    if told := hours.answered(rows, question) or states.told(rows, question):
        return told
    if told := amounts.before_and_now(rows, question):
        return told
    thing = amounts.price_of(rows, question)
    if thing:
        return thing.price
    if told := amounts.priced_at(rows, question) or sections.counted(rows, question):
        return told
    for look_up in (
        quantities.told,
        entries.told,
        roles.told,
        fields.told,
        named_fields.told,
        timetables.told,
        mentions.told,
    ):
        if told := look_up(rows, question):
            return told
    return (
        _phone(rows, question)
        or _online(rows, question)
        or _date(rows, question)
        or _cell(rows, question)
        or _below(rows, question)
    )


def _phone(rows: Sequence[Sequence[str]], question: str) -> str:
    """Of several phone numbers the one whose row has a word of the question."""
    if not _ASKS_PHONE.match(question) or _WHETHER.match(question):
        return ""
    asked, named, others = words(question) - set(_ASKING_PHONE.split()), [], 0
    for row in rows:
        numbers = [number for cell in row for number in _PHONE.findall(cell)]
        if numbers and asked & words(_PHONE.sub(" ", " ".join(row))):
            named += numbers
        else:
            others += len(numbers)
    return named[0] if others and len(named) == 1 else ""


def _online(rows: Sequence[Sequence[str]], question: str) -> str:
    """The one e-mail address, or address of a website, where it is asked for."""
    form = _MAIL if _ASKS_MAIL.fullmatch(question) else _WEB if _ASKS_WEB.fullmatch(question) else None
    written = [match[0].rstrip("./") for row in rows for cell in row for match in form.finditer(cell)] if form else []
    found = {re.sub(r"^(?:https?://)?(?:www\.)?", "", address.lower()) for address in written}
    return max(written, key=len) if len(found) == 1 else ""


def _date(rows: Sequence[Sequence[str]], question: str) -> str:
    if not _ASKS_DATE.fullmatch(question.strip()):
        return ""
    found = {match[0] for row in rows for match in _DATE.finditer(" ".join(row))}
    if _BEFORE.search(question) and any(_TO_COME.search(cell) for row in rows for cell in row):
        return ""
    return found.pop() if len(found) == 1 else ""


def _cell(rows: Sequence[Sequence[str]], question: str) -> str:
    """What stands in the column whose heading the question names, in the row that has the rest of its words."""
    if _SUM.search(question) or _WHETHER.match(question):
        return ""
    asked, found = words(question), set()
    for at, headings in enumerate(rows):
        if len(headings) < 2 or any(c.isdigit() for heading in headings for c in heading):
            continue
        named = [words(heading) for heading in headings]
        widest = max((len(one) for one in named if one <= asked), default=0)
        columns = [column for column, one in enumerate(named) if one <= asked and len(one) == widest]
        if not widest or len(columns) != 1:
            continue
        column = columns[0]
        rest = asked - named[column] - words(_ASKING_CELL)
        fits = [row for row in rows[at + 1 :] if len(row) == len(headings) and rest <= words(_others(row, column))]
        if not fits:  # the names of the rows have no heading: "Mon | Tue" over "9:00 | Maths | French"
            column += 1
            longer = [row for row in rows[at + 1 :] if len(row) == len(headings) + 1 and rest <= words(row[0])]
            fits = [row for row in longer if not _STATE.match(row[column])]
        if rest and len(fits) == 1:
            found.add(fits[0][column])
    cell = found.pop() if len(found) == 1 else ""
    return cell if any(c.isalnum() for c in cell) else ""


def _below(rows: Sequence[Sequence[str]], question: str) -> str:
    """What stands below the one label that a question names and asks no more of, where all rows of labels stand above
    one of values, as on a boarding pass."""
    grid = [row for row in rows if len(row) > 1]
    pairs = list(zip(grid[::2], grid[1::2], strict=False))
    if not pairs or len(grid) % 2 or not all(_labels(one) and not _labels(other) for one, other in pairs):
        return ""
    asked, found = words(question), set()
    for labels, values in pairs:
        named = [column for column, label in enumerate(labels) if words(label) and words(label) <= asked]
        if len(named) == 1 and len(labels) == len(values) and not asked - words(f"{labels[named[0]]} {_ASKING_LABEL}"):
            found.add(values[named[0]])
    return found.pop() if len(found) == 1 else ""


def _labels(row: Sequence[str]) -> bool:
    return not any(c.isdigit() for cell in row for c in cell) and not any(cell.endswith(":") for cell in row)


def _others(row: Sequence[str], column: int) -> str:
    return " ".join([*row[:column], *row[column + 1 :]])
