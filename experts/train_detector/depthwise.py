"""Depthwise convolutions with a backward pass that a CPU with AMX does quickly in bfloat16.

oneDNN has quick kernels for the forward pass alone: in bfloat16 the weights' gradient of a 5x5 takes six times as long
as in float32, and that of a strided one's input thirty times (docs/detector.md).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class QuickDepthwise(TorchFunctionMode):
    """Inside, `F.conv2d` of one channel a group runs in bfloat16 with the backward pass below; all else as ever."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (F.conv2d, torch.conv2d) and not kwargs and len(args) == 7:
            pixels, weight, bias, stride, padding, dilation, groups = args
            if groups == len(weight) > 1 and tuple(dilation) == (1, 1) and not isinstance(padding, str):
                return _Depthwise.apply(pixels, weight, bias, tuple(stride), tuple(padding))
        return func(*args, **kwargs)


class _Depthwise(torch.autograd.Function):
    """[B, C, H, W], weight [C, 1, k, k], bias [C] or None -> bfloat16 [B, C, H', W']."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, weight: Tensor, bias: Tensor | None, stride, padding) -> Tensor:
        pixels, half = pixels.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(pixels, half)
        ctx.stride, ctx.padding = stride, padding
        ctx.dtypes = weight.dtype, bias.dtype if bias is not None else None
        return F.conv2d(pixels, half, None if bias is None else bias.bfloat16(), stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pixels, weight = ctx.saved_tensors
        to_pixels, to_weight, to_bias = ctx.needs_input_grad[:3]
        sides = [k - 1 - p for k, p in zip(weight.shape[2:], ctx.padding, strict=True)]
        of_pixels = of_weight = of_bias = None
        quick = ctx.stride == (1, 1)
        if to_pixels and quick:  # the gradient is a forward pass itself, with the kernel turned round
            of_pixels = F.conv2d(gradient, weight.flip(2, 3).contiguous(), None, 1, sides, 1, len(weight))
        if to_weight or (to_pixels and not quick):
            plain = [v.float() for v in (gradient, pixels, weight)]
            shape = [len(weight)], ctx.stride, ctx.padding, (1, 1), False, (0, 0), len(weight)
            masks = [to_pixels and not quick, to_weight, False]
            slow, of_weight, _ = torch.ops.aten.convolution_backward(*plain, *shape, masks)
            of_pixels = of_pixels if quick else slow
            of_pixels = of_pixels if of_pixels is None else of_pixels.bfloat16()
            of_weight = of_weight if of_weight is None else of_weight.to(ctx.dtypes[0])
        if to_bias:
            of_bias = gradient.sum((0, 2, 3), dtype=torch.float32).to(ctx.dtypes[1])
        return of_pixels, of_weight, of_bias, None, None
