"""Tokens and text of an answer as they come. Nothing here knows about photos beyond `prompt_kv`.

A model is a DecoderBackend: an `Engine` or an `AdaptedLlama`.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lav2.events import Sampling
from lav2.inference.backend import DecoderBackend, prefill
from lav2.inference.cache import Cache
from lav2.inference.engine import Engine
from lav2.inference.prefix_cache import PrefixCache
from lav2.inference.sampler import Bias, RowBias, SequenceSampler
from lav2.inference.scheduler import Cancelled, Scheduler
from lav2.model.adapter import LayerPrompt
from lav2.text.weighing import NOTHING, Likely

PrefilledPrefix = tuple[list[int], Cache]  # what was read of a prompt, and the cache that holds it


@torch.inference_mode()
def tokens(
    model: DecoderBackend,
    input_ids: Tensor,
    prompt_kv: tuple[LayerPrompt | None, ...],
    sampling: Sampling,
    stop: Sequence[int],
    attention_mask: Tensor | None = None,
    cache: Cache | None = None,
    scheduler: Scheduler | None = None,
    cancel: threading.Event | None = None,
    prompt: Tensor | None = None,
    bias: Sequence[RowBias] = (),
) -> Iterator[Tensor]:
    """New tokens [B], step by step, until every row has met a stop token or max_new_tokens are out.

    Args:
        input_ids: [B, T]; several rows of unequal length are padded on the LEFT, with attention_mask [B, T].
        prompt_kv: of the rows' photos.
        stop: ids that end a row; a finished row repeats stop[0].
        cache: of an engine, for the tokens before input_ids.
        scheduler: shared with the answers of other threads.
        cancel: with a scheduler, ends a prompt that is being read or waits for it; no token comes then.
        prompt: [B, n], the whole prompt where input_ids is its end; what stands there is not penalised in the answer
            either: a text that is copied from the findings may hold a letter twice.
        bias: of each row, likely answers and what each adds to the logits of its tokens (`row_bias`).
    """
    advance = scheduler.run if scheduler else prefill
    sampler = SequenceSampler(sampling, stop, (input_ids if prompt is None else prompt).tolist(), bias)
    try:
        more = {"cancel": cancel} if scheduler else {}
        logits, cache = advance(model, input_ids, prompt_kv, attention_mask, cache, **more)
    except Cancelled:
        return
    while True:
        chosen = sampler(logits)
        token = torch.tensor(chosen, device=input_ids.device)  # [B]
        yield token
        if sampler.over:
            return
        if scheduler is not None and model.continuous and len(chosen) == 1 and attention_mask is None:
            with closing(scheduler.decode_stream(model, cache, sampler, *chosen)) as following:
                for new in following:
                    yield torch.tensor([new], device=input_ids.device)
            return
        if attention_mask is not None:
            attention_mask = torch.cat([attention_mask, attention_mask.new_ones(len(token), 1)], dim=1)
        logits, cache = advance(model, token[:, None], prompt_kv, attention_mask, cache)


def stream(
    model: DecoderBackend,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    prompt_kv: tuple[LayerPrompt | None, ...],
    sampling: Sampling,
    prefixes: PrefixCache | None = None,
    photo: object = None,
    scheduler: Scheduler | None = None,
    cancel: threading.Event | None = None,
    prefilled: PrefilledPrefix | None = None,
    likely: Likely = NOTHING,
) -> Generator[tuple[str, int]]:
    """(piece of text, tokens so far) as they come; a piece never ends inside a character of several bytes, and the last
    one may be empty.

    Args:
        prefixes: with an engine, where the beginning of an earlier prompt about the same `photo` is taken up.
        scheduler, cancel: as of `tokens`.
        prefilled: of `prefill_prefix`.
        likely: what is likely for another reason, see `row_bias`.
    """
    begin = encode(tokenizer, prompt)
    ids: list[int] = []
    shown, counted = "", 0
    cache = None
    if model.continuous and prefixes is not None:
        if prefilled is not None:
            prefixes.put(photo, *prefilled)
        cache = prefixes.take(photo, begin) or model.begin(1, prompt_kv, shared_prefix=prefixes.shared_prefix)
    whole = torch.tensor([begin], device=model.device)
    input_ids = whole[:, cache.length if cache else 0 :]
    bias = (row_bias(tokenizer, likely),)
    stops = stop_ids(tokenizer)
    chosen = tokens(model, input_ids, prompt_kv, sampling, stops, None, cache, scheduler, cancel, whole, bias)
    try:
        for token in chosen:
            ids.append(int(token))
            text = tokenizer.decode(ids, skip_special_tokens=True)
            if text.endswith("\ufffd"):
                continue
            if len(text) > len(shown):
                yield text[len(shown) :], len(ids)
                shown, counted = text, len(ids)
        if len(ids) > counted:  # what came last had no text of its own
            yield "", len(ids)
    finally:  # also when the answer is stopped
        chosen.close()  # the cache is in use until then
        if cache is not None:
            prefixes.put(photo, begin, cache)


@torch.inference_mode()
def prefill_prefix(
    model: Engine,
    tokenizer: PreTrainedTokenizerBase,
    beginning: str,
    prompt_kv: tuple[LayerPrompt | None, ...],
    prefixes: PrefixCache,
    photo: object,
    scheduler: Scheduler,
    cancel: threading.Event | None = None,
) -> PrefilledPrefix | None:
    """Read what a prompt begins with before the rest is known; `stream` goes on from there. None: there is nothing to
    read, or `prefixes` holds all of it and perhaps more of the prompt.

    Args:
        beginning: of the prompt; its whole chunks are read, but for those that `prefixes` holds.
        prompt_kv, photo, scheduler: as of `stream`.
        cancel: ends the reading early.
    """
    ids = encode(tokenizer, beginning)[: model.context - 1]
    ids = ids[: prefixes.in_whole_chunks(len(ids))]
    if not ids or prefixes.knows(photo, ids):
        return None
    # the last token is never taken
    cache = prefixes.take(photo, [*ids, -1]) or model.begin(1, prompt_kv, shared_prefix=prefixes.shared_prefix)
    left = torch.tensor([ids[cache.length :]], device=model.device)
    with suppress(Cancelled):
        scheduler.run(model, left, prompt_kv, cache=cache, cancel=cancel)
    return ids, cache


def encode(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of a prompt that may hold the template's own markers; a begin token first where the model wants one."""
    return tokenizer(prompt).input_ids


def row_bias(tokenizer: PreTrainedTokenizerBase, likely: Likely) -> RowBias:
    """Token ids of each likely answer, and what is added to the logit of each as long as the answer goes on like it
    (contextual biasing): a product of the model's chances and others (Hinton 2002, doi 10.1162/089976602760128018).
    What may follow a text likewise, by the first token of each word."""

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False).input_ids if text else []

    def following(written: Sequence[int]) -> dict[int, float]:
        said = likely.following(tokenizer.decode(written)) if likely.following else {}
        return {ids(word)[0]: weight for word, weight in said.items()}

    answers = []
    for said, weight in likely.answers.items():
        before, then = ("", said) if isinstance(said, str) else said
        answers.append(Bias(ids(before + then), weight, len(ids(before))))
    answers += [Bias([*ids(said), *stop_ids(tokenizer)[:1]], weight) for said, weight in likely.whole.items()]
    return RowBias(answers, following if likely.following else None)


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that end an answer, the end-of-text token first."""
    return [tokenizer.eos_token_id]
