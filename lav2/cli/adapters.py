"""The commands about adapters and presets: import, export, presets."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from lav2 import config
from lav2.options import add_options, command_parser


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    released = command_parser(commands, "import", "LLaMA in Meta's format and a released adapter file", run_import)
    released.add_argument("--llama-dir", type=Path, required=True, metavar="FOLDER",
                          help="Meta's, or one of transformers")  # fmt: skip
    released.add_argument("--adapter", type=Path, required=True, metavar="FILE",
                          help="BIAS-7B.pth, LORA-BIAS-7B.pth ...")  # fmt: skip
    released.add_argument("--out", required=True, metavar="FOLDER", help="or cache:PRESET for a preset")
    released.add_argument("--base", metavar="FOLDER", help="where the converted LLaMA goes, to be shared by imports "
                          "(default: OUT/llm)")  # fmt: skip
    released.add_argument("--clip", type=Path, metavar="FILE", help="of CLIP ViT-L/14 (default: open_clip fetches "
                          "OpenAI's)")  # fmt: skip
    released.add_argument("--clip-config", type=Path, metavar="FILE", help="open_clip model config of another tower "
                          "(.json)")  # fmt: skip
    released.add_argument("--projector-heads", type=int, default=config.ProjectorConfig.heads, metavar="N",
                          help="attention heads of the visual projection")  # fmt: skip
    released.add_argument("--prompt-length", type=int, default=config.RELEASED_PROMPT_LENGTH, metavar="N",
                          help="of a text-only adapter")  # fmt: skip

    export = command_parser(commands, "export", "an adapter in float16, for shipping", run_export)
    export.add_argument("adapter", type=Path, help="folder of a training run")
    export.add_argument("out", type=Path, help="folder to write")
    export.add_argument("--mean", type=Path, metavar="FOLDER", help="of another state of the same training: the mean "
                        "of both is written")  # fmt: skip

    presets = command_parser(commands, "presets", "the presets and their sources", run_presets)
    add_options(presets, config.Placing, only=("device",))


def run_import(options: argparse.Namespace) -> int:
    """`python -m lav2 import`: a released LLaMA-Adapter file as a folder of this project."""
    from lav2.convert.released import import_released
    from lav2.model.vision import clip_settings
    from lav2.weights import destination

    vision = config.CLIP_VIT_L_14_BGR
    if options.clip:
        vision = replace(vision, weights=str(options.clip.resolve()))
    if options.clip_config:
        vision = clip_settings(vision, str(options.clip_config.resolve()))
    out = destination(options.out)
    import_released(
        options.llama_dir,
        options.adapter,
        out,
        base=destination(options.base) if options.base else None,
        vision=vision,
        projector_heads=options.projector_heads,
        prompt_length=options.prompt_length,
        report=lambda line: print(line, file=sys.stderr),
    )
    name = options.out.removeprefix("cache:")
    known = options.out.startswith("cache:") and name in config.RELEASED
    choice = f"--preset {name}" if known else f"--preset llama-7b-bias --llm {out / 'llm'} --adapter {out}"
    print(f'Ask with: python -m lav2 ask PHOTO "QUESTION" {choice}', file=sys.stderr)
    return 0


def run_export(options: argparse.Namespace) -> int:
    from lav2.model import checkpoint

    checkpoint.export(options.adapter, options.out, options.mean)
    return 0


def run_presets(options: argparse.Namespace) -> int:
    from lav2.model import preflight

    print(preflight.table(preflight.device(options.device)))
    return 0
