"""POPE: whether an object is in the photo."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lav2.errors import LAV2Error
from lav2.metrics.questions import Id, Question, checked_rows, json_lines, locate_photos, require_answers


def read_pope(folder: str | Path, images: str | Path | None = None) -> list[Question]:
    """POPE as downloaded: `*_pope_random.json`, `_popular`, `_adversarial` (one JSON object a line) in `folder`.

    Lines: {"question_id", "image", "text", "label": yes or no}. Ids become "random/1"; the subset is the last word of
    the file name.

    Args:
        images: the folder (searched below) with the COCO photos; by default `folder`.

    Raises:
        LAV2Error: there is no such file, a row lacks a field, or a photo is missing.
    """
    files = sorted(Path(folder).glob("*pope*.json*"))
    if not files:
        raise LAV2Error(f"{folder} has no POPE files.", "Give the folder with coco_pope_random.json and its siblings.")
    found = []
    for file in files:
        subset = file.stem.split("_")[-1]
        for row in checked_rows(file, json_lines(file), ("question_id", "image", "text", "label")):
            found.append((f"{subset}/{row['question_id']}", row, subset))
    where = locate_photos({i: row["image"] for i, row, _ in found}, Path(images or folder))
    return [Question(i, where[i], row["text"], (row["label"],), subset) for i, row, subset in found]


def pope_scores(questions: Sequence[Question], answers: Mapping[Id, str]) -> dict[str, dict[str, float]]:
    """POPE (Li et al., arXiv:2305.10355) per subset and `all`: accuracy, precision, recall, F1, yes-ratio;
    "yes" is positive.
    """
    replies = {q.id: pope_answer(answers[q.id]) for q in require_answers(questions, answers)}
    scores = {}
    for subset in [*dict.fromkeys(q.subset for q in questions), "all"]:
        part = [q for q in questions if subset in (q.subset, "all")]
        yes = np.array([replies[q.id] == "yes" for q in part])  # [n]
        true = np.array([q.answers[0] == "yes" for q in part])  # [n]
        hits = int((yes & true).sum())
        precision, recall = hits / max(1, int(yes.sum())), hits / max(1, int(true.sum()))
        scores[subset] = {
            "accuracy": float((yes == true).mean()),
            "precision": precision,
            "recall": recall,
            "F1": 2 * hits / max(1, int(yes.sum() + true.sum())),
            "yes-ratio": float(yes.mean()),
        }
    return scores


def pope_answer(answer: str) -> str:
    """ "no" if the first sentence has the word No, no or not, else "yes" (POPE's own rule)."""
    words = answer.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"
