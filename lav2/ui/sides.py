"""The sides of a comparison: choices of experts, of the assistant and of the model beside it (--beside)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gradio as gr

from lav2.assistant import votes
from lav2.ui import answering
from lav2.ui.texts import T, expert_label


class Side(NamedTuple):
    """`experts` that look; `model` that answers, "" for the assistant."""

    experts: tuple[str, ...]
    model: str = ""


def sides(choices: Sequence[str], experts: Sequence[str], also: Sequence[str]) -> dict[str, Side]:
    """The sides by their keys ("off", "on", "caption+ocr"), those of the model beside last ("off@MODEL", "on@MODEL").

    Args:
        choices: of experts, by key.
        experts: what "on" means.
        also: choices that the model beside answers with; none where none is loaded.
    """

    def looking(choice: str) -> tuple[str, ...]:
        return tuple(experts) if choice == "on" else () if choice == votes.OFF else tuple(choice.split("+"))

    found = {choice: Side(looking(choice)) for choice in choices}
    if model := answering.beside():
        found |= {f"{choice}@{model}": Side(looking(choice), model) for choice in also}
    return found


def names(side: str, texts: Mapping[str, str]) -> str:
    """A side as the page calls it."""
    choice, _, model = side.partition("@")
    plain = choice in (votes.OFF, "on")
    label = texts[choice] if plain else " + ".join(expert_label(name, texts) for name in choice.split("+"))
    return f"{model}: {label}" if model else label


class BesideChoice:
    """Whether the model beside answers too: from photo and question alone, and with the experts' findings as text. Both
    to begin with, since the assistant's answers are compared in the same way."""

    def __init__(self) -> None:
        ways = ("off", "on")
        self.box = gr.CheckboxGroup(
            [(T(f"also_{way}"), way) for way in ways],
            value=list(ways),
            label=T("also"),
            visible=False,
            elem_id="beside",
        )

    @staticmethod
    def shown() -> dict[str, Any]:
        """The page was opened: there is a choice where a model is loaded."""
        model = answering.beside()
        return gr.update(visible=bool(model), **({"label": model} if model else {}))
