"""Several processes that share each batch, started by torchrun."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta

import torch
from torch import distributed

PATIENCE = timedelta(hours=6)  # the other processes wait while the first encodes photos or grades


def join_processes(device: torch.device) -> torch.device:
    """Take the place that torchrun gave this process, if it started it; returns the device to use."""
    if "WORLD_SIZE" not in os.environ:
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return device


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def process_count() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def barrier() -> None:
    if distributed.is_initialized():
        distributed.barrier()


def sum_gradients(gradients: Sequence[torch.Tensor], loss: float) -> float:
    """Add up gradients (in place) and loss over the processes; returns the loss."""
    if not distributed.is_initialized():
        return loss
    parts = [gradient.flatten() for gradient in gradients]
    flat = torch.cat([*parts, parts[0].new_tensor([loss])])
    distributed.all_reduce(flat)
    *parts, total = flat.split([*(len(part) for part in parts), 1])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return float(total.item())


def silent(line: str) -> None:
    """What the other processes of torchrun report to."""
