"""What may stand in the server's log: errors, but no photo of a visitor. No torch."""

from __future__ import annotations

import re
from typing import Any, TextIO

DATA = re.compile(r"[A-Za-z0-9+/_=%-]{256,}")  # base64, as data: URLs have it
LINE = 2000  # characters


def without_payloads(text: str) -> str:
    """A text whose long runs of base64 are left out and whose lines are cut: libraries put whole requests into the
    messages of their errors."""
    text = DATA.sub(lambda found: f"…({len(found[0])} characters)…", text)
    if len(text) <= LINE:
        return text
    return "".join(_cut(line) for line in text.splitlines(keepends=True))


def _cut(line: str) -> str:
    return line if len(line) <= LINE else f"{line[: LINE // 2]}…({len(line) - LINE} characters)…{line[-LINE // 2 :]}"


class Log:
    """A stream, as sys.stderr, on which nothing is written but what `without_payloads` leaves. Traces are printed there
    by Gradio, by logging and by Python itself, so it is kept where they all come through."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(without_payloads(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
