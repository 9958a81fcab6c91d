"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest
from live import CHROMIUM, chromium, new_page, serve, settled
from PIL import Image

if os.environ.get("LAV2_TEST_DEVICE", "cpu") == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before triton is imported: its kernels run on the CPU then

ROOT = Path(__file__).resolve().parent.parent
# Fixtures that a few test files ask for by `pytest_plugins`; other files import from them before.
pytest.register_assert_rewrite("hub_folders", "released_files", "scenes", "scripted")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data folder, which is not part of the repository."""
    folder = Path(os.environ.get("LAV2_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the shared data: no folder {folder}; set LAV2_SHARED to where it lies")
    return folder


@pytest.fixture(scope="session")
def bus() -> Image.Image:
    """The photo of a bus and people that the ultralytics package carries, RGB, 810 x 1080."""
    from importlib.util import find_spec

    package = Path(find_spec("ultralytics").origin).parent  # found without importing it
    return Image.open(package / "assets" / "bus.jpg").convert("RGB")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for all tests in a browser."""
    with serve(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def address(server):
    return server.address


@pytest.fixture(scope="module")  # no longer: where Playwright runs, asyncio.run() refuses to
def browser():
    if not CHROMIUM.exists():
        pytest.skip(f"needs Chromium: there is none at {CHROMIUM}; install it or set CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = chromium(play)
        yield started
        started.close()


@pytest.fixture
def open_page(browser, address):
    """Opens the app as one visitor: own cookies, own session. In the end no other machine may have been asked."""
    contexts, foreign = [], []

    def start(width=1366, height=900, scheme="light", language="en-GB", address=address):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, locale=language)
        contexts.append(context)
        page = new_page(context)
        ours = (address, "data:", "blob:")
        page.on("request", lambda request: None if request.url.startswith(ours) else foreign.append(request.url))
        page.goto(address)
        page.wait_for_selector("#examples .gallery-item")
        settled(page)
        return page

    yield start
    for context in contexts:
        context.close()
    assert foreign == []
