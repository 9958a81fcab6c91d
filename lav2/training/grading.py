"""Held-out questions that are answered and graded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from lav2.data.features import FeatureCache
from lav2.data.formats import InstructionRow
from lav2.data.samples import prompt_of
from lav2.events import Sampling
from lav2.inference import search, streaming
from lav2.instruct.grading import is_right, obeys
from lav2.model.adapted import AdaptedLlama
from lav2.reading import likely as likely_answers
from lav2.text import proofs
from lav2.text.weighing import Likely

GRADED_ROWS = 256  # held-out questions that are answered and graded when a run ends


def answer_all(
    model: AdaptedLlama,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    images: Sequence[str | None],
    features: FeatureCache | None,
    sampling: Sampling,
    batch: int = 32,
    likely: Sequence[Likely] | None = None,
) -> list[str]:
    """Answers to prompts about photos, in their order; rows of like length go through the model together.

    Args:
        images: each prompt's photo, None: text only.
        features: of the photos.
        likely: answers to each prompt that are likely for another reason (lav2.inference.streaming).
    """
    answers = [""] * len(prompts)
    for part in tqdm(alike(tokenizer, prompts, images, batch), desc="answers", unit="batch", disable=None):
        shown = [images[i] for i in part if images[i] is not None]
        with torch.inference_mode():
            visual = model.visual_prompt(features.get(shown)) if shown else None
            kv = model.prompt_kv(visual)
        found = search.batch(model, tokenizer, [prompts[i] for i in part], kv, sampling,
                             [likely[i] for i in part] if likely else ())  # fmt: skip
        for i, answer in zip(part, found, strict=True):
            answers[i] = proofs.verdict_first(answer) if model.proof_first else answer
    return answers


def alike(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], images: Sequence[str | None], batch: int
) -> list[list[int]]:
    """Which rows `answer_all` takes together: of like length, those with and without a photo apart."""
    lengths = [len(streaming.encode(tokenizer, prompt)) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (images[i] is None, lengths[i]))
    parts = []
    for without_photo in (False, True):
        rows = [i for i in order if (images[i] is None) == without_photo]
        parts += [rows[first : first + batch] for first in range(0, len(rows), batch)]
    return parts


def grade(
    model: AdaptedLlama,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    rows: Sequence[InstructionRow],
    features: FeatureCache | None,
) -> dict[str, float | int]:
    """Share of right greedy answers by kind of question (lav2.instruct), and over all that a program can grade."""
    rows = [row for row in rows if "truth" in row.facts]
    prompts = [prompt_of(row, tokenizer, template) for row in rows]
    sampling = Sampling(max_new_tokens=48)
    biases = [
        likely_answers.of(row.evidence, row.turns[-1].question, row.turns[:-1], model.proof_first, None) for row in rows
    ]
    answers = answer_all(model, tokenizer, prompts, [row.image for row in rows], features, sampling, likely=biases)
    right: dict[str, list[bool]] = {}
    obeyed = []
    for row, answer in zip(rows, answers, strict=True):
        verdict = is_right(row.facts, answer)
        if verdict is not None:
            right.setdefault(row.kind, []).append(verdict)
        if "forbidden" in row.facts and not row.facts["reads"]:
            obeyed.append(obeys(row.facts, answer))
    verdicts = [verdict for part in right.values() for verdict in part]
    scores = {kind: round(sum(part) / len(part), 4) for kind, part in sorted(right.items())}
    return {**scores, "all": round(sum(verdicts) / max(1, len(verdicts)), 4), "judged": len(verdicts),
            "obeyed": round(sum(obeyed) / max(1, len(obeyed)), 4)}  # fmt: skip
