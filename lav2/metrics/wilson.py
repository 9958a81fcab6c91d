"""The interval of a share of successes."""

import math
from statistics import NormalDist

from lav2.metrics.bootstrap import Interval


def wilson_interval(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Share of successes with its score interval (Wilson 1927), which stays inside 0..1 also for few trials.

    Without a trial nothing is known: 0 .. 1. Raises ValueError where there are more successes than trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials.")
    if trials == 0:
        return Interval(0.5, 0.0, 1.0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))
