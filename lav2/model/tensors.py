"""Files of tensors, read in one way: what is wrong with one is told with cause and next step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from lav2 import files
from lav2.errors import LAV2Error


def read_tensors(file: Path, next_step: str, mmap: bool = False) -> dict[str, Any]:
    """What a .safetensors file, or one of torch.save, holds by name; no code in it is run.

    Args:
        next_step: what to do where it is damaged.
        mmap: tensors stay in the file until they are needed (files of torch.save).

    Raises:
        LAV2Error: it cannot be read, is a git-lfs pointer, or holds anything but things by name.
    """
    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        stored = torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # torch, pickle and safetensors raise a dozen types
        raise files.unreadable(file, error, next_step) from error
    if not isinstance(stored, dict):
        kind = type(stored).__name__
        raise LAV2Error(f"{file} holds a {kind} in place of tensors by name.", next_step)
    return stored


def only_tensors(stored: object, file: Path, next_step: str) -> dict[str, Tensor]:
    """A state dict, once it is known to be one.

    Raises:
        LAV2Error: it is none.
    """
    if not isinstance(stored, dict) or not stored:
        raise LAV2Error(f"{file} holds no tensors by name.", next_step)
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in stored.items()):
        raise LAV2Error(f"{file} holds no tensors by name.", next_step)
    return stored
