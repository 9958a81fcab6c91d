"""A loaded assistant that answers many rows at once.

The methods that compute take lists and give a list of the same length (`causes`, `written`, `caption_findings`, `look`,
`answered`): lav2.cluster.shards divides these among processes, and all else is the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from experts.evidence import Caption, Evidence
from lav2.assistant.service import Assistant
from lav2.captioning import writer
from lav2.captioning.writer import Captioning
from lav2.data.features import FeatureCache
from lav2.data.formats import InstructionRow
from lav2.data.samples import prompt_of
from lav2.evaluation.settings import EvaluationConfig
from lav2.events import Sampling
from lav2.image import open_image
from lav2.model.vision import VisionTower
from lav2.reading import likely
from lav2.text.weighing import NOTHING, Likely
from lav2.training.grading import answer_all


class PromptBatch(NamedTuple):
    """Prompts in columns: each with its photo and its likely answers (lav2.text.weighing)."""

    prompts: Sequence[str]
    images: Sequence[str | None]
    likely: Sequence[Likely]


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

    @property
    def how(self) -> Captioning:
        """How captions are written."""
        return self.captioning or self.assistant.captioner.settings

    def damaged(self, images: Iterable[str | None], captions: bool = False, views: int = 1) -> set[str]:
        """The photos that cannot be read; each is told with its cause. `captions`: looked at by the captioner."""
        shown = list(dict.fromkeys(image for image in images if image is not None))
        found = {image: cause for image, cause in zip(shown, self.causes(shown, captions, views), strict=True) if cause}
        for image, cause in found.items():
            self.report(f"{image}: left out. {cause}")
        return set(found)

    def causes(self, images: Sequence[str], captions: bool, views: int) -> list[str | None]:
        """Why each photo cannot be read; None: it can, and its features are kept."""
        parts = self.assistant.parts
        tower = (captions and parts.caption_tower) or parts.tower or parts.caption_tower
        features = self.features(images, tower, views)
        return [features.damaged.get(image) if features is not None else None for image in images]

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
        how = self.how
        if how.beams == 1 and not how.drafts:
            greedy = Sampling(max_new_tokens=how.max_new_tokens, repetition_penalty=1.0)
            return self._generate([self.assistant.captioner.prompt] * len(images), images, greedy, captions=True)
        return self.written(images)

    def written(self, images: Sequence[str]) -> list[str]:
        """`captions`, photo by photo."""
        how, parts, views = self.how, self.assistant.parts, range(self.how.views)
        prompt, model, words = self.assistant.captioner.prompt, parts.captioner, parts.tokenizer
        features = self.features(images, parts.caption_tower, len(views))
        said = [
            writer.write(model, words, prompt, features.get([image] * len(views), views), how, parts.reranker)
            for image in tqdm(images, desc="captions", unit="photo", disable=None)
        ]
        if told := parts.candidates:
            said = [told.renamed(open_image(image), text) for image, text in zip(images, said, strict=True)]
        return said

    def caption_evidence(self, images: Sequence[str]) -> dict[str, Caption]:
        """What the caption expert finds on photos: sentences, concepts, and candidates for answers."""
        return dict(zip(images, self.caption_findings(images, self.captions(images)), strict=True))

    def caption_findings(self, images: Sequence[str], texts: Sequence[str]) -> list[Caption]:
        """What the caption expert tells beside its sentences."""
        parts, source = self.assistant.parts, self.assistant.preset
        features = self.features(images, parts.caption_tower)
        found = []
        for image, text in zip(images, texts, strict=True):
            concepts = parts.reranker.concepts(features.get([image]))[0] if parts.reranker else ()
            ask = None
            if parts.candidates:
                photo = open_image(image)
                concepts = parts.candidates.concepts(photo, concepts)
                ask = parts.candidates.of(photo, features.get([image]))
            found.append(Caption(text, 0.0, source, concepts, ask=ask))
        return found

    def look(self, images: Sequence[str], experts: tuple[str, ...]) -> list[dict[str, Evidence]]:
        """What experts find on photos, one after the other."""
        return [self.assistant.examine(open_image(image), experts) for image in images]

    def answers(self, rows: Sequence[InstructionRow], computed_line: bool = True) -> list[str]:
        """Greedy answers to the rows' last questions with their evidence in the prompt, and its computed line."""
        parts, template = self.assistant.parts, self.assistant.settings.template
        prompts = [prompt_of(row, parts.tokenizer, template, computed_line=computed_line) for row in rows]
        sampling = Sampling(max_new_tokens=self.max_new_tokens)
        first = parts.chat.proof_first
        biases = [likely.of(row.evidence, row.turns[-1].question, row.turns[:-1], first, parts.reader) for row in rows]
        return self._generate(prompts, [row.image for row in rows], sampling, biases)

    def _generate(
        self,
        prompts: Sequence[str],
        images: Sequence[str | None],
        sampling: Sampling,
        likely: Sequence[Likely] | None = None,
        captions: bool = False,
    ) -> list[str]:
        weights = dict(zip(zip(prompts, images, strict=True), likely or [NOTHING] * len(prompts), strict=True))
        asked = list(weights)  # what several arms share is answered once
        texts, photos = [prompt for prompt, _ in asked], [image for _, image in asked]
        said = self.answered(PromptBatch(texts, photos, list(weights.values())), sampling, captions)
        found = dict(zip(asked, said, strict=True))
        return [found[pair] for pair in zip(prompts, images, strict=True)]

    def answered(self, asked: PromptBatch, sampling: Sampling, captions: bool) -> list[str]:
        """Answers of the chat model, or of the captioner."""
        parts = self.assistant.parts
        model = parts.captioner if captions else parts.chat
        features = self.features(asked.images, parts.caption_tower if captions else None)
        return answer_all(
            model, parts.tokenizer, asked.prompts, asked.images, features, sampling, self.batch, asked.likely
        )
