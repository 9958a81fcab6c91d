"""A linear layer and its tuning as one matrix, in its own type or in int8."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lav2.config import AdapterConfig
from lav2.inference import native
from lav2.model.adapted import AdaptedLlama

BLOCK = 32  # int8 weights that share a factor, as in decode.c
TILE = 16  # rows of an int8 matrix that lie together, as in decode.c


@dataclass
class Matrix:
    """A weight [out, in] with an optional bias [out]. With `factor` [out / TILE, in / BLOCK, TILE] it is int8, in the
    order of decode.c."""

    weight: Tensor
    bias: Tensor | None = None
    factor: Tensor | None = None

    def __call__(self, x: Tensor, scratch: Tensor | None = None) -> Tensor:  # [..., in] -> [..., out]
        """x Wᵀ + bias; an int8 weight is expanded into `scratch`, float32 or bfloat16 memory of at least its size, and
        the product is made in that type."""
        if self.factor is None:
            return F.linear(x, self.weight, self.bias)
        plain = (torch.empty(self.weight.numel()) if scratch is None else scratch)[: self.weight.numel()]
        native.library().lav2_expand(
            self.weight.data_ptr(), self.factor.data_ptr(), *self.weight.shape, plain.data_ptr(),
            plain.element_size(), torch.get_num_threads(),
        )  # fmt: skip
        product = F.linear(x.to(plain.dtype), plain.view(self.weight.shape)).to(x.dtype)
        return product if self.bias is None else product + self.bias


class Arena:
    """Memory for weights in pages of 2 MB, where the system has them: reading pages of 4 KB takes a quarter longer."""

    CHUNK = 2**26  # bytes

    def __init__(self) -> None:
        self._left = torch.empty(0, dtype=torch.uint8)

    def take(self, dtype: torch.dtype, *shape: int) -> Tensor:
        """Memory for a tensor, not set to anything; kept until no tensor lies in its chunk."""
        size = math.prod(shape) * dtype.itemsize
        if size > len(self._left):
            self._left = native.memory(max(size, self.CHUNK))
        memory, self._left = self._left[:size], self._left[size + -size % 64 :]
        return memory.view(dtype).view(shape)


@dataclass
class Folded:
    """A linear layer with its tuning (lav2.model.adapter.tune_linears): (weight + added) · scale, not computed yet."""

    weight: Tensor  # [out, in]
    bias: Tensor | None = None  # [out] float32, scaled already
    added: Tensor | None = None  # [out, in] float32
    scale: Tensor | None = None  # [out] float32

    def float_weight(self) -> Tensor:
        """[out, in] float32"""
        weight = self.weight.float()
        weight = weight if self.added is None else weight + self.added
        return weight if self.scale is None else weight * self.scale[:, None]


def folded(linear: nn.Linear, config: AdapterConfig, scratch: Tensor | None = None) -> Folded:
    """What a linear layer and its tuning come to; `scratch` is float32 memory of the weight's size that may be used."""
    weight = linear.weight.detach()
    bias = torch.zeros(len(weight), device=weight.device)
    for name in ("bias", "adapter_bias"):
        if getattr(linear, name, None) is not None:
            bias = bias + getattr(linear, name).detach().float()
    result = Folded(weight, bias)
    if hasattr(linear, "lora_a"):
        out = None if scratch is None else scratch.view(weight.shape)
        result.added = torch.matmul(linear.lora_b.detach().float(), linear.lora_a.detach().float(), out=out)
    if hasattr(linear, "adapter_scale"):
        scale = linear.adapter_scale.detach().float()
        if config.scale_on_input:
            return Folded(result.float_weight() * scale, bias)
        result.scale, result.bias = scale, bias * scale
    return result


def quantised(parts: Sequence[Folded], bias: Tensor | None, arena: Arena) -> Matrix:
    """Parts, stacked by rows, as one int8 matrix; the BLOCK weights of a row's block share a bfloat16 factor.

    Parts are folded while they are read: writing them in float32 first takes twice as long. Rows of zeros fill up the
    last tile; every part but the last has a multiple of TILE rows."""
    length = parts[0].weight.shape[1]
    tiles = [-(-len(part.weight) // TILE) for part in parts]
    whole = arena.take(torch.int8, sum(tiles) * TILE, length)
    factor = arena.take(torch.bfloat16, sum(tiles), length // BLOCK, TILE)
    begin = 0
    for part, count in zip(parts, tiles, strict=True):
        weight = part.weight if part.weight.dtype == torch.bfloat16 else part.weight.float()
        given = [None if given is None else given.contiguous() for given in (weight, part.added, part.scale)]
        source, added, scale = (None if tensor is None else tensor.data_ptr() for tensor in given)
        native.library().lav2_quantise(
            source, weight.element_size(), added, scale, *weight.shape, whole[begin * TILE :].data_ptr(),
            factor[begin:].data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        begin += count
    return Matrix(whole, bias, factor)


def unmap(models: Sequence[AdaptedLlama]) -> None:
    """Copy the weights that are left of models whose engines released theirs out of the mapped weight file: as long as
    one of them lies in it, all its pages stay in memory. Weights that the models share stay shared."""
    parameters = {id(p): p for model in models for p in model.llm.parameters() if p.numel()}.values()
    copies: dict[tuple[int, torch.Size, torch.dtype], tuple[Tensor, Tensor]] = {}
    for parameter in parameters:
        memory = (parameter.data_ptr(), parameter.shape, parameter.dtype)
        if memory not in copies:  # the original stays until the end: a copy at its address would be taken for it
            copies[memory] = parameter.data, parameter.data.clone()
        parameter.data = copies[memory][1]
    copies.clear()
    native.trim()
