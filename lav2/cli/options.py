"""What options of several commands mean: preset, assistant, experts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experts.registry import EXPERT_NAMES
from lav2 import config
from lav2.options import chosen

CAPTION_QUESTION = "Describe the photo in one sentence."  # to a chat adapter that has no captioner beside it


def load_assistant(options: argparse.Namespace):
    """The assistant that a command's options ask for.

    Raises:
        LAV2Error: as Assistant.load.
    """
    from lav2.assistant.service import Assistant

    return Assistant.load(
        chosen_preset(options, options.adapter),
        detector=getattr(options, "detector", None),
        **vars(chosen(config.Placing, options)),
        report=lambda line: print(line, file=sys.stderr),
    )


def chosen_preset(options: argparse.Namespace, adapter: str | None = None) -> config.Preset:
    """The preset, on the language model of --llm and with the adapter of --adapter where they are given.

    An adapter takes the place of the preset's adapter of its kind, that of the captioner where captions are asked for,
    and on another language model that of both.
    """
    preset = config.preset(options.preset)
    if options.llm:
        from lav2.model.llm import preset_on

        preset = preset_on(preset, options.llm)
    if adapter:
        from lav2.model.checkpoint import CAPTION_STAGES, read_notes

        captions = read_notes(Path(adapter)).get("stage") in CAPTION_STAGES
        if captions or options.llm or options.command == "caption":
            question = "" if captions else preset.caption_question or CAPTION_QUESTION
            preset = replace(preset, caption_adapter=adapter, caption_question=question)
        if options.llm or not captions:
            preset = replace(preset, adapter=adapter)
    return preset


def add_experts(command: argparse.ArgumentParser, text: str, names: Sequence[str] = EXPERT_NAMES) -> None:
    """The option --experts; `names` look where it is not given."""
    command.add_argument("--experts", default=",".join(names), metavar="NAMES", help=text)


def expert_names(text: str) -> tuple[str, ...]:
    return () if text.strip() in ("", "none") else tuple(name.strip() for name in text.split(","))
