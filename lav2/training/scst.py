"""Self-critical training of a captioner: captions that it samples itself, weighted by how much better than their
siblings the photo's human captions find them.

Cross-entropy teaches to continue human captions, one token at a time; what is measured is a whole caption of the
model's own. Self-critical sequence training (Rennie et al., arXiv 1612.00563) follows the gradient of the reward,
CIDEr-D, itself; the baseline is the mean of the photo's other samples (Luo, arXiv 2003.09971).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from lav2.data.batches import Batch, Rows, Sample
from lav2.data.formats import CaptionRow
from lav2.data.samples import join_captions
from lav2.events import Sampling
from lav2.inference import streaming
from lav2.metrics.captions import CiderD
from lav2.metrics.tokens import coco_tokens
from lav2.model.adapted import AdaptedLlama

LONGEST = 24  # tokens of a sampled caption; the human ones of Flickr8k and COCO have 12 on average
END = "</s>"  # stands behind a finished caption when it is scored: else nothing says that one must end


class CiderReward:
    """Samples captions of photos and scores them.

    Args:
        rows: the photos with their human captions; the words of the score are weighted by them.
        tokenizer: of the language model.
        samples: captions of each photo, at least 2: each is compared with the others.
    """

    def __init__(self, rows: Sequence[CaptionRow], tokenizer: PreTrainedTokenizerBase, samples: int):
        self._tokenizer, self._samples = tokenizer, samples
        self._truths = {row.image: [[*coco_tokens(text), END] for text in row.captions] for row in rows}
        self._score = CiderD(list(self._truths.values()))

    def batch(self, model: AdaptedLlama, rows: Rows, photos: Sequence[Sample], seed: int) -> tuple[Batch, float]:
        """Sampled captions of the photos, each token weighted by its caption's advantage, and their mean CIDEr-D."""
        training = model.llm.training
        model.llm.eval()  # it has no dropout; gradient checkpointing, which training turns on, would do without a cache
        shown = rows.collate([replace(photo, tokens=(0,), learned=(False,), branch=None) for photo in photos])
        with torch.inference_mode(), model.autocast():
            visual = model.visual_prompt(shown.clip_tokens).repeat_interleave(self._samples, dim=0)  # [B * K, ...]
            begin = torch.full((len(visual), 1), self._tokenizer.bos_token_id, device=model.device)
            sampling = Sampling(1.0, 1.0, LONGEST, seed, repetition_penalty=1.0)
            ends = streaming.stop_ids(self._tokenizer)
            columns = list(streaming.tokens(model, begin, model.prompt_kv(visual), sampling, ends))
        model.llm.train(training)
        written = [_ended(ids, ends[0]) for ids in torch.stack(columns, dim=1).tolist()]  # B * K captions
        rewards = np.array([
            self.reward(photos[n // self._samples].image, ids, ids[-1] == ends[0]) for n, ids in enumerate(written)
        ]).reshape(len(photos), self._samples)  # fmt: skip
        others = (rewards.sum(1, keepdims=True) - rewards) / (self._samples - 1)
        advantage = rewards - others  # [B, K]
        joined, weights = [], []
        for number, photo in enumerate(photos):
            own = written[number * self._samples : (number + 1) * self._samples]
            captions = [(self._tokenizer.bos_token_id, *ids) for ids in own]
            joined.append(join_captions(photo.image, captions, photo.view))
            weights.append(np.repeat(advantage[number], [len(ids) for ids in captions]))
        batch = rows.collate(joined)
        weight = torch.zeros(batch.input_ids.shape)
        for number, values in enumerate(weights):
            weight[number, : len(values)] = torch.from_numpy(values)
        return replace(batch, weight=weight), float(rewards.mean())

    def reward(self, image: str, ids: Sequence[int], ended: bool) -> float:
        """CIDEr-D of a caption's ids against the photo's own captions; their end counts as a word."""
        words = coco_tokens(self._tokenizer.decode(ids, skip_special_tokens=True))
        return self._score([*words, END] if ended else words, self._truths[image])


def _ended(ids: list[int], end: int) -> list[int]:
    """Up to and with the first end token."""
    return ids[: ids.index(end) + 1] if end in ids else ids
