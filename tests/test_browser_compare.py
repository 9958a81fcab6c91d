"""Comparing, in a real browser against the real app: blind votes and their tally, the way from the conversation, many
photos at once, and the technical terms behind plain words. Shares the server of test_browser.py."""

import csv
import json
import re

import pytest
from live import ROOT, answered, attach, barriers, send, settled, shorten
from playwright.sync_api import expect

pytestmark = [pytest.mark.slow, pytest.mark.flaky(reruns=2)]

EXAMPLES = ROOT / "assets/examples"
SIGN = EXAMPLES / "street-sign.webp"


@pytest.mark.parametrize("scheme, width", [("light", 1366), ("dark", 390)])
def test_a_question_is_carried_over_and_voted_on_blind_and_the_tally_shows_it(open_page, server, scheme, width):
    page = open_page(width=width, height=768, scheme=scheme)
    shorten(page, 16)
    attach(page, SIGN)
    send(page, "What does the sign say?")
    answered(page)
    page.locator("#compare-this").click()
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    box = page.locator("textarea[data-testid=textbox]:visible")
    expect(box).to_have_value("What does the sign say?")
    expect(page.locator(".thumbnail-item:visible")).to_have_count(1)
    shorten(page, 16)
    settled(page)
    box.press("Enter")
    heads = page.locator("#answers h2")
    expect(page.get_by_role("button", name="Right is better")).to_be_visible()
    expect(heads).to_have_text(["A", "B"])
    answered(page)
    expect(page.locator("#answers .lav2-receipt")).to_have_count(0)
    page.get_by_role("button", name="Right is better").click()
    expect(heads).to_have_text([re.compile(r"^A: Experts o(n|ff)$"), re.compile(r"^B: Experts o(n|ff) · your vote$")])
    expect(page.locator("#answers .lav2-receipt")).to_have_count(2)
    expect(page.locator("#tally table td").first).to_be_visible()
    expect(page.locator("#tally-chart li").first).to_be_visible()
    settled(page)
    vote = json.loads((server.folder / "votes/votes.jsonl").read_text().splitlines()[-1])
    names = [re.search("Experts o(n|ff)", text)[0] for text in heads.all_inner_texts()]
    assert names == ["Experts on" if vote[side]["experts"] else "Experts off" for side in ("left", "right")]
    assert not (names := barriers(page)), "\n".join(names)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_best_of_eight_answers_can_be_voted_for(open_page, server):
    page = open_page()
    page.get_by_role("tab", name="Compare").click()
    page.get_by_label("All eight").check()
    shorten(page, 4)
    attach(page, SIGN)
    send(page, "What does the sign say?")
    expect(page.get_by_role("button", name="A", exact=True)).to_be_visible()
    answered(page)
    expect(page.locator("#answers section")).to_have_count(8)
    page.get_by_role("button", name="C", exact=True).click()
    expect(page.locator("#answers h2").nth(2)).to_contain_text("your vote")
    vote = json.loads((server.folder / "votes/votes.jsonl").read_text().splitlines()[-1])
    assert vote["vote"] == "best" and len(vote["others"]) == 7


@pytest.mark.parametrize("scheme, width", [("light", 1366), ("dark", 390)])
def test_many_photos_and_questions_give_a_table_a_chart_and_a_file(open_page, tmp_path, scheme, width):
    page = open_page(scheme=scheme, width=width)
    page.get_by_role("tab", name="Compare").click()
    shorten(page, 8)
    page.get_by_role("button", name="Many photos at once").click()
    settled(page)
    table = tmp_path / "questions.csv"
    table.write_text("image,question,answer\nstreet-sign.webp,What does the sign say?,STOP\ncat.webp,Describe it.,\n")
    files = page.locator("#many-files")
    files.locator("input[type=file]").set_input_files([table, SIGN])
    expect(files.locator(".file-preview tr")).to_have_count(2)
    settled(page)
    with page.expect_file_chooser() as chooser:
        page.get_by_label("Add more files").click()
    chooser.value.set_files(EXAMPLES / "cat.webp")
    expect(files.locator(".file-preview tr")).to_have_count(3)
    settled(page)
    page.get_by_role("radio", name="Only off and on").check()
    page.get_by_role("button", name="Ask all").click()
    expect(page.get_by_text("All 2 questions are answered.")).to_be_visible()
    expect(page.locator("#many-table")).to_contain_text("street-sign.webp")
    expect(page.locator("#many-chart li").first).to_be_visible()
    expect(page.locator("#many-download")).to_be_visible()
    settled(page)
    with page.expect_download() as download:
        page.locator("#many-download").click()
    lines = list(csv.DictReader(download.value.path().read_text(encoding="utf-8-sig").splitlines()))
    assert [(line["image"], line["experts"]) for line in lines] == [
        ("street-sign.webp", "off"), ("street-sign.webp", "on"), ("cat.webp", "off"), ("cat.webp", "on"),
    ]  # fmt: skip
    assert {line["right"] for line in lines[:2]} <= {"0", "1"} and {line["right"] for line in lines[2:]} == {""}
    assert not (violations := barriers(page)), "\n".join(violations)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for label in page.locator("#many-chart li span").all():  # read whole, in one line or several
        assert label.evaluate("span => span.scrollWidth <= span.clientWidth && span.offsetHeight >= 12")


def test_plain_words_carry_the_technical_term_and_what_only_researchers_need_stands_under_their_heading(open_page):
    page = open_page()
    page.locator("#examples .gallery-item").first.click()
    answered(page)
    ocr = page.locator(".lav2-experts:visible b", has_text="Text")
    expect(ocr).to_have_attribute("title", re.compile("optical character recognition"))
    sure = page.locator(".lav2-table:visible .header-cell", has_text="Sure")
    expect(sure).to_have_attribute("title", re.compile("^Confidence"))
    heading = page.get_by_role("heading", name="For researchers")
    expect(heading).to_be_visible()
    below = [page.locator(".lav2-receipt:visible"), page.get_by_role("button", name="Exact prompt"),
             page.locator(".lav2-meter:visible")]  # fmt: skip
    for part in below:
        expect(part.first).to_be_visible()
        assert part.first.bounding_box()["y"] > heading.bounding_box()["y"]
