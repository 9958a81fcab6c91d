"""Rows as samples of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
from transformers import PreTrainedTokenizerBase

from lav2.data.batches import Rows, Sample, join, merge_samples
from lav2.data.features import FeatureCache
from lav2.data.formats import CaptionRow, InstructionRow
from lav2.events import Turn
from lav2.image import MIRROR_WORDS
from lav2.text import grounding, prompts, proofs


def caption_rows(
    rows: Sequence[CaptionRow],
    encode: Callable[[str], list[int]],
    bos: int,
    eos: int,
    features: FeatureCache,
    together: int = 1,
) -> Rows:
    """Captions as samples: begin token, caption, end token; some captions of each photo per epoch, in one of its views.

    Args:
        encode: text -> token ids without special ones.
        bos, eos: the caption's first token (context) and last (learned).
        features: of the rows' photos.
        together: captions of a photo in an epoch, as one sample: the photo is projected once for them.
    """
    tokens = [[(bos, *encode(caption), eos) for caption in row.captions] for row in rows]
    mirrors = [[not MIRROR_WORDS.search(caption) for caption in row.captions] for row in rows]

    def samples(rng: np.random.Generator) -> list[Sample]:
        drawn = []
        for row, choices, mirrorable in zip(rows, tokens, mirrors, strict=True):
            chosen = rng.permutation(len(choices))[:together]
            view = int(rng.integers(features.views(row.image)))
            if not all(mirrorable[index] for index in chosen):
                view -= view % 2
            drawn.append(join_captions(row.image, [choices[index] for index in chosen], view))
        return drawn

    return Rows(samples, features, eos)


def join_captions(image: str, captions: Sequence[tuple[int, ...]], view: int) -> Sample:
    """Captions of a photo (token ids, the first one only context) as one sample, each seeing only itself."""
    parts = [Sample(image, tokens, (False, *[True] * (len(tokens) - 1)), view) for tokens in captions]
    return merge_samples(parts, 0)


MAX_TOKENS = 1024  # of a conversation that is learned; later turns are left out


def instruction_sample(
    row: InstructionRow, tokenizer: PreTrainedTokenizerBase, template: str, proof_first: bool = False
) -> Sample | None:
    """The prompt that the assistant would build, the answers and their end token; only these are learned.

    None where not even the first exchange fits into MAX_TOKENS.

    Args:
        proof_first: an answer "No: Cash only." is learned proof first (lav2.text.proofs). Earlier turns show it as
            people read it and are not learned then.
    """
    for count in range(len(row.turns), 0, -1):
        sample = _conversation(row, row.turns[:count], tokenizer, template, proof_first)
        if len(sample.tokens) <= MAX_TOKENS:
            return sample
    return None


def _conversation(
    row: InstructionRow, turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, template: str, proof_first: bool
) -> Sample:
    written = [proofs.proof_first(turn.answer) if proof_first else turn.answer for turn in turns]
    prompt = prompt_of(row, tokenizer, template, turns, row.facts.get("computed", True))
    encoded = tokenizer(prompt, return_offsets_mapping=True)
    # Earlier answers stand in the prompt, behind the prompt that they answered, unless the template changes old turns.
    spans = []
    for number, turn in enumerate(turns[:-1]):
        before = prompts.build(template, turn.question, "", turns[:number])
        if not prompt.startswith(before + turn.answer) or written[number] != turn.answer:
            continue
        start, end = len(before), len(before) + len(turn.answer)
        spans.append((start, end + len(tokenizer.eos_token) if prompt.startswith(tokenizer.eos_token, end) else end))
    learned = [any(start < last and first < end for start, end in spans) for first, last in encoded.offset_mapping]
    answer = [*tokenizer(written[-1], add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    return Sample(row.image, (*encoded.input_ids, *answer), (*learned, *[True] * len(answer)))


def prompt_of(
    row: InstructionRow,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    turns: Sequence[Turn] | None = None,
    computed_line: bool = True,
) -> str:
    """The assistant's prompt for the row's last question (or that of `turns`) and its evidence."""
    *history, last = turns or row.turns
    evidence = {name: grounding.filter_for_question(found, last.question) for name, found in row.evidence.items()}
    count = partial(_count_tokens, tokenizer)
    block = grounding.block(evidence, last.question, count, computed_line=computed_line)
    return prompts.build(template, last.question, block.text, history)


@lru_cache(100_000)
def _count_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False).input_ids)


def instruction_rows(
    rows: Sequence[InstructionRow],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    features: FeatureCache | None,
    report: Callable[[str], None] = print,
    together: int = 1,
    proof_first: bool = False,
) -> Rows:
    """Instructions as samples, each once per epoch; never mirrored, for their words and places hold for one side only.

    Args:
        template: of lav2.text.prompts.
        features: of the rows' photos; None where no row has one.
        report: told how many rows are too long.
        together: questions about a photo that are joined into one sample (`join`).
        proof_first: as of `instruction_sample`.
    """
    found = [instruction_sample(row, tokenizer, template, proof_first) for row in rows]
    samples = [sample for sample in found if sample is not None]
    if len(samples) < len(found):
        long = len(found) - len(samples)
        report(f"{long} of {len(found)} instructions are longer than {MAX_TOKENS} tokens: skipped.")
    samples = join(samples, together) if together > 1 else samples
    return Rows(lambda rng: samples, features, tokenizer.eos_token_id)
