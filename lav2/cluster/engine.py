"""Ray itself: whether it is installed, and the cluster that is started or joined."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

from lav2.errors import LAV2Error

T = TypeVar("T")
FREE_SECONDS = 30.0  # for cores of a batch that has just ended to be free
STARTS = 3  # of a cluster on this machine: Ray gives each 30 s, which a machine with much to do may not keep


def required(name: str = "ray") -> ModuleType:
    """The module `ray`, `ray.serve` or `ray.data`.

    Raises:
        LAV2Error: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read at the import; nothing is reported to anybody
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15: replicas starve beside other programs
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise LAV2Error(
            "Replicas and batches on Ray need the Python package {package}, which is not installed.",
            "Run `pip install -r requirements-cluster.txt`, or leave the option away.",
            package=error.name,
        ) from error


def connect(address: str | None = None, **options: Any) -> bool:
    """Join the cluster at `address` (`ray start --head` says it), or start one on this machine that ends with this
    process. True where this call started or joined it; `options` are those of ray.init.

    Raises:
        LAV2Error: Ray is not installed, or nobody is there.
    """
    ray = required()
    if ray.is_initialized():
        return False
    if address is None:
        options = {"include_dashboard": False, **options}
    for left in reversed(range(1 if address else STARTS)):
        try:
            ray.init(address=address or "local", log_to_driver=False, configure_logging=False, **options)
            break
        except Exception as error:  # Ray has no class of its own for a node that does not come up in time
            ray.shutdown()
            if not left:
                raise LAV2Error(
                    "Ray cannot be reached or started at {address} ({why}).",
                    "Start it with `ray start --head` and give the address that it tells, or try again when less runs "
                    "here.",
                    address=address or "this machine",
                    why=error,
                ) from error
    return True


@contextmanager
def connected(address: str | None = None, **options: Any) -> Iterator[ModuleType]:
    """Ray for a block; see `connect`. It is left as it was found."""
    own = connect(address, **options)
    ray = required()
    try:
        yield ray
    finally:
        if own:
            ray.shutdown()


def room(free: Callable[[], dict[str, float]], divide: Callable[[float, float], T | None], workers: int) -> T:
    """What `divide` gives each worker of the GPUs and cores that, as `free` says, nobody uses.

    Raises:
        LAV2Error: it gives None, since they are too few; Ray would let the workers wait for ever.
    """
    end = time.monotonic() + FREE_SECONDS
    while True:
        given = free()
        parts = divide(given.get("GPU", 0.0), given.get("CPU", 0.0))
        if parts is not None:
            return parts
        if time.monotonic() > end:
            raise LAV2Error(
                "The Ray cluster has {free} free cores, too few for {count} workers.",
                "Stop what uses it (replicas that serve, another batch), or give another --cluster or fewer workers.",
                free=f"{given.get('CPU', 0.0):g}",
                count=workers,
            )
        time.sleep(1)
