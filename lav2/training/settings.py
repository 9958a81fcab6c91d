"""Settings of a run: what is trained, how fast, for how long."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lav2.errors import LAV2Error
from lav2.model import preflight
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import group, trainable


@dataclass(frozen=True)
class TrainConfig:
    """How long and how fast to learn."""

    stage: str = "pretrain"
    steps: int = 2000
    batch: int = 32  # rows per optimiser step
    accumulate: int = 1  # parts that a batch is cut into, to save memory
    together: int = 1  # captions or questions of a photo that make one row; in the stage scst, samples of each photo
    lr: float = 1e-3  # peak; projector, LoRA, norms, biases, scales
    prompt_lr: float = 3e-3  # prompts and queries
    gate_lr: float = 3e-2  # gates start at 0 and hold everything back
    weight_decay: float = 0.02  # on matrices
    warmup: float = 0.03  # share of the steps
    label_smoothing: float = 0.0
    clip: float = 1.0  # gradient norm
    ema: float = 0.0  # decay of a running average of the weights, which is then what is saved; 0: none
    seed: int = 0
    save_every: int = 100  # steps
    validate_every: int = 250  # steps

    def __post_init__(self):
        for name in ("steps", "batch", "accumulate", "together", "save_every", "validate_every"):
            if getattr(self, name) < 1:
                raise LAV2Error(f"{name} is {getattr(self, name)}.", "Give at least 1.")


def learning_rate(step: int, config: TrainConfig) -> float:
    """Factor of the peak rate: linear warm-up, then a cosine down to 0."""
    warmup = max(1, int(config.warmup * config.steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, config.steps - warmup)))


def optimizer(model: AdaptedLlama, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW with the rates of TrainConfig; prompts, gates, norms and biases are not decayed."""
    rooms: dict[tuple[float, float], list] = {}
    for name, parameter in model.set_stage(config.stage).items():
        leaf = name.rpartition(".")[2]
        if leaf in ("gate", "visual_gate", "gate_scale"):
            room = (config.gate_lr, 0.0)
        elif leaf in ("adapter_prompt", "visual_query", "position"):
            room = (config.prompt_lr, 0.0)
        else:
            room = (config.lr, config.weight_decay if parameter.ndim > 1 else 0.0)
        rooms.setdefault(room, []).append(parameter)
    groups = [
        {"params": parameters, "lr": lr, "peak": lr, "weight_decay": decay} for (lr, decay), parameters in rooms.items()
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def parameter_table(model: AdaptedLlama, stage: str) -> str:
    """A table of the trained parameters per group and part."""
    counts: dict[tuple[str, str], int] = {}
    for name, parameter in model.named_parameters():
        if trainable(name, model.config, stage):
            leaf = name.rpartition(".")[2]
            part = "projector" if name.startswith("projector.") else leaf if leaf != "weight" else "norms"
            key = (group(name, model.config), part)
            counts[key] = counts.get(key, 0) + parameter.numel()
    total, frozen = sum(counts.values()), sum(p.numel() for p in model.llm.parameters())
    lines = [f"{'group':10}{'part':16}{'parameters':>12}"]
    lines += [f"{room:10}{part:16}{count:12,}" for (room, part), count in sorted(counts.items())]
    lines.append(f"{'trained':26}{total:12,}  ({100 * total / frozen:.2f} % of the language model's {frozen:,})")
    return "\n".join(lines)


def training_precision(place: torch.device) -> str:
    """bfloat16 on a GPU that has it, else float32: float16 would need its losses scaled."""
    real = place.type != "cpu" and preflight.precision(str(place)) == "bfloat16"
    return "bfloat16" if real else "float32"
