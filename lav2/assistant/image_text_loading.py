"""An image-text-to-text model of transformers and its processor, loaded; what is wrong with them is told with the next
step."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from lav2 import files, weights
from lav2.config import Placing
from lav2.errors import LAV2Error
from lav2.model import preflight
from lav2.model.llm import Quantize, packing

EXAMPLE = "HuggingFaceTB/SmolVLM-256M-Instruct"


def load(
    source: str, placing: Placing, report: Callable[[str], None] = print
) -> tuple[str, PreTrainedModel, ProcessorMixin]:
    """(name, model, processor) from any source of lav2.weights; code that lies beside weights is never run. The name is
    a folder's last part, since visitors see it.

    Raises:
        LAV2Error: it is not there or cannot be fetched, is no image-text-to-text model, has no processor or no chat
            template, or does not fit into the memory.
    """
    start, folder = time.perf_counter(), weights.find(source)
    here = Path(source).expanduser()
    name = here.resolve().name if here.exists() else source
    config, processor = _config(name, folder), _processor(name, folder)
    device = preflight.device(placing.device)
    dtype = getattr(torch, placing.dtype or preflight.precision(device))
    _check_memory(name, folder, dtype, placing.device_map or device, placing.quantize)
    options: dict[str, Any] = {}
    if placing.quantize:
        options = {"quantization_config": packing(placing.quantize, dtype), "device_map": {"": device}}
    if placing.device_map:
        options["device_map"] = placing.device_map
    try:
        model = AutoModelForImageTextToText.from_pretrained(folder, config=config, dtype=dtype, **options)
    except Exception as error:  # transformers and safetensors raise a dozen types, also on files that are cut off
        raise _unreadable(name, folder, error) from error
    model = (model if options else model.to(device)).eval()
    report(f"  {time.perf_counter() - start:5.1f} s  beside: {name} on {placing.device_map or device}")
    return name, model, processor


def _config(name: str, folder: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder)
    except Exception as error:  # no file, a file that is cut off, a type that this transformers does not know
        raise _unreadable(name, folder, error) from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise LAV2Error(
            "{model} is no image-text-to-text model: transformers has none of the type {kind}.",
            "Choose one that answers questions on photos, for example {example}.",
            model=name,
            kind=getattr(config, "model_type", "?"),
            example=EXAMPLE,
        )
    return config


def _processor(name: str, folder: Path) -> ProcessorMixin:
    """The processor, tried on a question about a photo."""
    try:
        processor = AutoProcessor.from_pretrained(folder)
    except Exception as error:
        raise _no_processor(name, files.first_line(error)) from error
    parts = ("image_processor", "tokenizer")
    missing = [part for part in parts if getattr(processor, part, None) is None]
    if missing:
        raise _no_processor(name, ", ".join(missing))
    content = [{"type": "image"}, {"type": "text", "text": "Hi"}]
    try:
        processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    except Exception as error:
        raise LAV2Error(
            "The processor of {model} has no chat template that takes a photo and a question ({why}).",
            "Choose a model that was tuned for chat, for example {example}.",
            model=name,
            why=files.first_line(error),
            example=EXAMPLE,
        ) from error
    return processor


def _no_processor(name: str, why: str) -> LAV2Error:
    return LAV2Error(
        "{model} has no processor for photos and text that can be loaded ({why}).",
        "Give a folder or a repository with preprocessor_config.json and a tokenizer, and install what it asks for.",
        model=name,
        why=why,
    )


def _check_memory(name: str, folder: Path, dtype: torch.dtype, device: str, quantize: Quantize | None) -> None:
    """Refuses weights that do not fit, before they are loaded; small ones are not checked."""
    stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    each = {"8bit": 1.0, "4bit": 0.6}.get(quantize or "", float(dtype.itemsize))
    need, have = stored / 2 * each, preflight.free(device)  # most are stored in 16 bits
    if need > max(have, preflight.BIG_BYTES):
        raise LAV2Error(
            "The weights of {model} need about {need} GB; {device} has {have} GB free.",
            "Choose a smaller model, close other programs, or use --quantize on a GPU.",
            model=name,
            need=f"{need / 1e9:.1f}",
            device=device,
            have=f"{have / 1e9:.1f}",
        )


def _unreadable(name: str, folder: Path, error: Exception) -> LAV2Error:
    if files.is_out_of_memory(error) or isinstance(error, ModuleNotFoundError):
        return files.unreadable(folder, error, "")
    return LAV2Error(
        "transformers cannot load {model} ({why}).",
        "Give a folder or a repository of the Hub with config.json and safetensors of an image-text-to-text model, for "
        "example {example}.",
        model=name,
        why=files.first_line(error),
        example=EXAMPLE,
    )
