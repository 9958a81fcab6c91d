"""Photo + question -> events: what experts find, the prompt, the answer token by token. The one place where the
experts and the adapted LLaMA meet; it knows nothing of Gradio."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import transformers
from PIL import Image
from torch import Tensor

from experts import caption, ocr
from experts.evidence import Evidence, Expert, ExpertFailure
from experts.orchestrator import Orchestrator, fingerprint
from experts.registry import added, in_order
from lav2 import config
from lav2.assistant.admission import AT_ONCE, WAITING, AdmissionQueue
from lav2.assistant.captioner import AdapterCaptioner
from lav2.assistant.context import ContextWindow
from lav2.assistant.features import FeatureCache, ImageFeatures, encoded_views, submit
from lav2.assistant.history import newest_turns
from lav2.assistant.loading import LoadedModels, context_length, load_parts, versions
from lav2.captioning.answers import LikelyAnswers
from lav2.captioning.reranker import ConceptReranker
from lav2.errors import LAV2Error, Unavailable
from lav2.events import (
    Done,
    Event,
    EvidenceFound,
    ExpertStarted,
    PromptReady,
    Queued,
    Request,
    Route,
    Routed,
    Sampling,
    Token,
    Turn,
    check_length,
)
from lav2.inference import backend, native, prefix_cache, scheduler, streaming
from lav2.model import preflight
from lav2.model.llm import Quantize
from lav2.model.vision import VisionTower
from lav2.reading import likely, text_reader
from lav2.text import asking, grounding, language, prompts, proofs, routing


class Assistant:
    """A loaded preset. `answer` may be called from several threads; steps of the language model take turns, and more
    questions than AT_ONCE wait in the queue.

    Args:
        preset: its settings.
        chat: the adapted LLaMA that answers, or an engine of it.
        captioner: what writes captions; it may share frozen weights with `chat`.
        tokenizer: of both.
        tower: the image encoder.
        detector: the detection expert.
        load_seconds: of each part, to be shown.
        hashes: of the weights, by part.
        at_once: questions that are answered at once.
        caption_tower: the captioner's image encoder, where it is not that of the chat model.
        reranker: of the captioner's drafts.
        candidates, reader: what tells the caption expert's likely answers, and what of a text may answer.
        experts: those that are asked in the place of its own (lav2.cluster), by name.
    """

    def __init__(
        self,
        preset: config.Preset,
        chat: backend.DecoderBackend,
        captioner: backend.DecoderBackend,
        tokenizer: transformers.PreTrainedTokenizerBase,
        tower: VisionTower,
        detector: Expert,
        load_seconds: dict[str, float],
        hashes: dict[str, str],
        at_once: int = AT_ONCE,
        caption_tower: VisionTower | None = None,
        reranker: ConceptReranker | None = None,
        candidates: LikelyAnswers | None = None,
        reader: text_reader.TextReader | None = None,
        experts: Mapping[str, Expert] | None = None,
    ):
        self.preset = preset.name
        self.hashes = hashes
        dtype = str(chat.llm.dtype).removeprefix("torch.")
        self.versions = {**versions(), "device": chat.llm.device.type, "dtype": dtype}
        self.settings = preset
        self.load_seconds = load_seconds
        self.expert_failures: dict[str, ExpertFailure] = {}  # of those that could not be loaded
        self._chat, self._captioner, self._tokenizer = chat, captioner, tokenizer
        self._tower, self._caption_tower, self._reranker = tower, caption_tower or tower, reranker
        self._candidates, self._reader = candidates, reader
        self._scheduler = scheduler.Scheduler(at_once)
        self.captioner = AdapterCaptioner(
            captioner, tokenizer, preset, self._caption_views, reranker, candidates, self._scheduler
        )
        beside = preflight.experts_device(str(chat.device))
        own = {
            "caption": caption.build(
                self.captioner.caption,
                f"LLaMA-Adapter captioner ({preset.name})",
                concepts=self.captioner.concepts if reranker else None,
                candidates=self.captioner.candidates if candidates else None,
            ),
            "detection": detector,
            "ocr": ocr.build(device=beside),
            **added(beside),
        }
        self._experts = {**own, **(experts or {})}
        self.experts = tuple(self._experts)
        self._orchestrator = Orchestrator(self._experts)
        self._at_once, self._admission = at_once, AdmissionQueue(at_once, WAITING)
        self.context = context_length(chat.llm)  # tokens of prompt and answer together at most
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="vision")
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encoder")  # see encoded_views; like all
        # threads here, it must not have worked before ZeroGPU forks the process that answers
        self._features = FeatureCache(chat, tower, self._encoder)
        self._readers = ThreadPoolExecutor(at_once, thread_name_prefix="ahead")  # they take turns with the answers
        shared_prefix = len(streaming.encode(tokenizer, prompts.beginning(preset.template)))
        self._prefixes = prefix_cache.PrefixCache(shared_prefix, chat.device)

    @classmethod
    def load(
        cls,
        preset: str | config.Preset = config.DEFAULT_PRESET,
        *,
        detector: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        quantize: Quantize | None = None,
        device_map: str | None = None,
        experts: Mapping[str, Expert] | None = None,
        report: Callable[[str], None] = print,
    ) -> Assistant:
        """Load a preset's language model, adapters, image encoder and experts.

        Args:
            preset: name, or settings (lav2.model.llm.preset_on puts a preset on another language model).
            detector: weights of the detection expert, in place of $LAV2_DETECTOR and the preset's.
            device: `cpu`, `cuda`, `cuda:1` ... of all models and experts; chosen by what is there if None.
            dtype: `float32`, `bfloat16`, `float16`; bfloat16 if None, where the device has it.
            quantize: `8bit` or `4bit` weights of the language model, by bitsandbytes; on the CPU 8bit is the engine's.
            device_map: `auto` spreads the language model over the GPUs, then the memory, then the disk.
            experts: that are asked in the place of its own, by name.
            report: gets one line per part with its seconds.

        Raises:
            LAV2Error: something is missing or does not fit; cause and next step.
        """
        settings = config.preset(preset) if isinstance(preset, str) else preset
        placing = {"device": device, "dtype": dtype, "quantize": quantize, "device_map": device_map}
        parts, how = load_parts(settings, AT_ONCE, detector=detector, report=report, **placing)
        ready = cls(settings, **parts, experts=experts)
        ready.versions["engine"] = how  # int8 or not, compiled or not: other sums, so perhaps another answer
        return ready

    def load_experts(self, report: Callable[[str], None] = print) -> None:
        """Load the experts' weights now rather than at the first question; failures are told, not raised."""
        for name, result in self._orchestrator.load().items():
            if isinstance(result, float):
                self.load_seconds[name] = result
                report(f"  {result:5.1f} s  expert {name}")
            else:
                self.expert_failures[name] = result
                report(f"         expert {name} cannot run: {result.cause} {result.next_step}")

    def warm_up(self, report: Callable[[str], None] = print) -> None:
        """Ask one question about a tiny picture, so that nothing is done for the first time while somebody waits."""
        start, tiny = time.perf_counter(), Image.new("RGB", (64, 64), "grey")
        if self._chat.continuous:
            self._chat.record(self._at_once)
        with contextlib.suppress(LAV2Error):  # a model with too small a context for its own template
            list(self.answer(Request("Hi", tiny, experts=self.experts, sampling=Sampling(max_new_tokens=2))))
        self.load_seconds["warm-up"] = time.perf_counter() - start
        report(f"  {self.load_seconds['warm-up']:5.1f} s  warm-up: one tiny question")

    def answer(self, request: Request, cancel: threading.Event | None = None) -> Iterator[Event]:
        """Events of one question, ending with Done. Setting `cancel` ends the answer early with what was said, whatever
        it waits for, and frees its slot for the next in the queue.

        Raises:
            LAV2Error: an empty or overlong question, an unknown expert, from this call; admission.Busy in place of the
                first event.
        """
        request, route = routing.resolve(request)
        question = self._checked(request)
        cancel = cancel or threading.Event()
        if self.settings.question_rules:
            photo = request.image is not None or bool(request.evidence)
            question, rule, sentence = language.read(question, photo, request.history)
            if rule:
                return self._ruled(request, rule, sentence, cancel, route)
            request = dataclasses.replace(request, history=language.spoken(request.history))
        return self._answer(request, question, cancel, route)

    def examine(
        self,
        image: Image.Image,
        experts: tuple[str, ...],
        client: str | None = None,
        cancel: threading.Event | None = None,
    ) -> dict[str, Evidence]:
        """What the named experts find, in the order of EXPERT_NAMES, once it is `client`'s turn. Setting `cancel` ends
        the waiting with what was found.

        Raises:
            LAV2Error: an unknown expert; admission.Busy: too many wait.
        """
        self._check_names(experts)
        cancel = cancel or threading.Event()
        with self._admission.slot(client) as slot:
            for _ in self._admission.positions(slot, cancel):
                pass
            return {} if cancel.is_set() else in_order(dict(self._orchestrator.run(image, experts, cancel=cancel)))

    def caption(self, image: Image.Image) -> str:
        """One sentence about a photo, of the caption expert's model."""
        return self.captioner.caption(image)

    def _caption_views(self, image: Image.Image) -> Sequence[Callable[[], Tensor]]:
        """The photo and its mirror image, each [1, N, C] once it is wanted, as the captioner sees them."""
        if self._caption_tower is None:
            raise LAV2Error(
                "The adapter of {preset} is text only.", "Choose a preset with an image encoder.", preset=self.preset
            )
        shared = self._caption_tower is self._tower
        return self._features.of(image)[:2] if shared else encoded_views(self._caption_tower, image, self._encoder)

    @property
    def parts(self) -> LoadedModels:
        """The models themselves, for evaluation in batches."""
        beside = self._tower, self._caption_tower, self._reranker, self._candidates, self._reader
        return LoadedModels(self._chat, self._captioner, self._tokenizer, *beside)

    @property
    def tokenizer(self) -> transformers.PreTrainedTokenizerBase:
        return self._tokenizer

    def expert(self, name: str) -> Expert:
        """The expert of that name itself, without the orchestrator's memory and time limit."""
        return self._experts[name]

    def count_tokens(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _checked(self, request: Request) -> str:
        self._check_names(request.experts)
        check_length(request.question)
        question = asking.straight(prompts.clean(request.question))
        if not question:
            raise LAV2Error("There is no question.", "Type one, for example: What is in this photo?")
        return question

    def _check_names(self, experts: tuple[str, ...]) -> None:
        unknown = [name for name in experts if name not in self.experts]
        if unknown:
            raise LAV2Error(
                "There is no expert {name}.",
                "Choose of: {experts}, or none.",
                name=repr(unknown[0]),
                experts=", ".join(self.experts),
            )

    def _answer(self, request: Request, question: str, cancel: threading.Event, route: Route | None) -> Iterator[Event]:
        start = time.perf_counter()
        with self._admission.slot(request.client) as slot:
            if route:
                yield Routed(route)
            for position in self._admission.positions(slot, cancel):
                yield Queued(position)
            yield from self._served(request, question, cancel, start, route)

    def _ruled(
        self, request: Request, rule: str, sentence: str, cancel: threading.Event, route: Route | None
    ) -> Iterator[Event]:
        """The sentence of a rule of lav2.text.language: nothing runs, nobody waits."""
        if route:
            yield Routed(route)
        yield Token(sentence)
        timings = {"first_token": 0.0, "answer": 0.0, "total": 0.0, "tokens_per_second": 0.0}
        facts = {"preset": self.preset, "versions": self.versions, "weights": self.hashes}
        facts |= {"seed": request.sampling.seed, "rule": rule, "tokens": self.count_tokens(sentence), "route": route}
        yield Done(sentence, {}, "", timings, stopped=cancel.is_set(), **facts)

    def _served(
        self, request: Request, question: str, cancel: threading.Event, start: float, route: Route | None
    ) -> Iterator[Event]:
        begin = time.perf_counter()
        evidence: dict[str, Evidence] = {}
        history = newest_turns(request.history)
        features, prompt_kv, prefilled = None, None, None
        if request.image is not None and not cancel.is_set():
            photo = fingerprint(request.image)
            if self._tower is not None:
                features = self._features.of(request.image, photo)
                prompt_kv = submit(self._pool, features.prompt_kv)  # beside the experts
                if self._chat.continuous and request.evidence is None and request.experts:
                    prefilled = submit(
                        self._readers, self._prefill_prefix, features, question, history, request, cancel
                    )
        if request.evidence is not None:
            for name, found in request.evidence.items():
                evidence[name] = found
                yield EvidenceFound(name, found)
        elif request.image is not None and not cancel.is_set():
            remembered = self._orchestrator.remembered(photo)
            for name in request.experts:
                yield ExpertStarted(name)
            for name, found in self._orchestrator.run(request.image, request.experts, photo, cancel):
                evidence[name] = grounding.filter_for_question(found, question)
                yield EvidenceFound(name, evidence[name], name in remembered)
        evidence = in_order(evidence)
        timings = {name: found.seconds for name, found in evidence.items()}
        timings["queued"], timings["experts"] = begin - start, time.perf_counter() - begin

        block = grounding.block(evidence, question, self.count_tokens, self._window.findings_budget(question, request))
        prompt, used, turn_count = self._window.fit(question, block.text, history, request, cancel)
        parts = self._window.parts(question, block.text, history[len(history) - turn_count :], used)
        yield PromptReady(prompt, used, self.context, len(request.history) - turn_count, block.left_out, parts)

        generation, asked = time.perf_counter(), request.sampling.max_new_tokens
        pieces: list[str] = []
        count = 0
        with contextlib.ExitStack() as held:  # what reads the answer is closed also where the caller is gone
            if not cancel.is_set():
                written = streaming.stream(
                    self._chat,
                    self._tokenizer,
                    prompt,
                    prompt_kv.result() if prompt_kv else self._features.prompt_kv_without_photo(),
                    replace(request.sampling, max_new_tokens=min(asked, self.context - used)),
                    self._prefixes,
                    features,
                    scheduler=self._scheduler,
                    cancel=cancel,
                    prefilled=prefilled.result() if prefilled else None,
                    likely=likely.of(evidence, question, history, self._chat.proof_first, self._reader),
                )
                if self._chat.proof_first:
                    written = proofs.stream_verdict_first(written)
                stream = held.enter_context(contextlib.closing(written))
            while not cancel.is_set():
                piece = next(stream, None)
                if piece is None:
                    break
                text, count = piece
                if not pieces:
                    timings["first_token"] = time.perf_counter() - start
                    text = text.lstrip()
                if text:
                    pieces.append(text)
                    yield Token(text)
        now = time.perf_counter()
        timings["answer"] = now - generation
        timings["tokens_per_second"] = count / timings["answer"] if count else 0.0
        timings["total"] = now - start
        if request.experts and request.image is not None:
            with contextlib.suppress(Unavailable):  # no thread can be started: the answer is there all the same
                submit(self._pool, native.trim)  # what the experts' activations took, 0.2 GB of it in freed pieces
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

    def _prefill_prefix(
        self, seen: ImageFeatures, question: str, history: tuple[Turn, ...], request: Request, cancel: threading.Event
    ) -> streaming.PrefilledPrefix | None:
        """What the text begins with, read while the experts look. Of a history that may be too long only what every
        prompt begins with: ContextWindow.fit leaves turns out of it."""
        template = self.settings.template
        most = self.count_tokens(prompts.build(template, question, "", history)) + grounding.EVIDENCE_BUDGET
        if len(history) < len(request.history) or most > self.context - self._window.reserved(request):
            history = ()
        beginning, given = prompts.beginning(template, history), seen.prompt_kv()
        return streaming.prefill_prefix(
            self._chat, self._tokenizer, beginning, given, self._prefixes, seen, self._scheduler, cancel
        )

    @property
    def _window(self) -> ContextWindow:
        return ContextWindow(self.settings.template, self.context, self.count_tokens)
