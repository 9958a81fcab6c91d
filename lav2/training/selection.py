"""The rows that a stage learns from, and the features of their photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lav2.config import VisionConfig
from lav2.data.features import FeatureCache
from lav2.data.formats import CaptionRow, InstructionRow, read_rows
from lav2.errors import LAV2Error
from lav2.model.adapter import STAGES
from lav2.model.vision import VisionTower
from lav2.weights import cache_dir

VALIDATION_ROWS = 512


def rows_by_kind(data: Sequence[Path], images: Path | None, stage: str, report: Callable[[str], None]):
    """Captions and instructions that the stage uses, each as {"train": rows, "val": rows}.

    Raises:
        LAV2Error: the stage needs rows that the files do not hold.
    """
    found = [row for file in data for row in read_rows(file, images, report)]
    chosen = []
    for kind, form in (("caption", CaptionRow), ("instruction", InstructionRow)):
        rows = [row for row in found if isinstance(row, form)] if kind in STAGES[stage] else []
        chosen.append({split: [row for row in rows if row.split == split] for split in ("train", "val")})
        chosen[-1]["val"] = chosen[-1]["val"][:VALIDATION_ROWS]
    check_rows(*chosen, stage)
    return chosen


def check_rows(captions: dict, instructions: dict, stage: str) -> None:
    """
    Raises:
        LAV2Error: the stage learns from rows that there are none of.
    """
    for kind, rows in (("caption", captions), ("instruction", instructions)):
        if kind in STAGES[stage] and not rows["train"]:
            raise LAV2Error(
                f"The stage {stage} learns from {kind}s, and the files hold none of the split train that can be used.",
                f"Add a file of {kind}s to --data.",
            )


def photo_features(
    vision: VisionConfig | None, captions: dict, instructions: dict, cache: Path | None, views: int, device: str = "cpu"
) -> FeatureCache | None:
    """The features of every photo in the rows, encoded where they are missing; None without photos."""
    shown = {row.image: None for rows in (captions, instructions) for part in rows.values() for row in part}
    shown.pop(None, None)
    if not shown or vision is None:
        return None
    folder = cache or cache_dir() / "features"
    features = FeatureCache(folder, vision, shown, {row.image for row in captions["train"]}, views)
    if not features.complete:
        features.fill(VisionTower(vision).to(device).encode)
    return features
