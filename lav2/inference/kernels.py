"""One more token of a few rows on a GPU: what decode.c is on a CPU, in Triton's kernels around cuBLAS' products.

torch's own operations are a dozen small kernels a layer, which take a third of the time that the weights take to be
read; here they are five. Where a row's cache and prompts lie stands in a table of addresses, as decode.c reads it, so
that a step is recorded as a CUDA graph once and replayed for whichever texts want a token.

Words as in engine.py: B rows, D width, H query heads, G key/value heads, A head width, F feed-forward width.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

LOWEST = tl.constexpr(-1e30)  # of scores: less than any, and less itself gives 0
AT_ONCE = 128  # keys
PARTS = 4  # of a text, read side by side; of several texts fewer
PIECE = 1024  # numbers of the feed-forward at once


@triton.jit
def _add_norm(x, y, weight, out, width, epsilon, ADDS: tl.constexpr, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    inside = at < width
    place = tl.program_id(0) * width + at
    wide = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    if ADDS:
        wide += tl.load(y + place, mask=inside, other=0.0).to(tl.float32)
        added = wide.to(x.dtype.element_ty)
        tl.store(x + place, added, mask=inside)
        wide = added.to(tl.float32)
    scale = 1 / tl.sqrt(tl.sum(wide * wide, 0) / width + epsilon)
    tl.store(out + place, wide * scale * tl.load(weight + at, mask=inside, other=0.0), mask=inside)


@triton.jit
def _silu_times(gate_up, out, width, SIZE: tl.constexpr):
    row, at = tl.program_id(0), tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    inside = at < width
    gate = tl.load(gate_up + row * 2 * width + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * width + at, gate / (1 + tl.exp(-gate)) * up, mask=inside)


@triton.jit
def _turned(vector, weight, cosine, signed, epsilon, at, inside, HEAD: tl.constexpr, NORMS: tl.constexpr):
    """A query or key [A], normalised if there are norms for it, rotated by its place."""
    other = (at + HEAD // 2) % HEAD
    own = tl.load(vector + at, mask=inside, other=0.0).to(tl.float32)
    rolled = tl.load(vector + other, mask=inside, other=0.0).to(tl.float32)
    if NORMS:
        scale = 1 / tl.sqrt(tl.sum(own * own, 0) / HEAD + epsilon)
        own *= scale * tl.load(weight + at, mask=inside, other=0.0)
        rolled *= scale * tl.load(weight + other, mask=inside, other=0.0)
    cos = tl.load(cosine + at, mask=inside, other=0.0)
    return own * cos + rolled * tl.load(signed + at, mask=inside, other=0.0)


@triton.jit
def _look(query, keys, values, begin, end, step, at, inside, SIZE: tl.constexpr, AT_ONCE: tl.constexpr):
    """Softmax over keys and values [A] that lie `step` apart, from begin to end: the highest score, the sum of what
    they weigh against it, and the weighted sum of values. Every AT_ONCE-th key is weighed apart from the others until
    the end: putting them together takes longer than reading them."""
    top = tl.full([AT_ONCE], LOWEST, tl.float32)
    total = tl.zeros([AT_ONCE], tl.float32)
    mixed = tl.zeros([AT_ONCE, SIZE], tl.float32)
    for first in range(begin, end, AT_ONCE):
        rows = first + tl.arange(0, AT_ONCE)
        where, there = (rows * step)[:, None] + at[None, :], rows < end
        key = tl.load(keys + where, mask=there[:, None] & inside[None, :], other=0.0)
        value = tl.load(values + where, mask=there[:, None] & inside[None, :], other=0.0)
        score = tl.where(there, tl.sum(key.to(tl.float32) * query[None, :], 1), LOWEST)
        higher = tl.maximum(top, score)
        weight, fade = tl.where(there, tl.exp(score - higher), 0.0), tl.exp(top - higher)
        mixed = mixed * fade[:, None] + weight[:, None] * value.to(tl.float32)
        total = total * fade + weight
        top = higher
    highest = tl.max(top, 0)
    fade = tl.exp(top - highest)
    return highest, tl.sum(total * fade, 0), tl.sum(mixed * fade[:, None], 0)


@triton.jit
def _attend(
    qkv, seen, weighed, state, places, first, cosine, signed, norm_q, norm_k, epsilon, scaling,
    HEADS: tl.constexpr, GROUPS: tl.constexpr, HEAD: tl.constexpr, SIZE: tl.constexpr, NORMS: tl.constexpr,
    PARTS: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """One part of a row's text for one head, or its prompt (part PARTS), which _merge puts together: a single program
    would read a long text slower than the whole GPU reads the layer's weights."""
    row, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    share: tl.constexpr = HEADS // GROUPS
    at = tl.arange(0, SIZE)
    inside = at < HEAD
    kind = qkv.dtype
    place, begin = tl.load(places + row), tl.load(first + row)
    turn = (place - begin) * HEAD
    qkv += row * (HEADS + 2 * GROUPS) * HEAD
    query = _turned(qkv + head * HEAD, norm_q, cosine + turn, signed + turn, epsilon, at, inside, HEAD, NORMS)
    query = query.to(kind.element_ty).to(tl.float32) * scaling
    prompt = part == PARTS
    size = tl.cdiv(tl.cdiv(place - begin, PARTS), AT_ONCE) * AT_ONCE
    start = tl.where(prompt, 0, begin + part * size)
    end = tl.where(prompt, tl.load(state + row * 4 + 3), tl.minimum(start + size, place))
    # Triton reads 16 bytes at once where it knows that an address is a multiple of them; torch's all are.
    base = tl.multiple_of(tl.load(state + row * 4 + prompt.to(tl.int32)).to(kind), 16)
    group, step = head // share, 2 * GROUPS * HEAD
    keys = base + group * HEAD
    top, total, mixed = _look(query, keys, keys + GROUPS * HEAD, start, end, step, at, inside, SIZE, AT_ONCE)
    if part == 0:  # the new token as well
        key_at = qkv + (HEADS + group) * HEAD
        key = _turned(key_at, norm_k, cosine + turn, signed + turn, epsilon, at, inside, HEAD, NORMS)
        key = key.to(kind.element_ty)
        value = tl.load(key_at + GROUPS * HEAD + at, mask=inside, other=0.0)
        if head % share == 0:  # the others of its group do not read it from the cache
            tl.store(keys + place * step + at, key, mask=inside)
            tl.store(keys + place * step + GROUPS * HEAD + at, value, mask=inside)
        own = tl.sum(query * key.to(tl.float32), 0)
        higher = tl.maximum(top, own)
        weight, fade = tl.exp(own - higher), tl.exp(top - higher)
        mixed = mixed * fade + weight * value.to(tl.float32)
        total = total * fade + weight
        top = higher
    out = (row * HEADS + head) * (PARTS + 1) + part
    tl.store(seen + out * 2, top)
    tl.store(seen + out * 2 + 1, total)
    tl.store(weighed + out * SIZE + at, mixed)


@triton.jit
def _merge(
    seen, weighed, state, out, HEADS: tl.constexpr, HEAD: tl.constexpr, SIZE: tl.constexpr, PARTS: tl.constexpr
):
    row, head = tl.program_id(0), tl.program_id(1)
    at, part = tl.arange(0, SIZE), tl.arange(0, PARTS)
    pair = row * HEADS + head
    start = pair * (PARTS + 1)
    top = tl.load(seen + (start + part) * 2)
    fade = tl.exp(top - tl.max(top, 0))
    total = tl.sum(tl.load(seen + (start + part) * 2 + 1) * fade, 0)
    mixed = tl.sum(tl.load(weighed + (start + part)[:, None] * SIZE + at[None, :]) * fade[:, None], 0) / total
    prompted = tl.load(seen + (start + PARTS) * 2 + 1)
    if prompted > 0:
        gate = tl.load(tl.load(state + row * 4 + 2).to(out.dtype) + head).to(tl.float32)
        mixed += tl.load(weighed + (start + PARTS) * SIZE + at) * (gate / prompted)
    tl.store(out + pair * HEAD + at, mixed, mask=at < HEAD)


def add_norm(x: Tensor, y: Tensor | None, weight: Tensor, epsilon: float) -> Tensor:
    """The root mean square norm of x [B, D], to which y [B, D] is added first where it lies."""
    out = torch.empty_like(x)
    width = x.shape[1]
    size = triton.next_power_of_2(width)
    _add_norm[(len(x),)](x, x if y is None else y, weight, out, width, epsilon, y is not None, size,
                         num_warps=8 if size > 1024 else 4)  # fmt: skip
    return out


def silu_times(gate_up: Tensor) -> Tensor:
    """SiLU(gate) · up of [B, 2F]: [B, F]."""
    rows, width = len(gate_up), gate_up.shape[1] // 2
    out = gate_up.new_empty(rows, width)
    _silu_times[(rows, triton.cdiv(width, PIECE))](gate_up, out, width, PIECE)
    return out


def attend(
    qkv: Tensor, state: Tensor, places: Tensor, first: Tensor, cosine: Tensor, signed: Tensor,
    norms: tuple[Tensor | None, Tensor | None], epsilon: float, scaling: float, heads: int, groups: int,
) -> Tensor:  # fmt: skip
    """What the queries of qkv [B, (H + 2G) · A] make of their row's cache and prompts, [B, H · A]; the new keys and
    values go into the caches (flash decoding: https://pytorch.org/blog/flash-decoding/).

    Args:
        state: [B, 4] addresses of each row's cache [S, 2G, A], of its prompt [K, 2G, A] and that one's gates [H], and K
            (lav2.inference.cache.Cache.state).
        places, first: [B] the token's place in the cache, and where the row's text begins there.
        cosine, signed: [context, A] float32, the second one's first half negative.
        norms: weights [A] of queries' and keys' norms, if they have some.
    """
    rows, head = len(qkv), qkv.shape[1] // (heads + 2 * groups)
    size, parts = triton.next_power_of_2(head), max(1, PARTS // triton.next_power_of_2(rows))
    out = qkv.new_empty(rows, heads * head)
    seen = qkv.new_empty((rows, heads, parts + 1, 2), dtype=torch.float32)
    weighed = qkv.new_empty((rows, heads, parts + 1, size), dtype=torch.float32)
    of_queries, of_keys = (qkv if norm is None else norm for norm in norms)
    _attend[(rows, heads, parts + 1)](
        qkv, seen, weighed, state, places, first, cosine, signed, of_queries, of_keys, epsilon, scaling,
        heads, groups, head, size, norms[0] is not None, parts, AT_ONCE, num_warps=8,
    )  # fmt: skip
    _merge[(rows, heads)](seen, weighed, state, out, heads, head, size, parts, num_warps=1)
    return out
