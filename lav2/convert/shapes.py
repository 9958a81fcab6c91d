"""Tensors of a file against the shapes that are expected."""

from __future__ import annotations

from torch import Tensor

from lav2.errors import LAV2Error

Shapes = dict[str, tuple[int, ...] | None]  # name -> shape that is expected, None: any


def check_names(expected: Shapes, found: dict[str, Tensor], what: str, next_step: str) -> None:
    """Whether every tensor that is expected is there with its shape, and no other.

    Args:
        what: the file, as the message calls it.
        next_step: what the user can do where it is not so.

    Raises:
        LAV2Error: tensors are missing, unknown or of another shape; the first three of each are named.
    """
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    wrong = [n for n, shape in expected.items() if shape and n in found and tuple(found[n].shape) != shape]
    if missing or unknown or wrong:
        kinds = {"missing": missing, "unknown": unknown, "of another shape": wrong}
        problems = [f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in kinds.items() if names]
        raise LAV2Error(f"{what} does not fit; tensors {', '.join(problems)}.", next_step)
