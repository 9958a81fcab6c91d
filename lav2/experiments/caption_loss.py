"""How surely a trained adapter expects people's captions of photos, which tells arms apart where none of them writes a
caption yet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from lav2.config import Preset
from lav2.data.batches import Rows
from lav2.data.features import FeatureCache
from lav2.data.formats import CaptionRow, read_rows
from lav2.data.samples import join_captions
from lav2.model import checkpoint
from lav2.model.llm import load_llm
from lav2.model.vision import VisionTower
from lav2.training.warm_start import encode_text


@torch.inference_mode()
def caption_loss(preset: Preset, adapter: Path, captions: Path, cache: Path, device: str) -> list[float]:
    """Mean cross-entropy of each photo's captions, in nats a token, in the file's order.

    Args:
        preset: the frozen models.
        adapter: folder of a trained adapter.
        captions: captions.jsonl; all of its rows count.
        cache: folder of cached image features.

    Raises:
        LAV2Error: files do not fit.
    """
    llm, tokenizer = load_llm(preset.llm, torch.float32, torch.device(device))
    model = checkpoint.load(adapter, llm, tokenizer, print).eval()
    rows = [row for row in read_rows(captions) if isinstance(row, CaptionRow)]
    features = _features(model.vision_config, rows, cache, device)
    encode, ends = partial(encode_text, tokenizer), (tokenizer.bos_token_id, tokenizer.eos_token_id)
    losses = []
    for row in rows:
        told = [(ends[0], *encode(caption), ends[1]) for caption in row.captions]
        sample = join_captions(row.image, told, view=0)
        batch = Rows(lambda rng, sample=sample: [sample], features, ends[1]).collate([sample])
        losses.append(model.loss(**batch.to(model.device)).item())
    return losses


def _features(vision, rows: Sequence[CaptionRow], cache: Path, device: str) -> FeatureCache:
    features = FeatureCache(cache, vision, dict.fromkeys(row.image for row in rows), (), 1)
    if not features.complete:
        features.fill(VisionTower(vision).to(device).encode)
    return features
