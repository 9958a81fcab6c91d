"""An adapter by its name on the Hub: the config first, which tells whether it is one, then the tensors."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from lav2.errors import LAV2Error
from lav2.hub import client

NAME = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")
COMMANDS = ("ask", "batch", "caption", "replay", "evaluate", "examine", "train")  # that take an adapter to read
OPTIONS = ("adapter", "caption_adapter", "init")


def is_name(source: str) -> bool:
    """Whether it means a repository of the Hub, OWNER/NAME or OWNER/NAME@REVISION, and nothing on this machine."""
    path = Path(source).expanduser()
    return bool(NAME.fullmatch(source)) and not path.exists() and not path.parent.is_dir()


def resolve(options: argparse.Namespace) -> None:
    """Put folders in place of names on the Hub, in the options of a command that reads adapters.

    Raises:
        LAV2Error: one cannot be fetched, or is no adapter.
    """
    if options.command == "phrases" and is_name(options.adapter):
        raise LAV2Error(
            "phrases writes into the folder of the adapter, and {name} is none.",
            "Get it first: hf download {name} --local-dir FOLDER.",
            name=options.adapter,
        )
    for option in OPTIONS if options.command in COMMANDS else ():
        given = getattr(options, option, None)
        if given is not None and is_name(str(given)):
            setattr(options, option, type(given)(adapter_folder(str(given))))


def adapter_folder(source: str) -> Path:
    """The folder of an adapter: of the Hub's cache for a name, else as lav2.weights finds it.

    Raises:
        LAV2Error: it cannot be fetched, or is no adapter of this project.
    """
    from lav2 import weights
    from lav2.model import checkpoint

    if not is_name(source):
        return weights.find(source)
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    from lav2.hub.adapter import ENCODER

    repository, revision = NAME.fullmatch(source).groups()
    client.check_name(repository)
    version = {"revision": revision, "endpoint": client.endpoint()}
    try:
        config = hf_hub_download(repository, checkpoint.CONFIG, **version)
        checkpoint.read_notes(Path(config).parent)  # somebody's whole language model is not fetched first
        names = [checkpoint.CONFIG, checkpoint.TENSORS, *checkpoint.BESIDE, ENCODER]
        return Path(snapshot_download(repository, allow_patterns=names, **version))
    except LAV2Error as error:
        raise _no_adapter(repository, error.cause) from None
    except RemoteEntryNotFoundError:
        raise _no_adapter(repository, f"there is no {checkpoint.CONFIG}") from None
    except Exception as error:  # the client raises a dozen types
        raise _unreached(error, repository) from None


def _no_adapter(repository: str, why: str) -> LAV2Error:
    return LAV2Error(
        "{name} on the Hub is no adapter of this project: {why}",
        "Give a repository that `python -m lav2 publish adapter` made, or a folder.",
        name=repository,
        why=why,
    )


def _unreached(error: Exception, repository: str) -> LAV2Error:
    """As for uploads, and that a folder may have been meant."""
    from huggingface_hub import get_token

    reported = client.hub_error(error, repository, get_token())
    return LAV2Error(
        "There is no folder {name}, and the Hub does not give it either: {why}",
        "Check the path or the name. {step}",
        name=repository,
        why=reported.cause,
        step=reported.next_step,
    )
