"""The two forwards that answers are decoded with: the engine and transformers' own."""

from __future__ import annotations

from torch import Tensor
from transformers import DynamicCache

from lav2.inference.cache import Cache
from lav2.inference.engine import Engine
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import LayerPrompt

DecoderBackend = AdaptedLlama | Engine


def prefill(
    model: DecoderBackend,
    input_ids: Tensor,
    prompt_kv: tuple[LayerPrompt | None, ...],
    attention_mask: Tensor | None = None,
    cache: DynamicCache | Cache | None = None,
) -> tuple[Tensor, DynamicCache | Cache]:
    """Logits [B, vocabulary] after the last position of input_ids [B, T], and the cache that holds them."""
    if isinstance(model, Engine):
        return model(input_ids, prompt_kv, attention_mask, cache)
    cache = cache or DynamicCache(config=model.llm.config)
    kwargs = {}
    if attention_mask is not None:  # left padding: positions count real tokens
        kwargs = {
            "attention_mask": attention_mask,
            "position_ids": (attention_mask.cumsum(-1) - 1).clamp(min=0)[:, -input_ids.shape[1] :],
        }
    output = model(input_ids, prompt_kv, past_key_values=cache, use_cache=True, logits_to_keep=1, **kwargs)
    return output.logits[:, -1], cache
