"""Options that several commands have, and what they mean: preset, assistant, experts."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from lav2 import config

CAPTION_QUESTION = "Describe the photo in one sentence."  # to a chat adapter that has no captioner beside it
QUANTIZE_HELP = "weights of the language model, by bitsandbytes; on the CPU 8bit is the engine's (default: as --dtype)"
DTYPE_HELP = "(default: bfloat16, float16 on a GPU that has none)"
LLM_HELP = "another LLaMA-family model of transformers, by name or folder (LLaMA, SmolLM2, Mistral, Qwen2, Qwen3 ...)"


def add_placing(*commands: argparse.ArgumentParser) -> None:
    """How the language model's weights are held."""
    for command in commands:
        command.add_argument("--quantize", choices=("8bit", "4bit"), help=QUANTIZE_HELP)
        command.add_argument("--device-map", choices=("auto",), help="the model over all GPUs, then memory, then disk")


class Renamed(argparse.Action):
    """An option's value under its earlier name, with a notice. `const` is the new name."""

    def __call__(self, parser, namespace, values, option_string=None):
        print(f"{option_string} is now called {self.const}; the old name will go.", file=sys.stderr)
        setattr(namespace, self.dest, values)


def load_assistant(options: argparse.Namespace):
    from lav2.assistant.service import Assistant

    return Assistant.load(
        chosen_preset(options, options.adapter),
        detector=getattr(options, "detector", None),
        device=options.device,
        dtype=options.dtype,
        quantize=options.quantize,
        device_map=options.device_map,
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


def expert_names(text: str) -> tuple[str, ...]:
    return () if text.strip() in ("", "none") else tuple(name.strip() for name in text.split(","))
