"""Evidence -> the block of the prompt, with the one budget that answering, training and evaluation share. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from experts.evidence import Evidence
from experts.render import render
from lav2 import claims

EVIDENCE_BUDGET = 320  # tokens


def block(evidence: Mapping[str, Evidence], question: str, count_tokens: Callable[[str], int]) -> str:
    """experts.render's block within EVIDENCE_BUDGET tokens of the model's own counting; "" with experts off."""
    return render(evidence, count_tokens, EVIDENCE_BUDGET, claims.asked(question))
