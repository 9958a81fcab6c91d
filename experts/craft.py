"""EasyOCR's text search (CRAFT, arXiv 1904.01941: a VGG16 with a U-net behind it) made quicker for a CPU. It is most of
what reading a photo takes, 190 billion products for one of 960 x 736 px."""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

STEPS = 127  # activations are 0..127: without VNNI, products are added in pairs of 16 bits, which 255 would overflow
PIXELS = 2.64  # largest absolute value of a normalised pixel
# Largest output of each convolution, in their order; of UNBOUNDED ones, which end in no ReLU, the largest absolute
# value. Measured on 54 photos and signs; EasyOCR checks the MD5 of its weights, so they are the same everywhere.
# Clipped at the 99.99th percentile instead, three times as many pixels fell on the other side of a threshold.
SEEN = (12.6, 8.6, 5.9, 6.6, 5.7, 4.8, 4.0, 4.9, 7.5, 3.9, 2.9, 5.6, 7.8, 21.3, 10.8, 7.3, 9.6, 10.7, 10.6, 12.1, 12.2)
UNBOUNDED = {11, 12, 13}  # the last of VGG16 and both that stand for its fully connected layers
# convolution -> those whose outputs are joined as its input; others have the one before them
BEFORE = {14: (13, 11), 16: (15, 8), 18: (17, 5), 20: (19, 3)}


def quantise(detector: nn.Module) -> nn.Module:
    """EasyOCR's text detector with batch norms folded into the convolutions, and those in int8 where
    torch can (on x86, by oneDNN): 2 to 7 times as fast as float32, twice as fast as bfloat16 (docs/LOG.md). Elsewhere
    they stay in float32, or in bfloat16 where the processor multiplies it.

    [1, 3, H, W] -> ([1, H/2, W/2, 2] float32, features), as before.
    """
    detector = folded(detector)
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        with contextlib.suppress(AttributeError, RuntimeError):  # this torch has no such call, or another
            int8 = Int8Craft(detector)
            int8(torch.zeros(1, 3, 32, 32))
            return int8
    # torch 2.8 cannot say what the processor has
    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return FloatCraft(detector, bool(has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16")))


def folded(detector: nn.Module) -> nn.Module:
    """The same detector, its batch norms in the convolutions before them."""
    for block in [m for m in detector.eval().modules() if isinstance(m, nn.Sequential)]:
        for name, following in zip(list(block._modules), list(block._modules)[1:], strict=False):
            if isinstance(block._modules[name], nn.Conv2d) and isinstance(block._modules[following], nn.BatchNorm2d):
                block._modules[name] = fuse_conv_bn_eval(block._modules[name], block._modules[following])
                block._modules[following] = nn.Identity()
    return detector


class FloatCraft(nn.Module):
    """The detector with channels last, in float32 or bfloat16."""

    def __init__(self, detector: nn.Module, bfloat16: bool = False):
        super().__init__()
        self.inner = detector.to(memory_format=torch.channels_last)
        self._bfloat16 = bfloat16

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            scores, features = self.inner(pixels.contiguous(memory_format=torch.channels_last))
        return scores.float(), features


class Int8Craft(nn.Module):
    """The detector, its norms folded, with weights and activations of 8 bits; its small last layers are left as they
    are."""

    def __init__(self, detector: nn.Module):
        super().__init__()
        self.last = detector.conv_cls
        kept = {id(m) for m in self.last.modules()}
        convolutions = [m for m in detector.modules() if isinstance(m, nn.Conv2d) and id(m) not in kept]
        self._steps = [(2 if i in UNBOUNDED else 1) * seen / STEPS for i, seen in enumerate(SEEN)]  # of one unit
        self._packed: list[tuple] = []
        for convolution in convolutions:
            self._packed.append(self._pack(len(self._packed), convolution))

    def _pack(self, i: int, convolution: nn.Conv2d) -> tuple:
        """What oneDNN's convolution takes between an input and what becomes of its output, in its order."""
        weight = convolution.weight.detach().float()
        before = BEFORE.get(i, (i - 1,))
        step, zero = (2 * PIXELS / STEPS, STEPS // 2 + 1) if not i else (self._steps[before[0]], _zero(before[0]))
        if len(before) > 1:  # the second of two joined inputs has steps of its own: its weights make up for them
            weight = weight.clone()
            skipped = self._packed[before[1]][3].numel()
            weight[:, -skipped:] *= self._steps[before[1]] / step
        scale = (weight.abs().amax((1, 2, 3)) / 127).clamp(min=1e-12)
        rounded = (weight / scale.view(-1, 1, 1, 1)).round().to(torch.int8)
        how = list(convolution.stride), list(convolution.padding), list(convolution.dilation), convolution.groups
        packed = torch.ops.onednn.qconv_prepack(rounded, scale, step, zero, *how, None)
        zeros, bias = torch.zeros(len(scale), dtype=torch.int32), convolution.bias.detach().float()
        return (step, zero, packed, scale, zeros, bias, *how)

    def _convolve(self, i: int, x: Tensor) -> Tensor:
        """Convolution i: uint8 [1, C, H, W] -> the same; the last one's output is float32."""
        if i < len(SEEN):  # what goes further than was ever seen is cut off, also from what a byte could hold
            end = "hardtanh", [-SEEN[i] if i in UNBOUNDED else 0.0, SEEN[i]]
            out = self._steps[i], _zero(i), torch.uint8
        else:
            end, out = ("relu", []), (1.0, 0, torch.float32)
        return torch.ops.onednn.qconv2d_pointwise(x, *self._packed[i], *out, *end, "")

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels [1, 3, H, W], normalised -> (region and affinity scores [1, H/2, W/2, 2] float32, features)."""
        step, zero = self._packed[0][:2]
        x = (pixels / step + zero).round_().clamp_(0, STEPS).to(torch.uint8)
        x = x.contiguous(memory_format=torch.channels_last)
        skips = []
        for i in range(12):  # VGG16
            x = self._convolve(i, x)
            if i in (3, 5, 8, 11):
                skips.append(x)
            if i in (1, 3, 6, 9):
                x = max_pool_2x2(x)
        x = self._convolve(13, self._convolve(12, _highest_around(x)))
        for i in (14, 16, 18, 20):
            skip = skips.pop()
            if x.shape[2:] != skip.shape[2:]:
                x = F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
            x = self._convolve(i + 1, self._convolve(i, torch.cat([x, skip], 1)))
        return self.last(x).permute(0, 2, 3, 1).float(), x


def _zero(i: int) -> int:
    """The whole number that stands for zero in the outputs of convolution i."""
    return STEPS // 2 + 1 if i in UNBOUNDED else 0


def max_pool_2x2(x: Tensor) -> Tensor:
    """The highest of each 2 x 2 numbers (torch's max_pool2d takes no uint8)."""
    x = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
    return torch.maximum(x[..., ::2], x[..., 1::2]).contiguous(memory_format=torch.channels_last)


def _highest_around(x: Tensor) -> Tensor:
    """The highest of the 3 x 3 numbers around each."""
    x = F.pad(x, (1, 1, 1, 1))
    x = torch.maximum(torch.maximum(x[:, :, :-2], x[:, :, 1:-1]), x[:, :, 2:])
    x = torch.maximum(torch.maximum(x[..., :-2], x[..., 1:-1]), x[..., 2:])
    return x.contiguous(memory_format=torch.channels_last)
