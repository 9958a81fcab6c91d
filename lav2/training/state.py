"""Progress of a run, its running average of weights, and what is written of them."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from lav2.model import checkpoint
from lav2.training import run_folder


@dataclass
class Progress:
    """What a killed run needs to go on: written beside the adapter."""

    step: int = 0
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)


class WeightAverage:
    """A running average of parameters (EMA); young averages follow faster, so that the start is soon forgotten."""

    def __init__(self, parameters: dict[str, torch.nn.Parameter], decay: float):
        self._parameters, self._decay = parameters, decay
        self.tensors = {name: p.detach().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        for name, parameter in self._parameters.items():
            self.tensors[name].lerp_(parameter, share)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the parameters with their averages."""
        for name, parameter in self._parameters.items():
            previous = parameter.detach().clone()
            parameter.copy_(self.tensors[name])
            self.tensors[name] = previous

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        self.swap()
        yield
        self.swap()


def save_progress(
    model, optim, average: WeightAverage | None, config, out: Path, base, progress: Progress, notes, facts
) -> None:
    """Write the state that a killed run goes on from, and the adapter so far, averaged where there is an average."""
    metadata = {**(notes or {}), "stage": config.stage, "train": asdict(config), "step": progress.step,
            "seconds": round(progress.seconds), "validation": progress.history}  # fmt: skip
    # The state holds the weights as well, so that a kill between the two files leaves no run of two steps.
    state = {
        "optimizer": optim.state_dict(), "progress": asdict(progress),
        "weights": {name: parameter.detach() for name, parameter in model.adapter_parameters().items()},
        "average": average.tensors if average else {},
    }  # fmt: skip
    run_folder.save_state(out, state, facts)
    with average.applied() if average else contextlib.nullcontext():
        checkpoint.save(model, out, base, metadata)


@torch.no_grad()
def resume_progress(model, optim, average: WeightAverage | None, facts: dict, out: Path) -> Progress:
    """Put back what `save_progress` wrote.

    Raises:
        LAV2Error: the run in `out` is another one.
    """
    state = run_folder.load_state(out, facts)
    checkpoint.check_fit(model.adapter_parameters(), state["weights"], str(out / run_folder.STATE))
    for name, parameter in model.adapter_parameters().items():
        parameter.copy_(state["weights"][name])
    if average:
        average.tensors = {name: tensor.to(model.device) for name, tensor in state["average"].items()}
    optim.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])


def open_log(file: Path, step: int) -> Callable[[dict], None]:
    """A function that appends rows to log.csv; rows past a resumed step are dropped first."""
    fields = ["step", "kind", "loss", "seconds"]
    rows = []
    if step and file.exists():
        with file.open(newline="") as old:
            rows = [row for row in csv.DictReader(old) if int(row["step"]) <= step]
    handle = file.open("w", newline="")
    writer = csv.DictWriter(handle, fields)
    writer.writeheader()
    writer.writerows(rows)

    def log(row: dict) -> None:
        writer.writerow(row)
        handle.flush()

    return log
