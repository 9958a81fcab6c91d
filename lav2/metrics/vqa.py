"""VQAv2: questions, and the accuracy of its own evaluation."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lav2.metrics.questions import (
    Id,
    Question,
    checked_rows,
    field_of,
    locate_photos,
    mean_by_subset,
    only_file,
    read_benchmark_json,
    require_answers,
)


def read_vqav2(folder: str | Path, images: str | Path | None = None) -> list[Question]:
    """VQAv2 (or VQAv1) as downloaded: one `*questions.json` and one `*annotations.json` in `folder`; subset =
    answer type.

    `images` is the folder (searched below) with COCO_val2014_000000000042.jpg and so on; by default `folder`
    itself.
    """
    folder = Path(folder)
    question_file, annotation_file = (only_file(folder, f"*{kind}.json") for kind in ("questions", "annotations"))
    content = read_benchmark_json(question_file)
    asked = checked_rows(
        question_file, field_of(question_file, content, "questions"), ("question_id", "image_id", "question")
    )
    rows = field_of(annotation_file, read_benchmark_json(annotation_file), "annotations")
    truth = {
        r["question_id"]: r for r in checked_rows(annotation_file, rows, ("question_id", "answers", "answer_type"))
    }
    kind = content.get("data_subtype", "val2014")
    files = locate_photos(
        {r["question_id"]: f"COCO_{kind}_{int(r['image_id']):012d}.jpg" for r in asked},
        Path(images or folder),
    )
    return [
        Question(
            id=i,
            image=files[i],
            text=row["question"],
            answers=tuple(a["answer"] for a in truth[i]["answers"]),
            subset=truth[i]["answer_type"],
        )
        for row in asked
        if (i := row["question_id"]) in truth
    ]


def vqa_scores(questions: Sequence[Question], answers: Mapping[Id, str]) -> dict[str, float]:
    """VQAv2 accuracy, 0..1: `all`, and one per subset (answer type)."""
    return mean_by_subset(
        questions, [vqa_accuracy(answers[q.id], q.answers) for q in require_answers(questions, answers)]
    )


def vqa_accuracy(answer: str, truths: Sequence[str]) -> float:
    """min(1, people who gave this answer / 3), averaged over leaving out each person in turn (Antol et al.
    2015).

    As in the official script: the answer is normalised, people's answers only lose their punctuation, and
    only when they differ.
    """
    answer = vqa_normalise(answer)
    if len(set(truths)) > 1:
        truths = [_without_punctuation(t) for t in truths]
    same = sum(t == answer for t in truths)
    return float(np.mean([min(1.0, (same - (t == answer)) / 3) for t in truths]))


def vqa_normalise(answer: str) -> str:
    """VQAv2's form of an answer: lower case, no punctuation and articles, digits for number words, usual
    contractions.
    """
    text = _without_punctuation(re.sub(r"[\n\t]", " ", answer).strip())
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTED.get(word, word) for word in words if word not in ("a", "an", "the"))


_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0"} | {word: str(n) for n, word in enumerate(_NUMBER_WORDS)}
_CONTRACTIONS = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't "
    "haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've "
    "might've mustn't must've needn't not've o'clock oughtn't shan't she'd've should've shouldn't "
    "shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's "
    "something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've "
    "they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's "
    "where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've "
    "wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've"
)


def _contraction_table() -> dict[str, str]:
    """Each contraction with one apostrophe forgotten -> the right spelling.

    Equal to the official table but for its four oddities: three spellings of 'ow's'at, and somebody'd ->
    somebodyd.
    """
    table = {}
    for right in _CONTRACTIONS.split():
        for i in (i for i, letter in enumerate(right) if letter == "'"):
            table[right[:i] + right[i + 1 :]] = right
    return table


_CONTRACTED = _contraction_table()


def _without_punctuation(text: str) -> str:
    """VQAv2's rule: a sign beside a space, or any sign where digits hold a comma, goes; other signs become a
    space.
    """
    result = text
    for sign in ';/[]"{}()=+\\_-><@`,?!':
        alone = f"{sign} " in text or f" {sign}" in text or re.search(r"\d,\d", text)
        result = result.replace(sign, "" if alone else " ")
    return re.sub(r"\.(?!\d)", "", result)
