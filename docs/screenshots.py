"""Pictures of every state of the page, on a laptop, a phone and a wide screen, light and dark, to be looked at.

python docs/screenshots.py FOLDER      every state; without --address it starts the app; needs Chromium
python docs/screenshots.py --readme    the four of README.md and docs/page.md, into docs/images
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from live import answered, attach, chromium, new_page, send, serve, settled, shorten  # noqa: E402

EXAMPLES = ROOT / "assets/examples"
ROWS = list(map(json.loads, (EXAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()))
SIZES = {"laptop": (1366, 768), "phone": (390, 844), "wide": (1920, 1080)}


def example(page: Page, name: str) -> None:
    """Asks an example of the page. A picture of a wrong answer is none to show."""
    page.locator("#examples .gallery-item").nth([row["id"] for row in ROWS].index(name)).click()
    page.locator("#chat .lav2-verdict").first.wait_for()
    answered(page)
    shown = page.locator("#chat .bot-row").all_inner_texts()
    failed = page.locator(".lav2-experts .failed").count()
    if failed or not any(right in text for right in expected(name) for text in shown):
        raise SystemExit(f"The answer about {name} lacks {expected(name)}, or an expert failed: {shown}")


def expected(name: str) -> list[str]:
    return next(row["expected"] for row in ROWS if row["id"] == name)


def first(page: Page) -> None:
    settled(page)


def waiting(page: Page) -> None:
    with tempfile.TemporaryDirectory() as folder:  # a photo that no server has seen
        new = Image.open(EXAMPLES / "shop-hours.webp").convert("RGB").resize((1800, 1350))
        new.putpixel((0, 0), tuple(random.randbytes(3)))
        new.save(Path(folder) / "new.png")
        attach(page, Path(folder) / "new.png")
    send(page, "When does the shop close on Saturday?")
    page.locator(".lav2-experts .done").first.wait_for()


def answer(page: Page) -> None:
    example(page, "receipt")


def evidence(page: Page) -> None:
    answer(page)
    page.locator("#chat .lav2-ways a").first.click()


def several(page: Page) -> None:
    answer(page)
    for name in ("street-sign", "cat"):
        attach(page, EXAMPLES / f"{name}.webp")
    send(page, "What is in the photo?")
    page.locator("#each").wait_for()


def bad_file(page: Page) -> None:
    answer(page)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "holiday.jpg").write_bytes(b"this is no picture")
        attach(page, Path(folder) / "holiday.jpg")
    send(page, "What is this?")
    page.locator(".lav2-notice:visible").first.wait_for()


def fixing(page: Page) -> None:
    """The form of corrections, with a box drawn around what the detector did not find."""
    example(page, "sign")
    page.locator("#chat .lav2-fix-link").click()
    photo = page.locator("#evidence .lav2-photo img:visible")
    photo.scroll_into_view_if_needed()
    settled(page)
    at = photo.bounding_box()
    corners = [(at["x"] + x * at["width"], at["y"] + y * at["height"]) for x, y in ((0.57, 0.24), (0.95, 0.38))]
    page.mouse.move(*corners[0])
    page.mouse.down()
    page.mouse.move(*corners[1], steps=3)
    page.mouse.up()
    page.locator("#fix-text :is(input, textarea)").fill("street sign")
    settled(page)


def corrected(page: Page) -> None:
    """A line of text is rewritten, and the answer follows it."""
    example(page, "sign")
    table = page.locator(".lav2-table:visible")
    texts = table.locator("[data-testid^=cell-][data-testid$='-2']").all_inner_texts()
    row = [text.strip() for text in texts].index("MILL ROAD")
    cell = table.locator(f"[data-testid=cell-{row}-2]")
    cell.click()
    settled(page)
    cell.press("Enter")
    table.locator("textarea:visible, input[type=text]:visible").first.fill("HILL ROAD")
    page.keyboard.press("Enter")
    settled(page)
    page.locator(".lav2-again").click()
    page.locator("#chat .lav2-before-after").wait_for()
    answered(page)
    if "HILL ROAD" not in page.locator("#chat .lav2-before-after section").last.inner_text():
        raise SystemExit("The answer does not follow the correction.")
    page.evaluate("scrollTo(0, 0)")


def compare(page: Page, mode: str = "pair") -> None:
    page.get_by_role("tab").nth(1).click()
    if mode == "grid":
        page.locator("input[type=radio][value=grid]").check()
    attach(page, EXAMPLES / "menu.webp")
    send(page, "How much is the latte?")
    page.locator("#answers section").first.wait_for()
    answered(page)


def voted(page: Page) -> None:
    compare(page)
    sides = page.locator("#answers section p").all_inner_texts()
    page.locator(".lav2-votes:visible button").nth([expected("menu")[0] in side for side in sides].index(True)).click()
    page.locator("#tally-chart li").first.wait_for()
    settled(page)


def grid(page: Page) -> None:
    compare(page, "grid")


def many(page: Page) -> None:
    page.get_by_role("tab").nth(1).click()
    shorten(page, 24)
    page.locator("#many .label-wrap").click()
    settled(page)
    rows = ["image,question,answer", "street-sign.webp,What does the sign say?,STOP MILL ROAD",
            "receipt.webp,What is the total?,12.40", "menu.webp,How much is the latte?,3.80",
            "cat.webp,Is there a dog?,no", "shapes.webp,How many people are there?,0"]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "questions.csv").write_text("\n".join(rows))
        photos = [EXAMPLES / row.split(",")[0] for row in rows[1:]]
        page.locator("#many-files input[type=file]").set_input_files([Path(folder) / "questions.csv", *photos])
        page.locator("#many-files .file-preview tr").nth(len(photos)).wait_for()
        settled(page)
    page.locator("#many-start").click()
    page.locator("#many-download").wait_for()
    page.locator("#many-table").scroll_into_view_if_needed()


def shared(page: Page) -> None:
    answer(page)
    page.locator("#keep .label-wrap").click()
    settled(page)
    page.locator("#share").click()
    page.locator("#share-link :is(input, textarea)").wait_for()
    settled(page)
    page.goto(page.locator("#share-link :is(input, textarea)").input_value())
    page.locator("#chat .lav2-verdict").wait_for()


# state -> what leads to it, and the languages in which it is shown
STATES: dict[str, tuple[Callable[[Page], None], tuple[str, ...]]] = {
    "1-first": (first, ("en-GB", "ko-KR")),
    "2-waiting": (waiting, ("en-GB",)),
    "3-answered": (answer, ("en-GB", "ko-KR")),
    "4-evidence": (evidence, ("en-GB",)),
    "5-several-photos": (several, ("en-GB",)),
    "6-bad-file": (bad_file, ("ko-KR",)),
    "7-fixing": (fixing, ("en-GB",)),
    "8-corrected": (corrected, ("en-GB",)),
    "9-blind": (compare, ("en-GB",)),
    "10-voted": (voted, ("en-GB", "ko-KR")),
    "11-grid": (grid, ("en-GB",)),
    "12-many": (many, ("en-GB",)),
    "13-shared": (shared, ("en-GB",)),
}
SCREENS = (("laptop", "light"), ("phone", "dark"), ("wide", "dark"))
README = {
    "chat": ("3-answered", "laptop", "light", "en-GB"),
    "fixed": ("8-corrected", "laptop", "light", "en-GB"),
    "compare": ("10-voted", "laptop", "dark", "en-GB"),
    "korean": ("3-answered", "phone", "dark", "ko-KR"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Pictures of the page.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("folder", type=Path, nargs="?", help="for pictures of every state")
    where.add_argument("--readme", action="store_true", help="those of README.md and docs/page.md, into docs/images")
    parser.add_argument("--address", help="of a running app (default: one is started)")
    options = parser.parse_args()
    readme, address = options.readme, options.address
    place = ROOT / "docs/images" if readme else options.folder
    place.mkdir(parents=True, exist_ok=True)
    shots = [
        (f"{state}-{size}-{scheme}-{language[:2]}", state, size, scheme, language)
        for state, (_, languages) in STATES.items()
        for language in languages
        for size, scheme in SCREENS
    ]
    shots = [(name, *shot) for name, shot in README.items()] if readme else shots
    started = nullcontext(SimpleNamespace(address=address)) if address else serve(Path(tempfile.mkdtemp()))
    with started as server, sync_playwright() as play, chromium(play) as browser:
        for name, state, size, scheme, language in shots:
            view = dict(zip(("width", "height"), SIZES[size], strict=True))
            context = browser.new_context(viewport=view, color_scheme=scheme, locale=language)
            page = new_page(context)
            page.goto(server.address)
            page.locator("#examples .gallery-item").first.wait_for()
            settled(page)
            STATES[state][0](page)
            if state != "2-waiting":
                settled(page)
            page.mouse.move(0, 0)
            page.screenshot(path=place / f"{name}.png")
            if not readme:
                page.screenshot(path=place / f"{name}-whole.png", full_page=True)
            print(name, flush=True)
            context.close()


if __name__ == "__main__":
    main()
