"""The command line: `lav2 COMMAND ...` or `python -m lav2 COMMAND ...`."""

from __future__ import annotations

import argparse
import sys

from lav2.cli import adapters, answers, evaluation, training
from lav2.errors import LAV2Error, missing_package
from lav2.experiments import command as experiments
from lav2.hub import command as hub
from lav2.hub import fetch
from lav2.options import Help
from lav2.recipe import command as recipe


def parser() -> argparse.ArgumentParser:
    """That of all commands; each puts a function of its options into `run`."""
    parser = argparse.ArgumentParser(prog="lav2", description=__doc__, formatter_class=Help)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for family in (answers, training, evaluation, adapters):
        family.add_commands(commands)
    recipe.add_command(commands)
    experiments.add_command(commands)
    hub.add_commands(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 a told failure, 2 wrong usage (argparse)."""
    options = parser().parse_args(arguments)
    options.arguments = sys.argv[1:] if arguments is None else arguments
    try:
        fetch.resolve(options)
        return options.run(options)
    except ModuleNotFoundError as error:
        return _report(missing_package(error))
    except LAV2Error as error:
        return _report(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _report(error: LAV2Error) -> int:
    print(f"error: {error.cause}\n  next: {error.next_step}", file=sys.stderr)
    return 1
