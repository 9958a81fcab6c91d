"""What is computed once of a photo and used again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageOps
from torch import Tensor

from experts.orchestrator import fingerprint
from lav2.errors import no_thread
from lav2.inference.backend import DecoderBackend
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
        return Lazy(lambda: submit(encoder, lambda: tower.encode([view()])).result())

    return encoded(small), encoded(lambda: ImageOps.mirror(small()))


class FeatureCache:
    """Features of the newest PHOTOS photos, remembered by their pixels and made once for all who ask.

    Args:
        chat: the adapted LLaMA that answers.
        tower: its image encoder; nobody asks where there is none.
        encoder: one thread, see `encoded_views`.
    """

    PHOTOS = 32

    def __init__(self, chat: DecoderBackend, tower: VisionTower | None, encoder: Executor):
        self._chat, self._tower, self._encoder = chat, tower, encoder
        self._features: OrderedDict[bytes, ImageFeatures] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, image: Image.Image, photo: bytes | None = None) -> ImageFeatures:
        """What the models make of an upright RGB image; `photo`: its fingerprint, where it is known already."""
        photo = photo or fingerprint(image)
        with self._lock:
            if photo not in self._features:
                clip_tokens, mirrored = encoded_views(self._tower, image, self._encoder)
                self._features[photo] = ImageFeatures(
                    clip_tokens, mirrored, Lazy(lambda: self._prompt_kv(clip_tokens()))
                )
                while len(self._features) > self.PHOTOS:
                    self._features.popitem(last=False)
            self._features.move_to_end(photo)
            return self._features[photo]

    @torch.inference_mode()
    def prompt_kv_without_photo(self) -> tuple:
        return self._chat.prompt_kv()

    @torch.inference_mode()
    def _prompt_kv(self, clip_tokens: Tensor) -> tuple:
        return self._chat.prompt_kv(self._chat.visual_prompt(clip_tokens))


def submit(pool: Executor, work: Callable[..., Any], *given: Any) -> Future:
    """Work for a pool's threads.

    Raises:
        Unavailable: it needs another thread, and the system lets none start. An executor keeps the work all the same,
            for its next thread: there is nothing left to do in it then, and no photo.
    """
    todo = [lambda: work(*given)]
    try:
        return pool.submit(lambda: todo[0]() if todo else None)
    except RuntimeError as error:
        todo.clear()
        raise no_thread() from error
