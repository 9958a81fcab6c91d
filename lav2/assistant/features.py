"""What is computed once of a photo and used again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple

from PIL import Image, ImageOps
from torch import Tensor

from lav2.errors import no_thread
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
