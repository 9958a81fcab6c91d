"""Correcting the findings, in a real browser against the real app: from "Wrong? Fix it" under the answer to the answers
before and after, side by side, and the receipt. Shares the server of test_browser.py."""

import json
import re

import pytest
from live import ROOT, answered, attach, barriers, send, settled
from playwright.sync_api import expect

from lav2.cli.main import main
from lav2.ui.views import WORD

pytestmark = [pytest.mark.slow, pytest.mark.flaky(reruns=2)]

SIGN = ROOT / "assets/examples/street-sign.webp"


@pytest.fixture
def asked(open_page):
    """Opens the page, and asks what the sign says."""

    def start(**how):
        page = open_page(**how)
        attach(page, SIGN)
        send(page, "What does the sign say?")
        expect(page.locator("#chat .lav2-verdict")).to_have_count(1)
        answered(page)
        return page

    return start


def rows(page):
    return page.locator(".lav2-table:visible [role=row]:has([data-testid^=cell-])")


def draw(page, left, top, right, bottom):
    """A box on the photo by the pointer; shares of its width and height."""
    photo = page.locator("#evidence .lav2-photo img:visible")
    photo.scroll_into_view_if_needed()
    settled(page)
    at = photo.bounding_box()
    corners = [(at["x"] + x * at["width"], at["y"] + y * at["height"]) for x, y in ((left, top), (right, bottom))]
    page.mouse.move(*corners[0])
    page.mouse.down()
    page.mouse.move(*corners[1], steps=3)
    page.mouse.up()


def test_a_finding_is_added_by_a_box_on_the_photo_and_both_answers_stand_side_by_side(asked, tmp_path):
    page = asked(width=1366, height=768)
    link = page.get_by_role("link", name="Wrong? Fix it")
    link.click()
    text, corners = (page.locator(f"#fix-{name} :is(input, textarea)") for name in ("text", "corners"))
    expect(text).to_be_focused()
    for seen in (page.locator("#evidence .lav2-photo img:visible"), page.locator("#fix-add"), rows(page).first):
        expect(seen).to_be_in_viewport(ratio=1)
    draw(page, 0.25, 0.5, 0.5, 1.0)
    expect(page.locator(".lav2-drawn")).to_be_visible()
    expect(corners).to_have_value(re.compile(r"^2[45][\d.]*, (49|50)[\d.]*, (49|50)[\d.]*, (99|100)[\d.]*$"))
    text.fill("zebra")
    before, picture = rows(page).count(), page.locator("#evidence .lav2-photo img").get_attribute("src")
    page.get_by_role("button", name="Add this finding").click()
    expect(rows(page).last).to_contain_text("zebra")
    expect(rows(page).last).to_contain_text("Objects (by you)")
    expect(rows(page)).to_have_count(before + 1)
    expect(page.locator("#evidence .lav2-photo img")).not_to_have_attribute("src", picture)
    expect(text).to_have_value("")
    settled(page)
    box = rows(page).nth(before - 1).locator("input[type=checkbox]")
    box.click()
    settled(page)
    expect(box).not_to_be_checked()
    page.get_by_role("button", name="Answer again").click()
    sides = page.locator("#chat .lav2-before-after section p")
    expect(sides).to_have_count(2)
    expect(page.locator("#chat .lav2-changes")).to_contain_text("You added “zebra” (Objects).")
    expect(rows(page)).to_have_count(before)
    expect(rows(page).filter(has_text="zebra")).to_contain_text("by you")
    expect(rows(page).filter(has_text="by you")).to_have_count(1)
    answered(page)
    with page.expect_download() as download:
        page.locator(".lav2-receipt:visible").click()
    file = tmp_path / "receipt.json"
    download.value.save_as(file)
    kept = json.loads(file.read_text())
    assert [(one["before"], one["after"]) for one in kept["corrections"]][-1] == (None, "zebra")
    assert [one["after"] for one in kept["corrections"]][:-1] == [None] and "zebra" in kept["prompt"]
    assert main(["replay", str(file), str(SIGN)]) == 0
    was, now = sides.all_inner_texts()
    assert now.strip() == kept["answer"]
    differ = [word.casefold() for word in WORD.findall(was)] != [word.casefold() for word in WORD.findall(now)]
    assert bool(page.locator("#chat .lav2-before-after mark").count()) == differ
    page.reload()
    expect(rows(page).filter(has_text="by you")).to_have_count(1)
    expect(page.locator("#chat .lav2-before-after section")).to_have_count(2)


def test_a_rewritten_finding_is_marked_and_what_is_wrong_with_a_box_is_said(asked):
    page = asked(width=1366, height=768)
    page.get_by_role("link", name="Wrong? Fix it").click()
    text = page.locator("#fix-text :is(input, textarea)")
    expect(text).to_be_focused()
    add, notice = page.get_by_role("button", name="Add this finding"), page.locator("#fix .lav2-notice")
    add.click()
    expect(notice).to_contain_text("not said what is in the box")
    text.fill("EXIT")
    add.click()
    expect(notice).to_contain_text("There is no box")
    page.get_by_role("radio", name="Text").check()
    page.locator("#fix-corners :is(input, textarea)").fill("5, 70, 40, 80")
    add.click()
    expect(rows(page).last).to_contain_text("Text (by you)")
    settled(page)
    sign = page.locator(".lav2-table:visible [data-testid$='-2']").filter(has_text=re.compile(r"^\s*STOP\s*$"))
    cell = page.locator(f".lav2-table:visible [data-testid={sign.get_attribute('data-testid')}]")
    cell.click()
    settled(page)
    cell.press("Enter")
    box = page.locator(".lav2-table textarea:visible, .lav2-table input[type=text]:visible").first
    box.fill("STOPP")
    expect(box).to_have_value("STOPP")
    page.keyboard.press("Enter")
    expect(rows(page).filter(has_text="STOPP")).to_have_count(1)
    page.get_by_role("button", name="Answer again").click()
    changes = page.locator("#chat .lav2-changes")
    expect(changes).to_contain_text("You changed “STOP” to “STOPP” (Text).")
    expect(rows(page).filter(has_text="STOPP")).to_contain_text("by you")
    expect(rows(page).filter(has_text="EXIT")).to_contain_text("by you")
    answered(page)
    page.get_by_role("button", name="Exact prompt").first.click()
    prompt = page.locator("textarea[disabled]:visible").last
    expect(prompt).to_have_value(re.compile(r"> STOPP"))
    expect(prompt).to_have_value(re.compile(r"> EXIT"))


@pytest.mark.parametrize("scheme, width, language", [("dark", 1366, "en-GB"), ("light", 390, "ko-KR")])
def test_the_form_of_corrections_has_no_barrier_and_fits(asked, scheme, width, language):
    page = asked(width=width, height=768, scheme=scheme, language=language)
    page.locator("#chat .lav2-fix-link").click()
    expect(page.locator("#fix-text :is(input, textarea)")).to_be_focused()
    expect(page.locator("#evidence .lav2-photo img:visible")).to_be_in_viewport()
    draw(page, 0.1, 0.1, 0.4, 0.6)
    page.locator("#fix-text :is(input, textarea)").fill("zebra")
    page.locator("#fix-add").click()
    expect(rows(page).last).to_contain_text("zebra")
    page.locator(".lav2-again").click()
    expect(page.locator("#chat .lav2-before-after section")).to_have_count(2)
    answered(page)
    page.locator("#chat .lav2-fix-link").click()
    expect(page.locator("#fix-text :is(input, textarea)")).to_be_focused()
    assert not (violations := barriers(page)), "\n".join(violations)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
