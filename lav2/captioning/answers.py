"""Likely answers to questions on a photo, of all that the caption expert has for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from lav2.captioning.candidates import CandidateModel
from lav2.captioning.kinds import ImageClassifier
from lav2.captioning.reranker import ConceptReranker
from lav2.captioning.scenes import PhotoScene

SURE = 0.6  # people say "dog" of a lion: few of their photos had one

Answers = Sequence[tuple[str, float]]  # (answer, chance 0..1)
Concepts = tuple[tuple[str, float], ...]  # (word, chance 0..1)


@dataclass(frozen=True)
class LikelyAnswers:
    """What people answer (lav2.captioning.candidates), kinds of ImageNet (lav2.captioning.kinds), and the words that
    tell scenes (lav2.captioning.scenes); None: nothing of the sort."""

    people: CandidateModel | None = None
    classifier: ImageClassifier | None = None
    reranker: ConceptReranker | None = None

    def renamed(self, image: Image.Image, caption: str) -> str:
        """A photo's caption, with its animal or dish called by the right name (lav2.captioning.right_names)."""
        return self.classifier.of(image).renamed(caption) if self.classifier else caption

    def concepts(self, image: Image.Image, told: Concepts) -> Concepts:
        """The captioner's words of a photo, likewise; of the same word the larger chance."""
        found: dict[str, float] = {}
        for word, chance in told:
            name = self.renamed(image, word).removeprefix("a ").removeprefix("an ")
            found[name] = max(chance, found.get(name, 0.0))
        return tuple(found.items())

    def of(self, image: Image.Image, clip_tokens: Tensor) -> OfPhoto:
        """What tells likely answers about an upright RGB photo, clip_tokens [1, N, C] of the captioner's encoder."""
        words = self.reranker.word_chances(clip_tokens) if self.reranker else {}
        people = self.people.on(clip_tokens) if self.people else None
        return OfPhoto(
            people.weighed_by(words) if people and words else people,
            self.classifier.of(image) if self.classifier else None,
            PhotoScene(words, people) if self.reranker else None,
        )


@dataclass(frozen=True)
class OfPhoto:
    """question -> likely answers, the likeliest first: those of the scene where it is asked for, those of the kinds
    where they are sure, otherwise of people and kinds; of the same answer the larger chance."""

    people: Callable[[str], Answers] | None
    kinds: Callable[[str], Answers] | None
    scene: Callable[[str], Answers] | None = None

    def __call__(self, question: str) -> Answers:
        if scene := self.scene(question) if self.scene else ():
            return scene
        kinds = self.kinds(question) if self.kinds else ()
        sure = any(chance >= SURE for _, chance in kinds)
        people = self.people(question) if self.people and not sure else ()
        told: dict[str, float] = {}
        for answer, chance in (*people, *kinds):
            told[answer] = max(chance, told.get(answer, 0.0))
        return sorted(told.items(), key=lambda pair: -pair[1])
