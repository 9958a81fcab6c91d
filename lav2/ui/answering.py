"""Loading the assistant, and its answers for every interface; on ZeroGPU they come from a process that has the GPU."""

import contextvars
import gc
import os
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING
from unittest.mock import patch

from PIL import Image

from experts.evidence import Evidence
from lav2 import config
from lav2.assistant.partial import PartialAnswer
from lav2.cluster.deployment import Cluster
from lav2.config import DEFAULT_PRESET, Placing
from lav2.errors import LAV2Error, Unavailable, no_thread
from lav2.events import Done, Event, Request
from lav2.model import preflight
from lav2.server import monitoring, serving
from lav2.ui.state import Cancellation
from lav2.ui.texts import PROBLEMS, TEXTS

if TYPE_CHECKING:
    from lav2.assistant.image_text import ImageTextModel
    from lav2.assistant.service import Assistant

if find_spec("spaces"):  # only on Hugging Face Spaces; it has to come before torch
    import spaces

QUEUE_SIZE = 32

ON_SPACES = "SPACE_ID" in os.environ
ON_ZERO_GPU = ON_SPACES and preflight.zero_gpu()
# The assistant keeps the queue and tells everybody's position in it; on ZeroGPU, Gradio's own queue does.
MODEL = {"concurrency_id": "model", "concurrency_limit": 2 if ON_ZERO_GPU else QUEUE_SIZE}

ASSISTANT: "Assistant | None" = None  # the only thing that users share; main() loads it
BESIDE: "Assistant | ImageTextModel | None" = None  # what it is compared with (--beside)
MONITOR = monitoring.Monitor(PROBLEMS["ko"])  # whose keys are the messages that were written beforehand
FALLBACK: dict[str, str] = {}  # the preset that was asked for and why another one is running, where that is so


def assistant() -> "Assistant":
    """The loaded assistant.

    Raises:
        LAV2Error: it is not loaded yet.
    """
    if ASSISTANT is None:
        raise LAV2Error(TEXTS["en"]["not_loaded"], TEXTS["en"]["not_loaded_next"])
    return ASSISTANT


def answerer(request: Request) -> "Assistant | ImageTextModel":
    """Who answers the request. Raises LAV2Error where that model is not loaded."""
    if not request.model:
        return assistant()
    if BESIDE is None or BESIDE.preset != request.model:
        raise LAV2Error(TEXTS["en"]["no_model"].format(model=request.model), TEXTS["en"]["no_model_next"])
    return BESIDE


def beside() -> str:
    """The name of what the assistant is compared with; "" where there is nothing."""
    return BESIDE.preset if BESIDE is not None else ""


def zerogpu_answer(request: Request) -> Iterator[Event | LAV2Error]:
    """The assistant's events, in a process that has ZeroGPU's GPU. Requests and events cross to it as they are; a
    Cancellation cannot. An error comes back as a value: of a raised one, `spaces` would pass on the type alone."""
    try:
        yield from answerer(request).answer(request)
    except LAV2Error as error:
        yield error


def zerogpu_examine(
    photo: Image.Image, experts: tuple[str, ...], client: str | None
) -> dict[str, Evidence] | LAV2Error:
    """The experts alone, in a process with the GPU in the same way: the captioner is on it."""
    try:
        return assistant().examine(photo, experts, client)
    except LAV2Error as error:
        return error


if ON_ZERO_GPU:
    zerogpu_answer = spaces.GPU(duration=120)(zerogpu_answer)
    zerogpu_examine = spaces.GPU(duration=60)(zerogpu_examine)


@MONITOR.observed
@serving.stoppable
def answer(request: Request, cancel: threading.Event) -> Iterator[Event]:
    """The assistant's events, for every interface; on ZeroGPU, an answer that is stopped is ended here.

    Close it where it is not read to its end (contextlib.closing): it holds a slot in the queue.
    """
    if not ON_ZERO_GPU:
        yield from answerer(request).answer(request, cancel)
        return
    heard = PartialAnswer()
    with refusals_told(), closing(zerogpu_answer(request)) as events:
        for event in events:
            if isinstance(event, LAV2Error):
                raise event
            yield event
            heard.take(event)
            if cancel.is_set() and not isinstance(event, Done):
                yield heard.stopped(answerer(request), request)
                return


def examine(
    photo: Image.Image, experts: tuple[str, ...], client: str | None, cancel: Cancellation
) -> dict[str, Evidence]:
    """What the experts find, wherever they look; on ZeroGPU, `cancel` does not reach them.

    Raises:
        LAV2Error: as Assistant.examine, or ZeroGPU gives no GPU.
    """
    if not ON_ZERO_GPU:
        return assistant().examine(photo, experts, client, cancel)
    with refusals_told():
        found = zerogpu_examine(photo, experts, client)
    if isinstance(found, LAV2Error):
        raise found
    return found


@contextmanager
def refusals_told() -> Iterator[None]:
    """Where ZeroGPU gives no GPU, or takes it back, `spaces` raises an error of Gradio with the reason."""
    from gradio import Error

    try:
        yield
    except Error as error:
        raise Unavailable(
            "ZeroGPU lends no GPU for this question ({why}).",
            "Ask again in a moment; who is logged in at Hugging Face has a quota of their own.",
            why=str(error.message),  # not str(error), which quotes it
        ) from error


def stream(requests: Mapping[str, Request], cancel: Cancellation) -> Iterator[tuple[str, Event | Exception]]:
    """The events of several requests as they come, each with its key; a failure comes as the exception."""
    events: queue.Queue[tuple[str, Event | Exception | None]] = queue.Queue()

    def feed(key: str, request: Request) -> None:
        try:
            with closing(answer(request, cancel)) as answer_events:
                for event in answer_events:
                    events.put((key, event))
        except Exception as error:
            events.put((key, error))
        finally:
            events.put((key, None))

    for key, request in requests.items():
        try:
            # in the visitor's context, by which ZeroGPU knows whose quota it is
            asked = contextvars.copy_context().run
            threading.Thread(target=asked, args=(feed, key, request), daemon=True).start()
        except RuntimeError:  # no further thread; the others are still heard out
            events.put((key, no_thread()))
            events.put((key, None))
    running = len(requests)
    while running:
        key, event = events.get()
        if event is None:
            running -= 1
        else:
            yield key, event


def load(preset: str, detector: str | None, **placing: str | None) -> None:
    """Loads the assistant. On Spaces, a preset that cannot run there is replaced by the embedded default, with a
    notice on the page. `placing`: device, dtype, quantize and device_map of Assistant.load.

    Raises:
        LAV2Error: it cannot be loaded.
    """
    global ASSISTANT, FALLBACK
    # Losses of detectors, which nobody trains here, would bring scipy's optimisers with them.
    with patch("transformers.utils.is_scipy_available", return_value=False):
        from lav2.assistant.service import Assistant

    try:
        ASSISTANT = Assistant.load(preset, detector=detector, report=print, **placing)
    except LAV2Error as error:
        if not ON_SPACES or preset == DEFAULT_PRESET:
            raise
        FALLBACK = {"preset": preset, "reason": error.cause}
        print(TEXTS["en"]["fallback"].format(**FALLBACK))
        ASSISTANT = Assistant.load(DEFAULT_PRESET, detector=detector, report=print)


def load_beside(name: str, placing: Placing) -> None:
    """Loads what the assistant is compared with: another preset, with the assistant's own detector and reader, or an
    image-text-to-text model of transformers, which gets what the assistant's experts find.

    Raises:
        LAV2Error: it cannot be loaded, or is the assistant's own preset.
    """
    global BESIDE
    if name == assistant().preset:
        raise LAV2Error(f"{name} is the model that is compared already.", "Give --beside another one.")
    if name in config.PRESETS:
        from lav2.assistant.service import Assistant

        shared = {expert: assistant().expert(expert) for expert in ("detection", "ocr")} if not _remote() else None
        BESIDE = Assistant.load(name, experts=shared, report=print, **vars(placing))
        return
    from lav2.assistant.image_text import ImageTextModel
    from lav2.assistant.image_text_loading import load as load_model

    BESIDE = ImageTextModel(*load_model(name, placing), assistant().examine)


def _remote() -> bool:
    return not hasattr(assistant(), "expert")


def connect(preset: str, detector: str | None, cluster: Cluster, **placing: str | None) -> None:
    """Answers come from replicas on Ray instead (lav2.cluster); nothing is loaded here. Arguments as those of `load`.

    Raises:
        LAV2Error: Ray is not installed, or the replicas do not come up.
    """
    global ASSISTANT
    from lav2.cluster import deployment, engine
    from lav2.cluster.parts import Loader
    from lav2.cluster.remote import RemoteAssistant

    engine.connect(cluster.cluster)
    if cluster.replicas == deployment.RUNNING:
        ASSISTANT = RemoteAssistant(deployment.running())
        return
    print(f"Ray brings up {cluster.replicas} replicas of {preset} and the experts; this takes minutes.", flush=True)
    loader = Loader(config.preset(preset), detector or os.environ.get("LAV2_DETECTOR"), placing)
    ASSISTANT = RemoteAssistant(deployment.deploy(loader, cluster))


def warm() -> None:
    """What is done while the page comes up; a question that is asked before waits for the experts that it wants."""
    try:
        ASSISTANT.load_experts(print)
        if not ON_ZERO_GPU:  # there, only users' questions get a GPU
            ASSISTANT.warm_up()
    except Exception as error:  # the first question will meet it as well, and tell
        print(f"         warm-up: failed: {type(error).__name__}: {error}")
    finally:
        gc.freeze()  # what is there by now is not looked through while somebody waits for an answer: 0.6 s each time
        gc.enable()
