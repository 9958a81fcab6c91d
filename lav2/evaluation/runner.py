"""A loaded assistant that answers many rows at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from experts.evidence import Caption
from lav2.assistant.service import Assistant
from lav2.captioning import writer
from lav2.captioning.writer import Captioning
from lav2.data.features import FeatureCache
from lav2.data.formats import InstructionRow
from lav2.data.samples import prompt_of
from lav2.evaluation.settings import EvaluationConfig
from lav2.events import Sampling
from lav2.model.adapted import AdaptedLlama
from lav2.model.vision import VisionTower
from lav2.text import weighing
from lav2.training.grading import answer_all


@dataclass(frozen=True)
class EvaluationRunner:
    """A loaded assistant and how it is run.

    Args:
        assistant: whose models answer.
        cache: folder of image features (lav2.data.features.FeatureCache).
        batch: prompts that go through the model together.
        max_new_tokens: of an answer; answers are greedy.
        captioning: how captions are written; None: as the assistant's caption expert does it. Greedy ones without
            drafts are written `batch` photos at a time, others photo by photo.
        report: told which photos are left out, since they are damaged.
    """

    assistant: Assistant
    cache: Path
    batch: int = EvaluationConfig.batch
    max_new_tokens: int = EvaluationConfig.max_new_tokens
    captioning: Captioning | None = None
    report: Callable[[str], None] = lambda line: print(line, file=sys.stderr)  # told what is left out

    def damaged(self, images: Iterable[str | None], tower: VisionTower | None = None, views: int = 1) -> set[str]:
        """The photos that cannot be read; each is told with its cause."""
        parts = self.assistant.parts
        features = self.features(images, tower or parts.tower or parts.caption_tower, views)
        found = features.damaged if features is not None else {}
        for image, cause in found.items():
            self.report(f"{image}: left out. {cause}")
        return set(found)

    def features(
        self, images: Iterable[str | None], tower: VisionTower | None = None, views: int = 1
    ) -> FeatureCache | None:
        """Of photos, by the chat model's image encoder unless another is given; None without photos or an encoder."""
        shown = dict.fromkeys(image for image in images if image is not None)
        tower = tower or self.assistant.parts.tower
        if not shown or tower is None:
            return None
        features = FeatureCache(self.cache, tower.config, shown, shown, views)
        if not features.complete:
            features.fill(tower.encode)
        return features

    def captions(self, images: Sequence[str]) -> list[str]:
        """The caption expert's sentences about photos."""
        how, parts = self.captioning or self.assistant.captioner.settings, self.assistant.parts
        prompt, model, words = self.assistant.captioner.prompt, parts.captioner, parts.tokenizer
        if how.beams == 1 and not how.drafts:
            greedy = Sampling(max_new_tokens=how.max_new_tokens, repetition_penalty=1.0)
            return self._generate(model, [prompt] * len(images), images, greedy, parts.caption_tower)
        views = range(how.views)
        features = self.features(images, parts.caption_tower, len(views))
        return [
            writer.write(model, words, prompt, features.get([image] * len(views), views), how, parts.judge)
            for image in tqdm(images, desc="captions", unit="photo", disable=None)
        ]

    def caption_evidence(self, images: Sequence[str]) -> dict[str, Caption]:
        """What the caption expert finds on photos: sentences, concepts, and candidates for answers."""
        parts, source = self.assistant.parts, self.assistant.preset
        features = self.features(images, parts.caption_tower) if images else None
        found = {}
        for image, text in zip(images, self.captions(images), strict=True):
            concepts = parts.judge.concepts(features.get([image]))[0] if parts.judge else ()
            ask = parts.candidates.on(features.get([image])) if parts.candidates else None
            found[image] = Caption(text, 0.0, source, concepts, ask=ask)
        return found

    def answers(self, rows: Sequence[InstructionRow], computed_line: bool = True) -> list[str]:
        """Greedy answers to the rows' last questions with their evidence in the prompt, and its computed line."""
        parts, template = self.assistant.parts, self.assistant.settings.template
        prompts = [prompt_of(row, parts.tokenizer, template, computed_line=computed_line) for row in rows]
        sampling = Sampling(max_new_tokens=self.max_new_tokens)
        likely = [weighing.answer_bias(row.evidence, row.turns[-1].question) for row in rows]
        return self._generate(parts.chat, prompts, [row.image for row in rows], sampling, likely=likely)

    def _generate(
        self,
        model: AdaptedLlama,
        prompts: Sequence[str],
        images: Sequence[str | None],
        sampling: Sampling,
        tower: VisionTower | None = None,
        likely: Sequence[Mapping[str, float]] | None = None,
    ) -> list[str]:
        weights = dict(zip(zip(prompts, images, strict=True), likely or [{}] * len(prompts), strict=True))
        asked = list(weights)  # what several arms share is answered once
        texts, photos = [prompt for prompt, _ in asked], [image for _, image in asked]
        features = self.features(photos, tower)
        words, first = self.assistant.parts.tokenizer, list(weights.values()) if likely else None
        said = answer_all(model, words, texts, photos, features, sampling, self.batch, first)
        found = dict(zip(asked, said, strict=True))
        return [found[pair] for pair in zip(prompts, images, strict=True)]
