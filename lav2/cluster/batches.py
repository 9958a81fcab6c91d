"""Many questions on several processes or machines, by Ray Data: a stage of experts, and a stage of the model."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from experts.evidence import Evidence, ExpertError
from experts.orchestrator import Orchestrator, fingerprint
from lav2.assistant.addresses import photo as open_photo
from lav2.assistant.admission import AT_ONCE
from lav2.assistant.batch import Folder, Row
from lav2.cluster import engine
from lav2.cluster.deployment import rounded
from lav2.cluster.parts import Loader
from lav2.errors import LAV2Error
from lav2.events import Done, Request, Sampling
from lav2.options import setting
from lav2.text import routing

Batch = dict[str, Any]  # columns of rows: arrays of numpy
EXPERTS = 0.8  # of the cores: a new photo costs the experts five times what its answer costs (docs/scale.md)


@dataclass(frozen=True)
class Stages:
    """Questions answered on Ray."""

    ray: bool = setting(False, "answer on Ray: experts and model are stages of their own, on all cores or GPUs")
    cluster: str | None = setting(
        None, "address of a running Ray cluster, with --ray (default: one on this machine)", metavar="ADDRESS"
    )
    expert_workers: int = setting(1, "with --ray: processes that hold the experts")
    model_workers: int = setting(1, "with --ray: processes that hold the model")
    expert_batch: int = setting(16, "photos that are given to the experts at once", metavar="N")
    model_batch: int = setting(16, "questions that are given to the model at once; it answers 8 in a step", metavar="N")

    def __post_init__(self):
        if min(self.expert_workers, self.model_workers, self.expert_batch, self.model_batch) < 1:
            raise LAV2Error("Workers and batches are 1 or more.", "Give larger numbers.")


@dataclass(frozen=True)
class Asked:
    """What all rows have in common; see Request."""

    experts: tuple[str, ...]
    sampling: Sampling

    def request(self, question: str, image: Image.Image | None) -> Request:
        return Request(question, image, experts=self.experts, sampling=self.sampling)


class ExpertStage:
    """Opens each row's photo and lets the experts look: columns `evidence`, and `error` where there is no photo."""

    def __init__(self, loader: Loader, asked: Asked):
        names = routing.every(asked.experts)
        self._asked = asked
        self._orchestrator = Orchestrator({name: loader.expert(name)[0] for name in names})

    def __call__(self, batch: Batch) -> Batch:
        looked = [self._look(*row) for row in zip(batch["image"], batch["question"], batch["error"], strict=True)]
        return {**batch, "evidence": [found for found, _ in looked], "error": [error for _, error in looked]}

    def _look(self, image: str, question: str, error: str) -> tuple[bytes, str]:
        if error:
            return b"", error
        try:
            photo = open_photo(image)
            names = routing.resolve(self._asked.request(question, photo))[0].experts
            return pickle.dumps(dict(self._orchestrator.run(photo, names))), ""
        except (LAV2Error, OSError) as failure:
            return b"", str(failure)
        except Exception as failure:  # of one photo of a million: told in its line
            return b"", f"Something inside broke ({type(failure).__name__}: {failure})."


class FoundBefore:
    """An expert that has looked in the stage before. `found`: evidence by expert, by the photo's fingerprint."""

    def __init__(self, name: str, found: dict[bytes, dict[str, Evidence]]):
        self.name, self._found = name, found

    def load(self) -> None:
        """Nothing is loaded here."""

    def __call__(self, image: Image.Image) -> Evidence:
        try:
            return self._found[fingerprint(image)][self.name]
        except KeyError:
            raise ExpertError("The {expert} expert was not asked in time.", "Ask again.", expert=self.name) from None


class ModelStage:
    """Answers each row on its evidence, as the assistant does: column `result`, the rest of the answer's line."""

    def __init__(self, loader: Loader, asked: Asked):
        self._asked, self._found = asked, {}
        names = routing.every(asked.experts)
        self._assistant = loader.assistant({name: FoundBefore(name, self._found) for name in names})
        self._at_once = ThreadPoolExecutor(AT_ONCE)

    def __call__(self, batch: Batch) -> Batch:
        columns = (batch[name] for name in ("image", "question", "evidence", "error"))
        results = list(self._at_once.map(self._answer, *columns))
        self._found.clear()
        return {"line": batch["line"], "result": results}

    def _answer(self, image: str, question: str, evidence: bytes, error: str) -> str:
        from lav2.assistant import receipt

        try:
            if error:
                return json.dumps({"error": error}, ensure_ascii=False)
            photo = open_photo(image)
            self._found[fingerprint(photo)] = pickle.loads(evidence)
            *_, done = self._assistant.answer(self._asked.request(question, photo))
            assert isinstance(done, Done)
            return json.dumps(receipt.answer(done, photo), ensure_ascii=False)
        except (LAV2Error, OSError) as failure:
            return json.dumps({"error": str(failure)}, ensure_ascii=False)
        except Exception as failure:
            message = f"Something inside broke ({type(failure).__name__}: {failure})."
            return json.dumps({"error": message}, ensure_ascii=False)


def answers(
    loader: Loader, asked: Asked, stages: Stages, show: Callable = iter
) -> Callable[[list[Row], Folder], Iterator[tuple[Row, dict]]]:
    """What lav2.assistant.batch.write calls: the rows' answers, as they come from a cluster.

    A worker that is lost is started again by Ray, and its rows are given to it once more. Photos are opened where the
    workers run: on several machines the folder has to be an address (s3:// ...) or one that they share.

    Raises:
        LAV2Error: while it is read: no room on the cluster, or a worker cannot load its models.
    """

    def run(rows: list[Row], folder: Folder) -> Iterator[tuple[Row, dict]]:
        engine.required("ray.data")  # told before a line is written
        return _run(rows, folder)

    def _run(rows: list[Row], folder: Folder) -> Iterator[tuple[Row, dict]]:
        yield from ((row, {"error": row.error}) for row in rows if row.error)
        good = {row.line: row for row in rows if not row.error}
        if not good:
            return
        where = folder.resolve() if isinstance(folder, Path) else folder
        with engine.connected(stages.cluster) as ray:
            data = pipeline(ray, loader, asked, stages, [
                {"line": row.line, "image": str(where / row.image), "question": row.question, "error": ""}
                for row in good.values()
            ])  # fmt: skip
            try:
                for done in show(data.iter_rows()):
                    yield good[int(done["line"])], json.loads(done["result"])
            except ray.exceptions.RayError as error:
                raise LAV2Error(
                    "The batch broke off on the Ray cluster ({why}).",
                    "Mend that and run the same command again: it asks what has no answer yet.",
                    why=str(error).strip().splitlines()[-1],
                ) from error

    return run


def divided(gpus: float, cores: float, stages: Stages) -> tuple[dict[str, float], dict[str, float]] | None:
    """What a worker of the experts' stage and one of the model's may use, of what is free: GPUs, else cores; None where
    it is not enough."""
    workers = stages.expert_workers, stages.model_workers
    if gpus >= 0.1 * sum(workers) and cores >= 0.1 * sum(workers):
        each = rounded(gpus / sum(workers))
        return tuple({"num_gpus": min(1.0, each), "num_cpus": rounded(min(1.0, cores / sum(workers)))} for _ in workers)
    experts, model = (rounded(cores * part / n) for part, n in zip((EXPERTS, 1 - EXPERTS), workers, strict=True))
    if experts * workers[0] + model * workers[1] > cores + 1e-6:
        return None
    return {"num_cpus": experts}, {"num_cpus": model}


def pipeline(ray: Any, loader: Loader, asked: Asked, stages: Stages, items: list[dict[str, Any]]) -> Any:
    """The dataset of {"line", "result"}: nothing runs until it is read."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.verbose_progress = False
    count = stages.expert_workers + stages.model_workers
    experts, model = engine.room(ray.available_resources, partial(divided, stages=stages), count)
    blocks = max(1, min(len(items) // max(stages.expert_batch, stages.model_batch), 1000))
    workers = ray.data.ActorPoolStrategy
    data = ray.data.from_items(items, override_num_blocks=blocks)
    options = {"fn_constructor_args": (loader, asked)}
    data = data.map_batches(
        ExpertStage,
        batch_size=stages.expert_batch,
        compute=workers(size=stages.expert_workers),
        **options,
        **experts,
    )
    return data.map_batches(
        ModelStage, batch_size=stages.model_batch, compute=workers(size=stages.model_workers), **options, **model
    )
