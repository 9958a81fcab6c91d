"""DocVQA: answers by edit distance (ANLS)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lav2.metrics.questions import (
    Id,
    Question,
    checked_rows,
    field_of,
    locate_photos,
    mean_by_subset,
    read_benchmark_json,
    require_answers,
)


def read_docvqa(path: str | Path, images: str | Path | None = None) -> list[Question]:
    """DocVQA, ST-VQA or another of the Robust Reading Challenge: JSON {"data": [{"questionId" or
    "question_id", "question", "image" or "file_path", "answers"}]}. Photos are looked for by name below
    `images` (default: the file's folder).
    """
    path = Path(path)
    rows = checked_rows(path, field_of(path, read_benchmark_json(path), "data"), ("question", "answers"))
    ids: list[Any] = [row.get("questionId", row.get("question_id")) for row in rows]
    names = {i: Path(row.get("image") or row.get("file_path", "")).name for i, row in zip(ids, rows, strict=True)}
    photos = locate_photos(names, Path(images or path.parent))
    return [Question(i, photos[i], r["question"], tuple(r["answers"])) for i, r in zip(ids, rows, strict=True)]


def anls_scores(questions: Sequence[Question], answers: Mapping[Id, str]) -> dict[str, float]:
    """ANLS, 0..1: `all`, and one per subset."""
    return mean_by_subset(questions, [anls(answers[q.id], q.answers) for q in require_answers(questions, answers)])


def anls(answer: str, truths: Sequence[str], threshold: float = 0.5) -> float:
    """1 - edit distance / longer length to the nearest accepted answer, 0 from `threshold` on (Biten et al.
    2019).
    """
    answer = " ".join(answer.lower().split())
    best = 0.0
    for truth in (" ".join(t.lower().split()) for t in truths):
        distance = _edits(answer, truth) / max(1, len(answer), len(truth))
        best = max(best, 1 - distance if distance < threshold else 0.0)
    return best


def _edits(a: str, b: str) -> int:
    """Levenshtein distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]
