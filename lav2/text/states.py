"""What a list says of the state of its rows: which train is late, whether the rent is paid, how many are sold out.

A model of this size finds a row but hardly those of several rows that share a state, and says "No: On time." when it is
asked whether a train is on time. A list is read only where two rows or more have a word for a state. No torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from lav2.text.amounts import words
from lav2.text.asking import OPENING

# State -> (how lists write it, how people ask for it). "available" and "open" are written for more than one.
_STATES = {
    "on time": (r"on time|punctual", r"on time|punctual"),
    "late": (
        r"(?:late|delayed?)(?: by)?(?: \d+ ?min\w*)?|\+ ?\d+ ?min\w*|\d+ ?min\w* (?:late|delay(?:ed)?)",
        r"late|delayed|behind schedule",
    ),
    "cancelled": (r"cancell?ed|not running|called off", r"cancell?ed|not running|called off"),
    "boarding": (r"(?:now )?boarding", r"boarding"),
    "sold out": (r"sold out|out of stock|none left|unavailable", r"sold out|out of stock|unavailable"),
    "in stock": (r"in stock|available|\d+ left", r"in stock|available"),
    "full": (r"full|fully booked|sold out|no places left", r"full|fully booked|booked out"),
    "places left": (r"(?:\d+ )?(?:places|seats) left|\d+ left|available", r"available"),
    "done": (r"done|finished|completed?", r"done|finished|completed?"),
    "open": (r"open", r"open"),
    "to do": (r"to do|open|not started|pending", r"(?:still |left )?to do|not done|not finished|open|pending"),
    "in progress": (r"in progress|started|wip", r"in progress|started"),
    "closed": (r"closed|shut", r"closed|shut"),
    "present": (r"present|here", r"present|here"),
    "absent": (r"absent|away|missing", r"absent|missing|away|not (?:here|present|there)"),
    "ill": (r"ill|sick", r"ill|sick"),
    "paid": (r"paid|received", r"paid|pay(?= already|\W*$)"),
    "unpaid": (r"unpaid|not paid|overdue|open|due", r"unpaid|not (?:yet )?paid|overdue|to pay"),
    "free": (r"free|available|vacant", r"free|available|vacant"),
    "taken": (r"occupied|in use|busy|taken", r"occupied|in use|taken|busy"),
    "reserved": (r"reserved|booked", r"reserved|booked"),
    "on": (r"on", r"(?:switched |turned )?on"),
    "off": (r"off", r"(?:switched |turned )?off"),
    "passed": (r"pass(?:ed)?", r"pass(?:ed)?"),
    "failed": (r"fail(?:ed)?", r"fail(?:ed)?"),
    "running": (r"running", r"running|still going"),
}
_WRITTEN = {name: re.compile(rf"(?:{written})[.!]?", re.IGNORECASE) for name, (written, _) in _STATES.items()}
_AT_END = re.compile(
    rf"(?P<rest>.*?\S)\s+(?P<state>{'|'.join(written for written, _ in _STATES.values())})[.!]?", re.IGNORECASE
)
_RUNS = frozenset(("on time", "late", "boarding", "running"))  # a train that is late runs
_END = r"(?: today| now| already| at the moment| yet)?\W*"
_ASKED = {
    name: re.compile(rf"(?:.*[\s\"'])?(?P<said>{asked}){_END}", re.IGNORECASE) for name, (_, asked) in _STATES.items()
}
_POLITE = re.compile(rf"(?:[^,:?]{{0,30}}[,:]\s+)?{OPENING}", re.IGNORECASE)
_OTHERWISE = re.compile(r"\b(?:written|shown|listed|see|say|says|about)\b", re.IGNORECASE)  # "what is written here?"
_HOW = re.compile(
    r"(?:what is the (?:status|state) of|what's the (?:status|state) of|how (?:late|delayed) is)\b(?P<thing>.*)",
    re.IGNORECASE,
)
_WHICH = re.compile(r"(?:which|what|who|where does the \w+ go that)\b", re.IGNORECASE)
_COUNT = re.compile(r"how many\b", re.IGNORECASE)
_WHETHER = re.compile(r"(?:is|are|was|were|has|have|did|do|does)\b(?P<thing>.*)", re.IGNORECASE)
# Of what it is asked whether one can still have it, and the states that mean so.
_HAD = frozenset(("in stock", "places left", "free", "open")) | _RUNS
_FORMS = (
    (r"can (?:i|we) (?:still )?(?:get|buy|have|order|catch|join|book|use|visit|go to|see|eat)\b(?P<thing>.*)", _HAD),
    (r"(?:do they|do you|does it) (?:still )?(?:have|sell)\b(?P<thing>.*)", _HAD),
    (
        r"(?:is|are) there (?:any |still |places |seats |some )*(?:left )?(?:of |for )?"
        r"(?P<thing>.*?)(?: left| available)?\W*",
        _HAD,
    ),
    (r"(?:do|does|will) (?P<thing>.*?) (?:still )?(?:go|run|leave|depart)(?: today| now)?\W*", _RUNS | {"open"}),
    (r"does (?P<thing>.*?) (?:still )?(?:owe (?:any )?money|have to pay)\W*", frozenset(("unpaid",))),
    (r"(?:does|will) (?P<thing>.*?) take place\W*", _HAD | {"full"}),
)  # fmt: skip
_KINDS = words(
    "train bus flight ferry tram plane ship task payment item product room table one to for the of a an still going "
    "running run go yet they he she it been is are was already today now my our"
)
# Times, dates and prices beside a thing.
_PLAIN = re.compile(
    r"\W*(?:\d{1,2} ?[:.h] ?\d\d ?(?:[ap]\.?m\.?)?|\d{1,2} ?[ap]\.?m\.?|"
    r"(?:[A-Z]{2,3}\.? ?)?[$£€¥₩]? ?\d+[.,]\d\d.{0,4}|(?:kr|rs|rm|fr)\.? ?\d+|[$£€¥₩]\d+|\d+ ?[€%]|"
    r"\d+[/.-]\d+[/.-]\d+|.*\b(?:19|20)\d\d\b.*)\W*",
    re.IGNORECASE,
)
_HALF = re.compile(r"(\d) ([ap]\.?m\b)", re.IGNORECASE)
_COLUMNS = words(
    "name item what info status state time date price to from platform gate room who when where destination no"
)
_MOST = 6  # names in an answer
NONE = "None of them."


class _Row(NamedTuple):
    """`name` of a row's thing, `state` as it is written, the states that it may stand for, the words of the row."""

    name: str
    state: str
    states: frozenset[str]
    words: frozenset[str]


def told(rows: Sequence[Sequence[str]], question: str) -> str:
    """The answer to a question about the state of a list's rows; "" where it is none, or the list is not clear.

    Args:
        rows: cells of each row of the text.
    """
    polite = _POLITE.match(question)
    asked = question[polite.end() :] if polite else question
    listed, whole = _listed(rows)
    if len(listed) < 2 or _OTHERWISE.search(asked):
        return ""
    said, wanted = _wanted(asked)
    kind = frozenset[str]().union(*(group for group in _TOGETHER if all(row.states & group for row in listed)))
    if not kind or (wanted and not wanted & kind):  # of trains it is not asked who paid
        return ""
    having = [row for row in listed if wanted & _with_running(row.states)]
    if wanted and _COUNT.match(asked):
        rest = words(asked) - words(f"how many there in all still {said}") - _KINDS
        return str(len(having)) if whole and not rest else ""
    if wanted and _WHICH.match(asked):
        names = list(dict.fromkeys(row.name for row in having))
        clear = whole and all(names) and len(names) <= _MOST
        return (", ".join(names) or NONE) if clear else ""
    how = _HOW.fullmatch(asked)
    thing, means_yes = (frozenset(words(how["thing"]) - _KINDS), None) if how else _whether(asked, said, wanted)
    fits = [row for row in listed if thing and thing <= row.words]
    if len(fits) != 1:
        return ""
    if means_yes is None:
        return fits[0].state
    return f"{'Yes' if means_yes & _with_running(fits[0].states) else 'No'}: {fits[0].state}."


def _whether(asked: str, said: str, wanted: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The words of the one thing whose state is asked for, and the states that mean yes; nothing of other questions."""
    for form, states in _FORMS:
        if found := re.fullmatch(form, asked, re.IGNORECASE):
            return frozenset(words(found["thing"]) - _KINDS), states
    found = _WHETHER.match(asked)
    if not found or not wanted:
        return frozenset(), frozenset()
    return frozenset(words(found["thing"]) - _KINDS - words(said)), wanted


def _wanted(asked: str) -> tuple[str, frozenset[str]]:
    """The words for a state at a question's end, the longest, and the states that they may stand for."""
    found = {name: match["said"] for name, form in _ASKED.items() if (match := form.fullmatch(asked))}
    said = max(found.values(), key=len, default="")
    return said, frozenset(name for name, text in found.items() if len(text) == len(said))


def _with_running(states: frozenset[str]) -> frozenset[str]:
    return states | {"running"} if states & _RUNS else states


_TOGETHER = (
    {"on time", "late", "cancelled", "boarding", "running"},
    {"sold out", "in stock", "full", "places left", "cancelled"},
    {"done", "to do", "in progress"}, {"open", "closed"}, {"present", "absent", "ill"}, {"paid", "unpaid"},
    {"free", "taken", "reserved"}, {"on", "off"}, {"passed", "failed"},
)  # fmt: skip


def _listed(rows: Sequence[Sequence[str]]) -> tuple[list[_Row], bool]:
    """The rows that tell a state, and whether all rows of the list do: of others the state may be misread."""
    found, places = [], []
    for at, row in enumerate(rows):
        parts = [cell.strip() for cell in row]
        if len(parts) == 1 and (joined := _AT_END.fullmatch(parts[0])):
            parts = [joined["rest"], joined["state"]]
        told_by = [place for place, cell in enumerate(parts) if _states(cell)]
        if len(parts) < 2 or len(told_by) != 1:
            continue
        state = parts.pop(told_by[0])
        names = [cell for cell in parts if not cell.isdigit() and not _PLAIN.fullmatch(cell)]
        name = names[0] if len(names) == 1 else ""
        found.append(
            _Row(_named(name) if len(row) == 1 else name, state, _states(state), frozenset(words(" ".join(parts))))
        )
        places.append(at)
    if not found:
        return found, False
    in_one_cell = all(len(rows[at]) == 1 for at in places)
    others = [row for at, row in enumerate(rows) if at > places[0] and at not in places]
    if not in_one_cell and places[0] and not _headings(above := rows[places[0] - 1]):
        others.append(above)
    return found, not any(in_one_cell or len(row) > 1 for row in others)


def _named(cell: str) -> str:
    """A thing's name without the time, date or price that stands before or behind it in the same cell; "" where it is
    not clear where it ends."""
    parts = _HALF.sub(r"\1\2", cell).split()  # 2:50pm
    while len(parts) > 1 and _PLAIN.fullmatch(parts[-1]):
        parts.pop()
    while len(parts) > 1 and _PLAIN.fullmatch(parts[0]):
        parts.pop(0)
    unclear = any(not part.isdigit() and any(map(str.isdigit, part)) for part in parts)  # "22:0o"
    return "" if unclear or not parts or not parts[-1][-1].isalnum() else " ".join(parts)


def _headings(row: Sequence[str]) -> bool:
    return all(words(cell) <= _COLUMNS for cell in row)


def _states(cell: str) -> frozenset[str]:
    return frozenset(name for name, form in _WRITTEN.items() if form.fullmatch(cell))
