"""A real server for tests: started with the network refused, ended with the test module."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Server:
    """`attempts` lists every attempt of the server to reach another machine; `log` is all that it printed."""

    address: str
    folder: Path

    @property
    def attempts(self) -> list[str]:
        path = self.folder / "network.txt"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text()


@contextmanager
def serve(folder: Path, *options: str, root: Path = ROOT, **environment: str) -> Iterator[Server]:
    """The app in `root`, on a free port given by the environment; files of the run go to `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        **os.environ,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "LAV2_VOTES": str(folder / "votes"),
        **environment,
    }
    command = [sys.executable, "-u", str(ROOT / "tests/quiet.py"), str(folder / "network.txt"), "app.py", *options]
    with (folder / "log.txt").open("w") as out:
        server = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=out, text=True, env=settings)
    try:
        lines = []
        for line in server.stdout:
            lines.append(line)
            if found := re.search(r"ready at (http://\S+)", line):
                yield Server(found[1], folder)
                break
        else:
            pytest.fail(f"The server ended while starting:\n{''.join(lines)}{(folder / 'log.txt').read_text()}")
    finally:
        server.terminate()
        server.wait(30)
