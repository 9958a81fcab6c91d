"""How surely a trained adapter expects people's captions of photos, which tells arms apart where none of them writes a
caption yet."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from lav2.config import Preset
from lav2.data.formats import CaptionRow, read_rows
from lav2.data.samples import caption_rows
from lav2.model import checkpoint
from lav2.model.llm import load_llm
from lav2.training.selection import photo_features
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
    features = photo_features(model.vision_config, {"train": [], "val": rows}, {}, cache, 1, device)
    encode, ends = partial(encode_text, tokenizer), (tokenizer.bos_token_id, tokenizer.eos_token_id)
    losses = []
    for row in rows:
        (batch,) = caption_rows([row], encode, *ends, features, together=len(row.captions)).fixed(1)
        losses.append(model.loss(**batch.to(model.device)).item())
    return losses
