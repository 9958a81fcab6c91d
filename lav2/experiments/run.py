"""Running an experiment: what is done is skipped, what was interrupted goes on, and the tables follow each run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lav2 import recipe
from lav2.config import Preset
from lav2.errors import LAV2Error
from lav2.experiments import report
from lav2.experiments.claims import Arm, Experiment
from lav2.experiments.stages import arm_recipe, shared_recipe
from lav2.recipe import DONE, Run


@dataclass(frozen=True)
class Plan:
    """Which arms and seeds of an experiment are run, on what, and where."""

    experiment: Experiment
    preset: Preset  # the experiment's, or that on another language model
    data: Path
    out: Path
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    steps: int
    device: str | None = None
    cache: Path | None = None  # of image features; None: the user's
    report: Callable[[str], None] = print

    def shared(self) -> Run:
        return self._run(shared_recipe(self.experiment), "shared", 0)

    def run(self, arm: Arm, seed: int) -> Run:
        return self._run(arm_recipe(self.experiment, arm, self.steps), f"{arm.name}-{seed}", seed)

    def runs(self) -> list[tuple[Arm, int, Run]]:
        """Every arm with the first seed, then with the second ..."""
        return [(arm, seed, self.run(arm, seed)) for seed in self.seeds for arm in self.arms]

    def _run(self, made: recipe.Recipe, folder: str, seed: int) -> Run:
        out = self.out / folder
        return Run(made, self.preset, self.data, out, seed, self.device, self.cache, self.report)


def choose_arms(experiment: Experiment, names: Sequence[str] | None) -> tuple[Arm, ...]:
    """Arms by their names, in the experiment's order; all for None.

    Raises:
        LAV2Error: there is no such arm.
    """
    known = [arm.name for arm in experiment.arms]
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise LAV2Error("There is no arm {name}.", "Choose of: {names}.", name=unknown[0], names=", ".join(known))
    return tuple(arm for arm in experiment.arms if names is None or arm.name in names)


def run(plan: Plan) -> str:
    """Run an experiment, or go on with it; returns the tables, which also stand in report.TABLE of `plan.out`.

    Raises:
        LAV2Error: something is missing, or was made with other settings, inputs or code.
    """
    report.collect(plan.experiment, plan.out, plan.steps)  # refuses other steps before anything is made
    recipe.make(plan.shared())
    text = report.write(plan.experiment, plan.out, plan.steps)
    for number, (arm, seed, made) in enumerate(todo := plan.runs(), start=1):
        plan.report(f"{arm.name}, seed {seed} ({number} of {len(todo)})")
        recipe.make(made)
        text = report.write(plan.experiment, plan.out, plan.steps)
    return text


def table(experiment: Experiment, out: Path | None, seeds: Sequence[int]) -> str:
    """The arms, and how far each seed of them is in a folder."""
    lines = []
    for arm in experiment.arms:
        states = []
        for seed in seeds if out else ():
            stages = (recipe.read_manifest(out / f"{arm.name}-{seed}") or {"stages": {}})["stages"]
            ended = stages.get("evaluate", {}).get("state") == DONE
            states.append(f"seed {seed}: {'done' if ended else 'begun' if stages else 'to do'}")
        lines.append("  ".join([f"{arm.name:16}", *states, arm.title]))
    return "\n".join(lines)


def plan_table(plan: Plan) -> str:
    """What is left to do, with an estimate of hours and memory. Nothing is trained or written."""
    report.collect(plan.experiment, plan.out, plan.steps)
    shared = plan.shared()
    photos = recipe.captioned_photos(shared)
    rows = [("shared", recipe.remaining(shared, photos))]
    rows += [(f"{arm.name}-{seed}", recipe.remaining(made, 0)) for arm, seed, made in plan.runs()]
    lines, total = [f"{'folder':18} {'state':9} {'hours':>6} {'memory':>8}"], 0.0
    for name, stages in rows:
        states = {state for _, state, _, _ in stages}
        state = states.pop() if len(states) == 1 else recipe.BEGUN
        hours, memory = sum(stage[2] for stage in stages), max(stage[3] for stage in stages)
        total += hours
        lines.append(f"{name:18} {state:9}" + (f" {hours:6.2f} {memory / 1e9:5.1f} GB" if state != DONE else ""))
    lines.append(f"About {total:.1f} hours of one CPU core with bfloat16 products, {plan.steps} steps a run.")
    return "\n".join(lines)
