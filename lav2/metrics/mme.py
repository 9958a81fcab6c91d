"""MME: perception and cognition."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lav2.errors import LAV2Error
from lav2.files import read_text
from lav2.metrics.questions import Id, Question, photos_by_stem, require_answers

MME_PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
MME_COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")


def read_mme(folder: str | Path) -> list[Question]:
    """MME as downloaded: a folder per subtask; beside each photo, or in questions_answers_YN/, NAME.txt.

    A .txt holds two lines "question<TAB>Yes" and "question<TAB>No"; photos lie beside it or in images/. Ids:
    "subtask/NAME/1".

    Raises:
        LAV2Error: there is none of MME's subtasks, a file is of another form, or a photo is missing.
    """
    folder = Path(folder)
    found = []
    for subtask in (s for s in MME_PERCEPTION + MME_COGNITION if (folder / s).is_dir()):
        texts = sorted([*(folder / subtask).glob("*.txt"), *(folder / subtask / "questions_answers_YN").glob("*.txt")])
        images = photos_by_stem(folder / subtask)
        for file in texts:
            if file.stem not in images:
                raise LAV2Error(f"{file} has no photo of the same name.", f"Put it in {folder / subtask / 'images'}.")
            lines = [line.split("\t") for line in read_text(file).splitlines() if line.strip()]
            if len(lines) != 2 or any(len(line) != 2 for line in lines):
                raise LAV2Error(f"{file} is not two lines of question, tab, answer.", "Download this MME file again.")
            for n, (question, answer) in enumerate(lines, 1):
                name = f"{subtask}/{file.stem}/{n}"
                found.append(Question(name, images[file.stem], question, (answer.strip().lower(),), subtask))
    if not found:
        raise LAV2Error(
            f"{folder} has none of MME's subtasks.", f"It should hold folders such as {MME_PERCEPTION[0]}/."
        )
    return found


def mme_scores(questions: Sequence[Question], answers: Mapping[Id, str]) -> dict[str, dict[str, float]]:
    """MME (Fu et al., arXiv:2306.13394): per subtask accuracy and accuracy+ (both questions of a photo right)
    in percent and their sum (0..200); `perception` and `cognition` add the subtasks' sums. The two questions
    of a photo share their id up to the last "/".
    """
    right: dict[str, dict[str, list[bool]]] = {}
    for q in require_answers(questions, answers):
        photo = str(q.id).rsplit("/", 1)[0]
        right.setdefault(q.subset, {}).setdefault(photo, []).append(mme_answer(answers[q.id]) == q.answers[0])
    scores = {}
    for subtask, photos in right.items():
        accuracy = 100 * float(np.mean([r for pair in photos.values() for r in pair]))
        plus = 100 * float(np.mean([all(pair) for pair in photos.values()]))
        scores[subtask] = {"accuracy": accuracy, "accuracy+": plus, "score": accuracy + plus}
    groups = {"perception": MME_PERCEPTION, "cognition": MME_COGNITION}
    sums = {g: {"score": sum(scores[s]["score"] for s in names if s in scores)} for g, names in groups.items()}
    return scores | sums


def mme_answer(answer: str) -> str:
    """yes, no or other, from the first four characters (MME's own rule)."""
    start = answer.strip().lower()[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"
