"""What the server does besides answering: its port, its folder of temporary files, how it ends. No torch."""

from __future__ import annotations

import atexit
import errno
import fcntl
import functools
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lav2.errors import LAV2Error, Unavailable, missing_package
from lav2.options import setting

if TYPE_CHECKING:
    from starlette.responses import Response

PREFIX, LOCK = "lav2-app-", "in-use.lock"
STALE = 30  # seconds after which an upload that nothing was added to was cut off
_answers: set[threading.Event] = set()  # of the answers that are being written
_ending = threading.Event()
_changed = threading.Condition()


@dataclass(frozen=True)
class Serving:
    """Where the page is served."""

    host: str | None = setting(None, "address to listen on (default: $GRADIO_SERVER_NAME or 127.0.0.1)")
    port: int | None = setting(None, "(default: $GRADIO_SERVER_PORT, or the first free from 7860)")
    share: bool = setting(False, "also a public link through Gradio's tunnel")
    mcp: bool = setting(False, "also serve the endpoints as MCP tools, under /gradio_api/mcp/ (default: $LAV2_MCP)")
    log: str | None = setting(
        None, "append a JSON line an answer to this file (-: standard error): seconds and counts, no photo or text",
        metavar="FILE",
    )  # fmt: skip


def check_port(host: str | None, port: int | None) -> None:
    """Whether the server will be able to listen, before anything is loaded. Without a port Gradio looks for a free one.

    Args:
        host, port: of the command line; in their place $GRADIO_SERVER_NAME and $GRADIO_SERVER_PORT.

    Raises:
        LAV2Error: the port is in use, may not be used, or the host is not of this machine.
    """
    host = host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    given = port if port is not None else os.environ.get("GRADIO_SERVER_PORT")
    if not given:
        return
    try:
        port = int(given)
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as uvicorn does
            probe.bind(address)
    except (OSError, ValueError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise LAV2Error(
            f"The server cannot listen on {host}, port {given} ({why}).",
            "Choose another --port or --host, or stop what uses it.",
        ) from error


def private_folder() -> Path:
    """A new folder for this process' temporary files (photos that were sent), which nobody else can read.

    It lies in $GRADIO_TEMP_DIR or the system's folder for temporary files, and goes when the process ends; what killed
    processes left there goes now.
    """
    parent = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(PREFIX + "*"):
        _purge_if_dead(left)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))  # 0700
    lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # held until the process ends, however it does
    owner = os.getpid()
    atexit.register(lambda: purge(folder) if os.getpid() == owner else None)  # not at the end of a forked child
    return folder


def purge(folder: Path) -> None:
    """Delete a folder of temporary files."""
    shutil.rmtree(folder, ignore_errors=True)


def _purge_parts() -> None:
    """Delete what Gradio leaves of uploads that were cut off: files beside the folders of whole ones."""
    folder = Path(os.environ.get("GRADIO_TEMP_DIR", ""))
    if not folder.name.startswith(PREFIX):  # another program's files may lie there
        return
    for part in folder.glob("tmp*"):
        try:
            if part.is_file() and time.time() - part.stat().st_mtime > STALE:
                part.unlink()
        except OSError:
            continue


def _purge_if_dead(folder: Path) -> None:
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return
        lock = os.open(folder / LOCK, os.O_RDWR)
    except OSError:  # just being made or purged
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # its process lives
        return
    finally:
        os.close(lock)
    purge(folder)


def tell_missing_packages() -> None:
    """End the program with how to install a package that cannot be imported, in place of a trace."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        try:
            if isinstance(error, ModuleNotFoundError):
                error = missing_package(error)
        except ModuleNotFoundError:  # a module of our own
            pass
        if isinstance(error, LAV2Error):
            print(f"error: {error}", file=sys.stderr)
        else:
            before(kind, error, trace)

    sys.excepthook = hook


def exit_on_sigterm() -> None:
    """Let SIGTERM end the program as the end of main() does: answers end, folders go."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def stoppable(
    answer: Callable[[Any, threading.Event], Iterator[Any]],
) -> Callable[..., Generator[Any, None, None]]:
    """A function of a request and the event that stops it, whose answers `stop_answers` ends early."""

    @functools.wraps(answer)
    def wrapped(request: Any, run: threading.Event) -> Generator[Any, None, None]:
        if _ending.is_set():
            raise Unavailable("The app is shutting down.", "Ask again in a moment.")
        with _changed:
            _answers.add(run)
        try:
            yield from answer(request, run)
        finally:
            with _changed:
                _answers.discard(run)
                _changed.notify_all()

    return wrapped


def ending() -> bool:
    """Whether `stop_answers` was called: no further answer begins."""
    return _ending.is_set()


def stop_answers(seconds: float = 4.0) -> None:
    """End all answers with what was said, and let none begin; waits at most so long until they have ended."""
    _ending.set()
    with _changed:
        for run in _answers:
            run.set()
        _changed.wait_for(lambda: not _answers, seconds)
    time.sleep(0.3)  # the last words are on their way


def disk_full(request: Any, error: OSError) -> Response:
    """A handler of Starlette for OSError: what a full disk means to who sends a photo.

    Raises:
        OSError: `error` itself, where it is another.
    """
    from starlette.responses import PlainTextResponse

    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        raise error
    _purge_parts()
    text = "There is no room left on the server's disk for this file. Try again later, or free some space there."
    return PlainTextResponse(text, status_code=507)
