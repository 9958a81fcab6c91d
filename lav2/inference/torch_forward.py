"""The engine's forward in torch's operations: prompts, and tokens where neither decode.c nor the GPU's kernels step in.

Words as in engine.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lav2.inference.cache import Cache

NATIVE_ROWS = 32  # up to which a token of each row is a step of decode.c or kernels.py; more are read as a prompt is


class TorchForward:
    """The methods of Engine that compute in torch; the weights and sizes are Engine's."""

    @torch.inference_mode()
    def _forward(self, input_ids: Tensor, cache: Cache) -> Tensor:
        begin, end = cache.length, cache.length + input_ids.shape[1]
        mask = self._mask(cache, begin, end)
        positions = (torch.arange(begin, end, device=self.device) - cache.first[:, None]).clamp(min=0)  # [B, T]
        return self._decoder_layers(input_ids, positions, lambda layer, qkv: self._attended(layer, qkv, cache, mask))

    @torch.inference_mode()
    def _shared(self, tokens: Tensor, caches: Sequence[Cache]) -> Tensor:
        """`_forward` of one token of texts that have a cache each: all but the attention is done together."""
        positions = torch.cat([cache.length - cache.first for cache in caches])[:, None]  # [B, 1]
        masks = [self._mask(cache, cache.length, cache.length + 1) for cache in caches]

        def attended(layer: int, qkv: Tensor) -> Tensor:
            rows = zip(qkv.split([len(cache.first) for cache in caches]), caches, masks, strict=True)
            return torch.cat([self._attended(layer, row, cache, mask) for row, cache, mask in rows])

        return self._decoder_layers(tokens, positions, attended)

    def _attended(self, layer: int, qkv: Tensor, cache: Cache, mask: Tensor | None) -> Tensor:
        """[B, T, H + 2G, A] -> [B, H, T, A]; the new keys and values go into the cache."""
        end = cache.length + qkv.shape[1]
        cache.kv[layer][:, cache.length : end] = qkv[:, :, self.heads :]
        return self._mixed(layer, qkv, cache, end, mask)

    def _mixed(self, layer: int, qkv: Tensor, cache: Cache, end: int, mask: Tensor | None) -> Tensor:
        """What queries [B, T, H + 2G, A] make of the cache up to `end` and of its prompts: [B, H, T, A]."""
        rows, count = qkv.shape[:2]
        prompt = cache.prompts[layer]
        query = qkv[:, :, : self.heads].transpose(1, 2).to(self.cache_dtype)  # [B, H, T, A]
        key, value = cache.kv[layer][:, :end].transpose(1, 2).split(self.groups, dim=1)  # [B, G, S, A]
        mixed = F.scaled_dot_product_attention(
            query, key, value, mask, is_causal=mask is None and count > 1, scale=self.scaling, enable_gqa=True
        )
        if prompt is not None:
            kv, gate = prompt
            key, value = kv.expand(rows, -1, -1, -1).transpose(1, 2).split(self.groups, dim=1)  # [B, G, K, A]
            of_prompt = F.scaled_dot_product_attention(query, key, value, scale=self.scaling, enable_gqa=True)
            mixed = torch.addcmul(mixed, of_prompt, gate)
        return mixed

    def _decoder_layers(
        self, input_ids: Tensor, positions: Tensor, attended: Callable[[int, Tensor], Tensor]
    ) -> Tensor:
        """All layers on tokens at `positions` [B, T] of their texts; logits [B, V] after the last."""
        rows, count = input_ids.shape
        heads, groups = self.heads, self.groups
        cosine, sine = (
            torch.cat([table[positions][:, :, None].expand(-1, -1, heads + groups, -1), rest], 2).to(self.dtype)
            for table, rest in (
                (self.cosine, torch.ones(rows, count, groups, self.head_width, device=self.device)),
                (self.signed, torch.zeros(rows, count, groups, self.head_width, device=self.device)),
            )  # values are "rotated" by nothing, so that queries, keys and values stay one tensor
        )
        x = F.embedding(input_ids, self.embedding).to(self.dtype)
        scratch = torch.empty(self._largest, dtype=self.matmul_dtype) if self.int8 else None
        for number, layer in enumerate(self.layers):
            before, after, of_queries, of_keys = layer.norms
            # [B, T, H + 2G, A]
            qkv = layer.qkv(self._normed(x, before), scratch).view(rows, count, -1, self.head_width)
            if of_queries is not None:
                qkv = torch.cat([
                    self._normed(qkv[:, :, :heads], of_queries),
                    self._normed(qkv[:, :, heads : heads + groups], of_keys),
                    qkv[:, :, heads + groups :],
                ], 2)  # fmt: skip
            qkv = torch.addcmul(qkv * cosine, qkv.roll(self.head_width // 2, -1), sine)
            mixed = attended(number, qkv)
            x = x + layer.out(mixed.transpose(1, 2).reshape(rows, count, -1).to(self.dtype), scratch)
            gate, up = layer.gate_up(self._normed(x, after), scratch).chunk(2, -1)
            x = x + layer.down(F.silu(gate) * up, scratch)
        return self._vocabulary(self._normed(x[:, -1], self.norm))

    def _mask(self, cache: Cache, begin: int, end: int) -> Tensor | None:
        """[B or 1, 1, T, S], True where a token looks; None: at everything before it, from the cache's start."""
        if not any(cache.begins) and (begin == 0 or end - begin == 1):
            return None
        token, key = torch.arange(begin, end, device=self.device)[:, None], torch.arange(end, device=self.device)
        text = key >= cache.first[:, None, None]  # [B, 1, S]
        return ((key <= token) & text | (key == token))[:, None]  # padding looks at itself: nothing would be NaN

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self.epsilon)

    def _vocabulary(self, x: Tensor) -> Tensor:  # [B, D] -> [B, V]
        if not self.int8 or len(x) > NATIVE_ROWS:
            return self.head(x)[:, : len(self.embedding)]  # without the rows that fill up an int8 matrix
        logits, scratch = torch.empty(len(x), len(self.embedding)), torch.empty(x.numel() + 16)
        self.library.lav2_linear(
            self.head.weight.data_ptr(), self.head.factor.data_ptr(), x.contiguous().data_ptr(), len(x), x.shape[1],
            logits.shape[1], scratch.data_ptr(), logits.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return logits
