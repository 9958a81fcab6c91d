"""Questions of a JSON-lines file and the file of their answers, which goes on after an interruption. No torch.

A row is known by its id, or, where it has none that can be used, by its line. Answers stay; failures are asked again,
since the photo may be there by now.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lav2 import files
from lav2.errors import LAV2Error


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


def read(file: Path) -> list[Row]:
    """The rows of a file of lines {"id", "image", "question"}; bad ones say so.

    Raises:
        LAV2Error: the file cannot be read.
    """
    rows: list[Row] = []
    first: dict[str, int] = {}  # lines of ids
    for line, value in files.json_lines(file):
        row = _row(line, value)
        if row.id is not None and (before := first.setdefault(row.key, line)) != line:
            row = Row(line, error=f"Line {line} has the id {row.id!r} of line {before}.")
        rows.append(row)
    return rows


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


def kept(out: Path) -> dict[str, str]:
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


Answer = Callable[[Path, str], dict]  # photo, question -> the rest of the answer's line


def run(questions: Path, out: Path, load: Callable[[], Answer], show: Callable = iter) -> tuple[int, int]:
    """Answer every row that has no answer in `out` yet.

    Args:
        questions: JSON lines {"id", "image": relative to the file, "question"}.
        out: JSON lines {"id", "answer", ...}, or {"id", "line", "error"}, where `id` is null for a row without one.
        load: makes what answers; called once, if there is anything to ask.
        show: wraps the rows that are asked, for a progress bar.

    Returns:
        How many rows have an answer now, and how many have none.

    Raises:
        LAV2Error: a file cannot be read or written, `out` holds something else, or what `load` raises.
    """
    rows = read(questions)
    if out.exists() and out.samefile(questions):
        raise LAV2Error(f"{out} is the file of the questions.", "Choose another --out.")
    known = kept(out)
    wanted = [row for row in rows if row.key not in known]
    answer = load() if any(not row.error for row in wanted) else None
    files.write_text(out, "".join(f"{line}\n" for line in known.values()))
    failed = 0
    for row in show(wanted):
        try:
            if row.error:
                raise ValueError(row.error)
            result = {"id": row.id, **answer(questions.parent / row.image, row.question)}
        except (LAV2Error, OSError, ValueError) as error:
            result = {"id": row.id, "line": row.line, "error": str(error)}
            failed += 1
        try:
            files.append_line(out, json.dumps(result, ensure_ascii=False))
        except OSError as error:
            raise LAV2Error(
                f"{out} cannot be written ({error.strerror}).", "Free some space, and run the same command again."
            ) from error
    return len(rows) - failed, failed
