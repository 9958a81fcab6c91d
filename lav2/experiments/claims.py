"""The paper's claims as arms that are trained alike: what each of them changes in the default arm (docs/claims.md).

Source: LLaMA-Adapter V2, arXiv 2304.15010; V1: arXiv 2303.16199.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from experts.evidence import BUILT_IN
from lav2 import config
from lav2.config import AdapterConfig, Preset

GROUNDED, BARE = "instructions.jsonl", "instructions_bare.jsonl"  # questions with and without experts' text


@dataclass(frozen=True)
class Arm:
    """One way to train; everything that is not named here is the default arm's."""

    name: str
    title: str
    adapter: Mapping[str, Any] = field(default_factory=dict)  # changes of AdapterConfig
    train: Mapping[str, Any] = field(default_factory=dict)  # changes of the training's settings
    in_turn: bool = False  # the visual group first, then the language group, with as many batches of each kind
    instructions: str = GROUNDED


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and the arms that are compared with the default for it."""

    text: str
    section: str
    arms: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Experiment:
    """Arms, the data that all of them share, and how they are trained and measured. The first arm is the default."""

    name: str
    preset: Preset  # frozen models, and the default arm's adapter
    reader: Preset  # whose experts look at the photos that questions are asked about: the same text for all arms
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...]
    steps: int
    rows: Mapping[str, int]  # of made-up documents, question sets ...: settings of the recipe's stage `rows`
    sizes: Mapping[str, int]  # photos `learned` from, of the split val `scored`; plain questions of `chat`
    train: Mapping[str, Any]
    evaluate: Mapping[str, Any]
    experts: tuple[str, ...] = BUILT_IN

    @property
    def default(self) -> Arm:
        return self.arms[0]


PAPER = AdapterConfig(fusion="early", prompt_length=20, adapter_layers=29)  # of 30 layers: all but the first (Sec. 5.1)

ARMS = (
    Arm("paper", "early fusion, groups disjoint in one run, norms + bias + scale, zero-init gates, 20 prompts, "
        "experts' text in training"),
    Arm("late", "late fusion, as released", adapter={"fusion": "late"}),
    Arm("both", "early and late fusion together", adapter={"fusion": "both"}),
    Arm("in-turn", "captions first, then instructions", in_turn=True),
    Arm("joint-all", "every parameter on both kinds of data", train={"stage": "joint-all"}),
    Arm("norms-only", "norms, without bias and scale", adapter={"bias": False, "scale": False}),
    Arm("lora", "LoRA pairs of rank 8 as well", adapter={"lora_rank": 8}),
    Arm("lora-norms", "LoRA pairs of rank 8 and norms, without bias and scale",
        adapter={"lora_rank": 8, "bias": False, "scale": False}),
    Arm("gates-open", "gates at 1 from the start, tanh 0.76", train={"gate_init": 1.0}),
    Arm("experts-at-test", "no experts' text in training", instructions=BARE),
    Arm("prompt-10", "10 prompts, as released", adapter={"prompt_length": 10}),
    Arm("prompt-40", "40 prompts", adapter={"prompt_length": 40}),
)  # fmt: skip

CLAIMED = (
    Claim("Early fusion keeps visual and language knowledge apart and follows images and instructions better",
          "Sec. 4.3", ("late", "both")),
    Claim("Captions and instructions must train disjoint groups of parameters: they interfere in shared ones",
          "Sec. 4.2", ("in-turn", "joint-all")),
    Claim("Tuned norms, biases and scales carry instruction following at a small cost", "Sec. 4.1",
          ("norms-only", "lora", "lora-norms")),
    Claim("Gates that start at zero keep the frozen model's knowledge while the prompts are still noise",
          "V1, Sec. 3", ("gates-open",)),
    Claim("Experts' text needs no training: it is put into the prompt at test time", "Sec. 4.4", ("experts-at-test",),
          "In training: the default's columns on. At test time only: the columns on of experts-at-test. "
          "Never: its columns off."),
    Claim("Prompts of length 20 are enough", "Sec. 5.1", ("prompt-10", "prompt-40")),
)  # fmt: skip

CLAIMS = Experiment(
    "claims",
    preset=replace(config.EMBEDDED, adapter_config=PAPER),
    reader=config.EMBEDDED,
    arms=ARMS,
    claims=CLAIMED,
    steps=120,
    rows={"documents": 260, "known": 90, "human": 150, "tied": 80, "templates": 200},
    sizes={"learned": 1500, "scored": 200, "chat": 60},
    train={"batch": 6, "accumulate": 3, "together": 10, "views": 1, "warm_steps": 60, "dtype": "bfloat16",
           "save_every": 20},
    evaluate={"human": 25, "max_new_tokens": 32},
)  # fmt: skip
EXPERIMENTS = {experiment.name: experiment for experiment in (CLAIMS,)}
