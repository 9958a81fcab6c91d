"""The caption expert: the project's own captioner, handed in as a function, or an image-to-text model of
transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from experts.evidence import IMPORTS, Caption, ExpertError, LazyExpert

Concepts = Sequence[tuple[str, float]]  # (word, chance 0..1)
Candidates = Sequence[tuple[str, float]]  # (answer, chance 0..1)
MAX_NEW_TOKENS = 40  # a caption is one sentence


def build(
    captioner: Callable[[Image.Image], str] | None = None,
    source: str = "",
    model: str | None = None,
    concepts: Callable[[Image.Image], Concepts] | None = None,
    candidates: Callable[[Image.Image], Callable[[str], Candidates]] | None = None,
) -> Captioner:
    """A caption expert from `captioner` (a function of an upright RGB image; `source` names it in the
    evidence) or from `model`, the name or folder of an image-to-text model of transformers, e.g. BLIP.
    `concepts`: gives words with their chances beside the sentence; `candidates`: of a photo, what gives answers with
    their chances to a question.

    Raises ValueError unless exactly one of the two is given. Loading a `model` raises ExpertError where it
    cannot be found, fetched or read.
    """
    if (captioner is None) == (model is None):
        raise ValueError("Give either `captioner` or `model`.")
    return Captioner(captioner, source or str(model or "captioner"), model, concepts, candidates)


class Captioner(LazyExpert):
    """Writes one sentence about the photo; evidence: Caption."""

    name = "caption"
    kind = Caption

    def __init__(
        self,
        captioner: Callable[[Image.Image], str] | None,
        source: str,
        model: str | None,
        concepts: Callable[[Image.Image], Concepts] | None = None,
        candidates: Callable[[Image.Image], Callable[[str], Candidates]] | None = None,
    ):
        super().__init__()
        self._candidates = candidates
        self._concepts = concepts
        self._captioner = captioner
        self._source = source
        self._model_name = model

    def _open(self) -> Callable[[Image.Image], str]:
        return self._captioner or _image_to_text(str(self._model_name))

    def _look(self, model: Callable[[Image.Image], str], image: Image.Image) -> dict[str, Any]:
        concepts = self._concepts(image) if self._concepts else ()
        ask = self._candidates(image) if self._candidates else None
        return {"text": model(image).strip(), "source": self._source, "concepts": tuple(concepts), "ask": ask}


def _image_to_text(name: str) -> Callable[[Image.Image], str]:
    """A transformers model that captions without being asked (BLIP, GIT, ViT-GPT2) as a function."""
    with IMPORTS:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor
    try:
        processor = AutoProcessor.from_pretrained(name)
        model = AutoModelForImageTextToText.from_pretrained(name).eval()
    except (OSError, ValueError) as error:  # not found, no network; not an image-to-text model
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExpertError(
            "transformers cannot load the caption model {name} ({why}).",
            "Check the name, connect to the Hub, or give the folder of a downloaded image-to-text model.",
            name=name,
            why=reason,
        ) from error
    model.to("cuda" if torch.cuda.is_available() else "cpu")

    def caption(image: Image.Image) -> str:
        inputs = processor(images=image, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            tokens = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS)  # [1,T]
        return str(processor.batch_decode(tokens, skip_special_tokens=True)[0])

    return caption
