"""`python -m lav2 recipe`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lav2 import config
from lav2.errors import LAV2Error
from lav2.options import add_options, command_parser
from lav2.recipe.embedded import RECIPES
from lav2.recipe.estimate import plan, table
from lav2.recipe.runs import make
from lav2.recipe.stage import Run


def add_command(commands: Any) -> None:
    """Put `recipe` among the commands of the command line."""
    parser = command_parser(commands, "recipe", "make a preset's weights from nothing, stage by stage", run_command)
    parser.add_argument("recipe", choices=tuple(RECIPES))
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="with captions.jsonl, boxes.jsonl, qa/, photos/")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="of the stages and of manifest.json; the same "
                        "command goes on in it after an interruption")  # fmt: skip
    parser.add_argument("--from", dest="start", metavar="STAGE", help="make this stage and all behind it anew; what "
                        "they made is deleted")  # fmt: skip
    parser.add_argument("--evaluate", action="store_true", help="score captions of the split val at the end")
    parser.add_argument("--list", action="store_true", help="only tell the stages, and how far they are in --out")
    parser.add_argument("--dry-run", action="store_true", help="only tell what is left, in hours and memory")
    add_options(parser, config.Models, only=("llm",))
    add_options(parser, Run)


def run_command(options: argparse.Namespace) -> int:
    """`python -m lav2 recipe`."""
    recipe = RECIPES[options.recipe]
    if options.list:
        print(table(recipe, options.out))
        return 0
    if options.data is None or options.out is None:
        raise LAV2Error("A recipe needs --data and --out.", "Give both, or --list to see its stages.")
    preset = recipe.preset
    if options.llm:
        from lav2.model.llm import preset_on

        preset = preset_on(preset, options.llm)
    cache = options.cache.resolve() if options.cache else None
    run = Run(recipe, preset, options.data.resolve(), options.out.resolve(), options.seed, options.device, cache)
    if options.dry_run:
        print(plan(run, options.evaluate))
        return 0
    make(run, options.start, options.evaluate)
    print(table(recipe, run.out))
    return 0
