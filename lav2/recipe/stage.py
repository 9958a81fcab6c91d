"""What a recipe is made of: stages with their inputs, settings and outputs, and the place where they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lav2 import weights
from lav2.config import Preset, VisionConfig
from lav2.errors import LAV2Error
from lav2.options import setting


@dataclass(frozen=True)
class Work:
    """What a stage costs, for the estimate; counted on the data of assets/*/README.md."""

    tokens: float = 0  # of an optimiser step
    at_once: float = 0  # tokens that go through the language model together
    looks: float = 0  # views of each photo that are encoded for the first time
    lessons: float = 0  # times that the image encoder learns from each photo
    seconds: float = 0  # anything else


@dataclass(frozen=True)
class Stage:
    """One line of a recipe.

    `inputs`: what it reads: `data:` below --data (* for several files), `made:` by an earlier stage, `llm`, `vision`,
    or a source of lav2.weights.
    """

    name: str  # of its folder too
    title: str
    make: Callable[[Run, Stage], dict[str, Any]]  # returns its score
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]  # files of its folder that later stages or users need
    settings: Mapping[str, Any] = field(default_factory=dict)  # all but the seed
    version: int = 1  # of its code: one more whenever the same inputs would give something else
    work: Work = Work()
    optional: bool = False  # runs only where it is asked for


@dataclass(frozen=True)
class Recipe:
    """The stages in their order."""

    name: str
    preset: Preset  # whose frozen models are used
    vision: VisionConfig  # the image encoder to start from
    stages: tuple[Stage, ...]
    restart: str = "make it and all behind it anew with --from {stage}"  # the user's way to do that


@dataclass(frozen=True)
class Run:
    """Where a recipe is run, and on what."""

    recipe: Recipe
    preset: Preset  # the recipe's, or that on another language model (lav2.model.llm.preset_on)
    data: Path  # folder
    out: Path  # folder of the stages' folders and of the manifest
    seed: int = setting(0, "of every stage")
    device: str | None = setting(None, "cpu, cuda, cuda:1 ... (default: what is there)")
    cache: Path | None = setting(None, "folder of cached image features (default: the user's cache)", metavar="FOLDER")
    report: Callable[[str], None] = print

    def paths(self, source: str) -> dict[str, Path]:
        """The files that an input of a stage stands for, by their names in the manifest; LAV2Error without any."""
        kind, _, name = source.partition(":")
        if kind == "data":
            found = sorted(self.data.glob(name))
            if not found:
                step = "Give the folder that has it as --data."
                raise LAV2Error("The data folder {folder} has no {name}.", step, folder=self.data, name=name)
            return {f"data:{path.relative_to(self.data)}": path for path in found}
        if kind == "made":
            return {source: self.out / name}
        where = {"llm": self.preset.llm, "vision": self.recipe.vision.weights}.get(source, source)
        return {source: weights.find(where)} if where else {}

    def stages(self, evaluate: bool) -> list[Stage]:
        """Those that run; the optional ones only if `evaluate`."""
        return [stage for stage in self.recipe.stages if evaluate or not stage.optional]

    def tables(self, stage: Stage) -> list[Path]:
        """The inputs of a stage that hold rows to learn from."""
        every = [path for source in stage.inputs for path in self.paths(source).values()]
        return [path for path in every if path.suffix in (".json", ".jsonl")]
