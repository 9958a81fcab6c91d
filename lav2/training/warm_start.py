"""The projector's warm start: image features near the frozen model's own words."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from lav2.data.features import FeatureCache
from lav2.model.adapted import AdaptedLlama


def encode_text(tokenizer, text: str) -> list[int]:
    """Token ids of a text, without special tokens."""
    return tokenizer(text, add_special_tokens=False).input_ids


def warm_start(
    model: AdaptedLlama,
    words: dict[str, set[int]],
    features: FeatureCache,
    steps: int,
    batch: int = 64,
    lr: float = 1e-3,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> None:
    """Teach the projector to name what is in a photo before the language model is asked: much cheaper per photo.

    Each visual prompt is compared with the frozen token embeddings; a photo's best match per token must tell
    which tokens its captions hold (binary cross-entropy). Not in the paper; measured in docs/LOG.md.

    Args:
        words: token ids of all captions, by photo.
        features: of those photos.
        steps: optimiser steps of `batch` photos, or of all where there are fewer.
    """
    images = list(words)
    batch = min(batch, len(images))
    counts = torch.zeros(model.llm.config.vocab_size)
    for ids in words.values():
        counts[list(ids)] += 1
    known = (counts >= max(5, 0.001 * len(images))).nonzero()[:, 0]  # [W] tokens with enough examples
    if not len(known):
        report(f"No warm start: no word stands in the captions of 5 of the {len(images)} photos.")
        return
    index_of = {int(token): index for index, token in enumerate(known)}
    truth = torch.zeros(len(images), len(known))  # [photos, W]
    for row, ids in enumerate(words.values()):
        truth[row, [index_of[token] for token in ids if token in index_of]] = 1
    embedding = model.llm.get_input_embeddings().weight[known].float()
    embedding = F.normalize(embedding - embedding.mean(0), dim=-1)  # [W, D], without what all tokens share
    # Without knowledge of the photo the loss is the tokens' own entropy; logsumexp over K equal matches is log K.
    offset = torch.logit(truth.mean(0).clamp(1e-4, 1 - 1e-4)) - math.log(model.config.prompt_length)
    offset.requires_grad_()
    scale = torch.tensor(1.0).requires_grad_()
    model.requires_grad_(False)
    trained = list(model.projector.requires_grad_(True).parameters())
    optim = torch.optim.AdamW(
        [{"params": trained, "weight_decay": 0.05}, {"params": [offset, scale], "weight_decay": 0.0}], lr=lr
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, [lr, 10 * lr], total_steps=steps, pct_start=0.1)
    rng = np.random.default_rng(seed)
    views = np.array([features.views(image) for image in images])
    model.projector.train()
    bar = tqdm(range(steps), desc="warm start", unit="step")
    for step in bar:
        rows = rng.choice(len(images), batch, replace=False)
        tokens = features.get([images[row] for row in rows], rng.integers(views[rows]))
        prompt = model.visual_prompt(tokens)  # [B, K, D]
        match = torch.logsumexp(scale * prompt @ embedding.T, dim=1)  # [B, W]
        loss = F.binary_cross_entropy_with_logits(match + offset, truth[rows]) * len(known)
        optim.zero_grad(set_to_none=True)
        loss.backward()
        optim.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.2f}")
        if (step + 1) % 100 == 0:
            report(f"warm start, step {step + 1}: {loss.item():.2f} nats per photo")
