"""`python -m lav2 publish space | adapter`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from lav2.config import Models
from lav2.errors import LAV2Error
from lav2.hub import client, rules
from lav2.options import add_options, command_parser


def add_commands(commands: argparse._SubParsersAction) -> None:
    publish = commands.add_parser("publish", help="a Space or an adapter onto the Hugging Face Hub")
    what = publish.add_subparsers(dest="what", required=True)

    space = command_parser(what, "space", "this project as a Space", run_space)
    space.add_argument("repository", metavar="OWNER/NAME")
    space.add_argument("--hardware", choices=rules.HARDWARE, help="(default: the Hub's, cpu-basic)")
    space.add_argument("--folder", type=Path, help="write the files there, for `git push`, and send nothing")

    adapter = command_parser(what, "adapter", "an adapter that others load with --adapter OWNER/NAME", run_adapter)
    adapter.add_argument("adapter", metavar="FOLDER", type=Path)
    adapter.add_argument("repository", metavar="OWNER/NAME")
    adapter.add_argument("--base-model", help="the frozen language model on the Hub (default: as the adapter says)")
    adapter.add_argument("--licence", help="the Hub's identifier (default: of the front matter of README.md)")
    adapter.add_argument("--datasets", nargs="+", default=(), help="names on the Hub (default: likewise)")
    adapter.add_argument("--scores", type=Path, nargs="+", default=(), help="files of `python -m lav2 evaluate`")
    add_options(adapter, Models, only=("preset",))

    for command in (space, adapter):
        command.add_argument("--public", action="store_true", help="a new repository is private without it")
        command.add_argument("--dry-run", action="store_true", help="show what would be sent, check it, send nothing")


def run_space(options: argparse.Namespace) -> int:
    """`python -m lav2 publish space`: the files of a Space, checked, then to a folder or the Hub.

    Raises:
        LAV2Error: the Hub would refuse them, or the upload failed.
    """
    from lav2.hub import space

    client.check_name(options.repository)
    plan = space.plan(hardware=options.hardware)
    if options.dry_run:
        print(space.report(plan))
        return int(bool(plan.wrong))
    if plan.wrong:
        raise LAV2Error(
            "The Space would not do: {first}",
            "See all of it with --dry-run, and mend it.",
            first=plan.wrong[0],
        )
    if options.folder:
        plan.stage(options.folder, link=False)
        print(f"{len(plan.sizes())} files in {options.folder}; how to push them: docs/spaces.md")
        return 0
    hub = client.Hub(options.repository, "space")
    with tempfile.TemporaryDirectory() as folder:
        plan.stage(Path(folder), link=True)
        hub.publish(Path(folder), space.MARK, not options.public, options.hardware, "Publish LAV2")
    print(hub.address)
    return 0


def run_adapter(options: argparse.Namespace) -> int:
    """`python -m lav2 publish adapter`: an adapter's folder with its card, to a folder or the Hub."""
    from lav2.hub import adapter

    client.check_name(options.repository)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sizes = adapter.stage(
            options.adapter, folder, options.repository, base=options.base_model, licence=options.licence,
            datasets=options.datasets, scores=options.scores, preset=options.preset,
        )  # fmt: skip
        if options.dry_run:
            print(adapter.report(sizes, (folder / "README.md").read_text(encoding="utf-8")))
            return 0
        hub = client.Hub(options.repository, "model")
        hub.publish(folder, adapter.MARK, not options.public, None, "Publish an adapter of LAV2")
    print(hub.address)
    print(f"Others load it with --adapter {options.repository}", file=sys.stderr)
    return 0
