"""Settings as dataclasses, and a command line's options made from them: a default and its help stand once, in a field.

`setting` makes a field, `add_options` the options of a parser, `chosen` the dataclass from what was given. The option
of `prompt_lr` is --prompt-lr. Types: str, int, float, Path, bool (a switch), Literal (choices), tuple of one of them
(several values), each of them or None. No torch.
"""

from __future__ import annotations

import argparse
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
VALUE_NAMES = {int: "N", float: "X", Path: "PATH"}  # of a value in the help, where its field names no other


def setting(
    default: Any = MISSING,
    help: str = "",
    *,
    option: str | None = None,
    earlier: tuple[str, ...] = (),
    metavar: str | None = None,
    required: bool = False,
) -> Any:
    """A dataclass field that is an option too.

    Args:
        default: of the field and the option; without one the option is required.
        help: what it is, without the default, which is told behind it. Of a default of None: what is done then.
        option: its name, such as --pack, where it is not that of the field.
        earlier: names that it had; they are taken with a notice.
        metavar: what a value of it is called in the help.
        required: the option must be given, whatever the field's default.
    """
    metadata = {"help": help, "option": option, "earlier": earlier, "metavar": metavar}
    return field(default=default, metadata=metadata | {"required": required or default is MISSING})


def add_options(
    parser: argparse.ArgumentParser,
    settings: type,
    only: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    changed: Mapping[str, Any] | None = None,
) -> None:
    """Put a dataclass' settings among a parser's options, in a group that its docstring's first sentence names.

    Args:
        only, without: names of fields; all those that `setting` made by default.
        changed: defaults of this parser, by field, in place of the dataclass': of the environment.
    """
    group = parser.add_argument_group((settings.__doc__ or settings.__name__).partition(".")[0].lower())
    hints = get_type_hints(settings)
    for entry in fields(settings):
        if "help" in entry.metadata and (entry.name in only if only else entry.name not in without):
            _add(group, entry, hints[entry.name], (changed or {}).get(entry.name, entry.default))


def _add(group: Any, made: Field[Any], hint: Any, default: Any) -> None:
    about = made.metadata
    name = about["option"] or f"--{made.name.replace('_', '-')}"
    more = {"dest": made.name, **_value(hint, about["metavar"])}
    required = {"required": True} if about["required"] else {"default": default}
    group.add_argument(name, help=about["help"], **more, **required)
    for old in about["earlier"]:
        add_renamed(group, old, name, **more)


def _value(hint: Any, metavar: str | None) -> dict[str, Any]:
    """What argparse is to know of a value of that type."""
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if hint is bool:
        return {"action": "store_true"}
    if get_origin(hint) is tuple:
        return {"nargs": "+", **_value(get_args(hint)[0], metavar)}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    named = metavar or VALUE_NAMES.get(hint)
    return {"type": hint, **({"metavar": named} if named else {})}


def chosen(settings: Callable[..., T], options: argparse.Namespace, **values: Any) -> T:
    """The dataclass as the options say, those of its fields that are among them; `values` take their place."""
    names = [entry.name for entry in fields(settings)]  # type: ignore[arg-type]  # a dataclass, whose type is T
    given = {name: getattr(options, name) for name in names if hasattr(options, name)}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return settings(**given | values)


class Renamed(argparse.Action):
    """An option's value under its earlier name, with a notice. `const` is the new name."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        print(f"{option_string} is now called {self.const}; the old name will go.", file=sys.stderr)
        setattr(namespace, self.dest, values)


def add_renamed(parser: Any, old: str, new: str, **about: Any) -> None:
    """An option under its earlier name; `about`: `dest` and what argparse knows of a value."""
    parser.add_argument(old, action=Renamed, const=new, help=argparse.SUPPRESS, default=argparse.SUPPRESS, **about)


class Help(argparse.HelpFormatter):
    """Usage with what must be given, the rest as [options]; defaults behind each option's help."""

    def __init__(self, prog: str, **more: Any):
        super().__init__(prog, max_help_position=28, **more)

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        if usage is None and prefix is None:  # else argparse makes the name of a command
            rest = argparse.Action([], "options", nargs="?", metavar="options")
            needed = [action for action in actions if action.required or not action.option_strings]
            actions, groups = [*needed, rest], []
        super().add_usage(usage, actions, groups, prefix)

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", action.default
        switch = action.nargs == 0
        if not action.option_strings or action.required or switch or default in (None, "", argparse.SUPPRESS, []):
            return text
        shown = " ".join(map(str, default)) if isinstance(default, list | tuple) else default
        return f"{text} (default: {shown})".strip().replace("%", "%%")


def command_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    run: Callable[[argparse.Namespace], int | None],
) -> argparse.ArgumentParser:
    """A command's parser; `text` says what it is for, in the list of commands and above its own help."""
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", formatter_class=Help)
    parser.set_defaults(run=run)
    return parser
