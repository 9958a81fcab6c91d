"""What the findings make likely, with what the reader of texts tells of their text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from experts.evidence import Evidence
from experts.prompt_block import text_rows
from lav2.events import Turn
from lav2.reading.text_reader import TextReader
from lav2.text import weighing
from lav2.text.weighing import Likely


def of(
    evidence: Mapping[str, Evidence],
    question: str,
    history: Sequence[Turn],
    proof_first: bool,
    reader: TextReader | None,
) -> Likely:
    """As weighing.likely; a model that writes proofs first is helped by the reader of texts, if there is one.

    Args:
        history: the turns before the question, of which the reader knows the last one's question.
    """
    rows = text_rows(evidence) if proof_first and reader else []
    if not rows or reader is None:
        return weighing.likely(evidence, question, proof_first)
    earlier = history[-1].question if history else ""
    found = weighing.likely(evidence, question, proof_first, reader.told(rows, question, earlier))
    return replace(found, following=reader.verdict(rows, question, earlier))
