"""Cells of a text beside what stands above them: "Seat | Price" over "34A | 9.60" becomes "Seat: 34A | Price: 9.60".

A small language model reads a label beside its value and loses it a row above. Tables are told with their headings in
every row for the same reason (linearised tables). Where it is not clear that a row holds headings it is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD, _LONG_WORD = re.compile(r"[a-z]+"), re.compile(r"[^\W\d_]{3}")
# Words of labels and headings of columns.
_LABELS = frozenset(_WORD.findall(
    "account adult adults afternoon age aisle amount apr april area arr arrival arrive arrives article aug august "
    "author balance bank bar batch bay bed best birth boarding booking born brand by card carriage carrier cashier "
    "cat category cell charge child children city class client club coach code color colour company confirmation "
    "contact cost country courier course cover currency customer date day days dec december delay delivered delivery "
    "dep depart department departs departure departures dept description dest destination detail details discount "
    "dish distance doctor door doors dose driver due duration email employee end ends entry evening event "
    "examination expected expires expiry fare fasting fax feb february fee film flight floor flug for form fri "
    "friday from full gate gender goals grade gross group guest guests half height holder holidays home hour hours "
    "id in invoice issued item items jan january job jul july jun june kitchen km label lap laps large last lesson "
    "level line litres location lunch made mar march may meals medium member method min mins minutes mobile model "
    "mon monday month monthly morning name names net no note notes nov november nr number oct october of off office "
    "on open opened opens order ordered origin our out owner page paid parcel passenger patient pay payment pcs per "
    "period person phone piece pieces place places plan plat platform player players points pos position post "
    "premium price prices product program pump qty quantity race rank rate reading ref reference reg remarks rent "
    "reservation result return ride role room round route row sales sat saturday score screen seat section sender "
    "sep september seq serial series service session sex shelf shift ship shipped show shows signature since single "
    "size small sort standard start starts state station status stop stops street subject subtotal sum summer sun "
    "sunday table tariff tax teacher team tel term terminal terms thu thurs thursday ticket till time times title to "
    "today tooth total track train treatment tue tues tuesday type unit units until use valid value vat vehicle via "
    "volume wed wednesday week weekday weekdays weekend weekends weekly weight what when where who winter year "
    "yearly your zip zone"
))  # fmt: skip
# What stands in cells below headings, and is none.
STATES = frozenset(
    _WORD.findall("closed on off yes no free open none paid unpaid done cancelled delayed late included")
)
# Labels that tickets and passes have above a number, beside other words.
_FIELDS = frozenset(_WORD.findall(
    "aisle bay carriage coach date flight floor gate group level number platform room row screen seat shelf table "
    "terminal time track zone"
))  # fmt: skip
# Headings above names, with which a table begins; what two labels make one heading ("Unit price").
_NAMING = frozenset(_WORD.findall(
    "article class course date day description destination dish event film item line name place player pos position "
    "product rank room route stop team test time title train"
))  # fmt: skip
_ONE_HEADING = re.compile(
    r"(?:account|best|customer|due|end|first|full|gross|item|last|line|net|order|product|room|start|team|train|unit) .*"
    r"|.* (?:amount|date|no|number|price|total|type)", re.IGNORECASE
)  # fmt: skip
_READS = re.compile(r"\b(?:read|written|writing|says?|texts?|words?|lines?|columns?|rows?|heading)\b", re.IGNORECASE)
_NUMBER = re.compile(r"[A-Z]{0,4} ?\d{1,5}", re.IGNORECASE)
_TIME = re.compile(r"\d{1,2}[:.h]\d{2}")
_RUNS = frozenset(("bus", "course", "ferry", "flight", "line", "route", "run", "service", "train", "tram", "trip"))
MANY = 3  # columns that numbers name, at least
VALUE = 40  # characters of what stands below a label by itself
LONGEST = 24  # characters of a heading
BETWEEN = 2  # rows of another kind may stand between those of a table ("12:10 | LUNCH")


def parted(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The rows of a text, two headings that were read as one apart: "Place Name | Club" over "1 | Freya | TSV Nord"."""
    read = [list(row) for row in rows]
    for at, row in enumerate(rows):
        double = [column for column, cell in enumerate(row) if is_label(cell) and _two(cell)]
        longer = sum(len(below) == len(row) + 1 for below in rows[at + 1 : at + 4])
        if len(double) == 1 and longer > 1 and _is_labels(row) and _WORD.findall(row[0].lower())[0] in _NAMING:
            column = double[0]
            read[at][column : column + 1] = row[column].split()
    return read


def _two(cell: str) -> bool:
    return len(cell.split()) == 2 and not _ONE_HEADING.fullmatch(cell)


def labelled(rows: Sequence[Sequence[str]], question: str = "") -> list[list[str]]:
    """The cells of each row, below headings as "heading: cell".

    Args:
        rows: cells of each row of a text.
        question: one that asks for the words themselves ("What does it say?") leaves the text as it is.
    """
    read = [list(row) for row in rows]
    if _READS.search(question):
        return read
    at, end = 0, 0  # end: after the last row that was labelled
    while at < len(rows):
        # Names with their values, such as settings and prices, are no headings of each other.
        listed = at - 2 >= end and all(len(row) == 2 for row in rows[at - 2 : at + 1])
        below = [] if listed and not _over_numbers(rows, at) else _below(rows, at)
        # Names of a table's rows stand alone, where they are names.
        first = 0 if len(below) == 1 or all(_has_digit(rows[row][0]) for row in below) else 1
        for row in below:
            names = rows[at] if len(rows[row]) == len(rows[at]) else ["", *rows[at]]
            for column in range(first, len(names)):
                if names[column] and any(c.isalnum() for c in rows[row][column]):
                    read[row][column] = f"{names[column].rstrip(': ')}: {rows[row][column]}"
        for column in [] if below else _over_one(rows, at) or _alone(rows, at):
            read[at + 1][column] = f"{rows[at][column].rstrip(': ')}: {rows[at + 1][column]}"
        at = below[-1] + 1 if below else at + 1
        end = at if below else end
    return read


def _over_one(rows: Sequence[Sequence[str]], at: int) -> list[int]:
    """The columns whose cell is a label that stands beside other words and over a number: "ORION CINEMA | SCREEN" over
    "The Harbour | 5". Not "Date | Total", nor what stands beside its label."""
    row, below = rows[at], rows[at + 1] if at + 1 < len(rows) else ()
    if not row or len(row) != len(below) or is_label(row[0]):
        return []
    return [
        column
        for column in range(1, len(row))
        if row[column].lower().strip(" .:") in _FIELDS and not is_label(row[column - 1]) and _has_digit(below[column])
        and not is_label(below[column - 1])
    ]  # fmt: skip


def _alone(rows: Sequence[Sequence[str]], at: int) -> list[int]:
    """[0] where a label stands by itself above one value, as on a pass's stub; not a heading above several rows. Of two
    signs ("STOP" above "EXIT") none is: there are other labels with values, or the value is a number."""
    label, value, after = [rows[k][0] if k < len(rows) and len(rows[k]) == 1 else "" for k in range(at, at + 3)]
    if not (is_label(label) and value) or len(value) > VALUE or is_label(value) or label.lower() in STATES:
        return []
    if after and not is_label(after):
        return []
    follows = is_label(after) and at + 3 < len(rows) and not all(map(is_label, rows[at + 3]))
    others = follows or (at > 1 and len(rows[at - 2]) > 0 and all(map(is_label, rows[at - 2])))
    return [0] if others or (_has_digit(value) and not _LONG_WORD.search(value)) else []


def is_label(cell: str) -> bool:
    """Whether a cell is nothing but words of labels; a full stop at its end is read as "_" at times."""
    low = cell.lower().rstrip("_ ")
    found = _WORD.findall(low)
    return 0 < len(found) <= 2 and found == re.findall(r"\w+", low) and _LABELS.issuperset(found)


def _below(rows: Sequence[Sequence[str]], at: int) -> list[int]:
    """The rows that stand below a row of headings; [] where it is none."""
    headings = rows[at]
    if not _may_head(headings) and not of_trains(headings):
        return []
    found: list[int] = []
    for row in range(at + 1, len(rows)):
        cells = rows[row]
        alike = len(cells) in (len(headings), len(headings) + 1) and (not found or len(cells) == len(rows[found[0]]))
        if alike and not _is_labels(cells):
            found.append(row)
        elif alike or not found or row - found[-1] > BETWEEN:
            break
    if of_trains(headings):
        return found if sum(bool(_TIME.search(cell)) for row in found for cell in rows[row]) > len(headings) else []
    if _is_labels(headings):
        clear = _known(headings) == len(headings) or any(_has_digit(cell) for row in found for cell in rows[row])
        return found if clear else []
    # Headings of other words stand over numbers, in at least two rows that begin with a name.
    named = len(found) > 1 and (len(rows[found[0]]) > len(headings) or len(headings) > 2)
    return found if named and all(_has_digit(cell) for row in found for cell in rows[row][1:] if cell) else []


def of_trains(cells: Sequence[str]) -> bool:
    """Whether a row names what stands in its columns by numbers: "Train no. | 4102 | 4106 | 4110"."""
    numbers = [cell for cell in cells[1:] if _NUMBER.fullmatch(cell)]
    named = set(_WORD.findall(cells[0].lower())) if cells else set()
    run = bool(named & _RUNS) and named <= _RUNS | _LABELS
    return len(cells) > MANY and run and len(set(numbers)) == len(cells) - 1


def _over_numbers(rows: Sequence[Sequence[str]], at: int) -> bool:
    """Whether a row has labels alone and the next one numbers alone: "Aisle | Shelf" over "14 | 22"."""
    below = rows[at + 1] if at + 1 < len(rows) else ()
    numbers = len(below) == len(rows[at]) and all(_has_digit(cell) and not _WORD.search(cell) for cell in below)
    return numbers and _known(rows[at]) == len(rows[at])


def _is_labels(cells: Sequence[str]) -> bool:
    return _may_head(cells) and _known(cells) >= max(2, len(cells) / 2)


def _has_digit(cell: str) -> bool:
    return any(map(str.isdigit, cell))


def _known(cells: Sequence[str]) -> int:
    """How many cells have a word of labels."""
    return sum(bool(_LABELS & set(_WORD.findall(cell.lower()))) for cell in cells)


def _may_head(cells: Sequence[str]) -> bool:
    """Whether the cells of a row may be headings, by their shape: short, distinct, without numbers."""
    low = [cell.lower().strip(" .:") for cell in cells]
    plain = all(0 < len(cell) <= LONGEST and not _has_digit(cell) and not cell.endswith(":") for cell in cells)
    distinct = len(set(low)) == len(low) or all(map(is_label, cells))  # a pass and its stub name the same
    return len(cells) > 1 and plain and distinct and not STATES & set(low)
