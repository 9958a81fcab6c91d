"""Ultralytics' detection loss, where it only counts that a kind was not drawn as far as somebody looked for it, and
which kinds the whole photo shows is learned as well.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from experts.detection import contained

with contained(verbose=True):
    from ultralytics.utils.loss import v8DetectionLoss
    from ultralytics.utils.tal import make_anchors

PRESENCE = 0.1  # of the loss of which kinds are there, beside the others


class PartialLabelLoss(v8DetectionLoss):
    """v8DetectionLoss for photos whose labels are complete for some kinds only.

    A box of the batch whose class is `classes + k` is no object: inside it, row k of `absence` [K, classes] (0..1)
    says how much it counts that a kind was not drawn. Where an object was drawn, every kind counts: a dog is no bear.
    """

    def __init__(self, model: nn.Module, absence: Tensor):
        super().__init__(model)
        self.absence = absence.to(self.device)
        self._plain_bce = self.bce

    def get_assigned_targets_and_loss(self, preds: dict[str, Any], batch: dict[str, Any], **more: Any) -> tuple:
        # Losses in float32 also where the network ran in bfloat16.
        preds = {k: [v.float() for v in x] if isinstance(x, list) else x.float() for k, x in preds.items()}
        region = batch["cls"].view(-1) >= self.nc
        weight = self.weights(preds, {k: batch[k][region] for k in ("batch_idx", "cls", "bboxes")})
        self.bce = partial(self._weighted_bce, weight)
        objects = {k: batch[k][~region] for k in ("batch_idx", "cls", "bboxes")}
        with torch.autocast(self.device.type, enabled=False):
            targets, loss, _ = super().get_assigned_targets_and_loss(preds, batch | objects, **more)
            loss[1] += PRESENCE * self.presence(preds["presence"], objects, weight)
        return targets, loss, dict(zip(self.loss_names, loss.detach(), strict=True))

    def presence(self, logits: Tensor, objects: dict[str, Tensor], weight: Tensor) -> Tensor:
        """The loss of the kinds that each photo shows, logits [B, classes]; what was not drawn counts as at the cell
        of the photo where it counts least."""
        shown = torch.zeros_like(logits)
        shown[objects["batch_idx"].long(), objects["cls"].view(-1).long()] = 1
        counts = torch.where(shown > 0, 1.0, weight.amin(1))
        return (self._plain_bce(logits, shown) * counts).sum() / len(logits)

    def weights(self, preds: dict[str, Any], regions: dict[str, Tensor]) -> Tensor:
        """[B, cells, classes] in 0..1: how much a kind's absence counts at a cell; of several regions the least."""
        cells, strides = make_anchors(preds["feats"], self.stride, 0.5)
        x, y = (cells * strides).T  # px
        height, width = (side * float(self.stride[0]) for side in preds["feats"][0].shape[2:])
        weight = torch.ones(len(preds["scores"]), len(x), self.nc, device=x.device)
        rows = (regions["cls"].view(-1) - self.nc).long().tolist()
        for photo, row, (cx, cy, w, h) in zip(
            regions["batch_idx"].long().tolist(), rows, regions["bboxes"].tolist(), strict=True
        ):
            inside = ((x / width - cx).abs() <= w / 2) & ((y / height - cy).abs() <= h / 2)
            weight[photo, inside] = torch.minimum(weight[photo, inside], self.absence[row])
        return weight

    def _weighted_bce(self, weight: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
        drawn = targets.sum(-1, keepdim=True) > 0
        return self._plain_bce(logits, targets) * torch.where(drawn, 1.0, weight)
