"""Teaching the reranker of a captioner's drafts what people say of photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from lav2.captioning import reranker
from lav2.captioning.reranker import RerankerConfig
from lav2.data.features import FeatureCache, without_damaged
from lav2.data.formats import CaptionRow
from lav2.errors import LAV2Error
from lav2.model import checkpoint, preflight
from lav2.training.selection import check_rows, photo_features, rows_by_kind
from lav2.training.settings import PhrasesConfig


def learn_phrases(
    folder: Path,
    data: Sequence[Path],
    how: PhrasesConfig = PhrasesConfig(),
    report: Callable[[str], None] = print,
) -> None:
    """Teach a captioner's reranker (lav2.captioning.reranker) on captions; what `python -m lav2 phrases` calls.

    Args:
        folder: of a caption adapter, through whose image encoder the photos are seen; the reranker is written into it.
        data: caption files (lav2.data.formats.read_rows); rows of the split `val` are told the loss of.

    Raises:
        LAV2Error: no adapter, an adapter without an image encoder, or too few captions.
    """
    vision = checkpoint.read_vision(folder)
    if vision is None:
        raise LAV2Error(f"The adapter in {folder} is text only.", "Give the folder of a caption adapter.")
    target = preflight.device(how.device)
    captions, instructions = rows_by_kind(data, how.images, "caption", report)
    features = photo_features(vision, captions, instructions, how.cache, how.views, target)
    captions = {split: without_damaged(rows, features, report) for split, rows in captions.items()}
    check_rows(captions, instructions, "caption")

    def seen(rows: Sequence[CaptionRow], view: int) -> torch.Tensor:  # [photos, 2C]; their tokens are read in parts
        parts = [rows[i : i + FeatureCache.CHUNK] for i in range(0, len(rows), FeatureCache.CHUNK)]
        return torch.cat([reranker.pooled(features.get([r.image for r in part], [view] * len(part))) for part in parts])

    train_rows, val_rows = captions["train"], captions["val"]
    photos = torch.stack([seen(train_rows, view) for view in range(how.views)], 1)  # [photos, views, 2C]
    held = (seen(val_rows, 0), [row.captions for row in val_rows]) if val_rows else None
    references, settings = [row.captions for row in train_rows], RerankerConfig(seed=how.seed)
    model = reranker.learn(photos, references, vision, held, settings, target, report)
    reranker.save(model, folder, {"data": [str(file) for file in data], "views": how.views, **asdict(settings)})
