"""A step of training."""

from __future__ import annotations

import resource

import torch
import torch.nn.functional as F

from lav2 import config
from lav2.bench.harness import Options, apart, in_turns, opened, seconds, show
from lav2.model.adapted import IGNORED

BATCH, LENGTH = 8, 60  # rows and tokens of a training step


def _training_step(preset: str, naive: bool, repeats: int) -> dict[str, float]:
    """In a process of its own, since peak memory is the process's."""
    adapted, tokenizer = opened(config.preset(preset), torch.float32)  # as `lav2 train` on a CPU
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(3, len(tokenizer), (BATCH, LENGTH), generator=rng)
    labels = torch.where(torch.arange(LENGTH) < LENGTH * 3 // 4, IGNORED, ids)
    vision = adapted.vision_config
    photos = torch.randn(BATCH, vision.tokens, vision.width, generator=rng)
    mask = torch.ones_like(ids)
    chosen = list(adapted.set_stage("finetune").values())
    if naive:  # every weight gets a gradient and every position goes through the vocabulary
        adapted.requires_grad_(True)
    optim = torch.optim.AdamW(chosen)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def step() -> float:
        def run() -> None:
            if naive:
                logits = adapted(ids, adapted.prompt_kv(adapted.visual_prompt(photos)), attention_mask=mask).logits
                loss = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten())
            else:
                loss = adapted.loss(ids, mask, labels, photos)
            optim.zero_grad(set_to_none=True)
            loss.backward()
            optim.step()

        return BATCH / seconds(run)

    rate = in_turns({"step": step}, repeats)["step"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    over = (peak - before) / 1e6
    return {"samples/s": rate, "median": rate.median, "peak GB": peak / 1e6, "GB over the model": over}


def training(options: Options) -> list[dict]:
    """One step of the instruction stage, against a loop that gives every weight a gradient."""
    rows = []
    for name, naive in (("naive loop", True), ("lav2", False)):
        rows.append({"training": name, **apart(_training_step, options.preset, naive, options.repeats)})
    base = rows[0]["median"]
    rows = [{**row, "x naive": row["median"] / base} for row in rows]
    show(f"training: {BATCH} rows of {LENGTH} tokens in float32, a quarter of them learned", rows)
    return rows
