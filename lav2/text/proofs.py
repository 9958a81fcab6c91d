"""Yes or no behind what proves it: the model writes "> Cash only" and then "No.", people read "No: Cash only."

A model of this size that says yes or no first has not read the row that decides; what it copies behind it is often
right where its yes or no is wrong. So an adapter may learn to copy the row first, as rows stand in the findings
(AdapterConfig.proof_first), and what it writes is turned around before anybody sees it. Source: rationales before
answers, Wei et al. 2022, arXiv 2201.11903.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import closing

MARK = ">"  # how a proof begins, as a row of the findings does (experts.prompt_block.ROW)
_VERDICT_FIRST = re.compile(r"(?P<verdict>Yes|No): (?P<proof>\S[^\n]*?)\.?")
_VERDICT = re.compile(r"(?P<verdict>Yes|No)\b\.?\s*(?P<more>.*)", re.DOTALL)


def proof_first(answer: str) -> str:
    """How the model writes an answer "No: Cash only."; other answers stay."""
    found = _VERDICT_FIRST.fullmatch(answer)
    return f"{MARK} {found['proof']}\n{found['verdict']}." if found else answer


def verdict_first(written: str) -> str:
    """How people read what the model wrote, of a proof that was cut off the row alone; other answers stay."""
    row, verdict = _parts(written.strip())
    if not row:
        return written
    found = _VERDICT.fullmatch(verdict)
    if not found:
        return row if not verdict else written
    said = f"{found['verdict']}: {row}" + ("" if row[-1] in "!?" else ".")
    return f"{said} {found['more']}".strip()


def parted(answer: str) -> tuple[str, str]:
    """ "Yes" or "No" and its proof, of an answer "No: Cash only."; two empty texts of other answers."""
    found = _VERDICT_FIRST.fullmatch(answer)
    return (found["verdict"], found["proof"]) if found else ("", "")


def awaits_verdict(written: str) -> str:
    """The proof in what a model wrote so far, where yes or no comes next; else ""."""
    row, _ = _parts(written.lstrip())
    return row if written.endswith("\n") and written.lstrip().count("\n") == 1 else ""


def stream_verdict_first(pieces: Generator[tuple[str, int]]) -> Generator[tuple[str, int]]:
    """(piece of text, tokens so far) as they come; what may become a proof waits, with empty pieces, for its verdict.
    Closing it closes `pieces`."""
    held, count, waiting = "", 0, True
    with closing(pieces):
        for piece, count in pieces:
            if waiting:
                held = (held + piece).lstrip()
                waiting = not held or _may_be_proof(held)
                piece = "" if waiting else held
            yield piece, count
    if waiting and held:
        yield verdict_first(held), count


def _parts(written: str) -> tuple[str, str]:
    """The row that proves, and what stands below it; two empty texts where the model wrote no proof."""
    row, _, verdict = written.partition("\n")
    return (row.removeprefix(MARK).strip().removesuffix("."), verdict.strip()) if row.startswith(MARK) else ("", "")


def _may_be_proof(written: str) -> bool:
    row, newline, verdict = written.partition("\n")
    verdict = verdict.lstrip()
    begins = any(word.startswith(verdict) for word in ("Yes", "No")) or bool(_VERDICT.fullmatch(verdict))
    return row.startswith(MARK) and (not newline or begins)
