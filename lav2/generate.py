"""Tokens one after the other: prefill, decode, sample; streaming text, batches and beams.

A model is an `Engine` (fast) or an `AdaptedLlama` (transformers' own forward: any architecture, and the oracle of the
tests). Nothing here knows about photos beyond `prompt_kv`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerBase

from lav2.adapter import LayerPrompt
from lav2.engine import Cache, Engine, piece_of
from lav2.errors import LAV2Error, no_thread
from lav2.events import Sampling
from lav2.model import AdaptedLlama

Model = AdaptedLlama | Engine
NUCLEUS = 512  # tokens that are looked at first where a share of the chances is wanted
LOOP, PERIOD = 8, 16  # tokens of a repetition, and of what is repeated at most, see `looping`


class Kept:
    """Caches of finished answers: a prompt about the same photo begins where it parts from one of them.

    A cache belongs to one answer at a time: `take` removes it, `put` brings it back.

    Args:
        lead: tokens that all prompts begin with (lav2.engine.Cache); they are taken up as well.
        device: where they lie.
    """

    def __init__(self, lead: int = 0, device: torch.device | str = "cpu"):
        self.lead, self._device, self._lock = lead, torch.device(device), threading.Lock()
        self._size = 4 if self._device.type == "cpu" else 1  # only a GPU pays for unused room
        self._entries: list[tuple[object, list[int], Cache]] = []  # the oldest first

    def take(self, photo: object, ids: list[int]) -> Cache | None:
        """The cache with the most whole pieces (lav2.engine.piece_of) of `ids`, cut to them; the last token is left."""
        with self._lock:
            best = max(self._entries, key=lambda entry: self._shared(entry, photo, ids[:-1]), default=None)
            if best is None or not (length := self._shared(best, photo, ids[:-1])):
                return None
            self._entries = [entry for entry in self._entries if entry is not best]
        best[2].length = length
        return best[2]

    def put(self, photo: object, ids: list[int], cache: Cache) -> None:
        """`ids` is the prompt that the cache begins with, asked about `photo` (compared by identity)."""
        with self._lock:
            self._entries = [*self._entries, (photo, ids[: cache.length], cache)][-self._size :]

    def knows(self, photo: object, ids: list[int]) -> bool:
        """Whether a cache begins with all of `ids`."""
        with self._lock:
            return any(entry[0] is photo and entry[1][: len(ids)] == ids for entry in self._entries)

    def whole(self, length: int) -> int:
        """So many of `length` tokens are whole pieces."""
        piece = piece_of(self._device)
        return max(length // piece * piece, self.lead if length >= self.lead else 0)

    def _shared(self, entry: tuple[object, list[int], Cache], photo: object, ids: list[int]) -> int:
        if entry[0] is not photo:
            return 0
        pairs = zip(entry[1], ids, strict=False)
        return self.whole(next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(entry[1]), len(ids))))


Ahead = tuple[list[int], Cache]  # what was read of a prompt, and the cache that holds it


def prefill(
    model: Model,
    input_ids: Tensor,
    prompt_kv: tuple[LayerPrompt | None, ...],
    attention_mask: Tensor | None = None,
    cache: DynamicCache | Cache | None = None,
) -> tuple[Tensor, DynamicCache | Cache]:
    """Logits [B, vocabulary] after the last position of input_ids [B, T], and the cache that holds them."""
    if isinstance(model, Engine):
        return model(input_ids, prompt_kv, attention_mask, cache)
    cache = cache or DynamicCache(config=model.llm.config)
    kwargs = {}
    if attention_mask is not None:  # left padding: positions count real tokens
        kwargs = {
            "attention_mask": attention_mask,
            "position_ids": (attention_mask.cumsum(-1) - 1).clamp(min=0)[:, -input_ids.shape[1] :],
        }
    output = model(input_ids, prompt_kv, past_key_values=cache, use_cache=True, logits_to_keep=1, **kwargs)
    return output.logits[:, -1], cache


class Cancelled(Exception):
    """The answer that is being computed is not wanted any more."""


class Turns:
    """The processor, shared by answers in threads of their own: prompts in order of arrival, a piece at a time, and
    between two pieces one step for the next tokens of all answers that go on, so that the weights are read once for all
    of them and nobody's answer stands still while another's prompt is read. Steps and the choice of tokens are the work
    of one thread, which does not wait for those that read the answers."""

    AHEAD = 4  # tokens of an answer that nobody has taken yet, at most
    BLINK = 0.05  # seconds after which a prompt that waits sees that it was cancelled

    def __init__(self, rows: int = 8):
        self._rows, self._changed = rows, threading.Condition()
        self._busy = False  # somebody computes
        self._going: list[_Going] = []  # answers, the next to get a token first
        self._stepping: list[_Going] = []  # those in the step that is computed now
        self._prompts: list[object] = []  # being read or waiting for it, the first to come first
        self._steps_turn = False  # the last to compute was a piece of a prompt: answers come next
        self._worker: threading.Thread | None = None  # while answers go on

    @contextmanager
    def _piece(self, prompt: object, cancel: threading.Event | None) -> Iterator[None]:
        """Around work that no other answer shares, for the first of the prompts."""

        def ready() -> bool:
            first = self._prompts[0] is prompt and not self._busy
            return (first and not (self._steps_turn and self._able())) or (cancel is not None and cancel.is_set())

        with self._changed:
            while not self._changed.wait_for(ready, None if cancel is None else self.BLINK):
                pass
            if cancel is not None and cancel.is_set():
                raise Cancelled
            self._busy = True
        try:
            yield
        finally:
            with self._changed:
                self._busy, self._steps_turn = False, True
                self._changed.notify_all()

    def run(
        self,
        model: Model,
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
        if isinstance(model, Engine) and cache is None:
            cache = model.begin(len(input_ids), prompt_kv, attention_mask)
        prompt = object()
        with self._changed:
            self._prompts.append(prompt)
        try:
            while True:
                piece = cache.piece if isinstance(model, Engine) else input_ids.shape[1]
                now, input_ids = input_ids[:, :piece], input_ids[:, piece:]
                with self._piece(prompt, cancel):
                    logits, cache = prefill(model, now, prompt_kv, attention_mask, cache)
                if not input_ids.shape[1]:
                    return logits, cache
        finally:
            with self._changed:
                self._prompts.remove(prompt)
                self._changed.notify_all()

    def follow(self, engine: Engine, cache: Cache, choice: Choice, token: int) -> Iterator[int]:
        """The tokens that come behind `token`, the last that `choice` chose, for the one row of `cache`. They are
        computed whether or not they are asked for, up to AHEAD of them; nothing touches the cache any more when this
        ends or is closed.

        Raises:
            LAV2Error: the answer has grown as long as the context, or what Engine.together and `choice` raise.
        """
        mine = _Going(engine, cache, choice, token)
        with self._changed:
            self._going.append(mine)
            if self._worker is None or not self._worker.is_alive():  # a process that was forked has no threads
                self._worker = threading.Thread(target=self._work, name="lav2-steps", daemon=True)
                try:
                    self._worker.start()
                except RuntimeError as error:
                    self._worker = None
                    self._going.remove(mine)
                    raise no_thread() from error
            self._changed.notify_all()
        try:
            while (found := mine.found.get()) is not None:
                if isinstance(found, Exception):
                    raise found
                if mine.found.qsize() == self.AHEAD - 1:  # it waited for this
                    with self._changed:
                        self._changed.notify_all()
                yield found
        finally:
            with self._changed:
                self._going = [one for one in self._going if one is not mine]
                self._changed.notify_all()
                if threading.current_thread() is not self._worker:  # where a forgotten answer may be collected
                    self._changed.wait_for(lambda: mine not in self._stepping)

    def _able(self) -> list[_Going]:
        return [one for one in self._going if one.found.qsize() < self.AHEAD]

    @torch.inference_mode()
    def _work(self) -> None:
        """Step by step until no answer goes on; the condition is held, but not while something is computed."""

        def ready() -> bool:
            return not self._going or (
                not self._busy and (self._steps_turn or not self._prompts) and bool(self._able())
            )

        with self._changed:
            while True:
                self._changed.wait_for(ready)
                if not self._going:
                    self._worker = None
                    return
                able = self._able()
                chosen = [one for one in able if one.engine is able[0].engine][: self._rows]
                self._busy, self._stepping = True, chosen
                self._changed.release()
                try:
                    _step(chosen)
                except Exception as error:  # nobody is left waiting, whatever it was
                    for one in chosen:
                        one.end(error)
                finally:
                    self._changed.acquire()
                    self._busy, self._steps_turn, self._stepping = False, False, []
                    served = [one for one in self._going if one in chosen and not one.ended]
                    self._going = [one for one in self._going if one not in chosen] + served
                    self._changed.notify_all()


@dataclass(eq=False)
class _Going:
    """An answer that goes on."""

    engine: Engine
    cache: Cache
    choice: Choice
    token: int  # the last one
    found: SimpleQueue[int | Exception | None] = field(default_factory=SimpleQueue)  # None: that was all
    ended: bool = False

    def end(self, error: Exception | None = None) -> None:
        self.ended = True
        self.found.put(error)


def _step(answers: Sequence[_Going]) -> None:
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
    found: list[int | Exception] = []
    try:
        logits = fitting[0].engine.together([one.token for one in fitting], [one.cache for one in fitting])
        for row, one in zip(logits.split(1) if len(fitting) > 1 else [logits], fitting, strict=True):
            try:
                found += one.choice(row)
            except Exception as error:  # that of one answer
                found.append(error)
    except Exception as error:  # every answer in it has failed
        found = [error] * len(fitting)
    for new, one in zip(found, fitting, strict=True):  # at the end: their threads want the interpreter at once
        if isinstance(new, Exception):
            one.end(new)
            continue
        one.token = new
        one.found.put(new)
        if one.choice.over:
            one.end()


def sample(
    logits: Tensor, sampling: Sampling, generator: torch.Generator, said: Sequence[Sequence[int]] = ()
) -> list[int]:
    """Next token of each row of logits [B, vocabulary], which may be overwritten; `said` are the tokens of each row
    that get the penalty for coming again.

    Raises:
        LAV2Error: the logits give no chances.
    """
    logits = logits.float()
    here = logits.device.type == "cpu"
    # numpy looks through a row of 49,152 numbers in a tenth of torch's time, and its operations start at once.
    rows = logits.numpy() if here else logits
    for row, ids in zip(rows, said if sampling.repetition_penalty != 1 else (), strict=False):
        for some in ids if here else [ids] if ids else []:  # one by one is faster than numpy for less than 200
            row[some] *= sampling.repetition_penalty ** (1.0 - 2.0 * (row[some] > 0))
    if sampling.temperature < 1e-4:  # anything between 0 and this leaves the likeliest alone, and may overflow
        return rows.argmax(-1).tolist()
    chances = torch.softmax(logits / sampling.temperature, -1)
    if not chances.sum().isfinite():  # else a token would be drawn that is none, which a GPU does not survive
        raise LAV2Error("The model's numbers grew out of their type.", "Use --dtype bfloat16 or float32.")
    if sampling.top_p >= 1:
        return _drawn(chances, generator).tolist()
    for some in (NUCLEUS, chances.shape[1]):  # sorting all takes as long as the model does
        kept, order = chances.topk(min(some, chances.shape[1]))  # the likeliest first
        through = kept.cumsum(-1)
        if some >= chances.shape[1] or bool((through[:, -1] >= sampling.top_p).all()):
            break
    kept = kept.masked_fill(through - kept >= sampling.top_p, 0)  # the likeliest always stays
    return order.gather(1, _drawn(kept, generator)[:, None])[:, 0].tolist()


def _drawn(chances: Tensor, generator: torch.Generator) -> Tensor:
    """Places [B] drawn by weights [B, n]. torch.multinomial draws a number for each of them: of sixteen drafts' tokens,
    that takes longer on a CPU than the model does."""
    heights = chances.cumsum(-1)
    drawn = torch.rand(len(chances), 1, generator=generator).to(heights.device)  # at most 1 - 2^-24: below the last
    return torch.searchsorted(heights, drawn * heights[:, -1:], right=True)[:, 0]


def looping(written: list[int]) -> int | None:
    """The token that would say once more what the text has said over and over, three times and LOOP tokens at least."""
    for period in range(1, PERIOD + 1):
        times = max(3, -(-LOOP // period))
        again = len(written) >= times * period and written[-1] == written[-1 - period]
        if again and written[-times * period :] == written[-period:] * times:
            return written[-period]
    return None


class Choice:
    """What the rows of an answer say next, until every row has met a stop token or max_new_tokens are out. With a
    penalty for repetition, which words of the prompt are free from, no row goes round in circles.

    In Python, as an operation of torch on a few numbers takes as long as twenty of Python's.

    Args:
        stop: ids that end a row; a finished row repeats stop[0].
        prompts: ids that get no penalty in a row's answer.
    """

    def __init__(self, sampling: Sampling, stop: Sequence[int], prompts: Sequence[Sequence[int]]):
        self._sampling, self._stop = sampling, stop
        self._generator = torch.Generator().manual_seed(sampling.seed)
        self._said: list[list[int]] = [[] for _ in prompts]  # what gets the penalty, once each
        self._known = [set(row) for row in prompts]  # that, and the prompt
        self._written: list[list[int]] = [[] for _ in prompts]
        self._going = [True] * len(prompts)
        self._left = sampling.max_new_tokens

    @property
    def over(self) -> bool:
        return not self._left or not any(self._going)

    def __call__(self, logits: Tensor) -> list[int]:
        """The next token of each row of logits [B, vocabulary], which may be overwritten.

        Raises:
            LAV2Error: the logits give no chances.
        """
        if self._sampling.repetition_penalty != 1:
            for row, written in enumerate(self._written):
                if (token := looping(written)) is not None:
                    logits[row, token] = float("-inf")
        chosen = sample(logits, self._sampling, self._generator, self._said)
        chosen = [token if goes else self._stop[0] for token, goes in zip(chosen, self._going, strict=True)]
        self._going = [goes and token not in self._stop for token, goes in zip(chosen, self._going, strict=True)]
        self._left -= 1
        for new, said, known, written in zip(chosen, self._said, self._known, self._written, strict=True):
            written.append(new)
            if new not in known:
                said.append(new)
                known.add(new)
        return chosen


@torch.inference_mode()
def tokens(
    model: Model,
    input_ids: Tensor,
    prompt_kv: tuple[LayerPrompt | None, ...],
    sampling: Sampling,
    stop: Sequence[int],
    attention_mask: Tensor | None = None,
    cache: Cache | None = None,
    turns: Turns | None = None,
    cancel: threading.Event | None = None,
    prompt: Tensor | None = None,
) -> Iterator[Tensor]:
    """New tokens [B], step by step, until every row has met a stop token or max_new_tokens are out.

    Args:
        input_ids: [B, T]; several rows of unequal length are padded on the LEFT, with attention_mask [B, T].
        prompt_kv: of the rows' photos.
        stop: ids that end a row; a finished row repeats stop[0].
        cache: of an engine, for the tokens before input_ids.
        turns: shared with the answers of other threads.
        cancel: with turns, ends a prompt that is being read or waits for it; no token comes then.
        prompt: [B, n], the whole prompt where input_ids is its end; what stands there is not penalised in the answer
            either: a text that is copied from the findings may hold a letter twice.
    """
    advance = turns.run if turns else prefill
    choice = Choice(sampling, stop, (input_ids if prompt is None else prompt).tolist())
    try:
        more = {"cancel": cancel} if turns else {}
        logits, cache = advance(model, input_ids, prompt_kv, attention_mask, cache, **more)
    except Cancelled:
        return
    while True:
        chosen = choice(logits)
        token = torch.tensor(chosen, device=input_ids.device)  # [B]
        yield token
        if choice.over:
            return
        if turns is not None and isinstance(model, Engine) and len(chosen) == 1 and attention_mask is None:
            with closing(turns.follow(model, cache, choice, *chosen)) as following:
                for new in following:
                    yield torch.tensor([new], device=input_ids.device)
            return
        if attention_mask is not None:
            attention_mask = torch.cat([attention_mask, attention_mask.new_ones(len(token), 1)], dim=1)
        logits, cache = advance(model, token[:, None], prompt_kv, attention_mask, cache)


def stream(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    prompt_kv: tuple[LayerPrompt | None, ...],
    sampling: Sampling,
    kept: Kept | None = None,
    photo: object = None,
    turns: Turns | None = None,
    cancel: threading.Event | None = None,
    ahead: Ahead | None = None,
) -> Iterator[tuple[str, int]]:
    """(piece of text, tokens so far) as they come; a piece never ends inside a character of several bytes, and the last
    one may be empty.

    Args:
        kept: with an engine, where the beginning of an earlier prompt about the same `photo` is taken up.
        turns, cancel: as of `tokens`.
        ahead: of `read_ahead`.
    """
    begin = encode(tokenizer, prompt)
    ids: list[int] = []
    shown, told = "", 0
    cache = None
    if isinstance(model, Engine) and kept is not None:
        if ahead is not None:
            kept.put(photo, *ahead)
        cache = kept.take(photo, begin) or model.begin(1, prompt_kv, lead=kept.lead)
    whole = torch.tensor([begin], device=model.device)
    input_ids = whole[:, cache.length if cache else 0 :]
    found = tokens(model, input_ids, prompt_kv, sampling, stop_ids(tokenizer), None, cache, turns, cancel, whole)
    try:
        for token in found:
            ids.append(int(token))
            text = tokenizer.decode(ids, skip_special_tokens=True)
            if text.endswith("\ufffd"):
                continue
            if len(text) > len(shown):
                yield text[len(shown) :], len(ids)
                shown, told = text, len(ids)
        if len(ids) > told:  # what came last had no text of its own
            yield "", len(ids)
    finally:  # also when the answer is stopped
        found.close()  # the cache is in use until then
        if cache is not None:
            kept.put(photo, begin, cache)


@torch.inference_mode()
def read_ahead(
    model: Engine,
    tokenizer: PreTrainedTokenizerBase,
    beginning: str,
    prompt_kv: tuple[LayerPrompt | None, ...],
    kept: Kept,
    photo: object,
    turns: Turns,
    cancel: threading.Event | None = None,
) -> Ahead | None:
    """Read what a prompt begins with before the rest is known; `stream` goes on from there. None: there is nothing to
    read, or `kept` holds all of it and perhaps more of the prompt.

    Args:
        beginning: of the prompt; its whole pieces are read, but for those that `kept` holds.
        prompt_kv, kept, photo, turns: as of `stream`.
        cancel: ends the reading early.
    """
    ids = encode(tokenizer, beginning)[: model.context - 1]
    ids = ids[: kept.whole(len(ids))]
    if not ids or kept.knows(photo, ids):
        return None
    cache = kept.take(photo, [*ids, -1]) or model.begin(1, prompt_kv, lead=kept.lead)  # the last one is never taken
    left = torch.tensor([ids[cache.length :]], device=model.device)
    with suppress(Cancelled):
        turns.run(model, left, prompt_kv, cache=cache, cancel=cancel)
    return ids, cache


def batch(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    prompt_kv: tuple[LayerPrompt | None, ...],
    sampling: Sampling,
) -> list[str]:
    """Whole answers to several prompts at once; rows of prompt_kv belong to the prompts in order."""
    rows = [encode(tokenizer, prompt) for prompt in prompts]
    length = max(map(len, rows))
    stops = stop_ids(tokenizer)
    input_ids = torch.tensor([[stops[0]] * (length - len(row)) + row for row in rows], device=model.device)
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], device=model.device)
    columns = list(tokens(model, input_ids, prompt_kv, sampling, stops, mask))
    return [
        tokenizer.decode(answer, skip_special_tokens=True).strip() for answer in torch.stack(columns, dim=1).tolist()
    ]


@torch.inference_mode()
def beam(
    model: Model,
    input_ids: Tensor,
    prompt_kv: tuple[LayerPrompt | None, ...],
    stop: Sequence[int],
    width: int = 3,
    max_new_tokens: int = 30,
    length_power: float = 1.0,
    no_repeat: int = 0,
    turns: Turns | None = None,
) -> list[int]:
    """The answer (without its stop token) with the highest log-probability / length ** length_power that a beam finds.

    Args:
        input_ids: [1, T].
        width: unfinished answers that are kept at each step; 1 is greedy search.
        length_power: 0 prefers short answers, 1 compares means over tokens; the stop token counts.
        no_repeat: no run of so many tokens comes twice, 0: anything goes. A small model that meets a picture unlike its
            training's otherwise says one phrase over and over.
        turns: shared with the answers of other threads, which go on between two steps.
    """
    advance = turns.run if turns else prefill
    logits, cache = advance(model, input_ids, prompt_kv, cache=_short(model, input_ids, prompt_kv, max_new_tokens))
    cache.batch_repeat_interleave(width)
    chances, first = torch.log_softmax(logits[0].float(), -1).topk(min(2 * width, logits.shape[1]))
    candidates = [(float(c), [int(t)], 0) for c, t in zip(chances, first, strict=True)]  # log-probability, ids, row
    best: tuple[float, list[int]] = (-float("inf"), [])
    for length in range(1, max_new_tokens + 1):
        running = []
        for total, ids, row in candidates:
            ended = ids[-1] in stop
            if ended or length == max_new_tokens:
                best = max(best, (total / length**length_power, ids[:-1] if ended else ids))
            elif len(running) < width:
                running.append((total, ids, row))
        if not running or best[0] >= running[0][0] / max_new_tokens**length_power:  # the most that any can reach
            break
        running += running[:1] * (width - len(running))  # a full batch; copies are dropped below
        device = input_ids.device
        cache.reorder_cache(torch.tensor([row for _, _, row in running], device=device))
        last = torch.tensor([[ids[-1]] for _, ids, _ in running], device=device)
        logits, cache = advance(model, last, prompt_kv, cache=cache)
        totals = torch.log_softmax(logits.float(), -1) + torch.tensor([[t] for t, _, _ in running], device=device)
        chances, places = totals.flatten().topk(min((4 if no_repeat else 2) * width, totals.numel()))
        found = {}
        for total, place in zip(chances.tolist(), places.tolist(), strict=True):
            row, token = divmod(place, totals.shape[1])
            if no_repeat and _repeats([*running[row][1], token], no_repeat):
                continue
            found.setdefault((*running[row][1], token), (total, [*running[row][1], token], row))
        candidates = list(found.values())
    return best[1]


@torch.inference_mode()
def drafts(
    model: Model,
    input_ids: Tensor,
    prompt_kv: tuple[LayerPrompt | None, ...],
    sampling: Sampling,
    stop: Sequence[int],
    count: int,
    turns: Turns | None = None,
) -> list[list[int]]:
    """`count` answers to one prompt, sampled side by side, without their stop tokens.

    Args:
        input_ids: [1, T].
        turns: shared with the answers of other threads, which go on between two steps.
    """
    advance = turns.run if turns else prefill
    generator = torch.Generator().manual_seed(sampling.seed)
    cache = _short(model, input_ids, prompt_kv, sampling.max_new_tokens)
    logits, cache = advance(model, input_ids, prompt_kv, cache=cache)
    answers: list[list[int]] = [[] for _ in range(count)]
    going = [(answer, 0) for answer in answers]  # those that have not ended, and the row that computes each
    for left in range(sampling.max_new_tokens, 0, -1):
        tokens = sample(logits[[row for _, row in going]], sampling, generator, [answer for answer, _ in going])
        rows: dict[tuple[int, int], int] = {}  # answers that have said the same so far share a row
        on = []
        for (answer, row), new in zip(going, tokens, strict=True):
            if new not in stop:
                answer.append(new)
                on.append((answer, rows.setdefault((row, new), len(rows))))
        if left == 1 or not on:
            break
        going = on
        parents = [row for row, _ in rows]
        if parents != list(range(len(logits))):
            cache.batch_select_indices(torch.tensor(parents, device=input_ids.device))
        logits, cache = advance(model, input_ids.new_tensor([[new] for _, new in rows]), prompt_kv, cache=cache)
    return answers


def _short(
    model: Model, input_ids: Tensor, prompt_kv: tuple[LayerPrompt | None, ...], max_new_tokens: int
) -> Cache | None:
    """An engine's cache with room for a prompt [1, T] and so many tokens, as it will have many rows."""
    room = input_ids.shape[1] + max_new_tokens
    return model.begin(1, prompt_kv, room=room) if isinstance(model, Engine) else None


def _repeats(ids: list[int], length: int) -> bool:
    """Whether the last `length` ids stand together earlier as well."""
    last = ids[-length:]
    return any(ids[i : i + length] == last for i in range(len(ids) - length))


def encode(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of a prompt that may hold the template's own markers; a begin token first where the model wants one."""
    return tokenizer(prompt).input_ids


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that end an answer, the end-of-text token first."""
    return [tokenizer.eos_token_id]
