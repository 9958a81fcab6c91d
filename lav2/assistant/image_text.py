"""Any image-text-to-text model of transformers (LLaVA, SmolVLM, Qwen-VL ...) beside the assistant: the same photo and
question, the same findings as text in its own chat template, the same sampling. It knows nothing of Gradio."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    ProcessorMixin,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
)

from experts.evidence import Evidence
from lav2 import files
from lav2.assistant.admission import POLL_INTERVAL_S, WAITING, AdmissionQueue
from lav2.assistant.history import newest_turns
from lav2.assistant.loading import versions
from lav2.assistant.votes import FOREIGN
from lav2.errors import LAV2Error, no_thread
from lav2.events import (
    Done,
    Event,
    EvidenceFound,
    ExpertStarted,
    PromptReady,
    Queued,
    Request,
    Routed,
    Token,
    Turn,
    check_length,
)
from lav2.inference.sampler import SequenceSampler
from lav2.model.vision import weights_digest
from lav2.text import grounding, prompts, routing

AT_ONCE = 4  # questions whose experts look at once: both sides of two comparisons; the model takes one after the other
Examine = Callable[[Image.Image, tuple[str, ...], str | None, threading.Event], Mapping[str, Evidence]]


class ImageTextModel:
    """A loaded model that answers as the Assistant does. `answer` may be called from several threads; they take turns.

    Args:
        name: as the page and receipts call it.
        model: of AutoModelForImageTextToText.
        processor: of AutoProcessor, with an image processor, a tokenizer and a chat template.
        examine: what experts find, of the assistant beside (Assistant.examine): both get the same findings.
    """

    def __init__(self, name: str, model: PreTrainedModel, processor: ProcessorMixin, examine: Examine):
        self.preset = name
        dtype = str(model.dtype).removeprefix("torch.")
        self.versions = {**versions(), "device": model.device.type, "dtype": dtype}
        self.hashes = {FOREIGN: weights_digest(sorted(model.state_dict().items()))}
        self._model, self._processor, self._examine = model, processor, examine
        tokenizer = processor.tokenizer
        self._markers = {str(token) for token in tokenizer.added_tokens_encoder} | {*tokenizer.all_special_tokens}
        self.context: int = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 4096
        self._admission = AdmissionQueue(AT_ONCE, WAITING)
        self._turn = threading.Lock()  # some models keep positions of the prompt that they read last

    def count_tokens(self, text: str) -> int:
        return len(self._processor.tokenizer(text, add_special_tokens=False).input_ids)

    def answer(self, request: Request, cancel: threading.Event | None = None) -> Iterator[Event]:
        """Events of one question, ending with Done, as those of Assistant.answer. Setting `cancel` ends it early.

        Raises:
            LAV2Error: an empty or overlong question, or the model failed; admission.Busy in place of the first event.
        """
        request, route = routing.resolve(request)
        check_length(request.question)
        question = self._without_special_tokens(prompts.clean(request.question))
        if not question:
            raise LAV2Error("There is no question.", "Type one, for example: What is in this photo?")
        cancel, start = cancel or threading.Event(), time.perf_counter()
        with self._admission.slot(request.client) as slot:
            if route:
                yield Routed(route)
            for position in self._admission.positions(slot, cancel):
                yield Queued(position)
            begin = time.perf_counter()
            evidence = dict(request.evidence or {})
            if request.evidence is None and request.image is not None and request.experts and not cancel.is_set():
                for name in request.experts:
                    yield ExpertStarted(name)
                found = self._examine(request.image, request.experts, request.client, cancel)
                evidence = {name: grounding.filter_for_question(one, question) for name, one in found.items()}
            for name, one in evidence.items():
                yield EvidenceFound(name, one)
            timings = {name: one.seconds for name, one in evidence.items()}
            timings |= {"queued": begin - start, "experts": time.perf_counter() - begin}
            block = grounding.block(evidence, question, self.count_tokens)
            turns = newest_turns(request.history)
            messages = self._messages(question, self._without_special_tokens(block.text), turns, request.image)
            prompt, inputs = self._inputs(messages)
            used = inputs["input_ids"].shape[1]
            parts = {
                "findings": self.count_tokens(block.text),
                "question": self.count_tokens(question),
                "turns": sum(self.count_tokens(turn.question) + self.count_tokens(turn.answer) for turn in turns),
            }
            parts["template"] = max(0, used - sum(parts.values()))  # the photo's tokens among them
            left = len(request.history) - len(turns)
            yield PromptReady(prompt, used, self.context, left, block.left_out, parts)
            generation, pieces, count = time.perf_counter(), [], 0
            for piece, so_many in self._generate(inputs, request, cancel):
                count = so_many
                if not pieces:
                    timings["first_token"] = time.perf_counter() - start
                    piece = piece.lstrip()
                pieces.append(piece)
                if piece:
                    yield Token(piece)
            now = time.perf_counter()
            timings |= {"answer": now - generation, "total": now - start}
            timings["tokens_per_second"] = count / timings["answer"] if count else 0.0
        yield Done(
            answer="".join(pieces).strip(),
            evidence=evidence,
            prompt=prompt,
            timings={name: round(value, 4) for name, value in timings.items()},
            seed=request.sampling.seed,
            preset=self.preset,
            versions=self.versions,
            stopped=cancel.is_set(),
            weights=self.hashes,
            left_out=block.left_out,
            tokens=count,
            route=route,
        )

    def _without_special_tokens(self, text: str) -> str:
        """Text without the tokenizer's own marks, so that it cannot open a turn or stand for a photo."""
        for marker in self._markers:
            text = text.replace(marker, " ")
        return text.strip()

    def _messages(
        self, question: str, block: str, turns: tuple[Turn, ...], image: Image.Image | None
    ) -> list[dict[str, Any]]:
        """The conversation for the chat template: the photo stands in its first turn, the findings before the newest
        question."""
        conversation = [pair for turn in turns for pair in (("user", turn.question), ("assistant", turn.answer))]
        conversation.append(("user", f"{block}\n{question}" if block else question))
        messages: list[dict[str, Any]] = [
            {"role": role, "content": [{"type": "text", "text": self._without_special_tokens(text)}]}
            for role, text in conversation
        ]
        if image is not None:
            messages[0]["content"].insert(0, {"type": "image", "image": image})
        return messages

    def _inputs(self, messages: list[dict[str, Any]]) -> tuple[str, Mapping[str, Tensor]]:
        """(prompt as the template writes it, what the model takes); the photo's own tokens stand in the latter alone.

        Raises:
            LAV2Error: the processor refuses the photo or the text.
        """
        try:
            prompt = self._processor.apply_chat_template(messages, add_generation_prompt=True)
            inputs = self._processor.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            )
        except Exception as error:  # a template is code of whoever made the model
            raise self._failed(error) from error
        return prompt, inputs.to(self._model.device, self._model.dtype)

    def _generate(
        self, inputs: Mapping[str, Tensor], request: Request, cancel: threading.Event
    ) -> Iterator[tuple[str, int]]:
        """(piece of text, tokens so far) as they come, from a thread that ends with this generator.

        Raises:
            LAV2Error: the prompt leaves no room for an answer, or the model failed.
        """
        used = inputs["input_ids"].shape[1]
        most = min(request.sampling.max_new_tokens, self.context - used)
        if most < 1:
            raise LAV2Error(
                "The prompt has {tokens} tokens; the context of {model} has {context}.",
                "Shorten the question, or let fewer experts look.",
                tokens=used,
                model=self.preset,
                context=self.context,
            )
        while not self._turn.acquire(timeout=POLL_INTERVAL_S):
            if cancel.is_set():
                return
        try:
            if not cancel.is_set():
                yield from self._streamed(inputs, request, most, cancel)
        finally:
            self._turn.release()

    def _streamed(
        self, inputs: Mapping[str, Tensor], request: Request, most: int, cancel: threading.Event
    ) -> Iterator[tuple[str, int]]:
        ended, failed = threading.Event(), []  # `ended`: nobody listens any more
        streamer = TextIteratorStreamer(self._processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
        stops = self._model.generation_config.eos_token_id
        stops = [stops] if isinstance(stops, int) else list(stops or [self._processor.tokenizer.eos_token_id])
        sampler = _SamplerProcessor(SequenceSampler(request.sampling, stops, inputs["input_ids"].tolist()))

        def write() -> None:
            try:
                self._model.generate(
                    **inputs,
                    max_new_tokens=most,
                    do_sample=False,  # `sampler` leaves one token to choose
                    num_beams=1,
                    eos_token_id=stops,
                    pad_token_id=stops[0],
                    repetition_penalty=1.0,
                    logits_processor=LogitsProcessorList([sampler]),
                    stopping_criteria=StoppingCriteriaList([_Stop(cancel, ended)]),
                    streamer=streamer,
                )
            except Exception as error:  # told by whoever reads
                failed.append(error)
                streamer.text_queue.put(streamer.stop_signal)

        thread = threading.Thread(target=write, name="beside", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise no_thread() from error
        try:
            while (piece := _next(streamer.text_queue, cancel)) is not None:
                yield piece, sampler.tokens
        finally:
            ended.set()
            thread.join()
        if failed:
            raise self._failed(failed[0]) from failed[0]

    def _failed(self, error: Exception) -> LAV2Error:
        if isinstance(error, LAV2Error):
            return error
        if files.is_out_of_memory(error):
            return LAV2Error(
                "There is not enough free memory for an answer of {model}.",
                "Send a smaller photo, or choose a smaller model.",
                model=self.preset,
            )
        return LAV2Error(
            "{model} could not answer ({why}).",
            "Ask another question, or compare without it.",
            model=self.preset,
            why=files.first_line(error),
        )


class _SamplerProcessor(LogitsProcessor):
    """Leaves the token that the assistant's own sampler chooses, so that seed, temperature and penalty mean the same on
    both sides."""

    def __init__(self, choose: SequenceSampler):
        self._choose, self.tokens = choose, 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        chosen = self._choose(scores.float())
        self.tokens += 1
        left = torch.full_like(scores, float("-inf"))
        left[range(len(chosen)), chosen] = 0.0
        return left


class _Stop(StoppingCriteria):
    """Ends a generation once one of the events is set."""

    def __init__(self, *events: threading.Event):
        self._events = events

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        stop = any(event.is_set() for event in self._events)
        return torch.full((len(input_ids),), stop, dtype=torch.bool, device=input_ids.device)


def _next(pieces: queue.Queue[str | None], cancel: threading.Event) -> str | None:
    """The next piece of text; None at the end, or where `cancel` is set."""
    while not cancel.is_set():
        try:
            return pieces.get(timeout=POLL_INTERVAL_S)
        except queue.Empty:
            continue
    return None
