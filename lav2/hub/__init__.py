"""The Hugging Face Hub: Spaces and adapters go there by `python -m lav2 publish`; adapters come from there by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lav2 import config
from lav2.config import DEFAULT_PRESET

if TYPE_CHECKING:
    from lav2.assistant.service import Assistant


def from_pretrained(source: str, preset: str = DEFAULT_PRESET, **options: Any) -> Assistant:
    """An assistant with an adapter of the Hub, or of a folder, in place of the preset's adapter of its kind.

    Args:
        source: `OWNER/NAME`, `OWNER/NAME@REVISION`, or a folder.
        preset: whose frozen models and other adapter are used.
        options: as Assistant.load takes them (device, dtype, quantize ...).

    Raises:
        LAV2Error: it cannot be fetched, or belongs to another language model, tokenizer or image encoder.
    """
    from dataclasses import replace

    from lav2.assistant.service import Assistant
    from lav2.hub.fetch import adapter_folder
    from lav2.model import checkpoint

    folder = adapter_folder(source)
    if checkpoint.read_notes(folder).get("stage") in checkpoint.CAPTION_STAGES:
        settings = replace(config.preset(preset), caption_adapter=str(folder), caption_question="")
    else:
        settings = replace(config.preset(preset), adapter=str(folder))
    return Assistant.load(settings, **options)
