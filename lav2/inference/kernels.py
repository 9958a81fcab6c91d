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
KEY_BLOCK = 128  # keys that a program reads at once
SPLITS = 4  # of a text, read side by side; of several texts fewer
FEED_FORWARD_BLOCK = 1024  # numbers of the feed-forward at once


@triton.jit
def _add_norm(x, y, weight, out, width, epsilon, ADDS: tl.constexpr, SIZE: tl.constexpr):
    offsets = tl.arange(0, SIZE)
    inside = offsets < width
    element = tl.program_id(0) * width + offsets
    wide = tl.load(x + element, mask=inside, other=0.0).to(tl.float32)
    if ADDS:
        wide += tl.load(y + element, mask=inside, other=0.0).to(tl.float32)
        added = wide.to(x.dtype.element_ty)
        tl.store(x + element, added, mask=inside)
        wide = added.to(tl.float32)
    scale = 1 / tl.sqrt(tl.sum(wide * wide, 0) / width + epsilon)
    tl.store(out + element, wide * scale * tl.load(weight + offsets, mask=inside, other=0.0), mask=inside)


@triton.jit
def _silu_times(gate_up, out, width, SIZE: tl.constexpr):
    row, offsets = tl.program_id(0), tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    inside = offsets < width
    gate = tl.load(gate_up + row * 2 * width + offsets, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + offsets, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * width + offsets, gate / (1 + tl.exp(-gate)) * up, mask=inside)


@triton.jit
def _norm_and_rotate(vector, weight, cosine, signed, epsilon, offsets, inside, HEAD: tl.constexpr, NORMS: tl.constexpr):
    """A query or key [A], normalised if there are norms for it, rotated by its position."""
    other = (offsets + HEAD // 2) % HEAD
    own = tl.load(vector + offsets, mask=inside, other=0.0).to(tl.float32)
    rolled = tl.load(vector + other, mask=inside, other=0.0).to(tl.float32)
    if NORMS:
        scale = 1 / tl.sqrt(tl.sum(own * own, 0) / HEAD + epsilon)
        own *= scale * tl.load(weight + offsets, mask=inside, other=0.0)
        rolled *= scale * tl.load(weight + other, mask=inside, other=0.0)
    cos = tl.load(cosine + offsets, mask=inside, other=0.0)
    return own * cos + rolled * tl.load(signed + offsets, mask=inside, other=0.0)


@triton.jit
def _partial_softmax(
    query, keys, values, begin, end, step, offsets, inside, SIZE: tl.constexpr, KEY_BLOCK: tl.constexpr
):
    """Softmax over keys and values [A] that lie `step` apart, from begin to end: the highest score, the sum of
    the weights against it, and the weighted sum of values. KEY_BLOCK sums are kept apart until the end: to merge them
    takes longer than to read the keys."""
    maximum = tl.full([KEY_BLOCK], LOWEST, tl.float32)
    total = tl.zeros([KEY_BLOCK], tl.float32)
    mixed = tl.zeros([KEY_BLOCK, SIZE], tl.float32)
    for first in range(begin, end, KEY_BLOCK):
        rows = first + tl.arange(0, KEY_BLOCK)
        where, there = (rows * step)[:, None] + offsets[None, :], rows < end
        key = tl.load(keys + where, mask=there[:, None] & inside[None, :], other=0.0)
        value = tl.load(values + where, mask=there[:, None] & inside[None, :], other=0.0)
        score = tl.where(there, tl.sum(key.to(tl.float32) * query[None, :], 1), LOWEST)
        higher = tl.maximum(maximum, score)
        weight, rescale = tl.where(there, tl.exp(score - higher), 0.0), tl.exp(maximum - higher)
        mixed = mixed * rescale[:, None] + weight[:, None] * value.to(tl.float32)
        total = total * rescale + weight
        maximum = higher
    highest = tl.max(maximum, 0)
    rescale = tl.exp(maximum - highest)
    return highest, tl.sum(total * rescale, 0), tl.sum(mixed * rescale[:, None], 0)


@triton.jit
def _attend_split(
    qkv, stats, partials, state, positions, first, cosine, signed, norm_q, norm_k, epsilon, scaling,
    HEADS: tl.constexpr, GROUPS: tl.constexpr, HEAD: tl.constexpr, SIZE: tl.constexpr, NORMS: tl.constexpr,
    SPLITS: tl.constexpr, KEY_BLOCK: tl.constexpr,
):  # fmt: skip
    """One part of a row's text for one head, or its prompt (part SPLITS), for _merge_partials: a single program would
    read a long text slower than the whole GPU reads the layer's weights."""
    row, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    share: tl.constexpr = HEADS // GROUPS
    offsets = tl.arange(0, SIZE)
    inside = offsets < HEAD
    pointer = qkv.dtype
    position, begin = tl.load(positions + row), tl.load(first + row)
    rotation = (position - begin) * HEAD
    qkv += row * (HEADS + 2 * GROUPS) * HEAD
    cosine += rotation
    signed += rotation
    query = _norm_and_rotate(qkv + head * HEAD, norm_q, cosine, signed, epsilon, offsets, inside, HEAD, NORMS)
    query = query.to(pointer.element_ty).to(tl.float32) * scaling
    prompt = part == SPLITS
    size = tl.cdiv(tl.cdiv(position - begin, SPLITS), KEY_BLOCK) * KEY_BLOCK
    start = tl.where(prompt, 0, begin + part * size)
    end = tl.where(prompt, tl.load(state + row * 4 + 3), tl.minimum(start + size, position))
    # Triton reads 16 bytes at once where it knows that an address is a multiple of them; torch's all are.
    base = tl.multiple_of(tl.load(state + row * 4 + prompt.to(tl.int32)).to(pointer), 16)
    group, step = head // share, 2 * GROUPS * HEAD
    keys = base + group * HEAD
    maximum, total, mixed = _partial_softmax(
        query, keys, keys + GROUPS * HEAD, start, end, step, offsets, inside, SIZE, KEY_BLOCK
    )
    if part == 0:  # the new token as well
        key_at = qkv + (HEADS + group) * HEAD
        key = _norm_and_rotate(key_at, norm_k, cosine, signed, epsilon, offsets, inside, HEAD, NORMS)
        key = key.to(pointer.element_ty)
        value = tl.load(key_at + GROUPS * HEAD + offsets, mask=inside, other=0.0)
        if head % share == 0:  # the others of its group do not read it from the cache
            tl.store(keys + position * step + offsets, key, mask=inside)
            tl.store(keys + position * step + GROUPS * HEAD + offsets, value, mask=inside)
        own = tl.sum(query * key.to(tl.float32), 0)
        higher = tl.maximum(maximum, own)
        weight, rescale = tl.exp(own - higher), tl.exp(maximum - higher)
        mixed = mixed * rescale + weight * value.to(tl.float32)
        total = total * rescale + weight
        maximum = higher
    out = (row * HEADS + head) * (SPLITS + 1) + part
    tl.store(stats + out * 2, maximum)
    tl.store(stats + out * 2 + 1, total)
    tl.store(partials + out * SIZE + offsets, mixed)


@triton.jit
def _merge_partials(
    stats, partials, state, out, HEADS: tl.constexpr, HEAD: tl.constexpr, SIZE: tl.constexpr, SPLITS: tl.constexpr
):
    row, head = tl.program_id(0), tl.program_id(1)
    offsets, part = tl.arange(0, SIZE), tl.arange(0, SPLITS)
    pair = row * HEADS + head
    start = pair * (SPLITS + 1)
    maximum = tl.load(stats + (start + part) * 2)
    rescale = tl.exp(maximum - tl.max(maximum, 0))
    total = tl.sum(tl.load(stats + (start + part) * 2 + 1) * rescale, 0)
    mixed = tl.sum(tl.load(partials + (start + part)[:, None] * SIZE + offsets[None, :]) * rescale[:, None], 0) / total
    prompted = tl.load(stats + (start + SPLITS) * 2 + 1)
    if prompted > 0:
        gate = tl.load(tl.load(state + row * 4 + 2).to(out.dtype) + head).to(tl.float32)
        mixed += tl.load(partials + (start + SPLITS) * SIZE + offsets) * (gate / prompted)
    tl.store(out + pair * HEAD + offsets, mixed, mask=offsets < HEAD)


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
    _silu_times[(rows, triton.cdiv(width, FEED_FORWARD_BLOCK))](gate_up, out, width, FEED_FORWARD_BLOCK)
    return out


def attend(
    qkv: Tensor, state: Tensor, positions: Tensor, first: Tensor, cosine: Tensor, signed: Tensor,
    norms: tuple[Tensor | None, Tensor | None], epsilon: float, scaling: float, heads: int, groups: int,
) -> Tensor:  # fmt: skip
    """What the queries of qkv [B, (H + 2G) · A] make of their row's cache and prompts, [B, H · A]; the new keys and
    values go into the caches (flash decoding: https://pytorch.org/blog/flash-decoding/).

    Args:
        state: [B, 4] addresses of each row's cache [S, 2G, A], of its prompt [K, 2G, A] and that one's gates [H], and K
            (lav2.inference.cache.Cache.state).
        positions, first: [B] the token's position in the cache, and where the row's text begins there.
        cosine, signed: [context, A] float32, the second one's first half negative.
        norms: weights [A] of queries' and keys' norms, if they have some.
    """
    rows, head = len(qkv), qkv.shape[1] // (heads + 2 * groups)
    size, parts = triton.next_power_of_2(head), max(1, SPLITS // triton.next_power_of_2(rows))
    out = qkv.new_empty(rows, heads * head)
    stats = qkv.new_empty((rows, heads, parts + 1, 2), dtype=torch.float32)
    partials = qkv.new_empty((rows, heads, parts + 1, size), dtype=torch.float32)
    of_queries, of_keys = (qkv if norm is None else norm for norm in norms)
    _attend_split[(rows, heads, parts + 1)](
        qkv, stats, partials, state, positions, first, cosine, signed, of_queries, of_keys, epsilon, scaling,
        heads, groups, head, size, norms[0] is not None, parts, KEY_BLOCK, num_warps=8,
    )  # fmt: skip
    _merge_partials[(rows, heads)](stats, partials, state, out, heads, head, size, parts, num_warps=1)
    return out
