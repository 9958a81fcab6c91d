"""Intervals of confidence by resampling."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lav2.errors import LAV2Error


# --- how sure a number is -----------------------------------------------------------------------------------
class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def bootstrap_interval(
    scores: Sequence[float], others: Sequence[float] | None = None, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """95 % percentile bootstrap interval of the mean of `scores`, or of their differences to `others`, which score
    the same questions in the same order.

    Raises LAV2Error for no values or unequal lengths.
    """
    values = np.asarray(scores, np.float64)  # [m]
    if others is not None:
        if len(scores) != len(others):
            raise LAV2Error(
                f"{len(scores)} and {len(others)} scores are not pairs.", "Score both on the same questions."
            )
        values = values - np.asarray(others, np.float64)
    if len(values) == 0:
        raise LAV2Error("There are no scores to average.", "Give at least one.")
    rng = np.random.default_rng(seed)
    # A resample is how often each question is drawn; in slices, so that 10,000 of them stay small in memory.
    slices = [min(500, resamples - done) for done in range(0, resamples, 500)]
    uniform = np.full(len(values), 1 / len(values))
    means = np.concatenate([rng.multinomial(len(values), uniform, size=k) @ values for k in slices]) / len(values)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))
