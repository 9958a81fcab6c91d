"""A real server for tests, started with the network refused, and what a visitor does on its page."""

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
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
PATIENCE = 240  # seconds for an answer or for loading, on a busy machine


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
def serve(
    folder: Path,
    *options: str,
    root: Path = ROOT,
    user: int | None = None,
    python: str = sys.executable,
    **environment: str,
) -> Iterator[Server]:
    """The app in `root`, on a free port given by the environment, as `user`; files of the run go to `folder`."""
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
    command = [python, "-u", str(ROOT / "tests/quiet.py"), str(folder / "network.txt"), "app.py", *options]
    with (folder / "log.txt").open("w") as out:
        who = {"user": user, "group": user, "extra_groups": []} if user is not None else {}
        server = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=out, text=True, env=settings, **who)
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


def chromium(play):
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    return play.chromium.launch(executable_path=str(CHROMIUM), args=flags)


def attach(page, file) -> None:
    """Adds a file to the question box of the tab that is open."""
    with page.expect_file_chooser() as chooser:
        page.locator("button[aria-label='Upload a file']:visible").click()
    chooser.value.set_files(str(file))
    page.wait_for_selector(".thumbnails:visible, .thumbnail-item:visible")


def send(page, question: str) -> None:
    box = page.locator("textarea[data-testid=textbox]:visible").first
    box.fill(question)
    box.press("Enter")


def shorten(page, tokens=16) -> None:
    """Answers of few tokens, where what they say does not matter."""
    page.locator("button.label-wrap:visible", has_text="Sampling").click()
    page.locator("input[type=number][aria-label*='Longest answer']:visible").fill(str(tokens))


def answered(page) -> None:
    page.wait_for_selector("button.stop-button:visible")
    page.wait_for_selector("button.submit-button:visible")


def settled(page) -> None:
    """Until the conversation has stood still for a second: what comes with an answer's end closes a box to edit in."""
    before = None
    for _ in range(PATIENCE):
        now = page.locator("#chat").inner_html()
        if now == before:
            return
        before = now
        page.wait_for_timeout(1000)
    pytest.fail("The conversation does not stand still.")


def said(page) -> list[str]:
    """What the assistant said, one entry per bubble, without the fold about the experts and the verdict."""
    return page.locator("#chat .bot.message:not(:has(.lav2-verdict, .thought-group))").all_inner_texts()
