"""Samples of tokens, joined where they share their beginning, and batches of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lav2.data.features import FeatureCache
from lav2.errors import LAV2Error


@dataclass(frozen=True)
class Batch:
    """Token rows padded on the right, and their photos' features."""

    input_ids: Tensor  # [B, T]
    attention_mask: Tensor  # [B, T]
    labels: Tensor  # [B, T], -100 where nothing is learned
    clip_tokens: Tensor | None  # [B, N, C], None: no row has a photo
    has_image: Tensor | None = None  # [B] bool, None: every row has one
    branch: Tensor | None = None  # [B, T] of each token (Sample), None: one question a row
    weight: Tensor | None = None  # [B, T] of each label in the loss, None: 1

    def to(self, device: torch.device) -> dict[str, Tensor | None]:
        """The arguments of AdaptedLlama.loss."""
        return {name: None if value is None else value.to(device) for name, value in vars(self).items()}

    def split(self, parts: int) -> Iterator[Batch]:
        size = -(-len(self.input_ids) // parts)
        for start in range(0, len(self.input_ids), size):
            rows = slice(start, start + size)
            yield Batch(**{name: None if value is None else value[rows] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Sample:
    """One row: its tokens, and which of them are learned (the others are only context)."""

    image: str | None
    tokens: tuple[int, ...]
    learned: tuple[bool, ...]  # of each token
    view: int = 0  # of the photo (view_of)
    branch: tuple[int, ...] | None = None  # of each token: 0 shared by all questions, 1, 2 ... its own; None: one only


MAX_JOINED_TOKENS = 640  # tokens of samples joined into one, at most: the memory of attention grows with their square


def join(samples: Sequence[Sample], limit: int) -> list[Sample]:
    """Samples about the same photo that begin alike (rule, findings), as one sample: what they share is read once.

    A question sees what is shared and itself, never the others, so that the losses are those of the samples alone
    (AdaptedLlama.loss). On a CPU, where reading tokens is what costs, this is two to three times as fast.

    Args:
        limit: samples that are joined into one; 1: they stay as they are.
    """
    by_photo: dict[str | None, list[Sample]] = {}
    for sample in samples:
        by_photo.setdefault(sample.image, []).append(sample)
    found: list[Sample] = []
    for rows in by_photo.values():
        run: list[Sample] = []
        common = own = 0  # tokens that all of the run share; tokens of its samples together
        for sample in sorted(rows, key=lambda row: row.tokens):
            shared = _shared(run[0], sample, common) if run else 0
            length = own + len(sample.tokens) - shared * len(run)  # of all joined, with what they share once
            if len(run) == limit or 2 * shared < len(sample.tokens) or length > MAX_JOINED_TOKENS:
                found += [merge_samples(run, common)] if run else []
                run, own, shared = [], 0, sample.learned.index(True) - 1
            run.append(sample)
            common, own = shared, own + len(sample.tokens)
        found += [merge_samples(run, common)] if run else []
    return found


def _shared(one: Sample, other: Sample, most: int) -> int:
    """How many tokens two samples have in common at their start, before the last one that is not learned."""
    most = min(most, other.learned.index(True) - 1)
    return next((i for i in range(most) if one.tokens[i] != other.tokens[i]), most)


def merge_samples(samples: Sequence[Sample], common: int) -> Sample:
    """One sample of several that share their first `common` tokens; the first token of each branch is not learned."""
    if len(samples) == 1:
        return samples[0]
    first = samples[0]
    tokens, learned, branch = list(first.tokens[:common]), [False] * common, [0] * common
    for number, sample in enumerate(samples, start=1):
        tokens += sample.tokens[common:]
        learned += sample.learned[common:]
        branch += [number] * (len(sample.tokens) - common)
    return Sample(first.image, tuple(tokens), tuple(learned), first.view, tuple(branch))


class Rows:
    """Samples to draw batches from: `samples(epoch, rng)` gives an epoch's list, so that augmentation can vary."""

    BUCKET = 16  # batches that are sorted by length together: little padding, still random

    def __init__(self, samples: Callable[[np.random.Generator], list[Sample]], features: FeatureCache | None, pad: int):
        self._samples, self._features, self._pad = samples, features, pad

    def batches(self, size: int, seed: int) -> _Batches:
        return _Batches(self, size, seed)

    def __len__(self) -> int:
        """Samples of an epoch."""
        return len(self._samples(np.random.default_rng(0)))

    def fixed(self, size: int) -> list[Batch]:
        """All samples once, in order: for validation."""
        samples = self._samples(np.random.default_rng(0))
        return [self.collate(samples[first : first + size]) for first in range(0, len(samples), size)]

    def epoch(self, size: int, seed: int, epoch: int) -> list[list[Sample]]:
        """An epoch's batches of `size` samples, or of all where there are fewer.

        Raises:
            LAV2Error: there is no sample at all.
        """
        rng = np.random.default_rng((seed, epoch))
        samples = self._samples(rng)
        if not samples:
            raise LAV2Error(
                "There is nothing to learn from: no row is left.", "See the lines above for the rows that were skipped."
            )
        order, size = rng.permutation(len(samples)), min(size, len(samples))
        groups = []
        for start in range(0, len(order) - size + 1, size * self.BUCKET):
            bucket = sorted(order[start : start + size * self.BUCKET], key=lambda i: len(samples[i].tokens))
            groups += [bucket[first : first + size] for first in range(0, len(bucket) - size + 1, size)]
        return [[samples[i] for i in groups[group]] for group in rng.permutation(len(groups))]

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Samples as one batch, padded on the right to the longest; photos' features where a sample has a photo.

        Raises:
            ValueError: a sample has a photo and there are no features.
        """
        length = max(len(sample.tokens) for sample in samples)
        input_ids = torch.full((len(samples), length), self._pad)
        attention_mask = torch.zeros(len(samples), length, dtype=torch.long)
        labels = torch.full((len(samples), length), -100)
        branches = torch.zeros(len(samples), length, dtype=torch.long)
        for row, sample in enumerate(samples):
            tokens = torch.tensor(sample.tokens)
            input_ids[row, : len(tokens)] = tokens
            attention_mask[row, : len(tokens)] = 1
            labels[row, : len(tokens)] = torch.where(torch.tensor(sample.learned), tokens, -100)
            if sample.branch:
                branches[row, : len(tokens)] = torch.tensor(sample.branch)
        branch = branches if branches.any() else None
        shown = [(sample.image, sample.view) for sample in samples if sample.image is not None]
        if not shown:
            return Batch(input_ids, attention_mask, labels, None, None, branch)
        if self._features is None:
            raise ValueError("Samples with photos need their features.")
        tokens = self._features.get([image for image, _ in shown], [view for _, view in shown])
        if len(shown) == len(samples):
            return Batch(input_ids, attention_mask, labels, tokens, None, branch)
        has_image = torch.tensor([sample.image is not None for sample in samples])
        clip_tokens = torch.zeros(len(samples), *tokens.shape[1:])
        clip_tokens[has_image] = tokens
        return Batch(input_ids, attention_mask, labels, clip_tokens, has_image, branch)


class _Batches:
    """An endless iterator over epochs that can skip quickly."""

    def __init__(self, rows: Rows, size: int, seed: int):
        self._rows, self._size, self._seed = rows, size, seed
        self._place, self._epoch = 0, -1
        self._groups: list[list[Sample]] = []

    def skip(self, count: int) -> None:
        self._place += count

    def __next__(self) -> Batch:
        return self._rows.collate(self.draw())

    def draw(self) -> list[Sample]:
        """The next batch's samples."""
        while self._place >= len(self._groups):
            self._place -= len(self._groups)
            self._epoch += 1
            self._groups = self._rows.epoch(self._size, self._seed, self._epoch)
        samples = self._groups[self._place]
        self._place += 1
        return samples
