"""Teach a CNN image encoder the words that people use of a photo: `python -m lav2 encoder`.

An encoder trained on ImageNet tells a hundred breeds of dogs from each other, but no man from a woman, no colours and
no game. Its later stages and a linear layer learn which words stand in a photo's captions and which kinds of object in
its boxes, as seen in all places together (visual concepts, arXiv 1411.4952, Sec. 3). The layer is then dropped, and
adapters are trained on the frozen encoder. Parts of photos that people named or boxed are learned from the tokens of
their place alone. Not in the method's papers; what it brings stands in docs/LOG.md.

Words: B batch, R parts of its photos, W words, L kinds of object, N image tokens, C their width, S side of the
encoder's pictures in px.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.layers import DropPath
from torch import Tensor, nn
from tqdm import tqdm

from lav2.config import VisionConfig
from lav2.errors import LAV2Error
from lav2.image import open_image
from lav2.instruct.photos import Photo
from lav2.model.vision import VisionTower
from lav2.training import regions
from lav2.training.regions import Regions
from lav2.training.settings import EncoderConfig
from lav2.training.visual_concepts import Names

ENCODER, STATE = "encoder.safetensors", "state.pt"
COMMON = 0.39  # a word is one of the photo's, in validation, where two of five captions have it
FEWEST = 5  # photos of validation that have a word or kind which is scored
CROP_MARGIN = 1.12  # photos are read at this many times S, so that crops keep their sharpness


class Head(nn.Module):
    """clip_tokens [B, N, C] -> logits [B, W + L]: each name's mean over the places plus a soft maximum over them."""

    def __init__(self, width: int, frequency: Tensor):
        """frequency [W + L]: how often each name is right, which is what the layer starts from."""
        super().__init__()
        self.linear = nn.Linear(width, 2 * len(frequency))
        nn.init.normal_(self.linear.weight, 0, 0.01)
        bias = torch.logit(frequency.clamp(1e-3, 0.9))
        self.linear.bias.data = torch.cat([bias, torch.zeros_like(bias)])
        self.part = nn.Parameter(torch.zeros(len(frequency)))  # what a part of a photo has less of than the whole

    def forward(self, clip_tokens: Tensor) -> Tensor:
        return self.whole(*self.placed(clip_tokens))

    def placed(self, clip_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """What each place says of each name, to be averaged and for the maximum, [B, N, W + L] each."""
        mean, most = self.linear(clip_tokens).chunk(2, dim=-1)
        return mean, most.clamp(-12, 12)  # one place cannot outvote the photo for ever

    def whole(self, mean: Tensor, most: Tensor) -> Tensor:
        """Logits [B, W + L] of whole photos, of what is `placed`."""
        return mean.mean(1) + torch.logsumexp(most, 1) - math.log(most.shape[1])

    def parts(self, mean: Tensor, most: Tensor, photo: Tensor, weights: Tensor) -> Tensor:
        """Logits [R, W + L] of parts of the photos, which have `weights` [R, N] of the tokens of `photo` [R]."""
        found = []
        for at in photo.unique(sorted=True):  # as parts are told: the photos in their order
            share = weights[photo == at] / weights[photo == at].sum(1, keepdim=True)
            found.append(share @ mean[at] + (share @ most[at].exp()).log() + self.part)
        return torch.cat(found)


def turns(generator: torch.Generator, count: int) -> Tensor:
    """Crops of 45 to 100 % of a photo, mirrored at random: [B, 2, 3] from places of a crop to those of its photo, both
    -1..1 (torch's affine_grid)."""
    area, ratio, x, y, mirror = torch.rand(5, count, generator=generator)
    area, ratio = 0.45 + 0.55 * area, torch.exp((ratio - 0.5) * 0.5)
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    turn = torch.zeros(count, 2, 3)
    turn[:, 0, 0], turn[:, 0, 2] = width * torch.where(mirror < 0.5, -1.0, 1.0), (2 * x - 1) * (1 - width)
    turn[:, 1, 1], turn[:, 1, 2] = height, (2 * y - 1) * (1 - height)
    return turn


def crops(photos: Tensor, side: int, turn: Tensor, generator: torch.Generator) -> Tensor:
    """Photos [B, 3, *, *] of 0..255 -> pictures [B, 3, S, S]: the crops `turn` of them, with another brightness and
    contrast."""
    grid = F.affine_grid(turn, [len(photos), 3, side, side], align_corners=False)
    pictures = F.grid_sample(photos, grid, align_corners=False, padding_mode="border")
    mean = pictures.mean((1, 2, 3), keepdim=True)
    light, contrast = (0.8 + 0.4 * torch.rand(2, len(photos), 1, 1, 1, generator=generator)).unbind(0)
    return (((pictures - mean) * contrast + mean) * light).clamp(0, 255)


# --- learning ------------------------------------------------------------------------------------------------


def tune(
    vision: VisionConfig,
    photos: Sequence[Photo],
    validation: Sequence[Photo],
    out: Path,
    settings: EncoderConfig = EncoderConfig(),
    device: str = "cpu",
    dtype: str = "bfloat16",
    report: Callable[[str], None] = print,
    named: Regions | None = None,
) -> VisionConfig:
    """Tune a timm EfficientNet on photos with captions, boxes or both; out/encoder.safetensors is what
    `VisionConfig.weights` takes. A run that was interrupted goes on where it was saved.

    Args:
        vision: the encoder to start from.
        photos, validation: of lav2.instruct.photos.read_photos.
        dtype: of the products; the weights are float32.
        named: parts of the photos that people named (lav2.training.regions.read_regions).

    Returns:
        `vision` with the tuned weights.

    Raises:
        LAV2Error: too few photos, or an encoder without timm's stages.
    """
    tower = VisionTower(vision).to(device)
    stages = getattr(tower.net, "blocks", None)
    if vision.library != "timm" or stages is None:
        raise LAV2Error(f"{vision.name} is not one of timm's EfficientNets.", "Only those can be tuned.")
    names = Names.of(photos, settings.least)
    if len(photos) < settings.batch or not names.words + names.kinds:
        raise LAV2Error(
            f"{len(photos)} photos with {len(names.words)} words and {len(names.kinds)} kinds are too few.",
            f"Give at least {settings.batch} photos, and words that are said of {settings.least}.",
        )
    labels, known = names.labels(photos)
    places = regions.with_boxes(photos, named or {})
    torch.manual_seed(settings.seed)
    frequency = (labels * known).sum(0) / known.sum(0).clamp(min=1)
    head = Head(vision.width, frequency).to(device)
    learned = _learned(tower.net, stages, settings)
    if device == "cpu":
        _depthwise_in_float32(tower.net)
    steps = len(photos) // settings.batch * settings.epochs
    optim = torch.optim.AdamW(
        [
            {"params": [p for p in learned if p.ndim > 1], "lr": settings.lr, "weight_decay": settings.weight_decay},
            {"params": [p for p in learned if p.ndim <= 1], "lr": settings.lr, "weight_decay": 0.0},
            {"params": head.parameters(), "lr": settings.head_lr, "weight_decay": 0.05},
        ]
    )
    peaks = [group["lr"] for group in optim.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optim, peaks, total_steps=steps, pct_start=0.08, cycle_momentum=False, div_factor=10, final_div_factor=50
    )
    parts = {"net": tower.net, "head": head, "optim": optim, "schedule": schedule}
    out.mkdir(parents=True, exist_ok=True)
    start = _resumed(out / STATE, parts, settings)
    told = f"{len(names.words)} words, {len(names.kinds)} kinds, {sum(map(len, places.values())):,} parts of photos"
    report(f"{sum(p.numel() for p in learned):,} weights learn {told}")
    products = _products(device, dtype)
    with tqdm(range(start, steps), initial=start, total=steps, desc="encoder", unit="step") as bar:
        for step in bar:
            tower.net.train()
            rows = _rows(len(photos), step, settings)
            generator = torch.Generator().manual_seed(settings.seed + step)
            torch.manual_seed(settings.seed + step)  # of what is dropped: a resumed run drops the same
            chosen = [photos[row] for row in rows]
            turn = turns(generator, len(chosen))
            pixels = crops(_read(chosen, vision), vision.image_size, turn, generator)
            with products():
                clip_tokens = tower(_normalised(tower, pixels.to(device)))
            placed = head.placed(F.dropout(clip_tokens.float(), 0.2))
            loss = _loss(head.whole(*placed), labels[rows].to(device), known[rows].to(device))
            side = math.isqrt(clip_tokens.shape[1])
            shown = regions.shown([places.get(photo.image, ()) for photo in chosen], turn, side, generator)
            if shown.regions:
                logits = head.parts(*placed, shown.photo.to(device), shown.weights.to(device))
                truth = (told.to(device) for told in names.of_regions(shown.regions))
                loss = loss + settings.part_weight * _loss(logits, *truth)
            optim.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_([*learned, *head.parameters()], 5.0)
            optim.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.2f}")
            if (step + 1) % settings.save_every == 0 or step == steps - 1:
                _save(out / STATE, parts, settings, step + 1)
    scores = score(tower, head, names, validation, products) if validation else {}
    report(", ".join(f"{name} {value:.3f}" for name, value in scores.items()))
    backbone = {key: tensor for key, tensor in tower.net.state_dict().items() if not key.startswith("classifier.")}
    save_file({key: tensor.half().contiguous() for key, tensor in backbone.items()}, out / ENCODER)
    record = {"start": asdict(vision), "settings": asdict(settings), "words": len(names.words), "kinds": names.kinds,
              "photos": len(photos), "validation": scores}  # fmt: skip
    (out / "encoder.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (out / STATE).unlink()
    return replace(vision, weights=str(out / ENCODER))


def _products(device: str, dtype: str) -> Callable[[], contextlib.AbstractContextManager]:
    """A context in which products are made in `dtype`."""
    kind = getattr(torch, dtype)
    return lambda: torch.autocast(torch.device(device).type, kind, enabled=kind != torch.float32)


def _depthwise_in_float32(net: nn.Module) -> None:
    """Convolutions of each channel by itself are slow backwards in bfloat16: 2.9 s a step of 32 photos instead of 1.9
    with all others in it (one core, AVX-512)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            module.forward = functools.partial(_in_float32, module.forward)  # type: ignore[method-assign]


def _in_float32(forward: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    with torch.autocast(features.device.type, enabled=False):
        return forward(features.float())


def _learned(net: nn.Module, stages: nn.Sequential, settings: EncoderConfig) -> list[nn.Parameter]:
    """The parameters behind the frozen stages, with branches that are left out at random before them."""
    net.requires_grad_(True)
    for part in (net.conv_stem, *stages[: settings.frozen_stages]):
        part.requires_grad_(False)
    for block in stages[settings.frozen_stages :].modules():
        if isinstance(getattr(block, "drop_path", None), nn.Identity):
            block.drop_path = DropPath(settings.drop_path)
    return [p for p in net.parameters() if p.requires_grad]


def _rows(photos: int, step: int, settings: EncoderConfig) -> Tensor:
    """Indices of a step's photos [B]: each once per epoch."""
    epoch, batch = divmod(step, photos // settings.batch)
    order = torch.randperm(photos, generator=torch.Generator().manual_seed(settings.seed + 1_000_003 * (epoch + 1)))
    return order[batch * settings.batch : (batch + 1) * settings.batch]


def _read(photos: Sequence[Photo], vision: VisionConfig) -> Tensor:
    """Whole photos squeezed to squares [B, 3, 1.12 S, 1.12 S] of 0..255."""
    side = round(CROP_MARGIN * vision.image_size)
    arrays = [np.asarray(open_image(photo.image).resize((side, side)), np.float32) for photo in photos]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


def _normalised(tower: VisionTower, pixels: Tensor) -> Tensor:
    return (pixels / 255 - tower.mean) / tower.std


def _loss(logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy, summed over the names and averaged over the photos."""
    each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (each * known).sum() / len(logits)


@torch.no_grad()
def score(
    tower: VisionTower, head: Head, names: Names, photos: Sequence[Photo], products: Callable, batch: int = 64
) -> dict[str, float]:
    """Mean average precision of words and of kinds, of those that FEWEST photos have, and the loss."""
    tower.net.eval()
    logits = []
    for first in tqdm(range(0, len(photos), batch), desc="validation", leave=False):
        with products():
            clip_tokens = tower(tower.pixels([open_image(photo.image) for photo in photos[first : first + batch]]))
        logits.append(head(clip_tokens.float()).cpu())
    logits, (labels, known) = torch.cat(logits), names.labels(photos)
    right = torch.where(known, labels >= COMMON, False)
    found: dict[str, list[float]] = {"words": [], "kinds": []}
    for column in range(logits.shape[1]):
        if right[:, column].sum() >= FEWEST:
            rows = known[:, column]
            kind = "words" if column < len(names.words) else "kinds"
            found[kind].append(average_precision(logits[rows, column], right[rows, column]))
    scores = {f"mean AP of {len(values)} {kind}": float(np.mean(values)) for kind, values in found.items() if values}
    return scores | {"loss": _loss(logits, labels, known).item()}


def average_precision(scores: Tensor, right: Tensor) -> float:
    """Mean precision at the rank of each right one: scores [P], right [P] bool, at least one."""
    right = right[scores.argsort(descending=True)].float()
    precision = right.cumsum(0) / torch.arange(1, len(right) + 1)
    return float((precision * right).sum() / right.sum())


def _save(file: Path, parts: dict, settings: EncoderConfig, step: int) -> None:
    state = {name: part.state_dict() for name, part in parts.items()} | {"settings": asdict(settings), "step": step}
    torch.save(state, file.with_suffix(".new"))
    os.replace(file.with_suffix(".new"), file)


def _resumed(file: Path, parts: dict, settings: EncoderConfig) -> int:
    """The step that a saved run goes on from; 0: there is none."""
    if not file.exists():
        return 0
    state = torch.load(file, weights_only=True)
    if state["settings"] != asdict(settings):
        raise LAV2Error(f"{file} is of a run with other settings.", "Choose another --out, or the same settings.")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["step"]
