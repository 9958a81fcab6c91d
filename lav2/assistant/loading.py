"""A preset's models, tokenizer and detector, loaded."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import transformers

import lav2
from experts import detection
from experts.evidence import Expert
from lav2 import config, files, weights
from lav2.captioning import candidates, reranker
from lav2.captioning.answers import LikelyAnswers
from lav2.captioning.kinds import ImageClassifier
from lav2.captioning.reranker import ConceptReranker
from lav2.config import CONTEXT
from lav2.errors import LAV2Error
from lav2.inference import backend, native
from lav2.inference.engine import Engine, refusal
from lav2.inference.folding import unmap
from lav2.model import checkpoint, preflight
from lav2.model.adapted import AdaptedLlama
from lav2.model.llm import Quantize, base_identity, load_llm, share_frozen
from lav2.model.vision import VisionTower
from lav2.reading import text_reader
from lav2.reading.text_reader import TextReader


class LoadedModels(NamedTuple):
    """What an assistant is made of; see Assistant."""

    chat: backend.DecoderBackend
    captioner: backend.DecoderBackend
    tokenizer: transformers.PreTrainedTokenizerBase
    tower: VisionTower | None
    caption_tower: VisionTower | None
    reranker: ConceptReranker | None
    candidates: LikelyAnswers | None = None
    reader: TextReader | None = None


def versions() -> dict[str, str]:
    """What an answer depends on besides its preset."""
    return {
        "lav2": lav2.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def load_adapted(source: str, llm, tokenizer, report, base) -> AdaptedLlama:
    """A source's adapter on the frozen model, for use; `base`: base_identity of `llm`.

    Raises:
        LAV2Error: as checkpoint.load, or the image encoder here is another than the adapter's.
    """
    folder = weights.find(source)
    checkpoint.check_encoder(folder)
    return checkpoint.load(folder, llm, tokenizer, report, base=base).eval()


def context_length(llm: transformers.PreTrainedModel) -> int:
    """Tokens that the assistant gives a model, which may have been made for fewer."""
    return min(CONTEXT, getattr(llm.config, "max_position_embeddings", None) or CONTEXT)


def build_detector(chosen: str | None, settings: config.Preset, device: str) -> Expert:
    """The detection expert: a file or name that the user chose, else the preset's own at the preset's threshold."""
    if chosen:
        return detection.build(chosen, device=device, least=detection.FAINT)
    own = settings.detector
    file = str(weights.find(own)) if own.startswith("assets:") else own
    return detection.build(file, settings.confidence, device, detection.FAINT)


def fast_backends(
    chat: AdaptedLlama, captioner: AdaptedLlama, int8: bool | None = None
) -> tuple[backend.DecoderBackend, backend.DecoderBackend, str]:
    """Engines of both models where they take them, and how they run, in words; the models' own forward is given up.

    Raises:
        LAV2Error: int8 is asked for and the engine does not take the model.
    """
    refused = refusal(chat)
    if refused and int8:
        raise LAV2Error(
            "8bit weights on the CPU are the engine's; it refuses this model: {why}.",
            "Leave --quantize away, or use a GPU.",
            why=refused,
        )
    if refused:
        return chat, captioner, f"transformers' forward, since {refused}"
    # On ZeroGPU no step is recorded: that would need CUDA before the fork, and in each process anew.
    recorded = chat.device.type != "cuda" or not preflight.zero_gpu()
    shared = {"int8": int8, "context": context_length(chat.llm), "compiled": recorded}
    if captioner is chat:
        fast = second = Engine(chat, **shared, release=True)
    else:
        second = Engine(captioner, **shared)
        fast = Engine(chat, **shared, head=second.head, release=True)
    if fast.int8:
        unmap([chat, captioner])
    fast.record(1)  # else nobody knows yet whether it can
    plain = "folded weights, recorded steps" if fast.fused else "folded weights, torch"
    return fast, second, "int8 weights, compiled step" if fast.int8 else plain


def load_parts(
    settings: config.Preset,
    limit: int,
    *,
    detector: str | None,
    device: str | None,
    dtype: str | None,
    quantize: Quantize | None,
    device_map: str | None,
    report: Callable[[str], None],
) -> tuple[dict[str, Any], str]:
    """The arguments of Assistant behind its preset, and how the engine computes; see Assistant.load.

    Args:
        limit: questions that are answered at once where there is memory for as many.
    """
    target = torch.device(preflight.device(device))
    dtype = dtype or preflight.precision(str(target))
    kind, placing = getattr(torch, dtype), device_map or str(target)
    native.share_arenas()
    report(f"         memory: {preflight.check(settings, dtype, placing, quantize)}")
    at_once = preflight.at_once(limit, settings, dtype, placing, quantize)
    clock = _Clock(report)
    int8 = quantize == "8bit" and target.type == "cpu"  # the engine packs them once the adapter is folded
    llm, tokenizer = load_llm(settings.llm, kind, target, None if int8 else quantize, device_map)
    base = base_identity(llm, tokenizer, "")
    hashes = {"base": base["weights"]}
    clock.lap("language model", f"{settings.llm} on {placing}, {quantize or dtype}")
    # The captioner shares every frozen matrix with the chat model; only norms and adapters are its own. The twin is
    # made before an adapter is put on the model.
    second = None if settings.caption_adapter == settings.adapter else share_frozen(llm)
    checkpoint.check_roles(weights.find(settings.adapter), weights.find(settings.caption_adapter), report)
    chat = load_adapted(settings.adapter, llm, tokenizer, report, base)
    captioner = chat if second is None else load_adapted(settings.caption_adapter, second, tokenizer, report, base)
    for part, source in (("adapter", settings.adapter), ("caption_adapter", settings.caption_adapter)):
        hashes[part] = files.digest(weights.find(source) / checkpoint.TENSORS)
    clock.lap("adapters", f"{settings.adapter}, {settings.caption_adapter}")
    chat, captioner, how = fast_backends(chat, captioner, True if int8 else None)
    clock.lap("engine", how)
    tower = VisionTower(chat.vision_config).to(target) if chat.vision_config else None
    if tower is not None:
        hashes["image_encoder"] = tower.identity
    own = None  # of the captioner, which may have been trained on another image encoder
    if captioner.vision_config not in (None, chat.vision_config):
        own = VisionTower(captioner.vision_config).to(target)
        hashes["caption_encoder"] = own.identity
    clock.lap("image encoder", chat.vision_config.name if chat.vision_config else "none, a text-only adapter")
    folder = weights.find(settings.caption_adapter)
    concepts = reranker.load(folder, captioner.vision_config)
    if concepts is not None:
        concepts.to(target)
        hashes["caption_phrases"] = files.digest(folder / reranker.CAPTION_PHRASES)
    people = candidates.load(folder, captioner.vision_config)
    if people is not None:
        people.to(target)
        hashes["caption_answers"] = files.digest(folder / candidates.CAPTION_ANSWERS)
    classifier = ImageClassifier(settings.classifier).to(target) if settings.classifier else None
    if classifier is not None:
        hashes["classifier"] = classifier.identity
    answers = LikelyAnswers(people, classifier, concepts) if people or classifier else None
    reader = text_reader.load(weights.find(settings.adapter))
    if reader is not None and reader.folder is not None:
        hashes["reader"] = files.digest(reader.folder / checkpoint.READER)
        clock.lap("reader of texts", f"the first {reader.hidden.layers} layers of {reader.config.llm}")
    beside = preflight.experts_device(str(target))
    expert = build_detector(detector or os.environ.get("LAV2_DETECTOR"), settings, beside)
    parts = {
        "chat": chat, "captioner": captioner, "tokenizer": tokenizer, "tower": tower, "detector": expert,
        "load_seconds": clock.seconds, "hashes": hashes, "at_once": at_once, "caption_tower": own, "reranker": concepts,
        "candidates": answers, "reader": reader,
    }  # fmt: skip
    return parts, how


class _Clock:
    """Seconds of each part, told as it is done."""

    def __init__(self, report: Callable[[str], None]):
        self.seconds: dict[str, float] = {}
        self._report, self._last = report, time.perf_counter()

    def lap(self, part: str, detail: str) -> None:
        now = time.perf_counter()
        self.seconds[part] = now - self._last
        self._report(f"  {now - self._last:5.1f} s  {part}: {detail}")
        self._last = now
