"""Learning rates, AdamW with the groups of parameters, and the table of what is trained."""

from __future__ import annotations

import math

import torch

from lav2.model import preflight
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import group, trainable
from lav2.training.settings import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """Factor of the peak rate: linear warm-up, then a cosine down to 0."""
    warmup = max(1, int(config.warmup * config.steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, config.steps - warmup)))


def optimizer(model: AdaptedLlama, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW with the rates of TrainConfig; prompts, gates, norms and biases are not decayed."""
    peaks: dict[tuple[float, float], list] = {}
    for name, parameter in model.set_stage(config.stage).items():
        leaf = name.rpartition(".")[2]
        if leaf in ("gate", "visual_gate", "gate_scale"):
            peak = (config.gate_lr, 0.0)
        elif leaf in ("adapter_prompt", "visual_query", "position"):
            peak = (config.prompt_lr, 0.0)
        else:
            peak = (config.lr, config.weight_decay if parameter.ndim > 1 else 0.0)
        peaks.setdefault(peak, []).append(parameter)
    groups = [
        {"params": parameters, "lr": lr, "peak": lr, "weight_decay": decay} for (lr, decay), parameters in peaks.items()
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
    lines += [f"{of:10}{part:16}{count:12,}" for (of, part), count in sorted(counts.items())]
    lines.append(f"{'trained':26}{total:12,}  ({100 * total / frozen:.2f} % of the language model's {frozen:,})")
    return "\n".join(lines)


def training_precision(device: torch.device) -> str:
    """bfloat16 on a GPU that has it, else float32: float16 would need its losses scaled."""
    real = device.type != "cpu" and preflight.precision(str(device)) == "bfloat16"
    return "bfloat16" if real else "float32"
