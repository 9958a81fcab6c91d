"""Every state of the page, in a real browser against the real app: no barrier that axe finds, nothing that jumps.
Shares the server of test_browser.py."""

import json

import pytest
from live import ROOT, answered, attach, barriers, send, settled
from page_actions import paper
from playwright.sync_api import expect

pytestmark = [pytest.mark.slow, pytest.mark.flaky(reruns=2)]

TEXTS = json.loads((ROOT / "assets/ui.json").read_text(encoding="utf-8"))
SIGN, RECEIPT = (ROOT / f"assets/examples/{name}.webp" for name in ("street-sign", "receipt"))
MOST = 0.05  # cumulative layout shift: half of what web.dev calls good


def free(page, state: str, width: int, still=True) -> None:
    """No barrier, and nothing beside the page."""
    assert not (violations := barriers(page, still)), f"{state}:\n" + "\n".join(violations)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, state


def waiting(page, folder, width: int) -> None:
    """A question whose experts are still at work when axe has looked: about a longer text where they were too quick."""
    running = page.locator(".lav2-experts:visible .running")
    for rows in (30, 60, 120):
        text = paper([f"LINE {n} OF A LONG PAGE {n * n}" for n in range(11, 11 + rows)], 30, folder / f"{rows}.png")
        settled(page)
        for old in page.locator(
            ".thumbnails:visible [aria-label='Remove file']"
        ).all():  # Compare's box keeps its photo
            old.click()
        attach(page, text)
        send(page, "What is this?")
        running.first.wait_for()
        free(page, "waiting", width, still=False)
        if looked := running.count() > 0:
            page.locator("button.stop-button:visible").click()
        answered(page)
        if looked:
            return
    pytest.fail("the experts are too quick to be looked at")


@pytest.mark.parametrize(
    "scheme, width, language",
    [("light", 1366, "en-GB"), ("dark", 390, "en-GB"), ("dark", 1366, "ko-KR"), ("light", 390, "ko-KR")],
)
def test_axe_finds_no_barrier_in_any_state_of_the_conversation(open_page, tmp_path, scheme, width, language):
    texts = TEXTS[language[:2]]
    page = open_page(scheme=scheme, width=width, language=language)
    free(page, "empty", width)
    waiting(page, tmp_path, width)
    page.locator("#examples .gallery-item").first.click()
    answered(page)
    free(page, "answered", width)
    page.locator("#chat .thought-group button").last.click()
    page.get_by_role("button", name=texts["keep"]).click()
    settled(page)
    page.locator("#share").click()
    page.locator("#share-link textarea, #share-link input").wait_for()
    free(page, "folds open, a link made", width)
    (tmp_path / "bad.jpg").write_bytes(b"this is no picture")
    attach(page, tmp_path / "bad.jpg")
    send(page, "What is this?")
    expect(page.locator(".lav2-notice:visible", has_text="bad.jpg")).to_be_visible()
    free(page, "a bad file", width)
    attach(page, SIGN)
    send(page, "What is this?")
    page.locator("#each").wait_for()
    free(page, "several photos", width)
    page.get_by_label("Clear" if language == "en-GB" else "지우기").click()
    page.get_by_role("button", name=texts["unclear"]).wait_for()
    free(page, "cleared", width)


@pytest.mark.parametrize(
    "scheme, width, language", [("dark", 1366, "en-GB"), ("light", 390, "en-GB"), ("light", 1366, "ko-KR")]
)
def test_axe_finds_no_barrier_in_any_state_of_a_comparison(open_page, tmp_path, scheme, width, language):
    texts = TEXTS[language[:2]]
    page = open_page(scheme=scheme, width=width, language=language)
    page.get_by_role("tab", name=texts["compare_tab"]).click()
    free(page, "empty", width)
    waiting(page, tmp_path, width)
    free(page, "blind", width)
    page.get_by_role("button", name=texts["unveil"]).click()
    expect(page.locator("#answers .lav2-receipt")).to_have_count(2)
    free(page, "unveiled", width)
    page.get_by_label(texts["mode_grid"]).check()
    send(page, "What is this?")
    answered(page)
    expect(page.locator("#answers section")).to_have_count(8)
    free(page, "grid of eight", width)
    for fold in ("tally", "many", "settings"):
        page.locator("button.label-wrap:visible", has_text=texts[fold]).click()
        settled(page)
    free(page, "all folds open", width)


@pytest.mark.parametrize(
    "parent, child, name",
    [
        ("#chat", '<div class="message"><button><img></button></div>', TEXTS["en"]["photo_sent"]),
        ("body", '<div class="lav2-photo"><button><img></button></div>', TEXTS["en"]["photo"]),
        (
            "#chat",
            '<div class="thought-group"><div class="title"><b class="md">Experts</b><button></button></div></div>',
            "Experts",
        ),
    ],
)
def test_what_gradio_draws_without_a_name_has_one_with_the_same_change_of_the_page(open_page, parent, child, name):
    page = open_page()
    named = page.evaluate(
        """async ([parent, child]) => {
            document.querySelector(parent).insertAdjacentHTML("beforeend", child);
            await Promise.resolve(); // what watches the page has run; no time has passed
            return document.querySelector(parent).lastElementChild.querySelector("button").getAttribute("aria-label");
        }""",
        [parent, child],
    )
    assert named == name


SHIFTS = """
    window.shifts = [];
    new PerformanceObserver((list) => {
        for (const one of list.getEntries()) if (!one.hadRecentInput) shifts.push([one.startTime, one.value,
            one.sources.map(({ node, previousRect, currentRect }) =>
                `${node?.id || node?.className} ${previousRect.y} -> ${currentRect.y}`)]);
    }).observe({ type: "layout-shift", buffered: true });
"""


def jumped(page) -> float:
    """Cumulative layout shift as https://web.dev/articles/cls defines it: the worst burst of shifts, which ends after a
    second without one or after five seconds."""
    settled(page)
    worst = burst = 0.0
    start = last = float("-inf")
    for when, shift, _ in page.evaluate("shifts"):
        if when - last > 1000 or when - start > 5000:
            burst, start = 0.0, when
        burst, last = burst + shift, when
        worst = max(worst, burst)
    return worst


@pytest.mark.parametrize("width, height, language", [(1366, 768, "en-GB"), (1920, 1080, "en-GB"), (390, 844, "ko-KR")])
def test_nothing_jumps_while_the_page_comes_up_is_restored_and_answers(open_page, width, height, language):
    page = open_page(width=width, height=height, language=language)
    page.add_init_script(SHIFTS)
    page.reload()
    assert jumped(page) < MOST, page.evaluate("shifts")
    page.locator("#examples .gallery-item").nth(1).click()
    page.locator("#chat .user-row").first.wait_for()
    page.evaluate("shifts.length = 0")  # the question itself takes its room
    answered(page)
    page.locator("#chat .lav2-verdict").wait_for()
    assert jumped(page) < MOST, page.evaluate("shifts")
    page.reload()
    page.locator("#chat .lav2-verdict").wait_for()
    assert jumped(page) < MOST, page.evaluate("shifts")
    page.get_by_role("tab").nth(1).click()
    attach(page, RECEIPT)
    send(page, "What is the total?")
    page.locator("#answers section").first.wait_for()
    page.evaluate("shifts.length = 0")
    answered(page)
    expect(page.locator("#answers section p").first).not_to_have_text("…")
    assert jumped(page) < MOST, page.evaluate("shifts")


def late(page) -> None:
    """Answers, photos and Gradio's own parts come 1.5 s after they are asked for: no click excuses what moves then."""
    conditions = {"offline": False, "latency": 1500, "downloadThroughput": -1, "uploadThroughput": -1}  # ms; no limit
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", conditions)


def test_nothing_jumps_where_everything_comes_late(open_page):
    page = open_page(width=1366, height=768)
    page.evaluate(SHIFTS)
    late(page)
    for number, example in enumerate((1, 1, 2), 1):  # a first answer, one from the cache, one about another photo
        page.locator("#examples .gallery-item").nth(example).click()
        page.locator("#chat .user-row").nth(2 * number - 1).wait_for()  # of a photo and a question
        answered(page)
        expect(page.locator("#chat .lav2-verdict")).to_have_count(number)
        assert jumped(page) < MOST, page.evaluate("shifts")
    page.get_by_label("Clear").click()
    page.get_by_role("button", name=TEXTS["en"]["unclear"]).wait_for()
    assert jumped(page) < MOST, page.evaluate("shifts")
    page.get_by_role("tab").nth(1).click()
    attach(page, RECEIPT)
    send(page, "What is the total?")
    answered(page)
    expect(page.locator("#answers section p").first).not_to_have_text("…")
    assert jumped(page) < MOST, page.evaluate("shifts")
