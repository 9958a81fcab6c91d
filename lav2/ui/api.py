"""Named endpoints for programs: /ask, /compare, /experts."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import gradio as gr
from gradio.components.api_component import Api
from gradio.context import LocalContext
from gradio_client.utils import python_type_to_json_schema

from experts.evidence import to_json
from experts.registry import EXPERT_NAMES
from lav2.assistant import receipt
from lav2.errors import LAV2Error
from lav2.events import Done, Request, Sampling
from lav2.image import open_image
from lav2.text import grounding
from lav2.ui import answering
from lav2.ui.answering import MODEL, stream
from lav2.ui.inputs import Settings, client_key, make_request, read_message, read_photo
from lav2.ui.state import Cancellation
from lav2.ui.texts import TEXTS, error_texts


class Call(Cancellation):
    """The cancellation of an endpoint for programs, which is also set once the caller has hung up: Gradio ends
    generators then, and tells functions nothing. Make it in the thread that the endpoint is called in."""

    def __init__(self):
        super().__init__()
        page = LocalContext.blocks.get(None)
        events = page._queue.event_ids_to_events if page is not None else {}
        self._event = events.get(LocalContext.event_id.get(None))

    def is_set(self) -> bool:
        return super().is_set() or (self._event is not None and not self._event.alive)


class Comparison(TypedDict):
    off: receipt.Answer
    on: receipt.Answer


def answers(requests: Mapping[str, Request]) -> dict[str, receipt.Answer]:
    """Every request's answer. Raises gr.Error, which the caller sees as a message,
    on the first failure."""
    found = {}
    cancel = Call()
    try:
        for key, event in stream(requests, cancel):
            if isinstance(event, Exception):
                raise api_error(event)
            if isinstance(event, Done):
                found[key] = receipt.answer(event, requests[key].image)
    finally:
        cancel.set()
    return found


def api_error(error: Exception) -> gr.Error:
    return gr.Error(" ".join(error_texts(error, TEXTS["en"])), print_exception=False)


def ask(  # the defaults make `image` optional for MCP and clients; the components' own values are those of the others
    image: str | None = None,
    question: str = "",
    experts: Sequence[str] = EXPERT_NAMES,
    temperature: float = Sampling.temperature,
    top_p: float = Sampling.top_p,
    max_new_tokens: float = Sampling.max_new_tokens,
    seed: float = Sampling.seed,
    asking: gr.Request = None,
) -> receipt.Answer:
    """Answer a question about a photo, with the evidence that the answer was given on.

    Args:
        image: the photo (up to 30 MB and 50 megapixels); none for a question without a photo.
        question: what you want to know.
        experts: which programs look at the photo first: caption, detection, ocr, and those that this server adds; an
            empty list for none; auto to choose them by the question.
        temperature: 0 always takes the likeliest word.
        top_p: only the likeliest words that together have this probability are drawn from.
        max_new_tokens: the longest answer, in tokens.
        seed: the same seed gives the same answer.
    """
    sampling = (temperature, top_p, max_new_tokens, seed)
    request = api_request(image, question, experts, *sampling, asking=asking)
    return answers({"ask": request})["ask"]


def compare(
    image: str,
    question: str,
    experts: list[str],
    temperature: float,
    top_p: float,
    max_new_tokens: float,
    seed: float,
    asking: gr.Request = None,
) -> Comparison:
    """Answer a question twice with the same seed: without experts (off), and with their findings (on).

    Args:
        image: the photo (up to 30 MB and 50 megapixels).
        question: what you want to know.
        experts: which programs look at the photo on the side with experts: caption, detection, ocr, and those that
            this server adds; auto to choose them by the question.
        temperature: 0 always takes the likeliest word.
        top_p: only the likeliest words that together have this probability are drawn from.
        max_new_tokens: the longest answer, in tokens.
        seed: the same seed gives the same answers.
    """
    if not image:
        raise api_error(LAV2Error(TEXTS["en"]["no_compare_photo"], TEXTS["en"]["no_compare_photo_next"]))
    sampling = (temperature, top_p, max_new_tokens, seed)
    chosen = {"off": [], "on": experts}
    requests = {side: api_request(image, question, chosen[side], *sampling, asking=asking) for side in chosen}
    return answers(requests)


def examine(image: str | None, experts: list[str], asking: gr.Request = None) -> dict[str, Any]:
    """What the expert programs find in a photo: caption, objects with boxes, lines of text.

    Args:
        image: the photo (up to 30 MB and 50 megapixels).
        experts: which programs look: caption, detection, ocr, and those that this server adds.
    """
    if not image:
        raise api_error(LAV2Error("There is no photo for the experts.", "Send one as `image`."))
    try:
        found = answering.examine(open_image(image), tuple(experts), client_key(asking), Call())
    except Exception as error:
        raise api_error(error) from None
    return {name: to_json(grounding.filter_for_question(evidence, "")) for name, evidence in found.items()}


def api_request(
    image: str | None, question: str, experts: Sequence[str], *sampling: float, asking: gr.Request | None
) -> Request:
    """An endpoint's inputs as a request to the assistant."""
    try:
        asked, photo = read_message({"text": question, "files": [image] if image else []}, TEXTS["en"])
        return make_request(asked, read_photo(photo) if photo else None, (), experts, *sampling, asking=asking)
    except LAV2Error as error:
        raise api_error(error) from None


def checked_inputs(names: Sequence[str], components: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
    """An endpoint's inputs as a program sent them, before Gradio converts them; null becomes the component's own value.

    Raises:
        LAV2Error: one has another type, is out of its range or missing, and is named; or there are too many.
    """
    if len(inputs) > len(components):
        raise LAV2Error(
            "There are {given} inputs; the endpoint takes {names}.",
            "See docs/API.md.",
            given=len(inputs),
            names=", ".join(names),
        )

    def wrong(name: str, value: Any, wanted: str) -> LAV2Error:
        shown = "missing" if value is None else repr(value)[:60]
        return LAV2Error(
            "The input `{name}` is {told}; it has to be {wanted}.",
            "See docs/API.md.",
            name=name,
            told=shown,
            wanted=wanted,
        )

    checked = []
    for i, (name, component) in enumerate(zip(names, components, strict=True)):
        value = inputs[i] if i < len(inputs) else None
        value = component.value if value is None else value
        if isinstance(component, gr.File):
            try:
                if value is not None:
                    gr.FileData.model_validate(value, context={"validate_meta": True})
            except ValueError:
                raise wrong(name, value, "an uploaded file (gradio_client: handle_file(path))") from None
        elif isinstance(component, gr.CheckboxGroup):
            choices = [choice for _, choice in component.choices]
            if not (isinstance(value, list) and all(choice in choices for choice in value)):
                raise wrong(name, value, f"a list of {', '.join(choices)}")
        elif isinstance(component, gr.Textbox):
            if not isinstance(value, str):
                raise wrong(name, value, "a text")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise wrong(name, value, "a number")
        elif not component.minimum <= value <= component.maximum:
            raise wrong(name, value, f"a number from {component.minimum} to {component.maximum}")
        checked.append(value)
    return checked


class Page(gr.Blocks):
    """Blocks whose endpoints name the input that is wrong, where Gradio tells programs nothing."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **options: Any) -> list[Any]:
        if block_fn.fn in (ask, compare, examine):
            names = list(inspect.signature(block_fn.fn).parameters)[: len(block_fn.inputs)]  # without `asking`
            try:
                inputs = checked_inputs(names, block_fn.inputs, inputs)
            except LAV2Error as error:
                raise api_error(error) from None
        return await super().preprocess_data(block_fn, inputs, *args, **options)


def connect_api(settings: Settings) -> None:
    """Named, typed endpoints. The photo goes through a File: uploads only, no path of the server's."""
    image = gr.File(label="image", visible=False)
    question = gr.Textbox(label="question", visible=False)
    looking = gr.CheckboxGroup(EXPERT_NAMES, value=list(EXPERT_NAMES), label="experts", visible=False)  # no auto
    button = gr.Button(visible=False)
    for function, inputs, result, name in (
        (ask, [image, question, *settings.all], receipt.Answer, "ask"),
        (compare, [image, question, *settings.all], Comparison, "compare"),
        (examine, [image, looking], dict[str, Any], "experts"),
    ):
        output = Api(None, python_type_to_json_schema(result), name)
        button.click(function, inputs, output, api_name=name, show_progress="hidden", **MODEL)
