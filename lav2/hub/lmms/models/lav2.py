"""The assistant behind lmms-eval's model interface."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from lmms_eval.api.model import lmms
from lmms_eval.api.registry import register_model
from PIL import Image

from lav2.config import DEFAULT_PRESET
from lav2.errors import LAV2Error
from lav2.events import Request, Sampling
from lav2.image import open_image

LONGEST = 1024  # tokens of an answer, whatever a task asks for


@register_model("lav2")
class LAV2(lmms):
    """`--model lav2 --model_args preset=embedded,experts=ocr+detection`.

    Args:
        preset: see `python -m lav2 presets`.
        adapter: a folder, or OWNER/NAME on the Hub, in place of the preset's.
        experts: names joined by + (the arguments are joined by commas already), `none`, or `auto`.
        device: cpu, cuda; chosen by what is there if None.
        dtype: of the language model.
        options: what lmms-eval gives every model, such as batch_size; questions go through one at a time.
    """

    def __init__(
        self,
        preset: str = DEFAULT_PRESET,
        adapter: str | None = None,
        experts: str = "caption+detection+ocr",
        device: str | None = None,
        dtype: str | None = None,
        **options: Any,
    ):
        super().__init__()
        from lav2.assistant.service import Assistant
        from lav2.hub import from_pretrained

        placing = {"device": device, "dtype": dtype, "report": lambda line: print(line, file=sys.stderr)}
        self.assistant = from_pretrained(adapter, preset, **placing) if adapter else Assistant.load(preset, **placing)
        self.experts = () if str(experts).lower() in ("none", "") else tuple(experts.split("+"))
        self.batch_size = 1

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answers, one a request: `args` are the question, settings, a function from a row to its photos, the row's
        number, task and split."""
        answers = []
        for request in requests:
            question, settings, photos_of, number, task, split = request.args
            photos = [photo for photo in photos_of(self.task_dict[task][split][number]) or [] if photo is not None]
            answers.append(self._answer(question, dict(settings), photos, f"{task} {number}"))
            self.cache_hook.add_partial("generate_until", (question, settings), answers[-1])
        return answers

    def _answer(self, question: str, settings: dict, photos: Sequence[Image.Image], where: str) -> str:
        if len(photos) > 1:
            raise ValueError(f"{where} has {len(photos)} photos; lav2 looks at one. Choose a task of single photos.")
        question = question.replace("<image>", " ").strip()
        sampled = bool(settings.get("do_sample")) and float(settings.get("temperature") or 0) > 0
        sampling = Sampling(
            temperature=float(settings["temperature"]) if sampled else 0.0,
            top_p=float(settings.get("top_p") or 0.9),
            max_new_tokens=min(int(settings.get("max_new_tokens") or 128), LONGEST),
        )
        try:
            photo = open_image(photos[0]) if photos else None
            asked = Request(question, photo, experts=self.experts if photos else (), sampling=sampling)
            *_, done = self.assistant.answer(asked)
        except LAV2Error as error:  # a question that is too long is answered wrongly, and the others still count
            print(f"{where}: no answer. {error}", file=sys.stderr)
            return ""
        return _until(done.answer, settings.get("until") or ())

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        raise NotImplementedError("lav2 answers in words; choose tasks of the output type generate_until.")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        raise NotImplementedError("lav2 is measured on single questions; choose tasks of one round.")


def _until(answer: str, stops: str | Sequence[str]) -> str:
    """The answer up to the first of the stops; of a single sentence without its full stop, since tasks such as POPE
    compare with `yes` letter by letter."""
    for stop in [stops] if isinstance(stops, str) else stops:
        answer = answer.split(stop)[0] if stop else answer
    answer = answer.strip()
    return answer if ". " in answer else answer.removesuffix(".")
