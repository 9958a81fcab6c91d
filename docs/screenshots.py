"""Pictures of every state of the page, on a phone, a laptop and a wide screen, light and dark, to be looked at.

    python docs/screenshots.py FOLDER [ADDRESS]      (without ADDRESS it starts the app; needs Chromium)
"""

import sys
import tempfile
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from live import answered, attach, chromium, new_page, send, serve, shorten  # noqa: E402

SIZES = {"phone": (390, 844), "laptop": (1366, 768), "wide": (1920, 1080)}
BUS = Path(find_spec("ultralytics").origin).parent / "assets/bus.jpg"
SIGN = ROOT / "assets/examples/street-sign.webp"


def shoot(page: Page, folder: Path, state: str, sizes=tuple(SIZES), schemes=("light", "dark")) -> None:
    page.mouse.move(0, 0)
    for size in sizes:
        page.set_viewport_size(dict(zip(("width", "height"), SIZES[size], strict=True)))
        for scheme in schemes:
            page.evaluate("dark => document.body.classList.toggle('dark', dark)", scheme == "dark")
            page.wait_for_timeout(700)  # pictures fade in
            page.screenshot(path=str(folder / f"{state}-{size}-{scheme}.png"), full_page=True)
    page.set_viewport_size(dict(zip(("width", "height"), SIZES["laptop"], strict=True)))
    print(state, flush=True)


def chat(page: Page, folder: Path, prefix: str) -> None:
    shoot(page, folder, f"{prefix}empty")
    attach(page, BUS)
    send(page, "How many people are there?")
    page.wait_for_selector(".lav2-experts .running")
    shoot(page, folder, f"{prefix}running", ("laptop",), ("light",))
    page.wait_for_selector("button.submit-button:visible")
    shoot(page, folder, f"{prefix}chat")


def main(folder: Path, address: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    started = nullcontext(SimpleNamespace(address=address)) if address else serve(Path(tempfile.mkdtemp()))
    with started as server, sync_playwright() as play, chromium(play) as browser:

        def open_page(language: str) -> Page:
            page = new_page(browser, locale=language)
            page.goto(server.address)
            page.wait_for_selector("#chat .example")
            return page

        chat(open_page("ko-KR"), folder, "korean-")
        page = open_page("en-GB")
        chat(page, folder, "")
        page.locator(".lav2-table [role=row]:visible", has_text="person").first.locator("input").focus()
        shoot(page, folder, "focus", ("laptop", "phone"), ("light",))
        page.locator(".lav2-table [data-testid^=cell-] input[type=checkbox]:visible").last.uncheck()
        page.locator(".lav2-panel:visible button", has_text="Answer again").click()
        answered(page)
        page.get_by_role("button", name="Exact prompt").first.click()
        shoot(page, folder, "corrected", ("laptop", "phone"))
        with tempfile.TemporaryDirectory() as place:
            bad = Path(place) / "holiday.jpg"
            bad.write_bytes(b"this is no picture")
            attach(page, bad)
            send(page, "What is this?")
            page.wait_for_selector(".lav2-notice:visible")
        shoot(page, folder, "bad-file", ("laptop", "phone"))
        page.get_by_role("tab", name="Compare").click()
        shoot(page, folder, "compare-empty")
        attach(page, SIGN)
        send(page, "What does the sign say?")
        answered(page)
        shoot(page, folder, "compare")
        page.get_by_label("All eight").check()
        shorten(page, 24)
        send(page, "What does the sign say?")
        answered(page)
        shoot(page, folder, "grid")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(sys.argv[2:] or [None]))
