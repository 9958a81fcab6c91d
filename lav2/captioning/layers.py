"""Small layers in a file beside a caption adapter: float16 tensors, and in the header what they are about."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lav2.errors import LAV2Error

Model = TypeVar("Model", bound=nn.Module)


def save(model: nn.Module, file: Path, key: str, facts: Mapping[str, Any]) -> None:
    """Write a model's tensors, and `facts` as JSON under `key` of the header; the file is whole or not there."""
    tensors = {name: tensor.half().cpu().contiguous() for name, tensor in model.state_dict().items()}
    part = file.with_name(file.name + ".part")
    save_file(tensors, part, {key: json.dumps(facts)})
    part.rename(file)


def load(file: Path, key: str, build: Callable[[dict[str, Any], dict[str, Tensor]], Model], step: str) -> Model:
    """The model that `build` makes of the facts and the float32 tensors that `save` wrote, for use.

    Raises:
        LAV2Error: the file is damaged (`step` says what to do), or what `build` raises.
    """
    try:
        with safe_open(file, "pt") as stored:
            facts = json.loads(stored.metadata()[key])
            tensors = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118
        model = build(facts, tensors)
        model.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise LAV2Error(f"{file} cannot be read ({type(error).__name__}).", step) from error
    model.eval()
    return model
