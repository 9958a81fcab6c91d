"""The texts of the page in English and Korean, and errors in the language of a visitor."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import gradio as gr

from experts.evidence import BUILT_IN
from experts.messages import Message
from experts.render import label_of
from lav2.errors import LAV2Error

ASSETS = Path(__file__).parents[2] / "assets"
TEXTS: dict[str, dict[str, str]] = json.loads((ASSETS / "ui.json").read_text(encoding="utf-8"))
# language -> key of a message (experts.messages: its English, with {name} for names and numbers) -> in that language
PROBLEMS: dict[str, dict[str, str]] = json.loads((ASSETS / "problems.json").read_text(encoding="utf-8"))
T = gr.I18n(**TEXTS)


def texts_for(request: gr.Request) -> dict[str, str]:
    """The interface texts in the language that the browser asks for first; English where there is none."""
    first = request.headers.get("accept-language", "")[:2].lower()
    return TEXTS.get(first, TEXTS["en"])


def error_texts(error: Exception, texts: Mapping[str, str]) -> tuple[str, str]:
    """(cause, next step) for the user. What nobody foresaw is named by its kind; the log has its trace."""
    if isinstance(error, LAV2Error):
        return translated(error.cause, texts), translated(error.next_step, texts)
    logging.getLogger("lav2.app").error("A question could not be answered.", exc_info=error)
    return texts["broken"].format(kind=type(error).__name__), texts["broken_next"]


def translated(text: str, texts: Mapping[str, str]) -> str:
    """A message in the page's language, by its key; one that PROBLEMS lacks, and any other text, stays as it is."""
    if not isinstance(text, Message):
        return text
    template = PROBLEMS.get(texts["language"], {}).get(text.key)
    if template is None or (not text.values and "{" in template):
        return text
    values = {name: translated(value, texts) for name, value in text.values.items()}
    if values.get("expert") in BUILT_IN:
        values["expert"] = texts[values["expert"]]
    return template.format(**values)


def expert_label(name: str, texts: Mapping[str, str]) -> str:
    """An expert in the page's language; one that another package adds has its name alone."""
    return texts[name] if name in BUILT_IN else label_of(name)


def queue_notice(position: int, texts: Mapping[str, str]) -> tuple[str, str]:
    """What is told to one who waits in the queue: (cause, next step)."""
    return texts["queued"].format(position=position), texts["queued_next"]
