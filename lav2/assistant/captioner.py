"""The model of the caption expert: the adapter tuned on captions (the paper's caption expert, Sec. 4.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lav2.captioning import writer
from lav2.captioning.answers import LikelyAnswers, OfPhoto
from lav2.captioning.reranker import ConceptReranker
from lav2.config import Preset
from lav2.inference.backend import DecoderBackend
from lav2.inference.scheduler import Scheduler
from lav2.inference.streaming import encode
from lav2.text import prompts


class AdapterCaptioner:
    """Writes captions, and tells concepts and likely answers, of one photo at a time.

    Args:
        model: the adapted LLaMA, or an engine of it.
        tokenizer: of it.
        preset: its template, caption question and drafts are used.
        views: of an upright RGB photo: itself and its mirror image, each [1, N, C] once it is wanted.
        reranker: of drafts; None: `concepts` must not be called.
        answers: what tells likely answers; None: `candidates` must not be called.
        scheduler: whose steps the captions share.
    """

    def __init__(
        self,
        model: DecoderBackend,
        tokenizer: PreTrainedTokenizerBase,
        preset: Preset,
        views: Callable[[Image.Image], Sequence[Callable[[], Tensor]]],
        reranker: ConceptReranker | None,
        answers: LikelyAnswers | None,
        scheduler: Scheduler,
    ):
        self.settings = writer.Captioning(drafts=preset.caption_drafts)
        self._model, self._tokenizer, self._preset = model, tokenizer, preset
        self._views, self._reranker, self._answers, self._scheduler = views, reranker, answers, scheduler

    @property
    def prompt(self) -> str:
        """What the model goes on from: the preset's question, or the begin token alone ("" where the tokenizer puts it
        by itself)."""
        if self._preset.caption_question:
            return prompts.build(self._preset.template, self._preset.caption_question)
        return "" if encode(self._tokenizer, "") else self._tokenizer.bos_token

    @torch.inference_mode()
    def caption(self, image: Image.Image) -> str:
        """One sentence about a photo.

        Raises:
            LAV2Error: the preset has no image encoder.
        """
        views = self._views(image)[: self.settings.views]
        clip_tokens = torch.cat([view() for view in views])
        said = writer.write(
            self._model, self._tokenizer, self.prompt, clip_tokens, self.settings, self._reranker, self._scheduler
        )
        return self._answers.renamed(image, said) if self._answers else said

    def concepts(self, image: Image.Image) -> tuple[tuple[str, float], ...]:
        """Words that people would say of a photo, (word, chance 0..1), the likeliest first; see ConceptReranker."""
        told = self._reranker.concepts(self._views(image)[0]())[0]
        return self._answers.concepts(image, told) if self._answers else told

    def candidates(self, image: Image.Image) -> OfPhoto:
        """What tells likely answers to questions on a photo."""
        return self._answers.of(image, self._views(image)[0]())
