"""What a photo mainly shows, of ImageNet's 1,000 kinds: a classifier beside the captioner, which knows breeds, birds,
instruments and dishes that captions of a few thousand photos do not have.

It adds to the caption expert's likely answers where a question asks for a kind (lav2.captioning.imagenet).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial

import torch
from PIL import Image

from lav2.captioning import imagenet, right_names
from lav2.config import VisionConfig
from lav2.model.vision import VisionTower

LEAST_CHANCE, MOST = 0.2, 3  # of an answer that is told; answers of a question

Answers = Sequence[tuple[str, float]]  # (answer, chance 0..1)


class ImageClassifier:
    """An image encoder with the classifier that it was trained with.

    Args:
        config: of timm's library, with weights of ImageNet.
    """

    def __init__(self, config: VisionConfig):
        self._tower = VisionTower(config)
        self._last: tuple[Image.Image | None, PhotoKinds | None] = (None, None)

    def to(self, device: torch.device) -> ImageClassifier:
        self._tower.to(device)
        return self

    @property
    def identity(self) -> str:
        return self._tower.identity

    def of(self, image: Image.Image) -> PhotoKinds:
        """The kinds of an upright RGB photo, which is looked at when a question or a caption asks for them; those of
        the last photo are kept."""
        last, found = self._last
        if last is not image or found is None:
            found = PhotoKinds(partial(self._chances, self._tower.resized(image)))
            self._last = image, found
        return found

    @torch.inference_mode()
    def _chances(self, image: Image.Image) -> tuple[float, ...]:
        features = self._tower.encode([image]).mean(1)  # [1, C]
        return tuple(self._tower.net.classifier(features).float().softmax(1)[0].tolist())


class PhotoKinds:
    """question -> likely answers, of one photo.

    Args:
        look: tells the chance of each kind; called once, where it is needed.
    """

    def __init__(self, look: Callable[[], tuple[float, ...]]):
        self._look = look

    @cached_property
    def chances(self) -> tuple[float, ...]:
        return self._look()

    def renamed(self, caption: str) -> str:
        """See lav2.captioning.right_names."""
        return right_names.renamed(caption, self.chances) if right_names.may_be_renamed(caption) else caption

    def __call__(self, question: str) -> Answers:
        if not imagenet.concerns(question):
            return []
        told = imagenet.likely(self.chances, question)[:MOST]
        return [pair for pair in told if pair[1] >= LEAST_CHANCE]

    def __reduce__(self):
        """To another process (lav2.cluster) go the chances, without the network."""
        return _known, (self.chances,)


def _known(chances: tuple[float, ...]) -> PhotoKinds:
    return PhotoKinds(lambda: chances)
