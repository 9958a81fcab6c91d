"""Tokens one after the other: prefill, decode, sample; streaming text and batches.

The slow path is transformers' own forward; nothing here knows about photos beyond `prompt_kv`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerBase

from lav2.adapter import LayerPrompt
from lav2.events import Sampling
from lav2.model import AdaptedLlama


def prefill(
    model: AdaptedLlama,
    input_ids: Tensor,
    prompt_kv: tuple[LayerPrompt | None, ...],
    attention_mask: Tensor | None = None,
    cache: DynamicCache | None = None,
) -> tuple[Tensor, DynamicCache]:
    """Logits [B, vocabulary] after the last position of input_ids [B, T], and the cache that holds them."""
    cache = cache or DynamicCache(config=model.llm.config)
    kwargs = {}
    if attention_mask is not None:  # left padding: positions count real tokens
        kwargs = {
            "attention_mask": attention_mask,
            "position_ids": (attention_mask.cumsum(-1) - 1).clamp(min=0)[:, -input_ids.shape[1] :],
        }
    output = model(input_ids, prompt_kv, past_key_values=cache, use_cache=True, logits_to_keep=1, **kwargs)
    return output.logits[:, -1], cache


def sample(logits: Tensor, sampling: Sampling, generator: torch.Generator, answer: Tensor) -> Tensor:
    """Next tokens [B] from logits [B, vocabulary]; `answer` [B, n] are the tokens so far."""
    logits = logits.float()
    if sampling.repetition_penalty != 1 and answer.shape[1]:
        seen = logits.gather(1, answer)
        seen = torch.where(seen > 0, seen / sampling.repetition_penalty, seen * sampling.repetition_penalty)
        logits = logits.scatter(1, answer, seen)
    if sampling.temperature <= 0:
        return logits.argmax(-1)
    chances, order = torch.softmax(logits / sampling.temperature, -1).sort(-1, descending=True)
    before = chances.cumsum(-1) - chances
    chances = chances.masked_fill(before >= sampling.top_p, 0)  # the likeliest always stays
    chosen = torch.multinomial(chances.cpu(), 1, generator=generator).to(order.device)
    return order.gather(1, chosen)[:, 0]


@torch.inference_mode()
def tokens(
    model: AdaptedLlama,
    input_ids: Tensor,
    prompt_kv: tuple[LayerPrompt | None, ...],
    sampling: Sampling,
    stop: Sequence[int],
    attention_mask: Tensor | None = None,
) -> Iterator[Tensor]:
    """New tokens [B], step by step, until every row has met a stop token or max_new_tokens are out.

    Args:
        input_ids: [B, T]; several rows of unequal length are padded on the LEFT, with attention_mask [B, T].
        prompt_kv: of the rows' photos.
        stop: ids that end a row; a finished row repeats stop[0].
    """
    generator = torch.Generator().manual_seed(sampling.seed)
    logits, cache = prefill(model, input_ids, prompt_kv, attention_mask)
    answer = input_ids[:, :0]
    open_rows = torch.ones(len(input_ids), dtype=torch.bool, device=input_ids.device)
    ends = torch.tensor(list(stop), device=input_ids.device)
    for left in range(sampling.max_new_tokens, 0, -1):
        token = torch.where(open_rows, sample(logits, sampling, generator, answer), ends[0])  # [B]
        open_rows = open_rows & ~torch.isin(token, ends)
        yield token
        if left == 1 or not open_rows.any():
            return
        answer = torch.cat([answer, token[:, None]], dim=1)
        if attention_mask is not None:
            attention_mask = torch.cat([attention_mask, attention_mask.new_ones(len(token), 1)], dim=1)
        logits, cache = prefill(model, token[:, None], prompt_kv, attention_mask, cache)


def stream(
    model: AdaptedLlama,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    prompt_kv: tuple[LayerPrompt | None, ...],
    sampling: Sampling,
) -> Iterator[tuple[str, int]]:
    """(piece of text, tokens so far) as they come; a piece never ends inside a character of several bytes."""
    input_ids = torch.tensor([encode(tokenizer, prompt)], device=model.device)
    ids: list[int] = []
    shown = ""
    for token in tokens(model, input_ids, prompt_kv, sampling, stop_ids(tokenizer)):
        ids.append(int(token))
        text = tokenizer.decode(ids, skip_special_tokens=True)
        if text.endswith("\ufffd"):
            continue
        if len(text) > len(shown):
            yield text[len(shown) :], len(ids)
            shown = text


def batch(
    model: AdaptedLlama,
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


def encode(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of a prompt that may hold the template's own markers; a begin token first where the model wants one."""
    return tokenizer(prompt).input_ids


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that end an answer, the end-of-text token first."""
    return [tokenizer.eos_token_id]
