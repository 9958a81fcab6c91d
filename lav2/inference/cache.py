"""Keys and values of the tokens so far, in memory that is allocated once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lav2.model.adapter import LayerPrompt

# Tokens of a long prompt that are read at once. Chunks end at multiples, and behind Cache.shared_prefix: what a chunk
# computes depends only on what stands before it, so an answer is the same to the last bit with and without earlier
# chunks in a cache.
PREFILL_CHUNK = 128
GPU_PREFILL_CHUNK = 512  # a GPU reads as many in 16 ms (7B on an H200), of which launching the kernels is most


def prefill_chunk(device: torch.device) -> int:
    """Tokens of a prompt that are read at once on this device, at most."""
    return PREFILL_CHUNK if device.type == "cpu" else GPU_PREFILL_CHUNK


def packed(prompt: LayerPrompt | None, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
    """A layer's prompt as decode.c and kernels.py read it: keys and values [B or 1, K, 2G, A], gates."""
    if prompt is None:
        return None
    key, value, gate = prompt
    kv = torch.cat([key, value], dim=1).transpose(1, 2)
    return kv.to(dtype).contiguous(), gate.to(dtype).contiguous()


@dataclass
class Cache:
    """Keys and values of the tokens so far, and the adaptation prompts of each row's photo."""

    kv: Tensor  # [layers, B, capacity, 2G, A]
    prompts: list[tuple[Tensor, Tensor] | None]  # per layer keys and values [B or 1, K, 2G, A] and gates
    # [B or 1, H, 1, 1]
    first: Tensor  # [B] where each row's text begins (left padding)
    shared_prefix: int = 0  # tokens of a beginning that many texts share: a chunk ends behind it as well
    length: int = 0
    state: Tensor = field(init=False)  # [layers, B, 4] the addresses that decode.c and kernels.py read
    begins: list[int] = field(init=False)  # `first`

    def __post_init__(self) -> None:
        def addresses(part: Tensor, count: int) -> list[int]:  # of `count` rows; one of which may stand for all
            step = part.stride(0) * part.element_size() if len(part) > 1 else 0
            return [part.data_ptr() + row * step for row in range(count)]

        layers = []
        for kv, prompt in zip(self.kv, self.prompts, strict=True):
            columns = [addresses(kv, len(kv))] + [[0] * len(kv)] * 3
            if prompt is not None:
                columns[1:] = [addresses(part, len(kv)) for part in prompt] + [[prompt[0].shape[1]] * len(kv)]
            layers.append(list(zip(*columns, strict=True)))
        self.state = torch.tensor(layers, device=self.kv.device)
        self.begins = self.first.tolist()

    def decode_arguments(self, row: int, offset: int) -> tuple[int, int, int, int]:
        """What decode.c takes for the token `offset` behind the next one of a row: its position in the cache, where its
        text begins there, the address of the row's state, and the stride between two layers' states (in numbers)."""
        return self.length + offset, self.begins[row], self.state.data_ptr() + row * 4 * 8, self.state.stride(0)

    @property
    def capacity(self) -> int:
        """Tokens that it holds at most."""
        return self.kv.shape[2]

    @property
    def chunk(self) -> int:
        """Tokens to the end of the chunk of a prompt that the next token is in."""
        size = prefill_chunk(self.kv.device)
        end = self.length // size * size + size
        return (min(end, self.shared_prefix) if self.length < self.shared_prefix else end) - self.length

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row becomes `repeats` rows, as transformers' caches do it."""
        self.batch_select_indices(torch.arange(len(self.first), device=self.first.device).repeat_interleave(repeats))

    def batch_select_indices(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was, and there are as many as `rows`, as transformers' caches do it."""
        kv = self.kv.new_empty((len(self.kv), len(rows), *self.kv.shape[2:]))
        kv[:, :, : self.length] = self.kv[:, rows, : self.length]
        self.kv, self.first = kv, self.first[rows]
        self.prompts = [
            None if prompt is None else tuple(p if len(p) == 1 else p[rows] for p in prompt) for prompt in self.prompts
        ]
        self.__post_init__()

    def reorder_cache(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was, as transformers' caches do it; only among rows of one photo."""
        self.kv[:, :, : self.length] = self.kv[:, rows, : self.length]


def addresses_of(caches: Sequence[Cache]) -> tuple[Tensor, Tensor, Tensor]:
    """Of all rows of the caches: addresses [layers, B, 4] (Cache.state), the next token's position in the row's cache
    [B], and where the row's text begins there [B]."""
    return (
        torch.cat([cache.state for cache in caches], dim=1),
        torch.cat([torch.full_like(cache.first, cache.length) for cache in caches]),
        torch.cat([cache.first for cache in caches]),
    )
