"""The page itself, in a real browser against the real app: its first screen, what is in one view, and that nothing of
a conversation is lost. Shares the server of test_browser.py."""

import json
import os
import re

import pytest
from live import ROOT, answered, attach, said, send, settled, shorten
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import expect

pytestmark = [pytest.mark.slow, pytest.mark.flaky(reruns=2)]

SIGN = ROOT / "assets/examples/street-sign.webp"


def drop(page, css: str, *names: str) -> bool:
    """Drags and drops pictures there; whether the browser was kept from opening them."""
    given = page.evaluate_handle(
        """names => {
            const given = new DataTransfer();
            const png = Uint8Array.from(atob("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9Q"
                + "DwADhgGAWjR9awAAAABJRU5ErkJggg=="), letter => letter.charCodeAt(0));
            for (const name of names) given.items.add(new File([png], name, { type: "image/png" }));
            return given;
        }""",
        list(names),
    )
    return page.evaluate(
        """([css, dataTransfer]) => ["dragenter", "dragover", "drop"].map(kind => !document.querySelector(css)
            .dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }))).every(Boolean)""",
        [css, given],
    )


def example(page, number: int) -> None:
    page.locator("#examples .gallery-item").nth(number).click()
    answered(page)


def verdicts(page):
    return page.locator("#chat .lav2-verdict")


def in_view(page, locator) -> bool:
    box = locator.bounding_box()
    size = page.viewport_size
    return box["y"] >= 0 and box["y"] + box["height"] <= size["height"] and box["x"] + box["width"] <= size["width"]


def test_a_photo_dropped_or_pasted_anywhere_is_taken_and_never_opened_by_the_browser(open_page):
    page = open_page()
    thumbnails = page.locator(".thumbnail-item:visible")
    for place in ("#lead", "#evidence", "#chat", "footer"):
        before = thumbnails.count()
        assert drop(page, place, f"{place[1:]}.png")
        expect(thumbnails).to_have_count(before + 1)
        settled(page)
    page.evaluate(
        """() => {
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([new Uint8Array(9)], "pasted.png", { type: "image/png" }));
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
        }"""
    )
    expect(thumbnails).to_have_count(5)
    send(page, "What is this?")
    page.locator(".lav2-notice:visible", has_text="Which one is meant?").wait_for()
    settled(page)
    expect(thumbnails).to_have_count(5)
    assert not said(page)
    page.get_by_role("tab", name="Compare").click()
    settled(page)
    assert drop(page, "body", "one.png")
    expect(thumbnails).to_have_count(1)


@pytest.mark.parametrize("language", ["en-GB", "ko-KR"])
def test_on_a_phone_the_first_screen_says_what_this_is_and_has_the_question_box_and_examples(open_page, language):
    page = open_page(width=390, height=844, language=language)
    box = page.locator("textarea[data-testid=textbox]:visible")
    for seen in (page.locator("#lead h1"), page.locator("#lead p").last, page.locator("#upload"), box):
        assert in_view(page, seen)
    tile = page.locator("#examples .gallery-item").first
    assert tile.bounding_box()["y"] + 60 < 844 and "What does the sign say?" in tile.inner_text()
    text = page.locator("#chat .placeholder").inner_text()
    with page.expect_file_chooser() as chooser:
        page.locator("#upload").click()
    chooser.value.set_files(str(SIGN))
    page.locator(".thumbnail-item:visible").wait_for()
    if language == "en-GB":
        assert "anywhere on this page" in text and "ask about a photo" in page.locator("#lead h1").inner_text()
        return
    assert "질문은 영어로 읽습니다" in text and "영어로" in box.get_attribute("placeholder")
    assert tile.inner_text().strip().startswith("표지판에 뭐라고 쓰여 있어요? (What")
    send(page, "표지판에 뭐라고 쓰여 있어요?")
    answered(page)
    expect(verdicts(page)).to_contain_text("영어로 이렇게 읽었습니다: “What does the sign say?”")
    page.get_by_role("link", name="근거 보기").click()
    page.wait_for_function("document.querySelector('#evidence').getBoundingClientRect().top < 100")


def test_answer_verdict_photo_and_findings_are_in_one_view_on_a_laptop(open_page):
    page = open_page(width=1366, height=768)
    example(page, 0)
    photo, table = page.locator(".lav2-photo img:visible"), page.locator(".lav2-table:visible")
    mark = table.locator("[role=row]", has_text="✓").first
    answer = page.locator("#chat .bot.message:not(:has(.lav2-verdict, .thought-group))")
    for seen in (answer, verdicts(page), photo, mark):
        assert in_view(page, seen)
    assert page.evaluate("scrollY") == 0
    assert photo.bounding_box()["x"] + photo.bounding_box()["width"] <= table.bounding_box()["x"]
    assert verdicts(page).bounding_box()["y"] > answer.bounding_box()["y"]
    expect(verdicts(page)).to_contain_text("STOP")


def test_every_answer_opens_its_own_evidence_and_new_questions_scroll_into_view(open_page):
    page = open_page(width=1366, height=768)
    shorten(page, 24)
    example(page, 0)
    example(page, 1)
    page.locator("#chat [role=log]").evaluate("log => log.scrollTop = 0")
    send(page, "Which shop is it?")
    page.locator("#chat .user-row", has_text="Which shop is it?").wait_for()
    answered(page)
    expect(verdicts(page).last).to_be_in_viewport(ratio=0.9)  # also inside the conversation, which scrolls by itself
    verdicts(page).first.scroll_into_view_if_needed()
    page.get_by_role("link", name="See evidence").first.focus()
    page.keyboard.press("Enter")
    page.get_by_text("Evidence for “What does the sign say?”").wait_for()
    page.locator(".lav2-table:visible", has_text="STOP").wait_for()
    settled(page)
    with page.expect_download() as download:
        page.locator(".lav2-receipt:visible").click()
    assert json.loads(download.value.path().read_text())["question"] == "What does the sign say?"
    expect(page.get_by_role("button", name="Answer again")).to_be_hidden()
    page.get_by_role("link", name="See evidence").last.click()
    page.get_by_text("Evidence for “Which shop is it?”").wait_for()
    page.get_by_role("button", name="Answer again").wait_for()


def test_a_conversation_survives_reload_and_back_and_says_when_its_photo_is_gone(open_page, server, tmp_path):
    page = open_page()
    own = tmp_path / "reload-kumquat.webp"
    Image.open(SIGN).save(own, quality=70)
    shorten(page, 24)
    attach(page, own)
    send(page, "What does the sign say?")
    answered(page)
    first, verdict = said(page), verdicts(page).inner_text()
    for again in (page.reload, lambda: (page.goto("about:blank"), page.go_back())):
        again()
        verdicts(page).wait_for()
        page.locator(".lav2-table:visible", has_text="STOP").wait_for()
        settled(page)
        assert said(page) == first and verdicts(page).inner_text() == verdict
        for photo in ("#chat .message img", ".lav2-photo img"):
            page.locator(f"{photo}:visible").wait_for()
    send(page, "Is there a car?")  # about the photo from before
    answered(page)
    assert len(said(page)) == 2
    for kept in (server.folder / "uploads").rglob(own.name):  # as Gradio does after half an hour
        kept.unlink()
    page.reload()
    page.get_by_text("The photo is no longer kept").first.wait_for()
    settled(page)
    assert len(said(page)) == 3  # the note and both answers
    expect(page.locator(".lav2-table:visible")).to_have_count(1)


def test_a_link_shows_the_conversation_to_another_visitor_who_can_ask_on(open_page):
    page = open_page()
    shorten(page, 24)
    example(page, 0)
    page.get_by_role("button", name="Save this conversation").click()
    settled(page)
    page.locator("#share").click()
    field = page.locator("#share-link :is(input, textarea)")
    expect(field).to_have_value(re.compile(r"^http://127\.0\.0\.1:\d+/\?shared=[\w-]{22}$"))
    expect(page.locator("#keep")).to_contain_text("on this machine only")
    other = open_page(language="ko-KR")  # the page speaks the visitor's language
    own = "표지판에 뭐라고 쓰여 있어요?"
    send(other, own)
    answered(other)
    other.goto(field.input_value())
    verdicts(other).wait_for()
    settled(other)
    assert said(other) == said(page)
    expect(other.locator(".lav2-notice:visible")).to_contain_text("공유한 대화")
    other.locator(".lav2-table:visible", has_text="STOP").wait_for()
    other.locator(".lav2-photo img:visible").wait_for()
    other.get_by_role("button", name="지운 대화 되돌리기").click()
    other.locator("#chat .user-row", has_text=own).wait_for()
    other.goto(field.input_value())
    verdicts(other).wait_for()
    send(other, "Is there a car?")
    answered(other)
    expect(other.locator("#chat .user-row", has_text="Is there a car?")).to_have_count(1)
    expect(other).not_to_have_url(re.compile("shared"))
    other.reload()
    expect(other.locator("#chat .user-row", has_text="Is there a car?")).to_have_count(1)
    assert len(said(other)) == 2 and len(said(page)) == 1


def test_clear_can_be_undone_and_the_conversation_is_saved_as_markdown_and_json(open_page):
    page = open_page()
    example(page, 0)
    first = said(page)
    page.get_by_role("button", name="Save this conversation").click()
    saved = {}
    for kind in ("markdown", "json"):
        page.locator(f"a:has(#keep-{kind}), #keep-{kind}[href], #keep-{kind}").first.wait_for()
        settled(page)  # until its file has come
        with page.expect_download() as download:
            page.locator(f"#keep-{kind}").click()
        saved[kind] = download.value.path().read_text()
    assert "**What does the sign say?**" in saved["markdown"] and "STOP" in saved["markdown"]
    (exchange,) = json.loads(saved["json"])["exchanges"]
    assert exchange["receipt"]["answer"] == exchange["answer"] and exchange["photo"] == SIGN.name
    page.get_by_label("Clear").click()
    page.locator("#chat .placeholder").wait_for()
    settled(page)
    page.get_by_role("button", name="Bring the conversation back").click()
    verdicts(page).wait_for()
    settled(page)
    expect(page.locator(".lav2-table:visible")).to_have_count(1)
    assert said(page) == first
    page.get_by_label("Clear").click()
    page.locator("#chat .placeholder").wait_for()
    page.get_by_role("button", name="Bring the conversation back").wait_for()
    settled(page)
    page.reload()
    page.locator("#chat .placeholder").wait_for()
    settled(page)  # a conversation that was kept is back by now
    assert said(page) == []


def test_the_question_that_carries_the_photo_can_be_edited(open_page):
    page = open_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(error))
    example(page, 2)
    page.locator("#chat").get_by_label("Edit").first.click()
    settled(page)
    box = page.locator("#chat textarea:visible")
    box.fill("How much is the tea?")
    expect(box).to_have_value("How much is the tea?")
    page.locator("#chat").get_by_label("Submit").click()
    page.locator("#chat .user-row", has_text="How much is the tea?").wait_for()
    answered(page)
    verdicts(page).wait_for()
    expect(page.locator("#chat .message img")).to_have_count(1)
    assert len(said(page)) == 1
    assert "latte" not in page.locator("#chat").inner_text() and faults == []


def test_while_one_waits_the_page_says_which_expert_is_at_work_and_what_was_found_so_far(open_page, tmp_path):
    lines = ("KUMQUAT STREET", "OPEN UNTIL NINE", *(f"HOUSE NUMBER {n * n}" for n in range(11, 15)))  # a while to read
    new = Image.new("RGB", (500, 100 + 80 * len(lines)), "white")
    for row, line in enumerate(lines):
        ImageDraw.Draw(new).text((20, 30 + 80 * row), line, "black", ImageFont.load_default(44))
    for pixel in range(8):  # one that no server has seen, also where the test is run again
        new.putpixel((pixel, 0), (*os.urandom(2), 255))
    new.save(tmp_path / "new.png")
    page = open_page()
    page.evaluate("""() => {
        window.folds = [];
        new MutationObserver(() => {
            const fold = document.querySelector("#chat .bot.message:has(.thought-group)")?.innerText;
            if (fold && fold !== folds.at(-1)) folds.push(fold);
        }).observe(document.querySelector("#chat"), { childList: true, subtree: true, characterData: true });
    }""")
    attach(page, tmp_path / "new.png")
    send(page, "When does it close?")
    answered(page)
    waiting = [fold for fold in page.evaluate("folds") if "Looking at the photo" in fold]
    assert any("running" in fold for fold in waiting)
    assert any("running" in fold and ("found" in fold or "“" in fold) for fold in waiting), waiting
    expect(page.locator(".lav2-experts:visible")).to_contain_text("KUMQUAT")  # what was read, not only how much


def test_a_visitor_sees_no_sign_that_somebody_else_sent_the_same_photo(open_page):
    for _ in range(2):
        page = open_page()
        example(page, 0)
        assert "remembered" not in page.locator("body").inner_text()
    send(page, "And now?")
    answered(page)
    expect(page.locator(".lav2-experts:visible")).to_contain_text("remembered")  # it is his own from here on


def test_nothing_tried_the_network(server):
    assert server.attempts == []
