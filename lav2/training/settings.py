"""Settings of what is trained, which are the options of `python -m lav2 train`, `encoder` and `phrases`. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lav2.config import Placing
from lav2.errors import LAV2Error
from lav2.options import setting

Stage = Literal["pretrain", "finetune", "joint", "joint-all", "caption", "scst"]
IMAGES = "folder of the photos (default: each file's own)"
CACHE = "folder of cached image features (default: the user's cache)"
VIEWS = "of each photo with captions: 1 the photo, 2 its mirror image too, 4, 6 ...: crops and theirs too"
SEED = "of the order of the rows and all that is drawn"


@dataclass(frozen=True)
class TrainConfig:
    """How long and how fast to learn."""

    stage: Stage = setting(
        "pretrain", "pretrain: the visual group; finetune: the language group; joint: both in turn; joint-all: "
        "both kinds of data train both groups; caption: all on "
        "captions; scst: all, rewarded by CIDEr-D", required=True,
    )  # fmt: skip
    steps: int = setting(2000, "optimiser steps")
    batch: int = setting(32, "rows per optimiser step")
    accumulate: int = setting(1, "parts that a batch is cut into, to save memory")
    together: int = setting(
        1, "captions or questions of a photo in one row of the batch: what they share is computed once (8 is twice as "
        "fast on a CPU); in the stage scst, samples of each photo", option="--pack", earlier=("--together",),
    )  # fmt: skip
    lr: float = setting(1e-3, "peak rate of projector, LoRA, norms, biases and scales")
    prompt_lr: float = setting(3e-3, "peak rate of prompts and queries")
    gate_lr: float = setting(3e-2, "peak rate of gates, which start at 0 and hold everything back")
    weight_decay: float = setting(0.02, "of matrices")
    warmup: float = setting(0.03, "share of the steps in which the rates rise")
    label_smoothing: float = setting(0.0, "of the loss; 0: none")
    clip: float = setting(1.0, "largest norm of the gradient")
    ema: float = setting(0.0, "decay of the weights' running average, which is then saved, such as 0.999; 0: none")
    seed: int = setting(0, SEED)
    save_every: int = setting(100, "steps between saved states, from which --resume goes on")
    validate_every: int = setting(250, "steps between losses of the split val")

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "together", "save_every", "validate_every"):
            if getattr(self, name) < 1:
                raise LAV2Error(f"{name} is {getattr(self, name)}.", "Give at least 1.")


@dataclass(frozen=True)
class RunConfig(Placing):
    """What a run starts from, and how it computes."""

    dtype: Literal["float32", "bfloat16"] | None = setting(
        None, "of the frozen matrices and the products with them; what is trained is float32 (default: bfloat16 on a "
        "GPU that has it, else float32; CPUs with avx512_bf16 or amx are faster in it)",
    )  # fmt: skip
    gradient_checkpointing: bool = setting(
        False, "keep no activations inside of layers, and compute them again on the way back: less memory, about a "
        "third more time",
    )  # fmt: skip
    images: Path | None = setting(None, IMAGES, metavar="FOLDER")
    init: Path | None = setting(
        None, "adapter that a new run starts from, with its settings; it stays as it is", metavar="FOLDER"
    )
    init_groups: tuple[Literal["visual", "language"], ...] = setting(
        ("visual", "language"), "what is taken from --init; the rest starts as the identity"
    )
    lora_rank: int | None = setting(None, "of a language group that starts anew (default: that of --init)")
    proof_first: bool = setting(
        False, "teach it to write the row of a text that proves a yes or no before it, as an --init of that kind does"
    )
    encoder: str | None = setting(
        None, "weights of the image encoder, in place of the preset's or that of --init (see `python -m lav2 encoder`)",
        metavar="FILE",
    )  # fmt: skip
    warm_steps: int = setting(0, "steps of the projector's warm start, before a new run")
    gate_init: float = setting(0.0, "of the gates of a new adapter, of which the tanh counts; 0: zero-init attention")
    views: int = setting(2, VIEWS)
    cache: Path | None = setting(None, CACHE, metavar="FOLDER")
    resume: bool = setting(
        False, "go on with the killed run in --out: data, photos, models and settings must be those that it was "
        "started with",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.views < 1:
            raise LAV2Error(f"views is {self.views}.", "Give at least 1.")


@dataclass(frozen=True)
class PhrasesConfig:
    """How the reranker of drafts learns."""

    images: Path | None = setting(None, IMAGES, metavar="FOLDER")
    cache: Path | None = setting(None, CACHE, metavar="FOLDER")
    views: int = setting(RunConfig.views, VIEWS)
    seed: int = setting(0, SEED)
    device: str | None = setting(None, "cpu, cuda, cuda:1 ... (default: what is there)")


@dataclass(frozen=True)
class EncoderConfig:
    """How long and how fast an image encoder learns."""

    epochs: int = setting(3, "passes over the photos")
    batch: int = setting(32, "photos per step")
    lr: float = setting(2.5e-4, "peak rate of the encoder; OneCycle")
    head_lr: float = setting(2e-3, "peak rate of the linear layer, which is new")
    weight_decay: float = setting(0.02, "of matrices; the linear layer's is 0.05")
    frozen_stages: int = setting(3, "of the encoder, from the photo on: edges and textures need no words")
    drop_path: float = setting(0.1, "share of residual branches left out")
    least: int = setting(15, "photos that a word must be said of")
    part_weight: float = setting(1.0, "of what is learned of parts of photos")
    seed: int = setting(0, SEED)
    save_every: int = setting(100, "steps between saved states")
