"""Continuous batching: prompts a chunk at a time, and one decode step for all answers that go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue

import torch
from torch import Tensor
from transformers import DynamicCache

from lav2.errors import LAV2Error, no_thread
from lav2.inference.backend import DecoderBackend, prefill
from lav2.inference.cache import Cache
from lav2.inference.engine import Engine
from lav2.inference.sampler import SequenceSampler
from lav2.model.adapter import LayerPrompt


class Cancelled(Exception):
    """The answer that is being computed is not wanted any more."""


class Scheduler:
    """Continuous batching: the processor, shared by answers that run in threads of their own.

    Prompts are read in order of arrival, a chunk at a time. Between two chunks one decode step computes the next token
    of every active answer, so that the weights are read once for all and no answer stops while another's prompt is
    read. One thread does the steps and the sampling; it does not wait for those who read the answers.
    """

    BUFFERED = 4  # tokens of an answer that nobody has taken yet, at most
    POLL_INTERVAL_S = 0.05  # seconds after which a prompt that waits sees that it was cancelled

    def __init__(self, rows: int = 8):
        self._rows, self._changed = rows, threading.Condition()
        self._busy = False  # somebody computes
        self._active: list[ActiveSequence] = []  # answers, the next to get a token first
        self._in_step: list[ActiveSequence] = []  # those in the step that is computed now
        self._prompts: list[object] = []  # being read or waiting for it, the first to come first
        self._answers_next = False  # the last to compute was a chunk of a prompt: answers come next
        self._worker: threading.Thread | None = None  # while answers go on

    @contextmanager
    def _chunk(self, prompt: object, cancel: threading.Event | None) -> Iterator[None]:
        """Around the prefill of one chunk, which no other answer shares; the earliest prompt goes first."""

        def ready() -> bool:
            first = self._prompts[0] is prompt and not self._busy
            return (first and not (self._answers_next and self._waiting_for_step())) or (
                cancel is not None and cancel.is_set()
            )

        with self._changed:
            while not self._changed.wait_for(ready, None if cancel is None else self.POLL_INTERVAL_S):
                pass
            if cancel is not None and cancel.is_set():
                raise Cancelled
            self._busy = True
        try:
            yield
        finally:
            with self._changed:
                self._busy, self._answers_next = False, True
                self._changed.notify_all()

    def run(
        self,
        model: DecoderBackend,
        input_ids: Tensor,
        prompt_kv: tuple[LayerPrompt | None, ...],
        attention_mask: Tensor | None = None,
        cache: DynamicCache | Cache | None = None,
        cancel: threading.Event | None = None,
    ) -> tuple[Tensor, DynamicCache | Cache]:
        """As `prefill`, in its turn; tokens of beams and drafts wait as a prompt does.

        Raises:
            Cancelled: `cancel` was set before the prompt was read.
        """
        if cache is None:
            cache = model.begin(len(input_ids), prompt_kv, attention_mask)
        prompt = object()
        with self._changed:
            self._prompts.append(prompt)
        try:
            while True:
                chunk = cache.chunk if model.continuous else input_ids.shape[1]
                now, input_ids = input_ids[:, :chunk], input_ids[:, chunk:]
                with self._chunk(prompt, cancel):
                    logits, cache = prefill(model, now, prompt_kv, attention_mask, cache)
                if not input_ids.shape[1]:
                    return logits, cache
        finally:
            with self._changed:
                self._prompts.remove(prompt)
                self._changed.notify_all()

    def decode_stream(self, engine: Engine, cache: Cache, sampler: SequenceSampler, token: int) -> Iterator[int]:
        """The tokens that come behind `token`, the last that `sampler` gave, for the one row of `cache`. They are
        computed whether or not they are asked for, up to BUFFERED of them; nothing touches the cache any more when this
        ends or is closed.

        Raises:
            LAV2Error: the answer has grown as long as the context, or what Engine.decode_step and `sampler` raise.
        """
        sequence = ActiveSequence(engine, cache, sampler, token)
        with self._changed:
            self._active.append(sequence)
            if self._worker is None or not self._worker.is_alive():  # a process that was forked has no threads
                self._worker = threading.Thread(target=self._work, name="lav2-steps", daemon=True)
                try:
                    self._worker.start()
                except RuntimeError as error:
                    self._worker = None
                    self._active.remove(sequence)
                    raise no_thread() from error
            self._changed.notify_all()
        try:
            while (new := sequence.tokens.get()) is not None:
                if isinstance(new, Exception):
                    raise new
                if sequence.tokens.qsize() == self.BUFFERED - 1:  # it waited for this
                    with self._changed:
                        self._changed.notify_all()
                yield new
        finally:
            with self._changed:
                self._active = [one for one in self._active if one is not sequence]
                self._changed.notify_all()
                if threading.current_thread() is not self._worker:  # where a forgotten answer may be collected
                    self._changed.wait_for(lambda: sequence not in self._in_step)

    def _waiting_for_step(self) -> list[ActiveSequence]:
        """The answers whose reader has taken enough of what was computed."""
        return [one for one in self._active if one.tokens.qsize() < self.BUFFERED]

    @torch.inference_mode()
    def _work(self) -> None:
        """Step by step until no answer goes on; the condition is held, but not while something is computed."""

        def ready() -> bool:
            return not self._active or (
                not self._busy and (self._answers_next or not self._prompts) and bool(self._waiting_for_step())
            )

        with self._changed:
            while True:
                self._changed.wait_for(ready)
                if not self._active:
                    self._worker = None
                    return
                steppable = self._waiting_for_step()
                chosen = [one for one in steppable if one.engine is steppable[0].engine][: self._rows]
                self._busy, self._in_step = True, chosen
                self._changed.release()
                try:
                    _step(chosen)
                except Exception as error:  # nobody is left waiting, whatever it was
                    for one in chosen:
                        one.end(error)
                finally:
                    self._changed.acquire()
                    self._busy, self._answers_next, self._in_step = False, False, []
                    served = [one for one in self._active if one in chosen and not one.ended]
                    self._active = [one for one in self._active if one not in chosen] + served
                    self._changed.notify_all()


@dataclass(eq=False)
class ActiveSequence:
    """An answer that is being decoded."""

    engine: Engine
    cache: Cache
    sampler: SequenceSampler
    token: int  # the last one
    tokens: SimpleQueue[int | Exception | None] = field(default_factory=SimpleQueue)  # None: that was all
    ended: bool = False

    def end(self, error: Exception | None = None) -> None:
        self.ended = True
        self.tokens.put(error)


def _step(answers: Sequence[ActiveSequence]) -> None:
    """One more token of each; what fails is told to the answers that it concerns."""
    fitting = []
    for one in answers:
        try:
            one.engine.check(one.cache, 1)
            fitting.append(one)
        except LAV2Error as error:
            one.end(error)
    if not fitting:
        return
    results: list[int | Exception] = []
    try:
        logits = fitting[0].engine.decode_step([one.token for one in fitting], [one.cache for one in fitting])
        for row, one in zip(logits.split(1) if len(fitting) > 1 else [logits], fitting, strict=True):
            try:
                results += one.sampler(row)
            except Exception as error:  # that of one answer
                results.append(error)
    except Exception as error:  # every answer in it has failed
        results = [error] * len(fitting)
    for new, one in zip(results, fitting, strict=True):  # at the end: their threads want the interpreter at once
        if isinstance(new, Exception):
            one.end(new)
            continue
        one.token = new
        one.tokens.put(new)
        if one.sampler.over:
            one.end()
