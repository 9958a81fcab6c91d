"""How the caption expert puts a photo into words: many captions are written, and the one that most of them agree with
is told.

A likelier caption is not a better one. Of a beam's best and of samples from the photo and from its mirror image, that
one is chosen which is on average most like all of them: minimum Bayes risk (Kumar and Byrne, NAACL 2004; for captions:
consensus, Devlin et al., arXiv 1505.04467). What it brings stands in assets/caption/README.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lav2 import generate
from lav2.events import Sampling
from lav2.image import MIRROR_WORDS
from lav2.metrics import CiderD, coco_tokens


@dataclass(frozen=True)
class Captioning:
    """How many captions are written, and how.

    beams: width of the search for the likeliest caption; 1: greedy.
    drafts: samples of the photo and as many of its mirror image; 0: the likeliest caption is told.
    temperature: of the samples.
    """

    beams: int = 3
    drafts: int = 0
    temperature: float = 0.5
    max_new_tokens: int = 30
    no_repeat: int = 3  # of the beam, see generate.beam

    @property
    def views(self) -> int:
        """How many views of a photo are looked at: itself and, for drafts, its mirror image."""
        return 2 if self.drafts else 1


@torch.inference_mode()
def write(
    model: generate.Model,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    clip_tokens: Tensor,
    settings: Captioning,
    turns: generate.Turns | None = None,
) -> str:
    """The caption of a photo; the same each time.

    Args:
        prompt: what the model goes on from.
        clip_tokens: [views, N, C] of the photo and, where `settings` wants drafts, of its mirror image.
        turns: shared with the answers of other threads.
    """
    input_ids = torch.tensor([generate.encode(tokenizer, prompt)], device=model.device)
    ends, length = generate.stop_ids(tokenizer), settings.max_new_tokens
    prompts = [model.prompt_kv(model.visual_prompt(view[None])) for view in clip_tokens]
    ids = generate.beam(
        model, input_ids, prompts[0], ends, settings.beams, length, no_repeat=settings.no_repeat, turns=turns
    )

    def text(ids: list[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=True).strip()

    if not settings.drafts:
        return text(ids)
    written = [text(ids)]
    for seed, prompt_kv in enumerate(prompts):
        sampling = Sampling(settings.temperature, 1.0, length, seed, repetition_penalty=1.0)
        found = generate.drafts(model, input_ids, prompt_kv, sampling, ends, settings.drafts, turns)
        written += [said for said in map(text, found) if not seed or not MIRROR_WORDS.search(said)]
    return written[consensus(written)]


def consensus(texts: Sequence[str]) -> int:
    """Which text is most like all of them on average, by CIDEr-D; the first of several that are. All words weigh the
    same there: what few captions of a training set say is no more worth agreeing on."""
    score = CiderD(None)
    times = Counter(texts)
    weighed = {text: score.weigh(coco_tokens(text)) for text in times}
    agreed = {text: sum(n * score.like(weighed[text], weighed[other]) for other, n in times.items()) for text in times}
    return texts.index(max(agreed, key=agreed.__getitem__))
