"""The real app with the real assistant in a real browser: what a visitor does, sees and reads.

Needs Chromium ($CHROMIUM or /usr/bin/chromium). No test depends on the words that the model says.
"""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from live import CHROMIUM, PATIENCE, ROOT, answered, attach, chromium, said, send, serve, shorten

from lav2 import __main__ as command_line

pytestmark = pytest.mark.slow

BUS = Path(find_spec("ultralytics").origin).parent / "assets/bus.jpg"
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
GRADIOS = ("nested-interactive",)  # the fold in the conversation: a button inside a title that acts as one


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that this module starts and ends."""
    with serve(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def address(server):
    return server.address


@pytest.fixture(scope="module")
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


def test_two_questions_on_one_photo_show_evidence_and_streamed_answers(open_page):
    page = open_page()
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
    assert page.foreign == []


def test_compare_answers_on_both_sides_takes_a_vote_and_shows_all_eight_choices(open_page, server):
    page = open_page()
    page.get_by_role("tab", name="Compare").click()
    attach(page, ROOT / "assets/examples/street-sign.webp")
    send(page, "What does the sign say?")
    answered(page)
    for side in ("off", "on"):
        assert page.locator(f"#answer-{side} p").inner_text().strip()
    assert page.locator("#answers mark").count(), "off and on gave the same words"
    assert page.locator(".lav2-experts:visible li").count() == 3
    page.get_by_role("button", name="Right is better").click()
    page.get_by_text("Your vote is stored").wait_for()
    (vote,) = map(json.loads, (server.folder / "votes/votes.jsonl").read_text().splitlines())
    assert vote["vote"] == "right" and vote["left"]["image"] == vote["right"]["image"]
    assert (server.folder / f"votes/photos/{vote['left']['image']['sha256']}.webp").exists()
    page.get_by_label("All eight").check()
    shorten(page, 8)
    send(page, "What does the sign say?")
    answered(page)
    texts = page.locator("#answers section p").all_inner_texts()
    assert len(texts) == 8 and all(text.strip() for text in texts)


def test_findings_can_be_corrected_and_the_receipt_replays(open_page, tmp_path):
    page = open_page()
    shorten(page)
    page.get_by_label("Auto").check()
    sign = ROOT / "assets/examples/street-sign.webp"
    attach(page, sign)
    send(page, "What does the sign say?")
    answered(page)
    assert "it asks about text" in page.locator(".lav2-experts:visible .route").inner_text()
    before = page.locator(".lav2-table [role=row]:visible").count()
    cell = page.locator(".lav2-table [data-testid^=cell-]:visible", has_text="STOP").first
    cell.click()
    cell.press("Enter")
    page.locator(".lav2-table textarea:visible, .lav2-table input[type=text]:visible").first.fill("STOPP")
    page.keyboard.press("Enter")
    page.locator(".lav2-table [data-testid^=cell-] input[type=checkbox]:visible").last.uncheck()
    page.get_by_role("button", name="Answer again").click()
    answered(page)
    page.get_by_role("button", name="Exact prompt").first.click()
    prompt = page.locator("textarea[disabled]:visible").last.input_value()
    assert '"STOPP" 1.00' in prompt
    assert page.locator(".lav2-table [role=row]:visible").count() == before - 1
    with page.expect_download() as download:
        page.locator(".lav2-receipt:visible").click()
    download.value.save_as(tmp_path / "receipt.json")
    assert json.loads((tmp_path / "receipt.json").read_text())["corrected"] is True
    assert command_line.main(["replay", str(tmp_path / "receipt.json"), str(sign)]) == 0


def test_a_bad_file_is_named_and_the_next_question_works(open_page, tmp_path):
    page = open_page()
    bad = tmp_path / "holiday.jpg"
    bad.write_bytes(b"this is no picture")
    attach(page, bad)
    send(page, "What is this?")
    page.wait_for_selector(".lav2-notice:visible")
    assert "holiday.jpg is not a picture" in page.locator(".lav2-notice:visible").inner_text()
    assert page.locator("textarea[data-testid=textbox]:visible").first.input_value() == "What is this?"
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


def test_a_finding_lights_up_in_the_photo_under_the_pointer_and_with_the_keyboards_focus(open_page):
    page = open_page()
    shorten(page)
    attach(page, BUS)
    send(page, "What is this?")
    answered(page)
    row = page.locator(".lav2-table [role=row]:visible", has_text="person").first
    number = row.locator("[data-testid^=cell-]").nth(1).inner_text().split()[0]
    row.hover()
    spot = page.locator(".lav2-spot")
    assert spot.get_attribute("data-number") == number
    shown, lit = page.locator(".lav2-photo img:visible").bounding_box(), spot.locator(".outline").bounding_box()
    corners = json.loads(page.locator(".lav2-experts:visible").get_attribute("data-places"))[number]
    assert lit["x"] == pytest.approx(shown["x"] + min(x for x, _ in corners) * shown["width"], abs=4)
    assert lit["height"] == pytest.approx((corners[2][1] - corners[0][1]) * shown["height"], abs=6)
    page.locator("#lead").hover()
    assert spot.count() == 0
    row.locator("input[type=checkbox]").focus()
    assert spot.get_attribute("data-number") == number


def test_two_visitors_at_once_do_not_see_each_other(open_page, server):
    pages = {"sign": open_page(), "bus": open_page()}
    photos = {"sign": ROOT / "assets/examples/street-sign.webp", "bus": BUS}
    for name, page in pages.items():
        shorten(page)
        attach(page, photos[name])
        send(page, f"Remember {name}-kumquat. What is this?")
    for page in pages.values():  # both are being answered now
        page.wait_for_selector("button.stop-button:visible")
    for page in pages.values():
        page.wait_for_selector("button.submit-button:visible")
    shown = {name: page.locator("body").inner_text() for name, page in pages.items()}
    assert "STOP" in shown["sign"] and "STOP" not in shown["bus"]
    assert "bus-kumquat" not in shown["sign"] and "sign-kumquat" not in shown["bus"]
    drawn = {name: page.locator(".lav2-photo img:visible").get_attribute("src") for name, page in pages.items()}
    assert drawn["sign"] != drawn["bus"]
    for name, page in pages.items():
        send(page, "And now?")
        answered(page)
        page.get_by_role("button", name="Exact prompt").first.click()
        prompt = page.locator("textarea[disabled]:visible").last.input_value()
        other = {"sign": "bus", "bus": "sign"}[name]
        assert f"{name}-kumquat" in prompt and f"{other}-kumquat" not in prompt


def test_html_in_a_question_stays_text(open_page):
    page = open_page()
    send(page, "<img src=x onerror=\"document.title='taken'\"> <b>bold</b>?")
    answered(page)
    assert page.title() == "LAV2"
    assert page.locator("#chat .user.message b, #chat .user.message img").count() == 0
    assert "<b>bold</b>" in page.locator("#chat .user.message").first.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(open_page, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(scheme=scheme)
    shorten(page)
    page.locator("#chat .example").first.click()
    answered(page)
    page.wait_for_timeout(500)  # what fades in has too little contrast on the way
    for tab in ("Chat", "Compare"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(500)
        found = Axe().run(page, options={"runOnly": LEVELS}).response["violations"]
        ours = [v for v in found if v["id"] not in GRADIOS]
        told = [f"{v['id']}: {v['help']}: {[node['html'][:150] for node in v['nodes'][:3]]}" for v in ours]
        assert not told, "\n".join(told)


@pytest.mark.parametrize("width, scheme", [(390, "light"), (390, "dark"), (1920, "dark")])
def test_the_page_fits_phones_and_wide_screens(open_page, width, scheme):
    page = open_page(width=width, height=844, scheme=scheme)
    page.locator("#chat .example").nth(1).click()
    answered(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_korean_visitors_get_korean_texts(open_page):
    page = open_page(language="ko-KR")
    assert page.get_by_role("tab", name="비교").count() == 1
    send(page, " ")
    page.wait_for_selector(".lav2-notice:visible")
    assert "질문이 비어 있습니다" in page.locator(".lav2-notice:visible").inner_text()


def test_nothing_tried_the_network(server):
    assert server.attempts == []
