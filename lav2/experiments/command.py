"""`python -m lav2 experiment`: the command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lav2.errors import LAV2Error
from lav2.experiments.claims import EXPERIMENTS


def add_command(commands: Any) -> None:
    """Put `experiment` among the commands of the command line."""
    parser = commands.add_parser("experiment", help="train arms that differ in one thing, and compare them")
    parser.add_argument("experiment", choices=tuple(EXPERIMENTS))
    parser.add_argument("--data", type=Path, help="folder with captions.jsonl, boxes.jsonl, qa/, photos/ ...; beside "
                        "it everyday/")  # fmt: skip
    parser.add_argument("--out", type=Path, help="folder of the runs and tables; the same command goes on in it after "
                        "an interruption")  # fmt: skip
    parser.add_argument("--arms", help="names with commas (default: all)")
    parser.add_argument("--seeds", default="0,1", help="numbers with commas (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="optimiser steps of each run (default: the experiment's)")
    parser.add_argument("--llm", help="another LLaMA-family model of transformers, by name or folder")
    parser.add_argument("--list", action="store_true", help="only tell the arms, and how far they are in --out")
    parser.add_argument("--dry-run", action="store_true", help="only tell what is left, in hours and memory")
    parser.add_argument("--cache", type=Path, help="folder of cached image features (default: the user's cache)")
    parser.add_argument("--device", help="cpu, cuda (default: what is there)")
    parser.set_defaults(run=run_command)


def run_command(options: argparse.Namespace) -> int:
    """`python -m lav2 experiment`."""
    from lav2.experiments import run

    experiment = EXPERIMENTS[options.experiment]
    seeds = _seeds(options.seeds)
    arms = run.choose_arms(experiment, options.arms.split(",") if options.arms else None)
    if options.list:
        print(run.table(experiment, options.out, seeds))
        return 0
    if options.data is None or options.out is None:
        raise LAV2Error("An experiment needs --data and --out.", "Give both, or --list to see its arms.")
    steps = experiment.steps if options.steps is None else options.steps
    if steps < 2:
        raise LAV2Error("steps is {steps}.", "Give at least 2: one of captions, one of questions.", steps=steps)
    preset = experiment.preset
    if options.llm:
        from lav2.model.llm import preset_on

        preset = preset_on(preset, options.llm)
    cache = options.cache.resolve() if options.cache else None
    plan = run.Plan(experiment, preset, options.data.resolve(), options.out.resolve(), arms, seeds, steps,
                    options.device, cache)  # fmt: skip
    print(run.plan_table(plan) if options.dry_run else run.run(plan))
    return 0


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        raise LAV2Error("The seeds {text} are no numbers with commas.", "Give them as 0,1.", text=text) from None
