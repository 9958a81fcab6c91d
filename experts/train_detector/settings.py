"""How a detector is trained. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lav2.options import setting


@dataclass(frozen=True)
class DetectorTraining:
    """How it is trained."""

    epochs: int = setting(10, "over all photos")
    photos: int | None = setting(None, "sampled in an epoch (default: as many as there are)")
    hours: float | None = setting(None, "stop after these, with as many epochs as fit in them, in place of --epochs")
    size: int = setting(320, "px, side of the square photos are fitted into (32 n)")
    final_size: int | None = setting(None, "px, in the last two epochs and of the export (default: as --size)")
    batch: int = setting(16, "photos of a step")
    lr: float = setting(1e-3, "peak rate of AdamW")
    backbone: str = setting("tf_efficientnet_lite0", "tf_efficientnet_lite0 or _lite2", metavar="NAME")
    init: Path | None = setting(None, "checkpoint of any classes to start from (default: ImageNet's backbone)")
    repeat_human: float = setting(2.0, "times as often a photo that a person labelled")
    loaders: int = setting(0, "processes that load and augment photos beside the step")
    threads: int | None = setting(None, "of the step (default: all cores that the process may use)")
