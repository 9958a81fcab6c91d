"""Options made from dataclasses: one place for a default, help for every option, earlier names with a notice."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from lav2.cli.main import parser
from lav2.config import Models, Placing
from lav2.evaluation.settings import CaptionsConfig, EvaluationConfig, RowsConfig
from lav2.events import Sampling
from lav2.options import Help, add_options, chosen, setting
from lav2.training.settings import EncoderConfig, PhrasesConfig, RunConfig, TrainConfig


@dataclass(frozen=True)
class Toy:
    """What a toy does. The rest is not told."""

    out: Path = setting(help="where it goes")
    many: int = setting(3, "how many", option="--count", earlier=("--number",))
    rate: float | None = setting(None, "how fast (default: as it likes)")
    kinds: tuple[Literal["a", "b"], ...] = setting(("a", "b"), "which")
    loud: bool = setting(False, "with noise")
    inner: str = "no option"


@pytest.fixture
def toy():
    made = argparse.ArgumentParser(prog="toy", formatter_class=Help)
    add_options(made, Toy)
    return made


def test_a_dataclass_is_made_from_the_options_with_its_own_types_and_defaults(toy):
    assert chosen(Toy, toy.parse_args(["--out", "x"])) == Toy(Path("x"))
    given = ["--out", "x", "--count", "5", "--rate", "0.5", "--kinds", "b", "--loud"]
    assert chosen(Toy, toy.parse_args(given)) == Toy(Path("x"), 5, 0.5, ("b",), True)


@pytest.mark.parametrize("wrong", [[], ["--out", "x", "--kinds", "c"], ["--out", "x", "--count", "many"]])
def test_what_is_missing_or_of_another_type_is_refused(toy, wrong, capsys):
    with pytest.raises(SystemExit):
        toy.parse_args(wrong)
    assert "usage: toy --out PATH [options]" in capsys.readouterr().err


def test_an_earlier_name_sets_the_same_field_with_a_notice_and_is_not_in_the_help(toy, capsys):
    assert chosen(Toy, toy.parse_args(["--out", "x", "--number", "7"])).many == 7
    assert "--number is now called --count" in capsys.readouterr().err
    assert "--number" not in toy.format_help()


def test_the_help_names_the_group_by_the_docstring_and_tells_defaults_once(toy):
    printed = toy.format_help()
    assert "what a toy does:" in printed and "how many (default: 3)" in printed and "which (default: a b)" in printed
    assert "default: False" not in printed and printed.count("as it likes") == 1 and "inner" not in printed


def commands(top):
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield command
                yield from commands(command)


def test_every_option_of_every_command_tells_what_it_is_and_each_help_can_be_printed():
    every = list(commands(parser()))
    assert len(every) >= 18
    silent = [(command.prog, action.option_strings[0]) for command in every for action in command._actions
              if action.option_strings and not action.help]  # fmt: skip
    assert silent == []
    assert all(command.format_help().startswith(f"usage: {command.prog}") for command in every)


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ("train --stage joint --data x --out y", TrainConfig(stage="joint")),
        ("train --stage joint --data x --out y", RunConfig()),
        ("phrases x --adapter y", PhrasesConfig()),
        ("encoder x --out y", EncoderConfig()),
        ("ask x y", Sampling()),
        ("ask x y", Models()),
        ("ask x y", Placing()),
        ("evaluate vqa x --out y", EvaluationConfig()),
        ("evaluate vqa x --out y", CaptionsConfig()),
        ("examine x --out y", RowsConfig()),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_commands_defaults_are_those_of_its_dataclass(command, settings):
    assert chosen(type(settings), parser().parse_args(command.split())) == settings
