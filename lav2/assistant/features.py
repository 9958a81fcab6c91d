"""What is computed once of a photo and used again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, NamedTuple

from PIL import Image, ImageOps
from torch import Tensor

from lav2.model.vision import VisionTower


class Lazy:
    """A value that is made once, by whoever needs it first; others wait for it. A failure is not kept."""

    def __init__(self, make: Callable[[], Any]):
        self._make, self._lock, self._made = make, threading.Lock(), []

    def __call__(self) -> Any:
        with self._lock:
            if not self._made:
                self._made.append(self._make())
                self._make = None  # it holds the photo
            return self._made[0]


class ImageFeatures(NamedTuple):
    """What the models make of a photo."""

    clip_tokens: Callable[[], Tensor]  # [1, N, C], which the captioner reads as well
    mirrored: Callable[[], Tensor]  # those of its mirror image
    prompt_kv: Callable[[], tuple]  # of the chat adapter


def encoded_views(
    tower: VisionTower, image: Image.Image, encoder: Executor
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """clip_tokens of a photo and of its mirror image, made when they are needed; the photo is scaled once for both. One
    thread, the encoder's, makes all of them: see experts.orchestrator on cuDNN's plans."""
    small = Lazy(lambda: tower.resized(image))

    def encoded(view: Callable[[], Image.Image]) -> Callable[[], Tensor]:
        return Lazy(lambda: encoder.submit(lambda: tower.encode([view()])).result())

    return encoded(small), encoded(lambda: ImageOps.mirror(small()))
