"""What answers are decoded with: the engine, or transformers' own forward (AdaptedLlama), which takes any architecture
and is the oracle of the tests."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from lav2.model.adapter import LayerPrompt

Prompts = tuple[LayerPrompt | None, ...]  # of each layer, see Adapter.prompt_kv


class DecoderBackend(Protocol):
    """An adapted LLaMA that generates.

    continuous: answers of several users share a step (`decode_step`), and a cache of one row can be cut and taken up
        again: lav2.inference.scheduler and prefix_cache are for such backends.
    """

    continuous: ClassVar[bool]
    llm: Any  # the frozen model, of transformers

    @property
    def device(self) -> torch.device: ...

    @property
    def proof_first(self) -> bool:
        """Whether its adapter writes what proves a yes or no before it (AdapterConfig)."""

    def visual_prompt(self, clip_tokens: Tensor) -> Tensor: ...

    def prompt_kv(self, visual_prompt: Tensor | None = None, has_image: Tensor | None = None) -> Prompts: ...

    def begin(
        self,
        rows: int,
        prompt_kv: Prompts,
        attention_mask: Tensor | None = None,
        capacity: int | None = None,
        shared_prefix: int = 0,
    ) -> Any:
        """An empty cache for texts with these prompts, of `capacity` tokens at most, reordered as transformers'."""

    def prefill(
        self, input_ids: Tensor, prompt_kv: Prompts, attention_mask: Tensor | None = None, cache: Any = None
    ) -> tuple[Tensor, Any]:
        """As the function of that name."""


def prefill(
    model: DecoderBackend,
    input_ids: Tensor,
    prompt_kv: Prompts,
    attention_mask: Tensor | None = None,
    cache: Any = None,
) -> tuple[Tensor, Any]:
    """Logits [B, vocabulary] after the last of input_ids [B, T], and the cache that holds them (a new one if None)."""
    return model.prefill(input_ids, prompt_kv, attention_mask, cache)
