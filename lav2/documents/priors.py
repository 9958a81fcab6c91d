"""Human questions on photos that are not here, with which answers fit which questions: rows without evidence.

What is mostly true of photos is what remains where experts and image features tell nothing ("Is it sunny?").
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lav2.documents.kinds import Ask
from lav2.documents.photo_questions import short_answer
from lav2.documents.rows import row

SOURCES = (
    "vqa_v2_train",
    "vqa_v1_val",
    "vqa_v2_val",
    "vqa_v2_val_1",
    "vqa_x",
    "ok_vqa",
)  # questions about what is seen
WITH_PHOTO = 0.5  # share of rows beside some photo, which is always there in use
TOGETHER = 10  # questions of a row


def priors(file: Path, photos: Sequence[str], count: int, seed: int) -> list[dict[str, Any]]:
    """`count` rows of TOGETHER questions, each of another photo, from photo_qa_other.jsonl.gz; no expert has run.

    Args:
        photos: paths; half of the rows get one of them.
    """
    rng = random.Random(f"{seed} {file.name}")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        asked = [entry for entry in map(json.loads, lines) if entry["source"] in SOURCES]
    rng.shuffle(asked)
    made = []
    for start in range(0, min(len(asked), count * TOGETHER), TOGETHER):
        some = asked[start : start + TOGETHER]
        asks = [Ask(entry["question"], short_answer(entry["answers"][0]), "prior") for entry in some]
        made.append(row(rng.choice(photos) if rng.random() < WITH_PHOTO else None, {}, asks))
    return made
