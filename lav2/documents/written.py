"""Documents that people wrote (assets/documents), with slots for what changes: names, amounts, times, codes. The same
document is another one each time it is drawn.

A line of a file is {"kind", "rows": cells parted by " | ", "slots": {name: how it is drawn}, "questions": [{"ask":
wordings, "answer", "history": earlier turns}]}; `{name}` stands for what a slot drew. assets/documents/README.md tells
how they are written.
"""

from __future__ import annotations

import argparse
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from lav2.documents import values, words
from lav2.documents.kinds import Document, Page
from lav2.files import json_lines, json_rows
from lav2.options import Help
from lav2.text.weighing import ABSENT
from lav2.weights import ROOT

FOLDER = ROOT / "assets/documents"
KIND = "written"  # of the documents, and of their questions
CELL = " | "  # between the cells of a row
HELD = 12  # one of so many documents is held out of training, to choose on (`document(held=True)`)
TRIES = 20  # until what a slot draws is not what another one drew

_BETWEEN = re.compile(r"\s*\|\s*")  # cells; empty ones come as two strokes
_SLOT = re.compile(r"{(\w+)}")
_WORD = re.compile(r"(?P<before>[(\"'*]*)(?P<core>.*?)(?P<after>[.,;:!?)\"'*]*)")
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"

Template = Mapping[str, Any]


@cache
def templates(folder: Path = FOLDER, held: bool = False) -> tuple[Template, ...]:
    """The documents of a folder that are learned from, or those that are held out."""
    found = [entry for file in sorted(folder.glob("*.jsonl")) for entry in read(file)]
    return tuple(entry for entry in found if held == (zlib.crc32("\n".join(entry["rows"]).encode()) % HELD == 0))


def read(file: Path) -> list[Template]:
    """The documents of a file.

    Raises:
        LAV2Error: it cannot be read, or a line is no JSON object.
    """
    return [entry for _, entry in json_rows(file)]


def document(rng: Random, rate: float, held: bool = False) -> Document:
    """One of the written documents, its slots drawn, its words misread at `rate` (0..1) a character."""
    return drawn(rng, rng.choice(templates(held=held)), rate)


def drawn(rng: Random, template: Template, rate: float) -> Document:
    """A document of a template. Answers repeat the text as it was read, questions use the true words.

    Raises:
        KeyError, ValueError: the template names a slot that it does not have, or one that nothing draws.
    """
    chosen = Slots(rng).draw(template["slots"])
    page = Page(rng, KIND, rate)
    as_read: dict[str, str] = {}

    def read_words(text: str, known_only: bool = False) -> str:
        return " ".join(_as_read(page, as_read, word, known_only) for word in text.split())

    for row in template["rows"]:
        cells = [read_words(cell) for cell in _BETWEEN.split(_filled(row, chosen))]
        page.made.rows.append([cell for cell in cells if cell])
    for asked in template["questions"]:
        answer = _filled(asked["answer"], chosen)
        if answer != ABSENT:
            answer = read_words(answer, known_only=True)
        history = [
            (_filled(one, chosen), read_words(_filled(other, chosen), known_only=True))
            for one, other in asked.get("history", ())
        ]
        kind = "absent" if answer == ABSENT else "follow-up" if history else KIND
        page.ask(_filled(rng.choice(asked["ask"]), chosen), answer, kind, history)
    return page.made


def _as_read(page: Page, as_read: dict[str, str], word: str, known_only: bool) -> str:
    """The word as the reader reads it everywhere on this page; of `known_only` one that is not on it stays."""
    parts = _WORD.fullmatch(word)
    before, core, after = parts["before"], parts["core"], parts["after"]
    if core and core not in as_read:
        if known_only:
            return word
        as_read[core] = page.read(core)
    return f"{before}{as_read[core] if core else ''}{after}"


def _filled(text: str, chosen: Mapping[str, str]) -> str:
    return _SLOT.sub(lambda match: chosen[match[1]], text)


class Slots:
    """Draws the slots of one document: one currency, one form of dates and of times."""

    def __init__(self, rng: Random):
        self._rng, self._money = rng, values.Money(rng)
        self._clock, self._date = values.clock_style(rng), rng.randrange(values.DATE_FORMS)
        self._web: tuple[str, str] | None = None
        self._amounts: dict[str, float] = {}  # of price and int slots

    def draw(self, slots: Mapping[str, Any]) -> dict[str, str]:
        """name -> text; sums and products come after what they are made of."""
        made: dict[str, str] = {}
        computed = {name: how for name, how in slots.items() if str(how).split(" ")[0] in ("sum", "times")}
        for name, how in [*((n, h) for n, h in slots.items() if n not in computed), *computed.items()]:
            for _ in range(TRIES):
                made[name] = self._one(name, how)
                if list(made.values()).count(made[name]) == 1:
                    break
        return made

    def _one(self, name: str, how: Any) -> str:
        if not isinstance(how, str):
            return self._rng.choice(how)
        what, *rest = how.split(" ")
        if what in _SIMPLE:
            return _SIMPLE[what](self._rng)
        if what == "code":
            return _code(self._rng, " ".join(rest))
        if what in ("web", "email"):
            self._web = self._web or values.web(self._rng)
            return self._web[what == "email"]
        if what == "date":
            return values.date_forms(*values.day(self._rng))[self._date]
        if what in ("time", "price", "int"):
            return self._number(name, what, float(rest[0]), float(rest[1]))
        if what in ("sum", "times"):
            parts = [self._amounts[part] for part in rest]
            self._amounts[name] = sum(parts) if what == "sum" else parts[0] * parts[1]
            return self._money.write(self._amounts[name])
        raise ValueError(f"nothing draws a slot {how!r}")

    def _number(self, name: str, what: str, low: float, high: float) -> str:
        if what == "time":
            return values.clock(self._rng, 15 * self._rng.randint(int(low * 4), int(high * 4)), self._clock)
        if what == "price":
            self._amounts[name] = self._money.draw(self._rng, max(low, 0.05), max(high, low + 0.05))
            return self._money.write(self._amounts[name])
        self._amounts[name] = self._rng.randint(int(low), int(high))
        return str(int(self._amounts[name]))


def _code(rng: Random, pattern: str) -> str:
    drawn_by = {"#": "0123456789", "A": _LETTERS, "?": "0123456789" + _LETTERS}
    return "".join(rng.choice(drawn_by.get(mark, mark)) for mark in pattern)


def _first(rng: Random) -> str:
    return values.faker(rng).first_name()


def _last(rng: Random) -> str:
    return values.faker(rng).last_name()


_SIMPLE: Mapping[str, Callable[[Random], str]] = {
    "person": lambda rng: f"{_first(rng)} {_last(rng)}",
    "first": _first,
    "last": _last,
    "doctor": lambda rng: f"{rng.choice(('Dr.', 'Dr'))} {_last(rng)}",
    "company": values.business,
    "street": values.street,
    "postcode": lambda rng: values.faker(rng, "en_US", "en_GB", "de_DE").postcode(),
    "city": values.city,
    "country": lambda rng: values.faker(rng, "en_US").country(),
    "phone": values.phone,
    "month": lambda rng: rng.choice(words.MONTHS),
    "weekday": lambda rng: rng.choice(words.DAYS),
    "year": lambda rng: str(rng.randint(1950, 2030)),
}


# --- checking what somebody wrote ----------------------------------------------------------------------------


def faults(template: Template) -> Iterator[str]:
    """What is wrong with a document, in words."""
    try:
        made = [drawn(Random(seed), template, 0.0) for seed in range(6)]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        yield f"cannot be drawn: {type(error).__name__}: {error}"
        return
    for asked in template["questions"]:
        if isinstance(asked["ask"], str):
            yield f"one wording where several belong: {asked['ask']}"
    for number, asked in enumerate(template["questions"]):
        for one in made:
            if not _grounded(one, one.asks[number].answer):
                yield f"not in the text: {asked['answer']!r} ({one.asks[number].question})"
                break


def _grounded(made: Document, answer: str) -> bool:
    """Whether the text has what an answer repeats; sentences, counts and refusals are free."""
    text = " ".join(" ".join(row) for row in made.rows).lower()
    proof = re.fullmatch(r"(?:Yes|No): (.*)\.", answer)
    if proof:
        return proof[1].lower() in text or all(part.lower() in text for part in re.split(r"[,;.] ", proof[1]))
    if answer == ABSENT or answer.endswith(".") or answer.isdigit():
        return True
    return answer.lower() in text or all(part.lower() in text for part in re.split(r", | and | to | - ", answer))


def main(argv: Sequence[str] | None = None) -> int:
    """Check files of documents, and print some as they are drawn."""
    parser = argparse.ArgumentParser(prog="python -m lav2.documents.written", description=main.__doc__, formatter_class=Help)  # fmt: skip
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="of assets/documents, or your own")
    return 1 if sum(_checked(file) for file in parser.parse_args(argv).files) else 0


def _checked(file: Path) -> int:
    """The number of faults in a file, which are printed; of a file without any, some documents."""
    wrong, entries = 0, []
    for number, entry in json_lines(file):
        found = list(faults(entry)) if isinstance(entry, dict) else [f"no document: {entry}"]
        wrong += len(found)
        entries.append(entry)
        for fault in found:
            print(f"{file.name}, line {number}: {fault}")
    if wrong:
        return wrong
    for template in Random(0).sample(entries, min(3, len(entries))):
        one = drawn(Random(0), template, 0.0)
        print("\n".join(["", *(CELL.join(row) for row in one.rows)]))
        print("\n".join(f"    {ask.question} -> {ask.answer}" for ask in one.asks))
    print(f"{file.name}: {len(entries)} documents, {sum(len(entry['questions']) for entry in entries)} questions")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
