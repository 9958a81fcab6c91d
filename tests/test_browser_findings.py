"""Findings in a real browser against the real app: corrected, lit up, marked, and kept nowhere."""

import json

import pytest
from live import ROOT, answered, attach, send, settled, shorten
from page_actions import BUS, downloaded, exact_prompt, rewrite, untick
from PIL import Image
from playwright.sync_api import expect

from experts.evidence import from_json
from lav2.cli.main import main
from lav2.text.verdict import verdict

pytestmark = [pytest.mark.slow, pytest.mark.flaky(reruns=2)]


def test_findings_can_be_corrected_and_the_receipt_replays(open_page, tmp_path):
    page = open_page()
    shorten(page)
    page.get_by_label("Auto").check()
    sign = ROOT / "assets/examples/street-sign.webp"
    attach(page, sign)
    send(page, "What does the sign say?")
    answered(page)
    expect(page.locator(".lav2-experts:visible .route")).to_contain_text("it asks about text")
    before = page.locator(".lav2-table [role=row]:visible").count()
    texts = page.locator(".lav2-table [data-testid^=cell-][data-testid$='-2']:visible").all_inner_texts()
    rewrite(page, [text.strip() for text in texts].index("STOP"), "STOPP")
    untick(page, page.locator(".lav2-table [data-testid^=cell-] input[type=checkbox]:visible").last)
    page.get_by_role("button", name="Answer again").click()
    answered(page)
    assert "> STOPP" in exact_prompt(page)
    expect(page.locator(".lav2-table [role=row]:visible")).to_have_count(before - 1)
    assert downloaded(page, tmp_path)["corrected"] is True
    assert main(["replay", str(tmp_path / "receipt.json"), str(sign)]) == 0
    page.get_by_role("button", name="Replay a receipt").click()
    for name, file in (("receipt", tmp_path / "receipt.json"), ("photo", sign)):
        settled(page)
        page.locator(f"#replay-{name} input[type=file]").set_input_files(file)
        page.locator(f"#replay-{name} .file-preview").wait_for()
    settled(page)
    page.get_by_role("button", name="Replay a receipt").last.click()
    page.get_by_text("The answer is the same.").wait_for()


def test_a_finding_lights_up_in_the_photo_under_the_pointer_and_with_the_keyboards_focus(open_page):
    page = open_page()
    shorten(page)
    attach(page, BUS)
    send(page, "What is this?")
    answered(page)
    row = page.locator(".lav2-table [role=row]:visible", has_text="person").first
    number = row.locator("[data-testid^=cell-]").nth(1).inner_text().split()[0]
    spot = page.locator(".lav2-spot")
    page.locator("#lead").hover()
    row.hover()
    expect(spot).to_have_attribute("data-number", number)
    settled(page)
    shown = page.locator(".lav2-photo img:visible").bounding_box()
    lit = spot.locator(".outline").evaluate(
        """path => {  // without its stroke
            const box = path.getBBox(), whole = path.ownerSVGElement.getBoundingClientRect();
            return { x: whole.x + box.x, height: box.height };
        }"""
    )
    corners = json.loads(page.locator(".lav2-experts:visible").get_attribute("data-places"))[number]
    assert lit["x"] == pytest.approx(shown["x"] + min(x for x, _ in corners) * shown["width"], abs=4)
    assert lit["height"] == pytest.approx((corners[2][1] - corners[0][1]) * shown["height"], abs=6)
    page.locator("#lead").hover()
    expect(spot).to_have_count(0)
    row.locator("input[type=checkbox]").focus()
    expect(spot).to_have_attribute("data-number", number)
    page.locator("#lead").dispatch_event("pointerover")  # as when focus scrolls the page under a resting pointer
    settled(page)
    expect(spot).to_have_attribute("data-number", number)
    image = page.locator(".lav2-photo img:visible")
    whole = image.get_attribute("src")
    row.locator("[data-testid^=cell-]").nth(1).click()  # chosen: the rest of the photo is dimmed
    page.wait_for_function("([image, src]) => image.src !== src", arg=[image.element_handle(), whole])


def test_one_click_unticks_the_last_of_eight_findings(open_page):
    page = open_page()
    shorten(page)
    attach(page, BUS)
    send(page, "What is this?")
    answered(page)
    boxes = page.locator(".lav2-table [data-testid^=cell-] input[type=checkbox]:visible")
    untick(page, boxes.nth(7))  # a table that must scroll to the row loses the click


def test_marks_and_conflicts_are_those_of_the_evidence_and_html_in_a_finding_stays_text(open_page, tmp_path):
    page = open_page()
    shorten(page)
    attach(page, BUS)
    send(page, "How many people are there?")
    answered(page)
    receipt = downloaded(page, tmp_path)
    evidence = {name: from_json(name, found) for name, found in receipt["evidence"].items()}
    numbers = page.locator(".lav2-table [data-testid^=cell-][data-testid$='-1']:visible").all_inner_texts()
    marked = {int(number.split()[0]) for number in numbers if "✓" in number}
    held = verdict(receipt["answer"], receipt["question"], evidence, frozenset(receipt["left_out"]))
    assert marked == held.rests_on & {int(number.split()[0]) for number in numbers}
    expect(page.locator(".lav2-claims:visible .alone mark")).to_have_text(list(held.missing))
    rewrite(page, 0, "seven people <img src=x onerror=\"document.title='taken'\">")
    page.get_by_role("button", name="Answer again").click()
    answered(page)
    people = evidence["detection"].labels.count("person")
    said_seven = f"The caption says 7 “people”, but the detector found {people} of person."
    expect(page.locator(".lav2-claims:visible")).to_contain_text(said_seven)
    expect(page.locator(".lav2-experts:visible")).to_contain_text("seven people <img")
    assert page.title() == "LAV2" and page.locator("img[src=x]").count() == 0


def test_what_a_photo_carries_beside_its_pixels_is_kept_nowhere(open_page, server):
    page = open_page()
    shorten(page)
    page.get_by_role("tab", name="Compare").click()
    exif = Image.Exif()
    exif[0x010F] = "kumquat-maker"  # the camera's maker
    exif.get_ifd(0x8825)[29] = "2026:01:02"  # GPS date
    located = server.folder / "kumquat-holiday.jpg"
    Image.open(ROOT / "assets/examples/price-label.webp").convert("RGB").save(located, exif=exif)
    assert b"kumquat-maker" in located.read_bytes()
    shorten(page)
    attach(page, located)
    send(page, "How much is a kumquat-question?")
    answered(page)
    page.get_by_role("button", name="Tie").click()
    page.get_by_text("Your vote is stored").wait_for()
    assert "kumquat" not in server.log
    stored = (server.folder / "votes/votes.jsonl").read_text()
    assert "kumquat-question" in stored and "kumquat-holiday" not in stored
    for photo in (server.folder / "votes/photos").iterdir():
        assert not Image.open(photo).getexif() and b"kumquat" not in photo.read_bytes()
