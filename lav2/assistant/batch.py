"""Questions of a file or about a folder's photos, and the file of their answers, which goes on after an interruption.
No torch.

A row is known by its id, or, where it has none that can be used, by its line. Answers stay; failures are asked again,
since the photo may be there by now.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

from lav2 import files
from lav2.assistant.addresses import Address
from lav2.errors import LAV2Error

PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".gif", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Row:
    """A line of the questions' file; `error` tells what is wrong with it."""

    line: int
    id: str | int | float | None = None  # None: it has none that can be used
    image: str = ""
    question: str = ""
    error: str = ""

    @property
    def key(self) -> str:
        """What its answer is found by: 1, 1.0, "1" and line 1 are four."""
        return json.dumps({"line": self.line} if self.id is None else self.id)


def read(source: Path | Address, question: str = "") -> list[Row]:
    """The rows of a source of {"id", "image", "question"}; bad ones say so.

    Args:
        source: JSON lines, a table (.parquet) with these columns, or a folder: its photos, known by their paths in it.
            An address is read as a file is.
        question: about each photo of a folder, and of rows that have none.

    Raises:
        LAV2Error: it cannot be read, or a folder comes without a question.
    """
    if source.is_dir():
        values: Iterator[tuple[int, object]] = _photos(source, question)
    else:
        values = _table(source) if source.suffix == ".parquet" else _lines(source)
    rows: list[Row] = []
    first: dict[str, int] = {}  # lines of ids
    for line, value in values:
        if question and isinstance(value, dict):
            value = {**value, "question": question if value.get("question") is None else value["question"]}
        row = _row(line, value)
        if row.id is not None and (before := first.setdefault(row.key, line)) != line:
            row = Row(line, error=f"Line {line} has the id {row.id!r} of line {before}.")
        rows.append(row)
    return rows


def _lines(source: Path | Address) -> Iterator[tuple[int, object]]:
    if isinstance(source, Path):
        return files.json_lines(source)
    return files.parse_lines(source.read_bytes().split(b"\n"))


def _photos(folder: Path | Address, question: str) -> Iterator[tuple[int, dict]]:
    if not question.strip():
        raise LAV2Error(f"{folder} is a folder of photos, and there is no question.", "Give one as --question.")
    if isinstance(folder, Path):
        inside = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    else:
        inside = folder.names()
    names = sorted(name for name in inside if PurePosixPath(name).suffix.lower() in PHOTOS)
    if not names:
        raise LAV2Error(f"{folder} has no photos.", f"Give a folder of {', '.join(PHOTOS)}.")
    return ((number, {"id": name, "image": name}) for number, name in enumerate(names, start=1))


def _table(file: Path | Address) -> Iterator[tuple[int, dict]]:
    try:
        from pyarrow import ArrowException, parquet  # of lav2's extras: Ray brings it
    except ModuleNotFoundError as error:
        raise LAV2Error(
            f"{file} needs the Python package {error.name}, which is not installed.",
            "Run `pip install -r requirements-cluster.txt`, or give JSON lines.",
        ) from error
    try:
        rows = parquet.read_table(io.BytesIO(file.read_bytes())).to_pylist()
    except (OSError, ArrowException) as error:
        raise LAV2Error(f"{file} cannot be read ({error}).", "Give a Parquet file with id, image, question.") from error
    return iter(enumerate(rows, start=1))


def _row(line: int, value: object) -> Row:
    form = f"Line {line} is not {{id, image, question}} in JSON"
    if not isinstance(value, dict):
        why = value if isinstance(value, ValueError) else f"it is a {type(value).__name__}"
        return Row(line, error=f"{form} ({why}).")
    identity = value.get("id")
    if isinstance(identity, bool) or not isinstance(identity, str | int | float):
        return Row(line, error=f"{form} (its id must be a text or a number, and is {json.dumps(identity)[:80]}).")
    missing = [name for name in ("image", "question") if not isinstance(value.get(name), str)]
    if missing:
        return Row(line, identity, error=f"{form} ({missing[0]!r} must be a text).")
    return Row(line, identity, value["image"], value["question"])


def answered_lines(out: Path) -> dict[str, str]:
    """The answers of an earlier run, lines by key; its failures and a last line that was cut off are not among them.

    Raises:
        LAV2Error: the file cannot be read or holds something else.
    """
    if not out.exists():
        return {}
    values = list(files.json_lines(out))
    if values and isinstance(values[-1][1], ValueError):  # cut off
        values.pop()
    found: dict[str, str] = {}
    for number, value in values:
        if not isinstance(value, dict) or "id" not in value or not value.keys() & {"answer", "error"}:
            raise LAV2Error(f"{out}, line {number} is no answer of this command.", "Choose another --out.")
        if "error" not in value:
            found[json.dumps(value["id"])] = json.dumps(value, ensure_ascii=False)
    return found


Folder = Path | Address
Answer = Callable[[Folder, str], dict]  # photo, question -> the rest of the answer's line
Answers = Callable[[list[Row], Folder], Iterator[tuple[Row, dict]]]  # rows, folder -> each with that rest, in any order


def run(
    questions: Folder, out: Path, load: Callable[[], Answer], show: Callable = iter, question: str = ""
) -> tuple[int, int]:
    """Answer every row that has no answer in `out` yet, one after the other; see `write`.

    Args:
        load: makes what answers; called once, if there is anything to ask.
        show: wraps the rows that are asked, for a progress bar.
    """

    def answers(rows: list[Row], folder: Folder) -> Iterator[tuple[Row, dict]]:
        answer = load() if any(not row.error for row in rows) else None
        return ((row, _result(answer, row, folder)) for row in show(rows))

    return write(questions, out, answers, question)


def _result(answer: Answer | None, row: Row, folder: Path) -> dict:
    try:
        if row.error or answer is None:
            raise ValueError(row.error)
        return answer(folder / row.image, row.question)
    except (LAV2Error, OSError, ValueError) as error:
        return {"error": str(error)}


def write(questions: Folder, out: Path, answers: Answers, question: str = "") -> tuple[int, int]:
    """Give every row exactly one line in `out`.

    Args:
        questions, question: of `read`; images are relative to the file, or to the folder.
        out: JSON lines {"id", "answer", ...}, or {"id", "line", "error"}, where `id` is null for a row without one.
        answers: gives the rows that have no answer in `out` their lines' rest, {"error"} where there is none. A row
            that it gives twice has the first, one that it leaves out is told as lost.

    Returns:
        How many rows have an answer now, and how many have none.

    Raises:
        LAV2Error: a file cannot be read or written, `out` holds something else, or what `answers` raises.
    """
    rows = read(questions, question)
    if isinstance(questions, Path) and out.exists() and out.samefile(questions):
        raise LAV2Error(f"{out} is the file of the questions.", "Choose another --out.")
    known = answered_lines(out)
    wanted = {row.line: row for row in rows if row.key not in known}
    found = answers(list(wanted.values()), questions if questions.is_dir() else questions.parent)
    files.write_text(out, "".join(f"{line}\n" for line in known.values()))
    failed = 0
    for row, result in chain(found, _unanswered(wanted)):
        if wanted.pop(row.line, None) is None:
            continue
        error = result.get("error")
        failed += error is not None
        line = {"id": row.id, **result} if error is None else {"id": row.id, "line": row.line, "error": error}
        try:
            files.append_line(out, json.dumps(line, ensure_ascii=False))
        except OSError as broken:
            raise LAV2Error(
                f"{out} cannot be written ({broken.strerror}).", "Free some space, and run the same command again."
            ) from broken
    return len(rows) - failed, failed


def _unanswered(wanted: dict[int, Row]) -> Iterator[tuple[Row, dict]]:
    """The rows that nobody answered, looked for once all others are there."""
    lost = {"error": "The answer was lost on its way. Run the same command again."}
    yield from ((row, lost) for row in list(wanted.values()))
