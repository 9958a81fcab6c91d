"""Whole answers: several prompts at once, beam search, sampled drafts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerBase

from lav2.events import Sampling
from lav2.inference.backend import DecoderBackend, prefill
from lav2.inference.cache import Cache
from lav2.inference.sampler import sample
from lav2.inference.scheduler import Scheduler
from lav2.inference.streaming import encode, row_bias, stop_ids, tokens
from lav2.model.adapter import LayerPrompt
from lav2.text.weighing import Likely


def batch(
    model: DecoderBackend,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    prompt_kv: tuple[LayerPrompt | None, ...],
    sampling: Sampling,
    likely: Sequence[Likely] = (),
) -> list[str]:
    """Whole answers to several prompts at once; rows of prompt_kv, and answers that are `likely` (streaming.stream),
    belong to the prompts in order."""
    rows = [encode(tokenizer, prompt) for prompt in prompts]
    length = max(map(len, rows))
    stops = stop_ids(tokenizer)
    input_ids = torch.tensor([[stops[0]] * (length - len(row)) + row for row in rows], device=model.device)
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], device=model.device)
    bias = [row_bias(tokenizer, one) for one in likely]
    columns = list(tokens(model, input_ids, prompt_kv, sampling, stops, mask, bias=bias))
    return [
        tokenizer.decode(answer, skip_special_tokens=True).strip() for answer in torch.stack(columns, dim=1).tolist()
    ]


@torch.inference_mode()
def beam(
    model: DecoderBackend,
    input_ids: Tensor,
    prompt_kv: tuple[LayerPrompt | None, ...],
    stop: Sequence[int],
    width: int = 3,
    max_new_tokens: int = 30,
    length_power: float = 1.0,
    no_repeat: int = 0,
    scheduler: Scheduler | None = None,
) -> list[int]:
    """The answer (without its stop token) with the highest log-probability / length ** length_power that a beam finds.

    Args:
        input_ids: [1, T].
        width: unfinished answers that are kept at each step; 1 is greedy search.
        length_power: 0 prefers short answers, 1 compares means over tokens; the stop token counts.
        no_repeat: no run of so many tokens comes twice, 0: anything goes. A small model that meets a picture unlike its
            training's otherwise says one phrase over and over.
        scheduler: shared with the answers of other threads, which go on between two steps.
    """
    advance = scheduler.run if scheduler else prefill
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
        chances, positions = totals.flatten().topk(min((4 if no_repeat else 2) * width, totals.numel()))
        continuations = {}
        for total, position in zip(chances.tolist(), positions.tolist(), strict=True):
            row, token = divmod(position, totals.shape[1])
            if no_repeat and _repeats([*running[row][1], token], no_repeat):
                continue
            continuations.setdefault((*running[row][1], token), (total, [*running[row][1], token], row))
        candidates = list(continuations.values())
    return best[1]


@torch.inference_mode()
def drafts(
    model: DecoderBackend,
    input_ids: Tensor,
    prompt_kv: tuple[LayerPrompt | None, ...],
    sampling: Sampling,
    stop: Sequence[int],
    count: int,
    scheduler: Scheduler | None = None,
) -> list[list[int]]:
    """`count` answers to one prompt, sampled side by side, without their stop tokens.

    Args:
        input_ids: [1, T].
        scheduler: shared with the answers of other threads, which go on between two steps.
    """
    advance = scheduler.run if scheduler else prefill
    generator = torch.Generator().manual_seed(sampling.seed)
    cache = _short(model, input_ids, prompt_kv, sampling.max_new_tokens)
    logits, cache = advance(model, input_ids, prompt_kv, cache=cache)
    answers: list[list[int]] = [[] for _ in range(count)]
    unfinished = [(answer, 0) for answer in answers]  # those that have not ended, and the row that computes each
    for left in range(sampling.max_new_tokens, 0, -1):
        tokens = sample(
            logits[[row for _, row in unfinished]], sampling, generator, [answer for answer, _ in unfinished]
        )
        rows: dict[tuple[int, int], int] = {}  # answers that have said the same so far share a row
        on = []
        for (answer, row), new in zip(unfinished, tokens, strict=True):
            if new not in stop:
                answer.append(new)
                on.append((answer, rows.setdefault((row, new), len(rows))))
        if left == 1 or not on:
            break
        unfinished = on
        parents = [row for row, _ in rows]
        if parents != list(range(len(logits))):
            cache.batch_select_indices(torch.tensor(parents, device=input_ids.device))
        logits, cache = advance(model, input_ids.new_tensor([[new] for _, new in rows]), prompt_kv, cache=cache)
    return answers


def _short(
    model: DecoderBackend, input_ids: Tensor, prompt_kv: tuple[LayerPrompt | None, ...], max_new_tokens: int
) -> DynamicCache | Cache:
    """A cache of just the capacity that a prompt [1, T] and so many tokens need: it will be copied to many rows."""
    return model.begin(1, prompt_kv, capacity=input_ids.shape[1] + max_new_tokens)


def _repeats(ids: list[int], length: int) -> bool:
    """Whether the last `length` ids occur earlier as well (no-repeat n-gram)."""
    last = ids[-length:]
    return any(ids[i : i + length] == last for i in range(len(ids) - length))
