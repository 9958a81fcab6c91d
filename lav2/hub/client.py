"""Talk to the Hub: log in, make a repository, upload a folder. Failures are told with cause and next step, and the
access token stands in none of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from lav2.errors import LAV2Error

Kind = Literal["model", "space"]
WRITE = "Make a token with write access on https://huggingface.co/settings/tokens and run `hf auth login`."
DEFAULT_FILES = {"README.md", ".gitattributes"}  # files that the Hub itself puts into a new repository


def endpoint() -> str | None:
    """The Hub's address if it is another than huggingface.co."""
    return os.environ.get("HF_ENDPOINT") or None


def check_name(repository: str) -> None:
    """Whether it is OWNER/NAME as the Hub takes it.

    Raises:
        LAV2Error: it is not.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        if repository.count("/") != 1:
            raise HFValidationError("there has to be one slash")
        validate_repo_id(repository)
    except HFValidationError as error:
        raise LAV2Error(
            "{name} is not the name of a repository on the Hub ({why}).",
            "Give OWNER/NAME: letters, digits, -, _ and . only, 96 characters at most.",
            name=repository,
            why=str(error).splitlines()[0],
        ) from None


class Hub:
    """One repository of the Hub, with the user's token.

    Args:
        repository: OWNER/NAME.
        kind: `model` or `space`.

    Raises:
        LAV2Error: the name is none, there is no token, or the Hub does not know it.
    """

    def __init__(self, repository: str, kind: Kind):
        from huggingface_hub import HfApi, get_token

        check_name(repository)
        self.repository, self.kind = repository, kind
        self.token = get_token()
        if not self.token:
            raise LAV2Error("There is no access token of the Hugging Face Hub on this machine.", WRITE)
        self.api = HfApi(endpoint=endpoint(), token=self.token)
        try:
            self.api.whoami()
        except Exception as error:
            raise self.hub_error(error) from None

    @property
    def address(self) -> str:
        return f"{self.api.endpoint}/{'spaces/' if self.kind == 'space' else ''}{self.repository}"

    def files(self) -> list[str] | None:
        """Paths in the repository; None where there is no such repository (or it is hidden from this user)."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            return self.api.list_repo_files(self.repository, repo_type=self.kind)
        except RepositoryNotFoundError:
            return None
        except Exception as error:
            raise self.hub_error(error) from None

    def publish(self, folder: Path, mark: str, private: bool, hardware: str | None, message: str) -> str:
        """Make the repository if it is missing and make its files those of `folder`; returns the commit's address.

        An interrupted upload is taken up by the next call: what is on the Hub already is not sent again.

        Args:
            folder: all files, and nothing else.
            mark: a file that is in every repository of this kind that is ours; where others are without it, the
                repository is somebody's other work and stays as it is.
            private: of a new repository; one that is there keeps what its owner chose.
            hardware: of a Space; None leaves it to the Hub, or as it is.
            message: of the commit.

        Raises:
            LAV2Error: it failed; says why.
        """
        there = self.files()
        if there is not None and mark not in there and set(there) - DEFAULT_FILES:
            raise LAV2Error(
                "{name} holds something else: {count} files, and no {mark} among them.",
                "Give another name, or empty that repository first.",
                name=self.repository,
                count=len(there),
                mark=mark,
            )
        try:
            if there is None:
                space = {"space_sdk": "gradio", "space_hardware": hardware} if self.kind == "space" else {}
                self.api.create_repo(self.repository, repo_type=self.kind, private=private, **space)
            elif hardware:
                self.api.request_space_hardware(self.repository, hardware)
            commit = self.api.upload_folder(
                repo_id=self.repository,
                repo_type=self.kind,
                folder_path=folder,
                commit_message=message,
                delete_patterns=["*"] if there else None,  # files of an earlier version
            )
        except Exception as error:  # the client raises a dozen types, some of them not its own
            raise self.hub_error(error) from None
        return commit.commit_url

    def hub_error(self, error: Exception) -> LAV2Error:
        """The error to show; without the token, whoever put it into the message."""
        return hub_error(error, self.repository, self.token)


def hub_error(error: Exception, repository: str, token: str | None = None) -> LAV2Error:
    """What the user is told where a call of the Hub failed; the text never has the token.

    The chain of causes is cut by the callers (`from None`): a traceback would show headers and arguments.
    """
    root: BaseException | None = error
    response = None
    while root is not None and response is None:  # uploads wrap the answer of the server
        response, root = getattr(root, "response", None), root.__cause__ or root.__context__
    status = getattr(response, "status_code", None)
    why = _without(f"{type(error).__name__}: {_sentence(error)}", token)
    if status == 401:
        return LAV2Error(
            "The Hub does not accept the access token, or {name} does not exist ({why}).",
            "Run `hf auth login` again, and check the name.",
            name=repository,
            why=why,
        )
    if status == 403:
        return LAV2Error("The access token may not write to {name} ({why}).", WRITE, name=repository, why=why)
    if status == 404:
        return LAV2Error(
            "{name} was not found on the Hub ({why}).",
            "Check the name; a private or gated repository needs `hf auth login`.",
            name=repository,
            why=why,
        )
    if status == 402:
        return LAV2Error(
            "The Hub wants a paid plan for that ({why}).",
            "Leave --hardware away, or subscribe: ZeroGPU Spaces need PRO or an organisation's plan.",
            why=why,
        )
    if status is not None:
        return LAV2Error(
            "The Hub refused {name} with status {status} ({why}).",
            "Run the same command again; if it stays, look at https://status.huggingface.co.",
            name=repository,
            status=status,
            why=why,
        )
    return LAV2Error(
        "{name}: the Hub could not be reached, or the connection broke ({why}).",
        "Check the network and run the same command again: what is there already is not sent twice.",
        name=repository,
        why=why,
    )


def _sentence(error: Exception) -> str:
    """What the server said, else the first line of the message."""
    message = getattr(error, "server_message", None)
    return str(message or (str(error).strip().splitlines() or [""])[0])


def _without(text: str, token: str | None) -> str:
    return text.replace(token, "hf_…") if token else text
