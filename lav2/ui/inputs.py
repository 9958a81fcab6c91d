"""What a visitor enters: question, photo and settings, as a request to the assistant."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from experts.registry import ADDED, EXPERT_NAMES
from experts.render import label_of
from lav2.errors import LAV2Error
from lav2.events import AUTO, Request, Sampling, Turn, check_length
from lav2.image import open_image
from lav2.ui.examples import EXAMPLES
from lav2.ui.state import Cancellation, Exchanges, current_photo
from lav2.ui.texts import TEXTS, T

TOKEN_PAUSE = 0.05  # seconds between two updates of a streaming answer: faster than one reads

QUIET = {"api_visibility": "private", "show_progress": "hidden"}


def upload_folder() -> Path:
    """Where Gradio keeps the photos that visitors send."""
    return Path(gr.utils.get_upload_folder())


def open_uploaded_photo(photo: str, texts: Mapping[str, str]) -> Image.Image:
    """A conversation's photo, which is kept for another while: Gradio deletes by the time of the last change."""
    if not Path(photo).is_file():
        raise LAV2Error(texts["photo_gone"], texts["photo_gone_next"])
    if photo not in {str(example.photo) for example in EXAMPLES}:
        with suppress(OSError):  # open_image says what is wrong with the file
            os.utime(photo)
    return read_photo(photo)


def read_photo(path: str) -> Image.Image:
    """An uploaded photo, decoded once for the question, its answer and what is drawn on it; nobody changes it."""
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return open_image(path)  # which says what is wrong
    return _decoded(path, about.st_ino, about.st_size)


@lru_cache(maxsize=4)  # up to 50 MB each
def _decoded(path: str, inode: int, size: int) -> Image.Image:
    return open_image(path)


def shown_photo(exchanges: Exchanges) -> Image.Image | None:
    """The photo that the panel is about; None also where its file is gone, so that the page can still be drawn."""
    path = current_photo(exchanges)
    try:
        return open_uploaded_photo(path, TEXTS["en"]) if path else None
    except LAV2Error:
        return None


class Settings:
    """Which experts look, and how words are chosen; the start values are those of `Sampling` (a test compares)."""

    def __init__(self):
        self.experts = gr.CheckboxGroup(
            [(label_of(name) if name in ADDED else T(name), name) for name in (*EXPERT_NAMES, AUTO)],
            value=list(EXPERT_NAMES),
            label=T("experts"),
            info=T("auto_info"),
        )
        with gr.Accordion(T("settings"), open=False), gr.Row():
            self.temperature = gr.Slider(0, 2, 0.0, step=0.05, label=T("temperature"), info=T("temperature_info"))
            self.top_p = gr.Slider(0.05, 1, 0.9, step=0.05, label=T("top_p"))
            self.max_new_tokens = gr.Slider(1, 512, 128, step=1, label=T("max_new_tokens"))
            self.seed = gr.Number(0, label=T("seed"), precision=0, minimum=0, maximum=2**31 - 1)
        self.all = [self.experts, self.temperature, self.top_p, self.max_new_tokens, self.seed]


def client_key(request: gr.Request | None) -> str | None:
    """Who asks, for taking turns (lav2.assistant.admission): a session of the page or of a program, else an address."""
    if request is None:
        return None
    return request.session_hash or (request.client.host if request.client else None)


def make_request(
    question: str,
    photo: Image.Image | None,
    turns: tuple[Turn, ...],
    experts: Sequence[str],
    temperature: float,
    top_p: float,
    max_new_tokens: float,
    seed: float | None,
    asking: gr.Request | None = None,
    model: str = "",
) -> Request:
    """The values of `Settings.all`, in that order, as a request; experts need a photo."""
    sampling = Sampling(float(temperature), float(top_p), int(max_new_tokens), int(seed or 0))  # None: left empty
    chosen = (AUTO,) if AUTO in experts else tuple(name for name in EXPERT_NAMES if name in experts)
    looking = chosen if photo is not None else ()
    return Request(question, photo, turns, looking, sampling, client=client_key(asking), model=model)


def question_box() -> gr.MultimodalTextbox:
    """The box for a question with photos, the same on both tabs."""
    return gr.MultimodalTextbox(
        file_types=["image"],
        file_count="multiple",  # so that a second photo is seen, and asked about, and does not replace the first
        placeholder=T("ask"),
        label=T("ask_label"),
        show_label=False,
        lines=1,
        max_lines=6,
        max_plain_text_length=1_000_000,  # a longer pasted text would silently become a file
    )


def example_strip(elem_id: str) -> gr.Dataset:
    """The examples, a tile each; labels.js translates what Gradio shows."""
    return gr.Dataset(
        label=T("examples"),
        components=[gr.MultimodalTextbox(render=False)],
        samples=[[example.value()] for example in EXAMPLES],
        samples_per_page=len(EXAMPLES),
        layout="gallery",
        elem_id=elem_id,
        elem_classes="lav2-examples",
    )


# What changes nothing on the page: for Gradio, {} is a wrong number of values, and a generator that yields nothing at
# all empties every output.
NOTHING: dict[Any, Any] = gr.skip()
RUNNING = {"submit_btn": False, "stop_btn": True}
IDLE = {"submit_btn": True, "stop_btn": False}
EMPTY = {"value": {"text": "", "files": []}}


def attach_photo(photo: str, message: dict[str, Any]) -> dict[str, Any]:
    """A photo that was chosen goes into the box, to what is there."""
    return gr.update(value={"text": message["text"], "files": [*message["files"], photo]})


def stop_answer(cancel: Cancellation | None) -> None:
    if cancel is not None:
        cancel.set()


def show_at_once(event: Callable[..., Any], page: Mapping[Any, Mapping[str, Any]]) -> None:
    """With the event itself the browser shows and hides the parts of the page that these updates show and hide; the
    server says the same later. What moves long after a click is hit by mistake."""
    seen = {part: gr.update(visible=update["visible"]) for part, update in page.items() if "visible" in update}
    event(None, None, list(seen), js=f"() => {json.dumps(list(seen.values()))}", **QUIET)


def read_message(message: dict[str, Any], texts: Mapping[str, str]) -> tuple[str, str | None]:
    """(question, photo's file or None) of a MultimodalTextbox. Raises LAV2Error for what cannot be asked."""
    if len(message["files"]) > 1:
        raise LAV2Error(texts["several"].format(n=len(message["files"])), texts["several_next"])
    photo = message["files"][-1] if message["files"] else None
    check_length(message["text"] or "")
    if photo:
        read_photo(photo)
    return checked_question(message["text"] or "", texts), photo


def checked_question(question: str, texts: Mapping[str, str]) -> str:
    """A question as it is kept. Raises LAV2Error for one that is empty or too long."""
    check_length(question)
    question = question.strip()
    if not question:
        raise LAV2Error(texts["no_question"], texts["no_question_next"])
    return question
