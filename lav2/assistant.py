"""Photo + question -> events: what experts find, the prompt, the answer token by token. The one place where the
experts and the adapted LLaMA meet; it knows nothing of Gradio."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import platform
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import transformers
from PIL import Image, ImageOps
from torch import Tensor

import lav2
from experts import caption, detection, ocr
from experts.evidence import EXPERT_NAMES, Evidence, Expert
from experts.orchestrator import Orchestrator, fingerprint
from lav2 import (
    captioning,
    checkpoint,
    config,
    generate,
    grounding,
    language,
    model,
    native,
    phrases,
    preflight,
    prompts,
    weights,
)
from lav2.config import CONTEXT
from lav2.engine import Engine, refusal, unmap
from lav2.errors import LAV2Error, Unavailable, no_thread
from lav2.events import (
    Done,
    Event,
    EvidenceFound,
    ExpertStarted,
    PromptReady,
    Queued,
    Request,
    Sampling,
    Token,
    check_length,
)
from lav2.line import Line
from lav2.prompts import Turn
from lav2.vision import VisionTower

AT_ONCE, WAITING = 8, 16  # questions that are answered at once, as many as a step takes, and that wait for it
PHOTOS = 32  # whose features are kept
LINE_END = 8  # tokens at most that joining findings and question adds
HISTORY_TURNS, HISTORY_CHARACTERS = 200, 100_000  # of the newest that are looked at: far more than any context holds


class Parts(NamedTuple):
    """What an assistant is made of; see Assistant."""

    chat: generate.Model
    captioner: generate.Model
    tokenizer: transformers.PreTrainedTokenizerBase
    tower: VisionTower | None
    caption_tower: VisionTower | None
    judge: phrases.Phrases | None


class _Once:
    """A value that is made once, by whoever needs it first; others wait for it. A failure is not kept."""

    def __init__(self, make: Callable[[], Any]):
        self._make, self._lock, self._made = make, threading.Lock(), []

    def __call__(self) -> Any:
        with self._lock:
            if not self._made:
                self._made.append(self._make())
                self._make = None  # it holds the photo
            return self._made[0]


class _Seen(NamedTuple):
    """What the models make of a photo."""

    clip_tokens: Callable[[], Tensor]  # [1, N, C], which the captioner reads as well
    mirrored: Callable[[], Tensor]  # those of its mirror image
    prompt_kv: Callable[[], tuple]  # of the chat adapter


class Assistant:
    """A loaded preset. `answer` may be called from several threads; steps of the language model take turns, and more
    questions than AT_ONCE wait in line.

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
        judge: of the captioner's drafts.
    """

    def __init__(
        self,
        preset: config.Preset,
        chat: generate.Model,
        captioner: generate.Model,
        tokenizer: transformers.PreTrainedTokenizerBase,
        tower: VisionTower,
        detector: Expert,
        load_seconds: dict[str, float],
        hashes: dict[str, str],
        at_once: int = AT_ONCE,
        caption_tower: VisionTower | None = None,
        judge: phrases.Phrases | None = None,
    ):
        self.preset = preset.name
        self.hashes = hashes
        dtype = str(chat.llm.dtype).removeprefix("torch.")
        self.versions = {**versions(), "device": chat.llm.device.type, "dtype": dtype}
        self.settings = preset
        self.captioning = captioning.Captioning(drafts=preset.caption_drafts)
        self.load_seconds = load_seconds
        self._chat, self._captioner, self._tokenizer = chat, captioner, tokenizer
        self._tower, self._caption_tower, self._judge = tower, caption_tower or tower, judge
        experts = {
            "caption": caption.build(captioner=self.caption, source=f"LLaMA-Adapter captioner ({preset.name})"),
            "detection": detector,
            "ocr": ocr.build(device=str(chat.device)),
        }
        self.experts = tuple(experts)
        self._orchestrator = Orchestrator(experts)
        self._at_once, self._line = at_once, Line(at_once, WAITING)
        self._turns = generate.Turns(at_once)
        self.context = _context(chat.llm)  # tokens of prompt and answer together at most
        self._seen: OrderedDict[bytes, _Seen] = OrderedDict()  # by photo, the newest PHOTOS
        self._seen_lock = threading.Lock()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="vision")
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encoder")  # see _views; like all
        # threads here, it must not have worked before ZeroGPU forks the process that answers
        self._readers = ThreadPoolExecutor(at_once, thread_name_prefix="ahead")  # they take turns with the answers
        lead = len(generate.encode(tokenizer, prompts.beginning(preset.template)))
        self._kept = generate.Kept(lead, chat.device)

    @classmethod
    def load(
        cls,
        preset: str | config.Preset = "embedded",
        *,
        detector: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        quantize: model.Quantize | None = None,
        device_map: str | None = None,
        report: Callable[[str], None] = print,
    ) -> Assistant:
        """Load a preset's language model, adapters, image encoder and experts.

        Args:
            preset: name, or settings (lav2.model.preset_on puts a preset on another language model).
            detector: weights of the detection expert, in place of $LAV2_DETECTOR and the preset's.
            device: `cpu`, `cuda`, `cuda:1` ... of all models and experts; chosen by what is there if None.
            dtype: `float32`, `bfloat16`, `float16`; bfloat16 if None, where the device has it.
            quantize: `8bit` or `4bit` weights of the language model, by bitsandbytes; on the CPU 8bit is the engine's.
            device_map: `auto` spreads the language model over the GPUs, then the memory, then the disk.
            report: gets one line per part with its seconds.

        Raises:
            LAV2Error: something is missing or does not fit; cause and next step.
        """
        settings = config.preset(preset) if isinstance(preset, str) else preset
        place = torch.device(preflight.device(device))
        dtype = dtype or preflight.precision(str(place))
        kind, room = getattr(torch, dtype), device_map or str(place)
        native.share_arenas()
        report(f"         memory: {preflight.check(settings, dtype, room, quantize)}")
        at_once = preflight.at_once(AT_ONCE, settings, dtype, room, quantize)
        clock = _Clock(report)
        int8 = quantize == "8bit" and place.type == "cpu"  # the engine packs them once the adapter is folded
        llm, tokenizer = model.load_llm(settings.llm, kind, place, None if int8 else quantize, device_map)
        base = model.base_identity(llm, tokenizer, "")
        hashes = {"base": base["weights"]}
        clock.lap("language model", f"{settings.llm} on {room}, {quantize or dtype}")
        # The captioner shares every frozen matrix with the chat model; only norms and adapters are its own. The twin is
        # made before an adapter is put on the model.
        second = None if settings.caption_adapter == settings.adapter else model.share_frozen(llm)
        checkpoint.check_roles(weights.find(settings.adapter), weights.find(settings.caption_adapter), report)
        chat = _adapted(settings.adapter, llm, tokenizer, report, base)
        captioner = chat if second is None else _adapted(settings.caption_adapter, second, tokenizer, report, base)
        for part, source in (("adapter", settings.adapter), ("caption_adapter", settings.caption_adapter)):
            hashes[part] = hashlib.sha256((weights.find(source) / checkpoint.TENSORS).read_bytes()).hexdigest()
        clock.lap("adapters", f"{settings.adapter}, {settings.caption_adapter}")
        chat, captioner, how = _fast(chat, captioner, True if int8 else None)
        clock.lap("engine", how)
        tower = VisionTower(chat.vision_config).to(place) if chat.vision_config else None
        if tower is not None:
            hashes["image_encoder"] = tower.identity
        own = None  # of the captioner, which may have been trained on another image encoder
        if captioner.vision_config not in (None, chat.vision_config):
            own = VisionTower(captioner.vision_config).to(place)
            hashes["caption_encoder"] = own.identity
        clock.lap("image encoder", chat.vision_config.name if chat.vision_config else "none, a text-only adapter")
        folder = weights.find(settings.caption_adapter)
        judge = phrases.load(folder, captioner.vision_config)
        if judge is not None:
            judge.to(place)
            hashes["caption_phrases"] = hashlib.sha256((folder / phrases.FILE).read_bytes()).hexdigest()
        expert = _detector(detector or os.environ.get("LAV2_DETECTOR"), settings, str(place))
        ready = cls(settings, chat, captioner, tokenizer, tower, expert, clock.seconds, hashes, at_once, own, judge)
        ready.versions["engine"] = how  # int8 or not, compiled or not: other sums, so perhaps another answer
        return ready

    def load_experts(self, report: Callable[[str], None] = print) -> None:
        """Load the experts' weights now rather than at the first question; failures are told, not raised."""
        for name, result in self._orchestrator.load().items():
            if isinstance(result, float):
                self.load_seconds[name] = result
                report(f"  {result:5.1f} s  expert {name}")
            else:
                report(f"         expert {name} cannot run: {result.cause} {result.next_step}")

    def warm_up(self, report: Callable[[str], None] = print) -> None:
        """Ask one question about a tiny picture, so that nothing is done for the first time while somebody waits."""
        start, tiny = time.perf_counter(), Image.new("RGB", (64, 64), "grey")
        if isinstance(self._chat, Engine):
            self._chat.record(self._at_once)
        with contextlib.suppress(LAV2Error):  # a model with too small a context for its own template
            list(self.answer(Request("Hi", tiny, experts=self.experts, sampling=Sampling(max_new_tokens=2))))
        self.load_seconds["warm-up"] = time.perf_counter() - start
        report(f"  {self.load_seconds['warm-up']:5.1f} s  warm-up: one tiny question")

    def answer(self, request: Request, cancel: threading.Event | None = None) -> Iterator[Event]:
        """Events of one question, ending with Done. Setting `cancel` ends the answer early with what was said, whatever
        it waits for, and makes room for the next in line.

        Raises:
            LAV2Error: an empty or overlong question, an unknown expert, from this call; lav2.line.Busy in place of the
                first event.
        """
        question = self._checked(request)
        cancel = cancel or threading.Event()
        if self.settings.question_rules:
            photo = request.image is not None or bool(request.evidence)
            question, rule, sentence = language.read(question, photo, request.history)
            if rule:
                return self._ruled(request, rule, sentence, cancel)
            request = dataclasses.replace(request, history=language.spoken(request.history))
        return self._answer(request, question, cancel)

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
            LAV2Error: an unknown expert; lav2.line.Busy: too many wait.
        """
        self._known(experts)
        cancel = cancel or threading.Event()
        with self._line.place(client) as place:
            for _ in self._line.positions(place, cancel):
                pass
            return {} if cancel.is_set() else _ordered(dict(self._orchestrator.run(image, experts, cancel=cancel)))

    @torch.inference_mode()
    def caption(self, image: Image.Image) -> str:
        """One sentence about a photo by the adapter tuned on captions (the paper's caption expert, Sec. 4.4)."""
        if self._caption_tower is None:
            raise LAV2Error(
                "The adapter of {preset} is text only.", "Choose a preset with an image encoder.", preset=self.preset
            )
        shared = self._caption_tower is self._tower
        model, words, how = self._captioner, self._tokenizer, self.captioning
        views = self._look(image)[:2] if shared else _views(self._caption_tower, image, self._encoder)
        clip_tokens = torch.cat([view() for view in views[: how.views]])
        return captioning.write(model, words, self.caption_prompt, clip_tokens, how, self._judge, self._turns)

    @property
    def caption_prompt(self) -> str:
        """What the captioner goes on from: the preset's question, or the begin token alone ("" where the tokenizer puts
        it by itself)."""
        if self.settings.caption_question:
            return prompts.build(self.settings.template, self.settings.caption_question)
        return "" if generate.encode(self._tokenizer, "") else self._tokenizer.bos_token

    @property
    def parts(self) -> Parts:
        """The models themselves, for evaluation in batches."""
        return Parts(self._chat, self._captioner, self._tokenizer, self._tower, self._caption_tower, self._judge)

    def count_tokens(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _checked(self, request: Request) -> str:
        self._known(request.experts)
        check_length(request.question)
        question = prompts.clean(request.question)
        if not question:
            raise LAV2Error("There is no question.", "Type one, for example: What is in this photo?")
        return question

    def _known(self, experts: tuple[str, ...]) -> None:
        unknown = [name for name in experts if name not in self.experts]
        if unknown:
            raise LAV2Error(
                "There is no expert {name}.",
                "Choose of: {experts}, or none.",
                name=repr(unknown[0]),
                experts=", ".join(self.experts),
            )

    def _answer(self, request: Request, question: str, cancel: threading.Event) -> Iterator[Event]:
        start = time.perf_counter()
        with self._line.place(request.client) as place:
            for position in self._line.positions(place, cancel):
                yield Queued(position)
            yield from self._served(request, question, cancel, start)

    def _ruled(self, request: Request, rule: str, sentence: str, cancel: threading.Event) -> Iterator[Event]:
        """The sentence of a rule of lav2.language: nothing runs, nobody waits."""
        yield Token(sentence)
        timings = {"first_token": 0.0, "answer": 0.0, "total": 0.0, "tokens_per_second": 0.0}
        facts = {"preset": self.preset, "versions": self.versions, "weights": self.hashes}
        facts |= {"seed": request.sampling.seed, "rule": rule, "tokens": self.count_tokens(sentence)}
        yield Done(sentence, {}, "", timings, stopped=cancel.is_set(), **facts)

    def _served(self, request: Request, question: str, cancel: threading.Event, start: float) -> Iterator[Event]:
        begin = time.perf_counter()
        evidence: dict[str, Evidence] = {}
        history = _newest(request.history)
        seen, prompt_kv, ahead = None, None, None
        if request.image is not None and not cancel.is_set():
            photo = fingerprint(request.image)
            if self._tower is not None:
                seen = self._look(request.image, photo)
                prompt_kv = _started(self._pool, seen.prompt_kv)  # beside the experts
                if isinstance(self._chat, Engine) and request.evidence is None and request.experts:
                    ahead = _started(self._readers, self._ahead, seen, question, history, request, cancel)
        if request.evidence is not None:
            for name, found in request.evidence.items():
                evidence[name] = found
                yield EvidenceFound(name, found)
        elif request.image is not None and not cancel.is_set():
            for name in request.experts:
                yield ExpertStarted(name)
            for name, found in self._orchestrator.run(request.image, request.experts, photo, cancel):
                evidence[name] = grounding.told(found, question)
                yield EvidenceFound(name, evidence[name])
        evidence = _ordered(evidence)
        timings = {name: found.seconds for name, found in evidence.items()}
        timings["queued"], timings["experts"] = begin - start, time.perf_counter() - begin

        block = grounding.block(evidence, question, self.count_tokens, self._room_for_findings(question, request))
        prompt, used, kept = self._fit(question, block.text, history, request, cancel)
        parts = self._parts(question, block.text, history[len(history) - kept :], used)
        yield PromptReady(prompt, used, self.context, len(request.history) - kept, block.left_out, parts)

        generation, asked = time.perf_counter(), request.sampling.max_new_tokens
        pieces: list[str] = []
        count = 0
        with contextlib.ExitStack() as held:  # what reads the answer is closed also where the caller is gone
            if not cancel.is_set():
                given = prompt_kv.result() if prompt_kv else self._blind()
                more = {"turns": self._turns, "cancel": cancel, "ahead": ahead.result() if ahead else None}
                sampling = replace(request.sampling, max_new_tokens=min(asked, self.context - used))
                stream = generate.stream(self._chat, self._tokenizer, prompt, given, sampling, self._kept, seen, **more)
                held.enter_context(contextlib.closing(stream))
            while not cancel.is_set():
                piece = next(stream, None)
                if piece is None:
                    break
                text, count = piece
                if not pieces:
                    timings["first_token"] = time.perf_counter() - start
                    text = text.lstrip()
                pieces.append(text)
                if text:
                    yield Token(text)
        now = time.perf_counter()
        timings["answer"] = now - generation
        timings["tokens_per_second"] = count / timings["answer"] if count else 0.0
        timings["total"] = now - start
        if request.experts and request.image is not None:
            with contextlib.suppress(Unavailable):  # no thread can be started: the answer is there all the same
                _started(self._pool, native.trim)  # what the experts' activations took, 0.2 GB of it in freed pieces
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
        )

    def _ahead(
        self, seen: _Seen, question: str, history: tuple[Turn, ...], request: Request, cancel: threading.Event
    ) -> generate.Ahead | None:
        """What the text begins with, read while the experts look. Of a history that may be too long only what every
        prompt begins with: `_fit` leaves turns out of it."""
        template = self.settings.template
        most = self.count_tokens(prompts.build(template, question, "", history)) + grounding.EVIDENCE_BUDGET
        if len(history) < len(request.history) or most > self.context - self._reserved(request):
            history = ()
        beginning, given = prompts.beginning(template, history), seen.prompt_kv()
        return generate.read_ahead(
            self._chat, self._tokenizer, beginning, given, self._kept, seen, self._turns, cancel
        )

    def _fit(
        self, question: str, block: str, history: tuple[Turn, ...], request: Request, cancel: threading.Event
    ) -> tuple[str, int, int]:
        """(prompt, its tokens, turns of `history` in it): the oldest turns go first when the context is too small.

        Every turn is counted once, from the newest until the context is full without what the template adds; with that,
        the place where turns begin to fit is found by halving. One who cancels gets a prompt without turns.
        """
        room = self.context - self._reserved(request)

        def with_turns(kept: int) -> tuple[str, int]:
            prompt = prompts.build(self.settings.template, question, block, history[len(history) - kept :])
            return prompt, self.count_tokens(prompt)

        prompt, used = with_turns(0)
        if used > room:
            raise LAV2Error(
                "The question needs {tokens} tokens and the answer may take {answer}; "
                "the model's context has {context}.",
                "Shorten the question or lower the answer's length.",
                tokens=used,
                answer=self._reserved(request),
                context=self.context,
            )
        fits, most, sum_of_turns = 0, 0, used
        for turn in reversed(history):
            if cancel.is_set():
                return prompt, used, 0
            sum_of_turns += self.count_tokens(turn.question) + self.count_tokens(turn.answer)
            if sum_of_turns > room:
                break
            most += 1
        tried = most  # mostly all of them fit
        while fits < most and not cancel.is_set():
            longer = with_turns(tried)
            if longer[1] <= room:
                (prompt, used), fits = longer, tried
            else:
                most = tried - 1
            tried = (fits + most + 1) // 2
        return prompt, used, fits

    def _parts(self, question: str, block: str, history: tuple[Turn, ...], used: int) -> dict[str, int]:
        """Tokens of a prompt of `used` by part; the template's are what the others leave."""
        parts = {"findings": self.count_tokens(block) if block else 0, "question": self.count_tokens(question)}
        parts["turns"] = sum(self.count_tokens(turn.question) + self.count_tokens(turn.answer) for turn in history)
        return {**parts, "template": max(0, used - sum(parts.values()))}

    def _room_for_findings(self, question: str, request: Request) -> int:
        """The findings' budget in tokens, less where question and answer leave less room: no question is refused for
        long findings."""
        used = self.count_tokens(prompts.build(self.settings.template, question)) + LINE_END
        return min(grounding.EVIDENCE_BUDGET, self.context - self._reserved(request) - used)

    def _reserved(self, request: Request) -> int:
        """Tokens of the context that the prompt leaves to the answer at least; it may take what is left beyond them. A
        very long answer is not worth every earlier turn."""
        return min(request.sampling.max_new_tokens, self.context // 4)

    def _look(self, image: Image.Image, photo: bytes | None = None) -> _Seen:
        """What the models make of a photo, remembered by its pixels and made once for all who ask."""
        photo = photo or fingerprint(image)
        with self._seen_lock:
            if photo not in self._seen:
                clip_tokens, mirrored = _views(self._tower, image, self._encoder)
                self._seen[photo] = _Seen(clip_tokens, mirrored, _Once(lambda: self._prompts(clip_tokens())))
                while len(self._seen) > PHOTOS:
                    self._seen.popitem(last=False)
            self._seen.move_to_end(photo)
            return self._seen[photo]

    @torch.inference_mode()
    def _prompts(self, clip_tokens: Tensor) -> tuple:
        return self._chat.prompt_kv(self._chat.visual_prompt(clip_tokens))

    @torch.inference_mode()
    def _blind(self) -> tuple:
        """Prompts of a question without a photo."""
        return self._chat.prompt_kv()


def _views(
    tower: VisionTower, image: Image.Image, encoder: Executor
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """clip_tokens of a photo and of its mirror image, made when they are needed; the photo is scaled once for both. One
    thread, the encoder's, makes all of them: see experts.orchestrator on cuDNN's plans."""
    small = _Once(lambda: tower.resized(image))

    def encoded(view: Callable[[], Image.Image]) -> Callable[[], Tensor]:
        return _Once(lambda: _started(encoder, lambda: tower.encode([view()])).result())

    return encoded(small), encoded(lambda: ImageOps.mirror(small()))


def _started(pool: Executor, work: Callable[..., Any], *given: Any) -> Future:
    """Work for a pool's threads.

    Raises:
        Unavailable: it needs another thread, and the system lets none start. An executor keeps the work all the same,
            for its next thread: there is nothing left to do in it then, and no photo.
    """
    todo = [lambda: work(*given)]
    try:
        return pool.submit(lambda: todo[0]() if todo else None)
    except RuntimeError as error:
        todo.clear()
        raise no_thread() from error


def versions() -> dict[str, str]:
    """What an answer depends on besides its preset."""
    return {
        "lav2": lav2.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _newest(history: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The newest turns, cleaned, within HISTORY_TURNS and HISTORY_CHARACTERS; the rest is not even looked at."""
    kept: list[Turn] = []
    left = HISTORY_CHARACTERS
    for turn in reversed(history[-HISTORY_TURNS:]):
        left -= len(turn.question) + len(turn.answer)
        if left < 0:
            break
        kept.append(Turn(prompts.clean(turn.question), prompts.clean(turn.answer)))
    return tuple(reversed(kept))


def _adapted(source: str, llm, tokenizer, report, base) -> model.AdaptedLlama:
    folder = weights.find(source)
    checkpoint.check_encoder(folder)
    return checkpoint.load(folder, llm, tokenizer, report, base=base).eval()


def _context(llm: transformers.PreTrainedModel) -> int:
    """Tokens that the assistant gives a model, which may have been made for fewer."""
    return min(CONTEXT, getattr(llm.config, "max_position_embeddings", None) or CONTEXT)


def _detector(chosen: str | None, settings: config.Preset, device: str) -> Expert:
    """The detection expert: a file or name that the user chose, else the preset's own at the preset's threshold."""
    if chosen:
        return detection.build(chosen, device=device, least=detection.FAINT)
    own = settings.detector
    file = str(weights.find(own)) if own.startswith("assets:") else own
    return detection.build(file, settings.confidence, device, detection.FAINT)


def _fast(
    chat: model.AdaptedLlama, captioner: model.AdaptedLlama, int8: bool | None = None
) -> tuple[generate.Model, generate.Model, str]:
    """Engines of both models where they take them, and how they run, in words; the models' own forward is given up."""
    refused = refusal(chat)
    if refused and int8:
        raise LAV2Error(
            "8bit weights on the CPU are the engine's; it refuses this model: {why}.",
            "Leave --quantize away, or use a GPU.",
            why=refused,
        )
    if refused:
        return chat, captioner, f"transformers' forward, since {refused}"
    context = _context(chat.llm)
    if captioner is chat:
        fast = second = Engine(chat, int8, context=context, release=True)
    else:
        second = Engine(captioner, int8, context=context)
        fast = Engine(chat, int8, context=context, head=second.head, release=True)
    if fast.int8:
        unmap([chat, captioner])
    fast.record(1)  # else nobody knows yet whether it can
    plain = "folded weights, recorded steps" if fast.fused else "folded weights, torch"
    return fast, second, "int8 weights, compiled step" if fast.int8 else plain


def _ordered(evidence: dict[str, Evidence]) -> dict[str, Evidence]:
    return {name: evidence[name] for name in EXPERT_NAMES if name in evidence}


class _Clock:
    """Seconds of each part, told as it is done."""

    def __init__(self, report: Callable[[str], None]):
        self.seconds: dict[str, float] = {}
        self._report, self._last = report, time.perf_counter()

    def lap(self, part: str, detail: str) -> None:
        now = time.perf_counter()
        self.seconds[part] = now - self._last
        self._report(f"  {now - self._last:5.1f} s  {part}: {detail}")
        self._last = now
