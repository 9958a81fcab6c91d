"""A small network learns lessons in an order of their own; a run that was interrupted goes on where it was saved."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lav2 import files
from lav2.errors import LAV2Error

WEIGHT_DECAY, CLIP = 0.02, 1.0
WARM = 0.1  # of the steps in which the rate rises
SAVE_EVERY = 200  # steps


@lru_cache(2)
def _order(seed: str, count: int) -> list[int]:
    return random.Random(seed).sample(range(count), count)


class Fit(NamedTuple):
    """How a network learns.

    Attributes:
        name: of the run, which is saved as *NAME.pt*.
        size: lessons of a step.
        rate: the highest one.
        epochs: how often it meets each lesson; 0.5: half of them once.
        seed: of all that is drawn.
        folder: of what is saved; None: nothing is.
    """

    name: str
    size: int
    rate: float
    epochs: float
    seed: int = 0
    folder: Path | None = None

    def __call__(
        self, network: nn.Module, lessons: Sequence[Any], loss: Callable[[Sequence[Any], random.Random], Tensor]
    ) -> None:
        """AdamW with one cycle of the rate (Smith & Topin 2017, arXiv 1708.07120).

        Args:
            loss: of some lessons, with what draws for this step.

        Raises:
            LAV2Error: what was saved is of another run.
        """
        tuned = list(network.parameters())
        steps = max(2, int(self.epochs * len(lessons) / self.size))
        optim = torch.optim.AdamW(tuned, self.rate, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optim, self.rate, total_steps=steps, pct_start=max(WARM, 1.5 / steps)
        )
        parts = {"network": network, "optim": optim, "schedule": schedule}
        network.train()
        mean, start = 0.0, self._resumed(parts, steps)
        with tqdm(range(start, steps), desc=self.name, unit="step", initial=start, total=steps, disable=None) as bar:
            for at in bar:
                torch.manual_seed(self.seed + at)  # of what is dropped: a resumed run drops the same
                value = loss(self._some(lessons, at), random.Random(f"{self.seed} {self.name} {at}"))
                optim.zero_grad(set_to_none=True)
                value.backward()
                nn.utils.clip_grad_norm_(tuned, CLIP)
                optim.step()
                schedule.step()
                mean += (value.item() - mean) / min(at - start + 1, 100)
                bar.set_postfix(loss=f"{mean:.3f}")
                if (at + 1) % SAVE_EVERY == 0 or at == steps - 1:
                    self._save(parts, at + 1, steps)

    def _some(self, lessons: Sequence[Any], step: int) -> list[Any]:
        """Those of a step: each lesson once in an epoch, in another order each time."""
        places = (divmod(at, len(lessons)) for at in range(step * self.size, (step + 1) * self.size))
        return [lessons[_order(f"{self.seed} {self.name} {epoch}", len(lessons))[place]] for epoch, place in places]

    @property
    def _file(self) -> Path | None:
        return self.folder and self.folder / f"{self.name}.pt"

    def _save(self, parts: dict[str, Any], step: int, steps: int) -> None:
        if self._file:
            state = {name: part.state_dict() for name, part in parts.items()}
            with files.replacing(self._file) as part:
                torch.save(state | {"step": step, "steps": steps, "seed": self.seed}, part)

    def _resumed(self, parts: dict[str, Any], steps: int) -> int:
        """The step that a saved run goes on from; 0: there is none."""
        if not self._file or not self._file.exists():
            return 0
        state = torch.load(self._file, weights_only=True)
        if (state["steps"], state["seed"]) != (steps, self.seed):
            raise LAV2Error(
                f"{self._file} is of a run with other settings.", "Choose another --out, or remove the file."
            )
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return state["step"]
