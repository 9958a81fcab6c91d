"""A preset's models, tokenizer and detector, loaded."""

from __future__ import annotations

import platform
from typing import NamedTuple

import torch
import transformers

import lav2
from experts import detection
from experts.evidence import Expert
from lav2 import config, weights
from lav2.captioning import reranker
from lav2.config import CONTEXT
from lav2.errors import LAV2Error
from lav2.inference import backend
from lav2.inference.engine import Engine, refusal
from lav2.inference.folding import unmap
from lav2.model import checkpoint
from lav2.model.adapted import AdaptedLlama
from lav2.model.vision import VisionTower


class LoadedModels(NamedTuple):
    """What an assistant is made of; see Assistant."""

    chat: backend.DecoderBackend
    captioner: backend.DecoderBackend
    tokenizer: transformers.PreTrainedTokenizerBase
    tower: VisionTower | None
    caption_tower: VisionTower | None
    judge: reranker.ConceptReranker | None


def versions() -> dict[str, str]:
    """What an answer depends on besides its preset."""
    return {
        "lav2": lav2.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def load_adapted(source: str, llm, tokenizer, report, base) -> AdaptedLlama:
    return checkpoint.load(weights.find(source), llm, tokenizer, report, base=base).eval()


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
    """Engines of both models where they take them, and how they run, in words; the models' own forward is given up."""
    refused = refusal(chat)
    if refused and int8:
        raise LAV2Error(
            "8bit weights on the CPU are the engine's; it refuses this model: {why}.",
            "Leave --quantize away, or use a GPU.",
            why=refused,
        )
    if refused:
        return chat, captioner, f"transformers' forward, since {refused}"
    context = context_length(chat.llm)
    if captioner is chat:
        fast = second = Engine(chat, int8, context=context, release=True)
    else:
        second = Engine(captioner, int8, context=context)
        fast = Engine(chat, int8, context=context, head=second.head, release=True)
    if fast.int8:
        unmap([chat, captioner])
    fast.record(1)  # else nobody knows yet whether it can
    plain = "folded weights, recorded steps" if fast.fused else "folded weights, torch"
    return fast, second, "int8 weights, compiled step" if fast.int8 else plain
