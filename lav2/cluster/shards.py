"""Measurements on several processes or machines, by Ray: each worker holds the models and takes pieces of the rows.

Batches of prompts are those that one process makes, so the answers and their report are the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tqdm import tqdm

from experts.evidence import Caption, Evidence
from lav2.cluster import engine
from lav2.cluster.deployment import rounded
from lav2.cluster.parts import Loader
from lav2.data.features import FeatureCache
from lav2.errors import LAV2Error
from lav2.evaluation.runner import EvaluationRunner, PromptBatch
from lav2.evaluation.settings import ShardsConfig
from lav2.events import Sampling
from lav2.training.grading import alike

RESTARTS = 3  # of a worker that is lost; its piece is given to it again
FEW = 8  # photos of a piece that takes seconds a photo
MANY = 8 * FeatureCache.CHUNK  # photos of a piece that are only encoded; each piece is a file of the cache


class Worker:
    """Holds a runner. Its models load at the first call, so that what is wrong with them comes as an error of it."""

    def __init__(self, loader: Loader, cache: Path):
        self._loader, self._cache = loader, cache
        self._runner: EvaluationRunner | None = None

    def do(self, settings: Mapping[str, Any], method: str, *given: Any) -> list[Any]:
        """What a method of the runner, changed as `settings` say, makes of a piece."""
        return getattr(replace(self._loaded(), **settings), method)(*given)

    def about(self) -> SimpleNamespace:
        """The assistant as far as prompts and reports need it."""
        ready = self._loaded().assistant
        captioner = SimpleNamespace(settings=ready.captioner.settings, prompt=ready.captioner.prompt)
        names = ("preset", "versions", "hashes", "settings")
        kept = {name: getattr(ready, name) for name in names}
        chat = SimpleNamespace(proof_first=ready.parts.chat.proof_first)
        parts = SimpleNamespace(tokenizer=ready.parts.tokenizer, chat=chat, reader=ready.parts.reader)
        return SimpleNamespace(**kept, captioner=captioner, parts=parts)

    def _loaded(self) -> EvaluationRunner:
        if self._runner is None:
            self._runner = EvaluationRunner(self._loader.assistant({}), self._cache)
        return self._runner


@dataclass(frozen=True)
class ShardedRunner(EvaluationRunner):
    """A runner whose computing is divided among `workers`, actors of Worker. `assistant` is what `about` tells."""

    workers: Sequence[Any] = field(kw_only=True)

    def causes(self, images: Sequence[str], captions: bool, views: int) -> list[str | None]:
        chunk = FeatureCache.CHUNK
        size = min(MANY, chunk * -(-len(images) // (chunk * len(self.workers))))
        return self._each("causes", _cut(size, _absolute(images)), captions, views)

    def written(self, images: Sequence[str]) -> list[str]:
        return self._each("written", _cut(self._few(images), _absolute(images)))

    def caption_findings(self, images: Sequence[str], texts: Sequence[str]) -> list[Caption]:
        return self._each("caption_findings", _cut(self._few(images), _absolute(images), texts))

    def look(self, images: Sequence[str], experts: tuple[str, ...]) -> list[dict[str, Evidence]]:
        return self._each("look", _cut(self._few(images), _absolute(images)), experts)

    def answered(self, asked: PromptBatch, sampling: Sampling, captions: bool) -> list[str]:
        parts = alike(self.assistant.parts.tokenizer, asked.prompts, asked.images, self.batch)
        columns = asked._replace(images=_absolute(asked.images))
        pieces = [(PromptBatch(*([column[row] for row in part] for column in columns)),) for part in parts]
        answers = dict(zip(chain.from_iterable(parts), self._each("answered", pieces, sampling, captions), strict=True))
        return [answers[row] for row in range(len(asked.prompts))]

    def _few(self, images: Sequence[str]) -> int:
        return max(1, min(FEW, len(images) // (4 * len(self.workers))))

    def _each(self, method: str, pieces: Sequence[tuple[Any, ...]], *common: Any) -> list[Any]:
        """What the workers make of pieces, in their order, put together."""
        ray = engine.required()
        settings = {"batch": self.batch, "captioning": self.captioning}
        pool = engine.required("ray.util").ActorPool(self.workers)
        done = pool.map(lambda worker, piece: worker.do.remote(settings, method, *piece, *common), pieces)
        with explained(ray):
            return [one for part in tqdm(done, method, len(pieces), unit="piece", disable=None) for one in part]


def _cut(size: int, *columns: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Pieces of so many rows: of each column its part."""
    return [tuple(column[n : n + size] for column in columns) for n in range(0, len(columns[0]), max(1, size))]


def _absolute(images: Sequence[str | None]) -> list[str | None]:
    """Paths as they are found from any folder."""
    return [image and os.path.abspath(image) for image in images]


@contextmanager
def explained(ray: Any) -> Iterator[None]:
    """What breaks a worker as the error that it is.

    Raises:
        LAV2Error: what a worker tells, or one is lost again and again.
    """
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, LAV2Error) else error from None
    except ray.exceptions.RayActorError as error:
        raise LAV2Error(
            "A worker of the measurement was lost on the Ray cluster again and again ({why}).",
            "Look whether its memory is enough, or give fewer --workers.",
            why=str(error).strip().splitlines()[-1],
        ) from error


def divided(gpus: float, cores: float, workers: int) -> dict[str, float] | None:
    """What each worker may use, of what is free; None where it is not enough."""
    if gpus >= 0.1 * workers and cores >= 0.1 * workers:
        return {"num_gpus": min(1.0, rounded(gpus / workers)), "num_cpus": rounded(min(1.0, cores / workers))}
    each = rounded(cores / workers)
    return {"num_cpus": each} if each * workers <= cores + 1e-6 else None


@contextmanager
def runner(loader: Loader, cache: Path, shards: ShardsConfig) -> Iterator[ShardedRunner]:
    """A runner on a Ray cluster, whose workers end with the block.

    Raises:
        LAV2Error: Ray is not installed or has no room, or what Loader.assistant raises.
    """
    with engine.connected(shards.cluster) as ray:
        has = ray.cluster_resources()
        count = shards.workers or int(has.get("GPU", 0)) or max(1, int(has.get("CPU", 1)) // 2)
        given = engine.room(ray.available_resources, partial(divided, workers=count), count)
        made = ray.remote(Worker).options(max_restarts=RESTARTS, max_task_retries=RESTARTS, **given)
        workers = [made.remote(loader, cache.absolute()) for _ in range(count)]
        try:
            with explained(ray):
                about, *_ = ray.get([worker.about.remote() for worker in workers])
            yield ShardedRunner(about, cache, workers=workers)
        finally:
            for worker in workers:
                ray.kill(worker)
