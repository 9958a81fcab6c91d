"""Many photos and questions at once: the rows that were sent, which answers are right, the results as a file."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gradio_client.utils import strip_invalid_filename_characters

from lav2.errors import LAV2Error
from lav2.events import check_length
from lav2.metrics.vqa import vqa_normalise
from lav2.text import routing

ROWS = 100  # at once
CSV_BYTES = 1_000_000
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".mpo", ".jfif")
COLUMNS = {"image": ("image", "photo", "file"), "question": ("question",), "answer": ("answer", "expected", "truth")}


@dataclass(frozen=True)
class QuestionRow:
    """A photo's file and its question; `truths`: right answers, () where nobody knows one."""

    photo: str
    question: str
    truths: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of lav2.events.REASONS: what the question asks for."""
        return routing.route(self.question).kinds


@dataclass(frozen=True)
class Result:
    """What each choice of experts answered, or why it failed."""

    row: QuestionRow
    answers: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    def right(self, side: str) -> bool | None:
        """None where no right answer is known, or there is no answer."""
        if not self.row.truths or side not in self.answers:
            return None
        return is_right(self.answers[side], self.row.truths)


def is_right(answer: str, truths: Sequence[str]) -> bool:
    """Whether one of the truths stands in the answer, word for word in VQAv2's form; yes or no has to begin it."""
    answer_words = _words(answer)
    for truth in map(_words, truths):
        starts = range(1) if truth in (["yes"], ["no"]) else range(len(answer_words))
        if truth and any(answer_words[at : at + len(truth)] == truth for at in starts):
            return True
    return False


def _words(text: str) -> list[str]:
    return re.findall(r"\d+(?:[.,:]\d+)*|[^\W\d_]+", vqa_normalise(text))


def read_rows(sent: Sequence[str], question: str, texts: Mapping[str, str]) -> list[QuestionRow]:
    """The rows of what was sent: a CSV and its photos, or photos that are all asked `question`.

    Raises:
        LAV2Error: something is missing, or there is too much; a row of the CSV is named by its number.
    """
    tables = [file for file in sent if file.lower().endswith(".csv")]
    photos = [file for file in sent if file.lower().endswith(PICTURES)]
    if not photos or len(tables) > 1:
        raise LAV2Error(texts["many_no_photos"], texts["many_no_photos_next"])
    if tables:
        rows = list(_csv_rows(Path(tables[0]), photos, texts))
    elif question.strip():
        rows = [QuestionRow(photo, question.strip()) for photo in photos]
    else:
        raise LAV2Error(texts["many_no_question"], texts["many_no_question_next"])
    if not 1 <= len(rows) <= ROWS:
        raise LAV2Error(texts["many_rows"].format(n=len(rows), most=ROWS), texts["many_rows_next"])
    for row in rows:
        check_length(row.question)
    return rows


def _csv_rows(file: Path, photos: Sequence[str], texts: Mapping[str, str]) -> Iterator[QuestionRow]:
    named = defaultdict(list)
    for photo in photos:
        named[Path(photo).name].append(photo)
    try:
        if file.stat().st_size > CSV_BYTES:
            raise LAV2Error(texts["many_csv"], texts["many_csv_next"])
        text = file.read_text(encoding="utf-8-sig")
        head = text.partition("\n")[0]
        reader = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=head.count), strict=True)
        columns = {name.strip().lower(): name for name in reader.fieldnames or ()}
        used = {key: next((columns[one] for one in names if one in columns), None) for key, names in COLUMNS.items()}
        if used["image"] is None or used["question"] is None:
            raise LAV2Error(texts["many_csv"], texts["many_csv_next"])
        for row in reader:
            values = {key: (row[name] or "").strip() for key, name in used.items() if name is not None}
            sent = re.split(r"[/\\]", values["image"])[-1]
            stored_name = strip_invalid_filename_characters(sent)  # as Gradio stores it
            found = named.get(stored_name, [])
            if len(found) != 1 or not values["question"]:
                where = texts["many_row"].format(line=reader.line_num, name=values["image"][:80])
                raise LAV2Error(where, texts["many_row_next"])
            truths = tuple(filter(None, map(str.strip, values.get("answer", "").split("|"))))
            yield QuestionRow(found[0], values["question"], truths)
    except (OSError, ValueError, csv.Error) as error:
        raise LAV2Error(texts["many_csv"], texts["many_csv_next"]) from error


def shares_by_kind(results: Sequence[Result], sides: Sequence[str]) -> tuple[bool, dict[tuple[str, str], list[int]]]:
    """(whether right answers are known, (kind of question, side) -> [so many, of how many]): answers that are right,
    or, where no right answer is known, that differ from the first side's. One of several kinds counts in each."""
    known = any(result.row.truths for result in results)
    found: dict[tuple[str, str], list[int]] = {}
    for result in results:
        for side in sides if known else sides[1:]:
            if known:
                holds = result.right(side)
            else:
                first, other = result.answers.get(sides[0]), result.answers.get(side)
                holds = None if first is None or other is None else _words(first) != _words(other)
            if holds is None:
                continue
            for kind in result.row.kinds:
                count = found.setdefault((kind, side), [0, 0])
                count[0] += holds
                count[1] += 1
    return known, found


def to_csv(results: Sequence[Result]) -> str:
    """A line for each answer, with a byte order mark, so that spreadsheets read it as UTF-8."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(("image", "question", "kind", "expected", "model", "experts", "answer", "right", "error"))
    for result in results:
        row = result.row
        for side in (*result.answers, *result.failed):
            right = result.right(side)
            outcome = ("" if right is None else int(right), result.failed.get(side, ""))
            experts, _, model = side.partition("@")  # "": the assistant
            cells = (Path(row.photo).name, row.question, " ".join(row.kinds), "|".join(row.truths), model, experts)
            writer.writerow([_harmless(cell) for cell in (*cells, result.answers.get(side, ""), *outcome)])
    return "\ufeff" + out.getvalue()


def _harmless(cell: str | int) -> str | int:
    """Text that no spreadsheet takes for a formula: photos and visitors may have written it."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip().startswith(("=", "+", "-", "@")) else cell
