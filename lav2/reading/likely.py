"""What the findings make likely, with what the reader of proofs tells of their text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experts.evidence import Evidence
from experts.prompt_block import text_rows
from lav2.events import Turn
from lav2.reading.proof_reader import ProofReader
from lav2.text import weighing
from lav2.text.weighing import Likely


def of(
    evidence: Mapping[str, Evidence],
    question: str,
    history: Sequence[Turn],
    proof_first: bool,
    reader: ProofReader | None,
) -> Likely:
    """As weighing.answer_bias; a model that writes proofs first is helped by the reader of proofs, if there is one.

    Args:
        history: the turns before the question, of which the reader knows the last one's question.
    """
    rows = text_rows(evidence) if proof_first and reader else []
    if not rows or reader is None:
        return Likely(weighing.answer_bias(evidence, question, proof_first))
    earlier = history[-1].question if history else ""
    told = reader.told(rows, question, earlier)
    return Likely(weighing.answer_bias(evidence, question, proof_first, told), reader.verdict(question, earlier))
