"""The commands about adapters and presets: import, export, presets."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from lav2 import config


def add_commands(commands: argparse._SubParsersAction) -> None:
    released = commands.add_parser("import", help="LLaMA in Meta's format and a released adapter file")
    released.add_argument("--llama-dir", type=Path, required=True, help="Meta's folder, or one of transformers")
    released.add_argument("--adapter", type=Path, required=True, help="BIAS-7B.pth, LORA-BIAS-7B.pth ...")
    released.add_argument("--out", required=True, help="folder, or cache:PRESET for a preset")
    released.add_argument("--base", help="where the converted LLaMA goes, to be shared by imports (default: OUT/llm)")
    released.add_argument("--clip", type=Path, help="file of CLIP ViT-L/14 (default: open_clip fetches OpenAI's)")
    released.add_argument("--clip-config", type=Path, help="open_clip model config of another tower (.json)")
    released.add_argument("--projector-heads", type=int, default=16, help="attention heads of the visual projection")
    released.add_argument("--prompt-length", type=int, default=10, help="prompt length of a text-only adapter")
    released.set_defaults(run=run_import)

    export = commands.add_parser("export", help="an adapter in float16, for shipping")
    export.add_argument("adapter", type=Path, help="folder of a training run")
    export.add_argument("out", type=Path)
    export.set_defaults(run=run_export)

    presets = commands.add_parser("presets", help="the presets and their sources")
    presets.add_argument("--device", help="cpu, cuda (default: what is there)")
    presets.set_defaults(run=run_presets)


def run_import(options: argparse.Namespace) -> int:
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

    checkpoint.export(options.adapter, options.out)
    return 0


def run_presets(options: argparse.Namespace) -> int:
    from lav2.model import preflight

    print(preflight.table(preflight.device(options.device)))
    return 0
