"""How the caption expert puts a photo into words: many captions are written, and the one that photo and captions agree
with is told.

A likelier caption is not a better one. Of samples from the photo and from its mirror image, that one is chosen which
says what the photo makes likely (reranker.py), and which is on average most like all of them: minimum Bayes risk
(Kumar and Byrne, NAACL 2004; for captions: consensus, Devlin et al., arXiv 1505.04467). What either brings stands in
assets/caption/README.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lav2.captioning.reranker import ConceptReranker, Expected
from lav2.events import Sampling
from lav2.image import MIRROR_WORDS
from lav2.inference import backend, search, streaming
from lav2.inference.scheduler import Scheduler
from lav2.metrics.captions import CiderD
from lav2.metrics.tokens import coco_tokens

# What the drafts' likeness among each other counts beside that to the photo's phrases; chosen on 154 COCO photos
# (docs/LOG.md).
CONSENSUS_WEIGHT = 0.5


@dataclass(frozen=True)
class Captioning:
    """How many captions are written, and how.

    drafts: samples of the photo; of them and half as many of its mirror image one is told. 0: the likeliest caption is,
        which a beam finds.
    temperature: of the samples.
    beams: width of the beam; 1: greedy.
    no_repeat: of the beam, see search.beam.
    """

    drafts: int = 0
    temperature: float = 0.5
    beams: int = 3
    max_new_tokens: int = 30
    no_repeat: int = 3

    @property
    def views(self) -> int:
        """How many views of a photo are looked at: itself and, for drafts, its mirror image."""
        return 2 if self.drafts else 1


@torch.inference_mode()
def write(
    model: backend.DecoderBackend,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    clip_tokens: Tensor,
    settings: Captioning,
    reranker: ConceptReranker | None = None,
    scheduler: Scheduler | None = None,
) -> str:
    """The caption of a photo; the same each time.

    Args:
        prompt: what the model goes on from.
        clip_tokens: [views, N, C] of the photo and, where `settings` wants drafts, of its mirror image.
        reranker: of the drafts; None: they are compared with each other alone.
        scheduler: shared with the answers of other threads.
    """
    input_ids = torch.tensor([streaming.encode(tokenizer, prompt)], device=model.device)
    ends, length = streaming.stop_ids(tokenizer), settings.max_new_tokens
    prompts = [model.prompt_kv(model.visual_prompt(view[None])) for view in clip_tokens]

    def text(ids: list[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=True).strip()

    if not settings.drafts:
        more = {"no_repeat": settings.no_repeat, "scheduler": scheduler}
        return text(search.beam(model, input_ids, prompts[0], ends, settings.beams, length, **more))
    written: list[str] = []
    for mirrored, prompt_kv in enumerate(prompts):
        sampling = Sampling(settings.temperature, 1.0, length, seed=mirrored, repetition_penalty=1.0)
        count = settings.drafts // 2 if mirrored else settings.drafts
        found = map(text, search.drafts(model, input_ids, prompt_kv, sampling, ends, count, scheduler))
        written += [caption for caption in found if not mirrored or not MIRROR_WORDS.search(caption)]
    return written[consensus(written, reranker.expect(clip_tokens[:1]) if reranker else None)]


def consensus(texts: Sequence[str], expected: Expected | None = None) -> int:
    """Index of the text with the highest mean CIDEr-D to all texts plus its likeness to what is expected of the photo;
    of equal ones the first. Among the texts all words weigh the same: a rare word is no more worth agreeing on."""
    score = CiderD(None)
    times = Counter(texts)
    tokens = {text: coco_tokens(text) for text in times}
    weighed = {text: score.weigh(words) for text, words in tokens.items()}
    points = {}
    for text in times:
        agreed = sum(n * score.like(weighed[text], weighed[other]) for other, n in times.items()) / len(texts)
        points[text] = CONSENSUS_WEIGHT * agreed + (expected.like(tokens[text]) if expected else 0.0)
    return texts.index(max(points, key=points.__getitem__))
