"""The real app with the real assistant in a real browser: what a visitor does, sees and reads.

Needs Chromium ($CHROMIUM or /usr/bin/chromium). No test depends on the words that the model says.
"""

import json
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from live import (
    PATIENCE,
    ROOT,
    answered,
    attach,
    barriers,
    question_box,
    said,
    send,
    serve,
    settled,
    shorten,
    visitor,
    working,
)
from page_actions import BUS, exact_prompt, notice, paper
from PIL import Image
from playwright.sync_api import expect

from lav2.cli.main import main

pytestmark = [pytest.mark.slow, pytest.mark.flaky(reruns=2)]

TEXTS = json.loads((ROOT / "assets/ui.json").read_text(encoding="utf-8"))


def test_two_questions_on_one_photo_show_evidence_and_streamed_answers(open_page):
    page = open_page()
    attach(page, BUS)
    send(page, "What is in the photo?")
    answered(page)
    states = page.locator(".lav2-experts:visible li")
    expect(states).to_have_class([re.compile("^(done|failed)$")] * 3)
    expect(page.locator(".lav2-photo img:visible")).to_have_count(1)
    expect(page.locator(".lav2-table [role=row]:visible").nth(1)).to_be_visible()
    meter = page.locator(".lav2-meter:visible").inner_text()
    assert "tokens used" in meter
    assert all(int(n) > 0 for n in re.search(r"findings (\d+) · question (\d+) · .*template (\d+)", meter).groups())
    first = said(page)
    send(page, "How many people are there?")
    answered(page)
    assert len(said(page)) > len(first)
    prompt = exact_prompt(page)
    assert "How many people are there?" in prompt and "What is in the photo?" in prompt
    assert "Findings of expert programs" in prompt
    expect(states.first).to_contain_text("remembered")  # the seconds are those of the first question


def test_a_long_answer_grows_on_the_page(open_page, tmp_path):
    lines = ("THE NORTHERN BRIDGE IS CLOSED", "UNTIL THE RIVER FALLS AGAIN", "PLEASE TAKE THE OLD FERRY",
             "FROM HARBOUR ROAD TO MILL LANE",
             "IT LEAVES EVERY TWENTY MINUTES", "CHILDREN TRAVEL FREE OF CHARGE")  # fmt: skip
    page = open_page()
    attach(page, paper(lines, 46, tmp_path / "paper.png"))
    page.evaluate("""() => {  // every last line that the page shows in the answer's place
        window.shown = new Set();
        new MutationObserver(() => {
            const answers = document.querySelectorAll("#chat .bot.message:not(:has(.lav2-verdict, .thought-group))");
            const last = [...answers].at(-1)?.innerText.trim();
            if (last) window.shown.add(last.split("\\n").at(-1));
        }).observe(document.querySelector("#chat"), { childList: true, subtree: true, characterData: true });
    }""")
    send(page, "Read all the text.")
    answered(page)
    final = said(page)[-1].strip().split("\n")[-1]
    grown = [text for text in page.evaluate("[...window.shown]") if final.startswith(text)]
    assert len(grown) > 1, (final, page.evaluate("[...window.shown]"))


def test_compare_answers_on_both_sides_takes_a_vote_and_shows_all_eight_choices(open_page, server, tmp_path):
    page, stored = open_page(), server.folder / "votes/votes.jsonl"
    before = stored.read_text().splitlines() if stored.exists() else []
    page.get_by_role("tab", name="Compare").click()
    attach(page, ROOT / "assets/examples/street-sign.webp")
    send(page, "What does the sign say?")
    answered(page)
    for side in ("a", "b"):
        expect(page.locator(f"#side-{side} p")).to_have_text(re.compile(r"\S"))
    one, other = (page.locator(f"#side-{side} p").inner_text().split() for side in ("a", "b"))
    assert (page.locator("#answers mark").count() > 0) == (one != other)
    expect(page.locator(".lav2-experts:visible li")).to_have_count(3)
    page.get_by_role("button", name="Right is better").click()
    page.get_by_text("Your vote is stored").wait_for()
    (vote,) = map(json.loads, stored.read_text().splitlines()[len(before) :])
    assert vote["vote"] == "right" and vote["left"]["image"] == vote["right"]["image"]
    photo = server.folder / f"votes/photos/{vote['left']['image']['sha256']}.webp"
    for side in ("left", "right"):
        (tmp_path / side).write_text(json.dumps(vote[side]))
        assert main(["replay", str(tmp_path / side), str(photo)]) == 0
    page.get_by_label("All eight").check()
    shorten(page, 8)
    send(page, "What does the sign say?")
    answered(page)
    expect(page.locator("#answers section p")).to_have_text([re.compile(r"\S")] * 8)


def test_a_bad_file_is_named_the_conversation_stays_and_the_next_question_works(open_page, tmp_path):
    page = open_page()
    shorten(page)
    page.locator("#examples .gallery-item").first.click()
    answered(page)
    before = said(page), page.locator(".lav2-table [role=row]:visible").all_inner_texts()
    bad = tmp_path / "holiday.jpg"
    bad.write_bytes(b"this is no picture")
    attach(page, bad)
    send(page, "What is this?")
    expect(notice(page)).to_contain_text("holiday.jpg is not a picture")
    settled(page)
    expect(question_box(page)).to_have_value("What is this?")
    assert (said(page), page.locator(".lav2-table [role=row]:visible").all_inner_texts()) == before
    page.locator(".thumbnails:visible [aria-label='Remove file']").click()
    send(page, "And now?")
    answered(page)
    expect(notice(page)).to_be_hidden()
    assert len(said(page)) > len(before[0])


def test_an_example_is_one_click_away_and_clear_empties_the_page(open_page):
    page = open_page()
    page.locator("#examples .gallery-item").first.click()
    answered(page)
    assert said(page)
    page.get_by_label("Clear").click()
    page.locator("#chat .placeholder").wait_for()
    page.locator(".lav2-photo img:visible").first.wait_for(state="hidden")  # the server takes it away, a moment later
    settled(page)
    assert said(page) == []


def test_two_visitors_at_once_do_not_see_each_other(open_page, server):
    pages = {"sign": open_page(), "bus": open_page()}
    photos = {"sign": ROOT / "assets/examples/street-sign.webp", "bus": BUS}
    for name, page in pages.items():
        shorten(page)
        attach(page, photos[name])
    for name, page in pages.items():  # the second asks at once, while the first is being answered
        send(page, f"Remember {name}-kumquat. What is this?")
    for page in pages.values():
        answered(page)
    table = {name: page.locator(".lav2-table:visible").inner_text() for name, page in pages.items()}
    assert "STOP" in table["sign"] and "STOP" not in table["bus"]
    assert "person" in table["bus"] and "person\n" not in table["sign"]
    shown = {name: page.locator("body").inner_text() for name, page in pages.items()}
    assert "bus-kumquat" not in shown["sign"] and "sign-kumquat" not in shown["bus"]
    drawn = {name: page.locator(".lav2-photo img:visible").get_attribute("src") for name, page in pages.items()}
    assert drawn["sign"] != drawn["bus"]
    for name, page in pages.items():
        send(page, "And now?")
        answered(page)
        prompt = exact_prompt(page)
        other = {"sign": "bus", "bus": "sign"}[name]
        assert f"{name}-kumquat" in prompt and f"{other}-kumquat" not in prompt


def test_html_in_a_question_stays_text(open_page):
    page = open_page()
    send(page, "<img src=x onerror=\"document.title='taken'\"> <b>bold</b>?")
    answered(page)
    expect(page.locator("#chat .user.message").first).to_contain_text("<b>bold</b>")
    assert page.title() == "LAV2"
    assert page.locator("#chat .user.message b, #chat .user.message img").count() == 0


@pytest.mark.parametrize("width, scheme", [(390, "light"), (390, "dark"), (1920, "dark")])
def test_the_page_fits_phones_and_wide_screens(open_page, width, scheme):
    page = open_page(width=width, height=844, scheme=scheme)
    page.locator("#examples .gallery-item").nth(1).click()
    answered(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not page.locator("footer .divider:visible").count()  # a dot without what it divides


def test_korean_visitors_get_korean_texts(open_page):
    page = open_page(language="ko-KR")
    expect(page.get_by_role("tab", name="비교")).to_have_count(1)
    send(page, " ")
    expect(notice(page)).to_contain_text("질문이 비어 있습니다")
    settled(page)
    page.locator("#examples .gallery-item").last.click()
    answered(page)
    # Captions are English: a colour in one of them is no text of the page.
    own = {key: text for key, text in TEXTS["en"].items() if not key.startswith("colour_")}
    english = [text for text in own.values() if text not in TEXTS["ko"].values() and len(text) > 4]
    for tab in ("대화", "비교"):
        page.get_by_role("tab", name=tab).click()
        settled(page)
        shown = page.locator("body").inner_text()
        assert [text for text in english if text in shown] == []
    assert page.evaluate("document.documentElement.lang") == "ko"


def test_the_page_can_be_used_with_the_keyboard_alone(open_page):
    page = open_page()

    def tab_to(css: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("css => document.activeElement.matches(css)", css):
                return
        pytest.fail(f"the tab key never reaches {css}")

    tab_to("[role=tab][aria-selected=false]")
    page.keyboard.press("Enter")
    page.locator("#compare-examples").wait_for()
    settled(page)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.locator("#examples .gallery-item").first.wait_for()
    settled(page)
    tab_to("textarea[data-testid=textbox]")
    tab_to("#examples .gallery-item")
    page.locator("textarea[data-testid=textbox]:visible").focus()
    page.keyboard.type("Hello?")
    expect(question_box(page)).to_have_value("Hello?")
    page.keyboard.press("Enter")
    answered(page)
    assert said(page)
    tab_to("input[type=checkbox]")
    page.keyboard.press("Space")


def test_a_stopped_answer_says_so_and_the_next_question_is_answered(open_page, tmp_path):
    page = open_page()
    lines = [f"LINE {n} OF A LONG PAGE {n * n}" for n in range(11, 45)]  # reading them all takes its time
    attach(page, paper(lines, 30, tmp_path / "<b>new & unknown.png"))
    page.evaluate("""() => new MutationObserver((changes, seen) => {  // the page stops it, however soon it must be
        const stop = document.querySelector("button.stop-button");
        if (!stop?.checkVisibility() || !document.querySelector(".lav2-experts .running")) return;
        seen.disconnect();
        stop.click();
    }).observe(document.body, { childList: true, subtree: true, attributes: true })""")
    send(page, "What is this?")
    page.locator(".lav2-experts:visible .stopped").first.wait_for()
    answered(page)
    assert "stopped" in said(page)[-1]
    expect(page.locator(".lav2-experts:visible").locator(".running, .waiting")).to_have_count(0)
    send(page, "And now?")
    answered(page)
    assert "stopped" in said(page)[-2] or len(said(page)) > 2


def test_retry_edit_and_undo_act_on_the_last_question(open_page):
    page = open_page()
    shorten(page)
    send(page, "First question?")
    answered(page)
    chat = page.locator("#chat")
    questions = chat.locator(".user.message")
    page.locator("input[type=number][aria-label*='Longest answer']:visible").fill("1")
    before = said(page)[-1]
    settled(page)
    chat.get_by_label("Retry").click()
    answered(page)
    assert said(page)[-1].strip() and said(page)[-1].strip() != before.strip()
    expect(questions).to_have_text(["First question?"])
    chat.get_by_label("Edit").click()
    settled(page)
    chat.locator("textarea:visible").fill("Second question?")
    expect(chat.locator("textarea:visible")).to_have_value("Second question?")
    chat.get_by_label("Submit").click()
    expect(questions).to_have_text(["Second question?"])
    answered(page)
    expect(questions).to_have_text(["Second question?"])
    chat.get_by_role("button", name="Undo").click()
    expect(question_box(page)).to_have_value("Second question?")
    settled(page)
    expect(question_box(page)).to_have_value("Second question?")  # nothing that comes later takes it away
    expect(questions).to_have_count(0)


def test_a_photo_that_was_deleted_meanwhile_locks_no_conversation(open_page, server, tmp_path):
    page = open_page()
    shorten(page)
    own = tmp_path / "deleted-kumquat.png"
    Image.open(ROOT / "assets/examples/shapes.webp").convert("RGB").rotate(3).save(own)
    attach(page, own)
    send(page, "What is this?")
    answered(page)
    for kept in (server.folder / "uploads").rglob("deleted-kumquat.png"):  # as Gradio does after half an hour
        kept.unlink()
    send(page, "And now?")
    expect(notice(page)).to_contain_text("no longer kept")
    answered(page)
    expect(question_box(page)).to_have_value("And now?")
    attach(page, own)
    send(page, "And now?")
    answered(page)
    expect(page.locator("#chat .user.message", has_text="And now?")).to_have_count(1)
    assert said(page)[-1].strip()


def test_a_busy_server_says_the_place_in_the_queue(open_page, address, tmp_path):
    from gradio_client import handle_file

    page = open_page()
    begun, seen = threading.Event(), threading.Event()

    def keep_asking(number):  # two places in line each time: with ten who ask, more wait than are answered at once
        client = visitor(address)  # of his own: one may not take all places
        photo = Image.open(ROOT / "assets/examples/shapes.webp").convert("RGB")
        for i in range(1000):
            if seen.is_set():
                return
            photo.putpixel((i, number), (*os.urandom(2), number))  # a new photo, which takes its time
            photo.save(tmp_path / f"{number}.png")
            new = handle_file(tmp_path / f"{number}.png")
            client.predict(new, "What is this?", ["caption", "detection", "ocr"], api_name="/compare")
            begun.set()

    # A place may be told for less time than a look from here takes, so the page itself keeps what it told.
    page.evaluate(
        """() => { window.told = []; new MutationObserver(() => {
        for (const box of document.querySelectorAll(".lav2-notice")) if (box.checkVisibility()) told.push(box.innerText)
        }).observe(document.body, {subtree: true, childList: true, characterData: true, attributes: true}) }"""
    )
    with ThreadPoolExecutor(10) as pool:
        asking = [pool.submit(keep_asking, i) for i in range(10)]
        try:
            end = time.monotonic() + 4 * PATIENCE
            while not begun.wait(1):
                assert time.monotonic() < end
                for one in asking:
                    if one.done():
                        one.result()  # tells why nobody asks
            while not page.evaluate("told.some(text => text.includes('position'))"):
                assert time.monotonic() < end
                if not working(page):  # also where a place was free just then
                    send(page, "Hello?")
                page.wait_for_timeout(200)
        finally:
            seen.set()
    for one in asking:
        one.result()
    answered(page)
    assert said(page)


def test_a_space_without_the_preset_and_without_a_detector_says_both_and_answers(open_page, tmp_path):
    missing = {"SPACE_ID": "someone/lav2", "LAV2_PRESET": "llama-7b-bias", "LAV2_DETECTOR": str(tmp_path / "no.pt")}
    with serve(tmp_path / "space", **missing) as space:
        page = open_page(address=space.address, language="ko-KR")
        expect(notice(page)).to_contain_text("llama-7b-bias")
        expect(notice(page)).to_contain_text("기본 모델")
        page.locator("#examples .gallery-item").first.click()
        answered(page)
        failed = page.locator(".lav2-experts:visible .failed").inner_text()
        assert "no.pt" in failed and len(failed.split(".")) > 2, "cause and next step"
        expect(page.locator(".lav2-experts:visible .done")).to_have_count(2)
        assert not (violations := barriers(page)), "\n".join(violations)
        assert said(page)[-1].strip() and space.attempts == []
