"""Chances that an answer begins and ends with each word of a candidate -> its likeliest spans, as the text writes them.
No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lav2.reading.candidates import Candidate
from lav2.reading.words import places

WIDEST = 9  # words of an answer, unless it is the candidate as a whole
BEST = 6  # spans that are told of a candidate


def likeliest(row: Candidate, starts: Sequence[float], ends: Sequence[float]) -> list[tuple[str, float]]:
    """The best spans of a candidate with their chances, which sum up to one over all spans; the likeliest first.

    Args:
        starts, ends: log-chances of the words of the candidate (lav2.reading.text_reader.bounds).
    """
    count = len(row.words)
    spans = {(first, last) for first in range(count) for last in range(first, min(count, first + WIDEST))}
    chances = {(first, last): math.exp(starts[first] + ends[last]) for first, last in spans | {(0, count - 1)}}
    best = sorted(chances, key=chances.__getitem__, reverse=True)[:BEST]
    total = sum(chances.values()) or 1.0
    return [(written(row.text, *span), chances[span] / total) for span in best]


def written(text: str, first: int, last: int) -> str:
    """Words `first` to `last` (lav2.reading.words) as the text has them, with letters that no word holds (é) and a
    bracket that closes one of theirs."""
    found = places(text)
    start, end = found[first][0], found[last][1]
    while start and text[start - 1].isalnum():
        start -= 1
    while end < len(text) and text[end].isalnum():
        end += 1
    said = text[start:end]
    return said + ")" if said.count("(") > said.count(")") and text[end : end + 1] == ")" else said
