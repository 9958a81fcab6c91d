"""The frozen model's own answers to plain prompts, as rows to train with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from lav2 import files
from lav2.config import Preset
from lav2.data.formats import InstructionRow
from lav2.data.samples import prompt_of
from lav2.errors import LAV2Error
from lav2.events import Sampling, Turn
from lav2.model import preflight
from lav2.model.adapted import AdaptedLlama
from lav2.model.llm import load_llm
from lav2.training.grading import answer_all
from lav2.training.optimizer import training_precision

HELD_OUT = 5  # every fifth plain prompt validates
PLAIN_ANSWER = Sampling(max_new_tokens=80, repetition_penalty=1.0)


def distil(
    preset: Preset, prompts: Path, out: Path, device: str | None = None, report: Callable[[str], None] = print
) -> None:
    """The frozen model's own answers to plain prompts, as Alpaca rows to be mixed into an instruction training.

    So tuned, it keeps its way of chatting; the rows of the split `val` tell whether it does (self-distillation).

    Args:
        preset: whose language model answers, without any adapter, in the preset's template.
        prompts: one per line.
        out: JSON list of {"instruction", "output", "split"}; an answer that does not end within PLAIN_ANSWER's length
            is left out.
        device: `cpu`, `cuda` ...; what is there if None.

    Raises:
        LAV2Error: the file cannot be read or holds no prompt, or the device is not there.
    """
    step = "Give a text file with one prompt a line."
    asked = [line.strip() for line in files.read_text(prompts, step).splitlines() if line.strip()]
    if not asked:
        raise LAV2Error(f"{prompts} holds no prompt.", step)
    target = torch.device(preflight.device(device))
    report(preflight.check(preset, training_precision(target), str(target)))
    llm, tokenizer = load_llm(preset.llm, getattr(torch, training_precision(target)), target)
    identity = replace(preset.adapter_config, fusion="late", proof_first=False)  # as a new adapter is
    plain = AdaptedLlama(llm, identity).eval()
    texts = [prompt_of(InstructionRow(None, (Turn(text, ""),)), tokenizer, preset.template) for text in asked]
    answers = answer_all(plain, tokenizer, texts, [None] * len(texts), None, PLAIN_ANSWER)
    rows = [
        {"instruction": text, "output": answer, "split": "val" if n % HELD_OUT == HELD_OUT - 1 else "train"}
        for n, (text, answer) in enumerate(zip(asked, answers, strict=True))
        if answer and len(tokenizer(answer).input_ids) < PLAIN_ANSWER.max_new_tokens
    ]
    files.write_text(out, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    report(f"{len(rows)} of {len(asked)} answers: {out}")
