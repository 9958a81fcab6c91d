"""Yes or no behind what proves it: the model writes "> Cash only" and then "No.", people read "No: Cash only."

A model of this size that says yes or no first has not read the row that decides; what it copies behind it is often
right where its yes or no is wrong. So it learns to copy the row first, as rows stand in the findings, and what it
writes is turned around before anybody sees it (rationales before answers: Wei et al. 2022, arXiv 2201.11903).
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import closing

MARK = ">"  # how a proof begins, as a row of the findings does (experts.prompt_block.ROW)
_READ = re.compile(r"(?P<said>Yes|No): (?P<proof>\S[^\n]*?)\.?")
_WRITTEN = re.compile(rf"{MARK} ?(?P<proof>\S[^\n]*?)\.?\n+(?P<said>Yes|No)\b\.?")
_BEGINS = re.compile(rf"{MARK}(?: [^\n]*(?:\n+(?:Y(?:es?)?|No?)?\.?)?)?")  # it may still become a proof


def learned(answer: str) -> str:
    """How the model writes an answer of people's form; other answers stay."""
    found = _READ.fullmatch(answer)
    return f"{MARK} {found['proof']}\n{found['said']}." if found else answer


def told(answer: str) -> str:
    """How people read what the model wrote; other answers stay."""
    found = _WRITTEN.fullmatch(answer.strip())
    return f"{found['said']}: {found['proof']}." if found else answer


def turned(pieces: Generator[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """(piece of text, tokens so far) as they come; what may become a proof waits for its yes or no. Closing it closes
    `pieces`."""
    held, count, waiting = "", 0, True
    with closing(pieces):
        for piece, count in pieces:
            if not waiting:
                yield piece, count
                continue
            held = (held + piece).lstrip()
            if held and not _BEGINS.fullmatch(held):
                waiting = False
                yield held, count
        if waiting and count:
            yield told(held), count
