"""What is measured and how, which are the options of `python -m lav2 evaluate` and `examine`. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lav2.errors import LAV2Error
from lav2.options import setting


@dataclass(frozen=True)
class RowsConfig:
    """Which rows and photos."""

    images: Path | None = setting(None, "of the photos (default: that of the data)", metavar="FOLDER")
    split: str | None = setting(None, "only rows of this split", metavar="NAME")
    limit: int | None = setting(None, "only the first rows or photos")
    cache: Path | None = setting(None, "of cached image features (default: the user's cache)", metavar="FOLDER")


@dataclass(frozen=True)
class ShardsConfig:
    """Where it is computed."""

    ray: bool = setting(False, "on Ray: rows and photos are divided among processes that each hold the models")
    cluster: str | None = setting(
        None, "address of a running Ray cluster, with --ray (default: one on this machine)", metavar="ADDRESS"
    )
    workers: int | None = setting(None, "with --ray: processes (default: one a GPU, else one for two cores)")

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise LAV2Error("Workers are 1 or more.", "Give a larger number.")


@dataclass(frozen=True)
class CaptionsConfig:
    """How captions are written."""

    beams: int | None = setting(None, "width of a beam, in place of drafts; 1: greedy")
    drafts: int | None = setting(
        None, "captions sampled of a photo; of them and half as many of its mirror image one is told; 0: the likeliest "
        "is (default: the preset's)",
    )  # fmt: skip


@dataclass(frozen=True)
class EvaluationConfig(RowsConfig):
    """What is asked, and on which rows."""

    split: str | None = setting("val", "of captions.jsonl and of plain questions", metavar="NAME")
    arms: str | None = setting(
        None, "for grounded: sets of experts with commas, such as none,detection,all,auto", metavar="NAMES"
    )
    suffix: str = setting("", 'behind questions, such as "Answer with one word."', metavar="TEXT")
    batch: int = setting(32, "prompts at once")
    max_new_tokens: int = setting(64, "longest answer, in tokens; answers are greedy")
    seed: int = setting(0, "kept in the results")
    coco_results: Path | None = setting(None, "captions as a COCO result file", metavar="FILE")
