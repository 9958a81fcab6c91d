"""The real app with the real assistant in a real browser: what a visitor does, sees and reads.

Needs Chromium ($CHROMIUM or /usr/bin/chromium). Screenshots go to $LAV2_SCREENSHOTS where that is set.
"""

import os
import re
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
BUS = Path(find_spec("ultralytics").origin).parent / "assets/bus.jpg"
PATIENCE = 240  # seconds for an answer or for loading, on a busy machine


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a server that this module starts and ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-u", "app.py", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as out:
        server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=out, text=True)
    try:
        lines = []
        for line in server.stdout:
            lines.append(line)
            if found := re.search(r"ready at (http://\S+)", line):
                yield found[1]
                break
        else:
            pytest.fail(f"The server ended while starting:\n{''.join(lines)}{log.read_text()}")
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        pytest.skip(f"needs Chromium: there is none at {CHROMIUM}; install it or set CHROMIUM")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, address):
    """Opens the app as one visitor: own cookies, own session. `page.foreign` lists requests to anyone else."""
    contexts = []

    def start(width=1366, height=900, scheme="light", language="en-GB"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, locale=language)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.foreign = []
        page.on("request", lambda request: None if is_ours(request.url) else page.foreign.append(request.url))
        page.goto(address)
        page.wait_for_selector("#chat .example")
        return page

    def is_ours(url):
        return url.startswith((address, "data:", "blob:"))

    yield start
    for context in contexts:
        context.close()


def shoot(page, name: str) -> None:
    folder = os.environ.get("LAV2_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(500)  # pictures fade in
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


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


def answered(page) -> None:
    page.wait_for_selector("button.stop-button:visible")
    page.wait_for_selector("button.submit-button:visible")


def said(page) -> list[str]:
    """What the assistant said, one entry per bubble, without the fold about the experts."""
    return page.locator("#chat .bot.message").all_inner_texts()


def test_two_questions_on_one_photo_show_evidence_and_streamed_answers(open_page):
    page = open_page()
    shoot(page, "chat-empty")
    attach(page, BUS)
    send(page, "What is in the photo?")
    lengths = set()
    page.wait_for_selector("button.stop-button:visible")
    while page.locator("button.stop-button:visible").count():
        lengths.add(sum(map(len, said(page))))
        page.wait_for_timeout(50)
    assert len(lengths) > 3, "the page did not change while the answer was made"
    states = page.locator(".lav2-experts:visible li")
    assert states.count() == 3
    assert all(state in ("done", "failed") for state in states.evaluate_all("all => all.map(one => one.className)"))
    assert page.locator(".lav2-photo img:visible").count() == 1
    assert page.locator(".lav2-table [role=row]:visible").count() >= 2
    assert "tokens used" in page.locator(".lav2-meter:visible").inner_text()
    first = said(page)
    send(page, "How many people are there?")
    answered(page)
    assert len(said(page)) > len(first)
    page.get_by_role("button", name="Exact prompt").first.click()
    prompt = page.locator("textarea[disabled]:visible").last.input_value()
    assert "How many people are there?" in prompt and "What is in the photo?" in prompt
    assert "Findings of expert programs" in prompt
    shoot(page, "chat")
    assert page.foreign == []


def test_compare_answers_on_both_sides(open_page):
    page = open_page()
    page.get_by_role("tab", name="Compare").click()
    attach(page, ROOT / "assets/examples/street-sign.webp")
    send(page, "What does the sign say?")
    answered(page)
    for side in ("off", "on"):
        assert page.locator(f"#answer-{side} textarea").input_value().strip()
    assert page.locator(".lav2-experts:visible li").count() == 3
    shoot(page, "compare")


def test_a_bad_file_is_named_and_the_next_question_works(open_page, tmp_path):
    page = open_page()
    bad = tmp_path / "holiday.jpg"
    bad.write_bytes(b"this is no picture")
    attach(page, bad)
    send(page, "What is this?")
    page.wait_for_selector(".lav2-notice:visible")
    assert "holiday.jpg is not a picture" in page.locator(".lav2-notice:visible").inner_text()
    assert page.locator("textarea[data-testid=textbox]:visible").first.input_value() == "What is this?"
    shoot(page, "bad-file")
    page.reload()
    page.wait_for_selector("#chat .example")
    send(page, "Say hello.")
    answered(page)
    assert "".join(said(page)).strip()


def test_an_example_is_one_click_away_and_clear_empties_the_page(open_page):
    page = open_page()
    page.locator("#chat .example").first.click()
    answered(page)
    assert said(page)
    page.get_by_label("Clear").click()
    page.wait_for_selector("#chat .example")
    assert said(page) == [] and not page.locator(".lav2-photo img:visible").count()


def test_two_visitors_do_not_see_each_other(open_page):
    first, second = open_page(), open_page()
    send(first, "Remember the word kumquat.")
    answered(first)
    send(second, "Hello.")
    answered(second)
    assert "kumquat" not in second.locator("body").inner_text()


def test_html_in_a_question_stays_text(open_page):
    page = open_page()
    send(page, "<img src=x onerror=\"document.title='taken'\"> <b>bold</b>?")
    answered(page)
    assert page.title() == "LAV2"
    assert page.locator("#chat .user.message b, #chat .user.message img").count() == 0
    assert "<b>bold</b>" in page.locator("#chat .user.message").first.inner_text()


@pytest.mark.parametrize("width, scheme", [(390, "light"), (390, "dark"), (1920, "dark")])
def test_the_page_fits_phones_and_wide_screens(open_page, width, scheme):
    page = open_page(width=width, height=844, scheme=scheme)
    page.locator("#chat .example").nth(1).click()
    answered(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shoot(page, f"chat-{width}-{scheme}")


def test_korean_visitors_get_korean_texts(open_page):
    page = open_page(language="ko-KR")
    assert page.get_by_role("tab", name="비교").count() == 1
    send(page, " ")
    page.wait_for_selector(".lav2-notice:visible")
    assert "질문이 비어 있습니다" in page.locator(".lav2-notice:visible").inner_text()


def test_a_program_asks_through_the_named_endpoints(address):
    from gradio_client import Client, handle_file

    client = Client(address, verbose=False)
    sign = handle_file(str(ROOT / "assets/examples/street-sign.webp"))
    short = {"image": sign, "question": "What does the sign say?", "experts": ["ocr"], "max_new_tokens": 8}
    answer = client.predict(**short, api_name="/ask")
    assert answer["answer"] and "STOP" in [item["text"] for item in answer["evidence"]["ocr"]["items"]]
    both = client.predict(**short, api_name="/compare")
    assert both["on"] == {**answer, "timings": both["on"]["timings"]} and both["off"]["evidence"] == {}
    found = client.predict(image=sign, experts=["ocr"], api_name="/experts")
    assert found["ocr"]["items"] == answer["evidence"]["ocr"]["items"]
    with pytest.raises(Exception, match="question is empty"):
        client.predict(**{**short, "question": ""}, api_name="/ask")
