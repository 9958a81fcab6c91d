"""A real server for tests, started with the network refused, and what a visitor does on its page."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from weakref import WeakKeyDictionary

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
PATIENCE = 240  # seconds for an answer or for loading, on a busy machine


@dataclass(frozen=True)
class Server:
    """`attempts` lists every attempt of the server to reach another machine; `printed` and
    `log` are its standard output and error."""

    address: str
    folder: Path

    @property
    def attempts(self) -> list[str]:
        path = self.folder / "network.txt"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def printed(self) -> str:
        return (self.folder / "printed.txt").read_text()

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text()


def _drain(printed: IO[str], file: Path) -> None:
    with file.open("a") as out:
        for line in printed:
            out.write(line)
            out.flush()


@contextmanager
def serve(
    folder: Path,
    *options: str,
    root: Path = ROOT,
    user: int | None = None,
    python: str = sys.executable,
    runner: Path = ROOT / "tests/quiet.py",
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
    command = [python, "-u", str(runner), str(folder / "network.txt"), "app.py", *options]
    with (folder / "log.txt").open("w") as out:
        who = {"user": user, "group": user, "extra_groups": []} if user is not None else {}
        server = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=out, text=True, env=settings, **who)
    try:
        lines = []
        for line in server.stdout:
            lines.append(line)
            with (folder / "printed.txt").open("a") as out:
                out.write(line)
            if found := re.search(r"ready at (http://\S+)", line):
                rest = threading.Thread(target=_drain, args=(server.stdout, folder / "printed.txt"), daemon=True)
                rest.start()  # a full pipe would stop the server
                yield Server(found[1], folder)
                break
        else:
            pytest.fail(f"The server ended while starting:\n{''.join(lines)}{(folder / 'log.txt').read_text()}")
    finally:
        server.terminate()
        server.wait(PATIENCE)


def visitor(address: str, **options):
    """A program that asks as a visitor of its own, as patient as a page: by itself it gives up after five seconds."""
    from gradio_client import Client

    return Client(address, verbose=False, httpx_kwargs={"timeout": PATIENCE}, **options)


def chromium(play):
    from playwright.sync_api import expect

    expect.set_options(timeout=120_000)  # ms: a wait that passes costs nothing, however long it may last
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    return play.chromium.launch(executable_path=str(CHROMIUM), args=flags)


class Requests:
    """What a page asks the server for: `open` is under way, `begun` counts all. Without the heartbeat, which never
    ends, and without opening a page, which Playwright itself waits for."""

    def __init__(self, page):
        self.open, self.begun = set(), 0
        page.on("request", self._begin)
        for end in ("requestfinished", "requestfailed"):  # failed is also a stream that the page closes
            page.on(end, lambda request: self.open.discard(request))

    def _begin(self, request) -> None:
        if request.is_navigation_request():
            self.open.clear()
        elif "/heartbeat/" not in request.url and not request.url.startswith(("data:", "blob:")):
            self.open.add(request)
            self.begun += 1


REQUESTS: WeakKeyDictionary = WeakKeyDictionary()


def new_page(context, **options):
    """A page that is patient and whose requests are watched, as `settled` needs it."""
    page = context.new_page(**options)
    page.set_default_timeout(PATIENCE * 1000)
    REQUESTS[page] = Requests(page)
    return page


STILL = """([quiet, limit]) => new Promise((done) => {
    const start = performance.now();
    let last = start;
    const moved = new MutationObserver(() => { last = performance.now(); });
    moved.observe(document, { childList: true, subtree: true, characterData: true, attributes: true });
    const look = () => {
        const now = performance.now();
        const moving = (one) => one.playState === "running" && one.effect?.getComputedTiming().endTime < Infinity;
        if (document.getAnimations().some(moving)) last = now;
        if (now - last < quiet && now - start < limit) return setTimeout(() => requestIdleCallback(look), 50);
        moved.disconnect();
        done(now - last >= quiet);
    };
    look();
})"""  # looks when the page has nothing to do, so that a busy machine only makes it take longer


def working(page) -> bool:
    """Whether a request is under way."""
    return bool(REQUESTS[page].open)


def settled(page) -> None:
    """Until the page has nothing more to do: no request is under way, and nothing has changed or moved since a moment
    after the last. What it shows now, it goes on showing; what it was told to do has been done."""
    requests, end = REQUESTS[page], time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if requests.open:
            page.wait_for_timeout(100)
            continue
        begun = requests.begun
        if page.evaluate(STILL, [400, PATIENCE * 1000]) and not requests.open and requests.begun == begun:
            return
    pytest.fail(f"The page does not stand still; under way: {[request.url for request in requests.open]}")


def attach(page, file) -> None:
    """Adds a file to the question box of the tab that is open."""
    settled(page)
    with page.expect_file_chooser() as chooser:
        page.locator("button[aria-label='Upload a file']:visible").click()
    chooser.value.set_files(str(file))
    page.locator(".thumbnails:visible, .thumbnail-item:visible").first.wait_for()
    settled(page)


def question_box(page):
    return page.locator("textarea[data-testid=textbox]:visible").first


def send(page, question: str) -> None:
    """Asks in the tab that is open; does not wait for the answer."""
    from playwright.sync_api import expect

    settled(page)
    box = question_box(page)
    box.fill(question)
    expect(box).to_have_value(question)
    box.press("Enter")


def shorten(page, tokens=16) -> None:
    """Answers of few tokens, where what they say does not matter."""
    settled(page)
    page.locator("button.label-wrap:visible", has_text="Sampling").click()
    settled(page)
    page.locator("input[type=number][aria-label*='Longest answer']:visible").fill(str(tokens))


def answered(page) -> None:
    """Until what was asked is answered. The stop button is no sign of it: a quick answer shows it for no time."""
    settled(page)
    page.locator("button.submit-button:visible").first.wait_for()


LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def barriers(page, still=True) -> list[str]:
    """What axe finds on the page; before it stands `still`, what fades in has too little contrast on the way."""
    from axe_playwright_python.sync_playwright import Axe

    if still:
        settled(page)
    found = Axe().run(page, options={"runOnly": LEVELS}).response["violations"]
    return [f"{v['id']}: {v['help']}: {[node['html'][:150] for node in v['nodes'][:3]]}" for v in found]


def said(page) -> list[str]:
    """What the assistant said, one entry per bubble, without the fold about the experts and the verdict."""
    return page.locator("#chat .bot.message:not(:has(.lav2-verdict, .thought-group))").all_inner_texts()
