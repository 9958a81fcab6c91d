"""The photos and questions that the page offers to try."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lav2.ui.texts import ASSETS


@dataclass(frozen=True)
class Example:
    """A photo and its question by language; `then` follows it, where there is more to ask."""

    photo: Path
    question: Mapping[str, str]
    then: Mapping[str, str] = field(default_factory=dict)

    def shown(self, language: str) -> str:
        """What stands on its tile: questions are read in English, so that stands there as well."""
        asked = " → ".join(asked[language] for asked in (self.question, self.then) if asked)
        return asked if language == "en" else f"{asked} ({self.shown('en')})"

    def value(self) -> dict[str, Any]:
        """For a tile, which shows it as it is: labels.js translates it."""
        return {"text": self.shown("en"), "files": [str(self.photo)]}


def examples(folder: Path) -> list[Example]:
    """Those of assets/make_examples.py."""
    lines = (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        Example(
            folder / row["image"],
            {"en": row["question"], "ko": row["ko"]},
            {"en": row["then"], "ko": row["then_ko"]} if "then" in row else {},
        )
        for row in map(json.loads, lines)
    ]


EXAMPLES = examples(ASSETS / "examples")
