"""Natural questions: people's own, about documents and photos, asked of the assistant as it ships.

`everyday` reads a folder of pictures and questions.jsonl, lines {"id", "kind": text | yesno | photo, "image",
"question", "truth": [any of], "distractors": [none of], "history"?}. `human` reads human questions on COCO photos,
lines {"coco_id", "question", "answers", "votes"?, "split"}. Experts look at every picture as they do in the app.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from experts.evidence import BUILT_IN, Evidence
from lav2.data.formats import InstructionRow
from lav2.errors import LAV2Error
from lav2.evaluation.record import examine
from lav2.evaluation.runner import EvaluationRunner
from lav2.evaluation.tasks import ARMS
from lav2.events import Turn
from lav2.metrics import vqa
from lav2.metrics.bootstrap import bootstrap_interval

Findings = Mapping[str, Mapping[str, Evidence]]  # photo -> expert -> what it found
NO_LINE = "no line"  # an arm: all experts, but nothing computed of the boxes


def everyday(
    bench: EvaluationRunner,
    data: Path,
    arms: Sequence[str] = ("all",),
    limit: int | None = None,
    found: Findings | None = None,
) -> tuple[dict, list[dict]]:
    """(scores, rows with answers by arm) on a folder of everyday questions.

    Args:
        data: the folder, or its questions.jsonl.
        arms: of lav2.evaluation.tasks.ARMS, or NO_LINE.
        limit: questions, the first ones.
        found: what experts found on the pictures, by path; None: they look at them now.

    Returns:
        `accuracy` {arm: {kind: share}}, kind `all` too; `questions` {kind: number}; `differences` {"all - none": {kind:
        [mean, low, high]}}, 95 % bootstrap intervals.

    Raises:
        LAV2Error: the file cannot be read.
    """
    rows = everyday_rows(data, limit)
    return _run(bench, rows, arms, lambda row, answer: float(is_right(row.facts, answer)), found)


def everyday_rows(data: Path, limit: int | None = None) -> list[InstructionRow]:
    """The questions of `everyday` without findings; LAV2Error as there."""
    file = data / "questions.jsonl" if data.is_dir() else data
    asked = _lines(file, ("id", "kind", "image", "question", "truth"))[:limit]
    return [
        InstructionRow(str(file.parent / row["image"]), _turns(row), split="val", kind=row["kind"], facts=row)
        for row in asked
    ]


def human(
    bench: EvaluationRunner,
    data: Path,
    images: Path,
    arms: Sequence[str] = ("all",),
    split: str = "val",
    limit: int | None = None,
    found: Findings | None = None,
) -> tuple[dict, list[dict]]:
    """(scores, rows with answers by arm) on human questions about COCO photos; VQA accuracy, kinds `yes/no` and `open`.

    Args:
        data: the file of questions.
        images: folder of the photos, named by their COCO number of twelve digits.
        arms: of lav2.evaluation.tasks.ARMS, or NO_LINE.
        split: whose questions are asked.
        limit: photos, the first ones in an order that does not depend on the file's.
        found: as for `everyday`.

    Raises:
        LAV2Error: the file cannot be read, or no photo is there.
    """
    rows = human_rows(data, images, split, limit)
    return _run(bench, rows, arms, lambda row, answer: human_accuracy(row.facts, answer), found)


def human_rows(data: Path, images: Path, split: str = "val", limit: int | None = None) -> list[InstructionRow]:
    """The questions of `human` without findings; LAV2Error as there."""
    found = [row for row in _lines(data, ("coco_id", "question", "answers")) if row.get("split") == split]
    numbers = sorted({row["coco_id"] for row in found}, key=lambda n: (n * 2654435761) % 2**32)
    shown = [n for n in numbers if _photo(images, n)][:limit]
    if not shown:
        raise LAV2Error(f"{images} has none of the photos of {data}.", "Give the folder of the photos with --images.")
    chosen = set(shown)
    return [
        InstructionRow(
            _photo(images, row["coco_id"]), (Turn(row["question"], ""),), split="val", kind=_sort(row), facts=row
        )
        for row in found
        if row["coco_id"] in chosen
    ]


def is_right(row: Mapping, answer: str) -> bool:
    """Whether an everyday question is answered right.

    text: one of `truth` stands in the answer and none of `distractors`; letters and digits are compared, and a number
    is no part of a longer one. yesno: it begins with one of `truth`. photo: a word of `truth`, none of `distractors`.
    """
    low, wrong = answer.lower().strip(), row.get("distractors", ())
    if row["kind"] == "yesno":
        return low.startswith(tuple(row["truth"])) and not any(word in low for word in wrong)
    if row["kind"] == "photo":
        return any(re.search(rf"\b{re.escape(word)}", low) for word in row["truth"]) and not any(
            word in low for word in wrong
        )
    others = [word for word in wrong if _letters(word) not in _letters(row["truth"][0])]
    return any(_stands(answer, word) for word in row["truth"]) and not any(_stands(answer, word) for word in others)


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", text.lower())


def _stands(answer: str, value: str) -> bool:
    words = " ".join(map(_letters, answer.split()))
    return re.search(rf"(?<!\d){' ?'.join(_letters(value))}(?!\d)", words) is not None


def human_accuracy(row: Mapping, answer: str) -> float:
    """VQA accuracy (Antol et al. 2015) where people's votes are known, else whether it is one of the answers.

    Of a sentence that begins with yes or no only that counts, where yes or no is asked for.
    """
    first = re.match(r"(yes|no)\b", answer.lower())
    said = first[1] if first and _sort(row) == "yes/no" else answer
    if any(isinstance(votes, float) for votes in row.get("votes", ())):  # OK-VQA's come as the accuracy they give
        goal = vqa.vqa_normalise(said)
        given = zip(row["answers"], row["votes"], strict=True)
        return max((min(1.0, votes) for text, votes in given if vqa.vqa_normalise(text) == goal), default=0.0)
    if "votes" in row:
        people = [text for text, votes in zip(row["answers"], row["votes"], strict=True) for _ in range(votes)]
        return vqa.vqa_accuracy(said, people)
    return float(vqa.vqa_normalise(said) in {vqa.vqa_normalise(text) for text in row["answers"]})


def _sort(row: Mapping) -> str:
    return "yes/no" if row["answers"][0].lower() in ("yes", "no") else "open"


def _photo(images: Path, number: int) -> str | None:
    file = images / f"{number:012d}.webp"
    return str(file) if file.is_file() else None


def _turns(row: Mapping) -> tuple[Turn, ...]:
    return (*(Turn(question, answer) for question, answer in row.get("history", ())), Turn(row["question"], ""))


def _lines(file: Path, needed: Sequence[str]) -> list[dict]:
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        missing = next((name for row in rows for name in needed if name not in row), None)
    except (OSError, ValueError, TypeError) as error:
        raise LAV2Error(
            f"{file} cannot be read ({error}).", "Give the folder of questions.jsonl and its pictures."
        ) from error
    if missing or not rows:
        raise LAV2Error(
            f"{file} has a line without {missing!r}." if missing else f"{file} is empty.", "Mend that line."
        )
    return rows


def _run(
    bench: EvaluationRunner,
    rows: Sequence[InstructionRow],
    arms: Sequence[str],
    score: Callable[[InstructionRow, str], float],
    found: Findings | None,
) -> tuple[dict, list[dict]]:
    if found is None:
        needed = [name for name in BUILT_IN if any(name in _experts(arm) for arm in arms)]
        found = examine(bench, [row.image for row in rows], needed)
    answers, right = {}, {}
    for arm in arms:
        on = _experts(arm)
        asked = [
            replace(row, evidence={name: found[row.image][name] for name in on if name in found[row.image]})
            for row in rows
        ]
        answers[arm] = bench.answers(asked, computed_line=arm != NO_LINE)
        verdicts: dict[str, list[float]] = {}
        for row, answer in zip(rows, answers[arm], strict=True):
            verdicts.setdefault(row.kind, []).append(score(row, answer))
        right[arm] = {**verdicts, "all": [verdict for part in verdicts.values() for verdict in part]}
    first = next(iter(right.values()))
    others = [arm for arm in arms if arm != "all" and "all" in arms]
    differences = {
        f"all - {arm}": {kind: list(bootstrap_interval(part, right[arm][kind])) for kind, part in right["all"].items()}
        for arm in others
    }
    scores = {
        "accuracy": {arm: {kind: float(np.mean(part)) for kind, part in kinds.items()} for arm, kinds in right.items()},
        "questions": {kind: len(part) for kind, part in first.items()},
        "differences": differences,
    }  # fmt: skip
    table = [
        {"id": row.facts.get("id"), "image": row.image, "kind": row.kind, "question": row.turns[-1].question,
         "truth": row.facts.get("truth", row.facts.get("answers")), "answers": {arm: answers[arm][n] for arm in arms},
         "right": {arm: score(row, answers[arm][n]) for arm in arms}}
        for n, row in enumerate(rows)
    ]  # fmt: skip
    return scores, table


def _experts(arm: str) -> tuple[str, ...]:
    return BUILT_IN if arm == NO_LINE else ARMS[arm]
