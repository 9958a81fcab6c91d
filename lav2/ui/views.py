"""Findings as HTML, as a table and as a picture."""

import base64
import difflib
import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from PIL import Image, ImageDraw

from experts import render
from experts.evidence import Caption, Detections, Evidence, ExpertFailure
from experts.messages import cut
from experts.page import caption_of
from lav2.events import Change, Route
from lav2.text import claims, corrections, korean, verdict
from lav2.ui.state import Findings
from lav2.ui.texts import expert_label, translated

PANEL_SIDE = 1280  # pixels: the longer side of the photo in the evidence panel
STATUS_ITEMS, STATUS_CHARACTERS = 4, 24  # what an expert's line names of its findings, and how much of each
RESTS_ITEMS, RESTS_CHARACTERS = 4, 60  # the same of a verdict
CHANGES_SHOWN = 6  # corrections named under an answer


def notice(cause: str = "", next_step: str = "", good: bool = False) -> dict[str, Any]:
    """An update for a page's line of trouble, or of good news; without a cause it disappears."""
    kind = 'class="lav2-notice good" role="status"' if good else 'class="lav2-notice" role="alert"'
    text = f"<p {kind}><b>{html.escape(cause)}</b> {html.escape(next_step)}</p>"
    return gr.update(value=text if cause else "", visible=bool(cause))


def status(findings: Findings, name: str, texts: Mapping[str, str]) -> str:
    """One line on one expert: waiting, running, what it found and in how many seconds, or why it failed."""
    found = findings.evidence.get(name)
    if found is None:
        return texts[findings.states[name]]
    if isinstance(found, ExpertFailure):
        return f"{texts['failed']}. {translated(found.cause, texts)} {translated(found.next_step, texts)}"
    seconds = texts["remembered" if name in findings.remembered else "done"].format(seconds=f"{found.seconds:.2f}")
    start = "" if name in findings.untimed else f"{seconds} · "
    if isinstance(found, Caption):
        return start + (texts["page_of_text"] if _of_a_page(findings) else f"“{found.text}”")
    detected = isinstance(found, Detections)
    items = found.labels if detected else found.texts
    text = start + (texts["found"].format(n=len(items)) if items else texts["nothing"])
    if detected:
        text += f" ({texts['kinds'].format(n=len(found.classes))})"
    first = ", ".join(cut(item, STATUS_CHARACTERS) for item in items[:STATUS_ITEMS])
    return f"{text}: {first}{' …' if len(items) > STATUS_ITEMS else ''}" if items else text


def detector_tooltip(found: Evidence | None, texts: Mapping[str, str]) -> str:
    """Which detector looked, and for what; "" for other findings."""
    if not isinstance(found, Detections):
        return ""
    names = ", ".join(found.classes)
    return texts["known_kinds"].format(detector=found.detector, n=len(found.classes), names=names)


def route_text(route: Route, texts: Mapping[str, str]) -> str:
    """Which experts `auto` chose, and why."""
    names = ", ".join(expert_label(name, texts) for name in route.experts)
    reasons = "; ".join(texts[f"route_{kind}"] for kind in route.kinds)
    quoted = f" (“{'”, “'.join(route.words)}”)" if route.words else ""
    return f"{texts['auto']}: {names}. {reasons}{quoted}"


def status_html(findings: Findings, texts: Mapping[str, str]) -> str:
    """One line on each expert: waiting, running, what it found, or why it failed."""
    lines = ""
    if findings.route:
        lines += f'<li class="route"><b>{html.escape(texts["auto"])}</b>'
        lines += f"<span>{html.escape(route_text(findings.route, texts).partition(': ')[2])}</span></li>"
    for name, state in findings.states.items():
        text = html.escape(status(findings, name, texts))
        title = html.escape(detector_tooltip(findings.evidence.get(name), texts))
        label = html.escape(expert_label(name, texts))
        lines += f'<li class="{state}" title="{title}"><b>{label}</b><span>{text}</span></li>'
    where = html.escape(json.dumps(finding_outlines(findings)))
    table = " data-table" if render.numbered(findings.evidence) or findings.added else ""  # for layout.css
    return f'<div role="status"><ul class="lav2-experts" data-places="{where}"{table}>{lines}</ul></div>'


def finding_outlines(findings: Findings) -> dict[int, list[list[float]]]:
    """Number -> corners [x, y] of every finding that has a place, in shares of the photo's width and height; what
    labels.js lights up while the pointer is on a finding."""
    evidence = findings.evidence
    sizes = {name: found.size for name, found in evidence.items() if not isinstance(found, Caption | ExpertFailure)}
    if findings.added:  # once there is an answer
        sizes |= dict.fromkeys(corrections.ADDABLE, tuple(findings.receipt["image"]["size"]))
    found = [item for item in (*render.numbered(evidence), *findings.added) if item.polygon is not None]
    return {item.number: (item.polygon.astype(float) / sizes[item.expert]).round(4).tolist() for item in found}


def hint_html(text: str) -> str:
    return f'<p class="lav2-hint" role="status">{html.escape(text)}</p>'


def meter_html(findings: Findings, texts: Mapping[str, str]) -> str:
    """How much of the context the prompt uses, by part."""
    free = findings.context - findings.tokens
    usage = texts["meter"].format(tokens=findings.tokens, context=findings.context, free=free)
    left_out = ""
    if findings.trimmed:
        left_out = texts["trimmed_one" if findings.trimmed == 1 else "trimmed"].format(turns=findings.trimmed)
    high = 0.9 * findings.context
    scale = f'max="{findings.context}" high="{high}" value="{findings.tokens}"'
    bar = f'<meter {scale} aria-label="{usage}"></meter>'
    parts = " · ".join(f"{texts[f'part_{name}']} {tokens}" for name, tokens in findings.token_breakdown.items())
    return f'<div class="lav2-meter">{bar}<span>{usage}</span><span>{parts}</span><span>{left_out}</span></div>'


USED, AGAINST = "✓", "✗"  # behind the number of a finding that holds the answer, or what it denies


def findings_table(findings: Findings, texts: Mapping[str, str]) -> list[list[str]]:
    """The table of all items: number, finding, expert, confidence, place and colour; every cell plain text."""
    held = check_answer(findings)
    marks = dict.fromkeys(held.rests_on, f" {USED}") | dict.fromkeys(held.against, f" {AGAINST}")
    unused = dict.fromkeys(findings.left_out, texts["not_given"])
    unused |= dict.fromkeys(_of_a_page(findings), texts["of_a_page"])
    unused |= dict.fromkeys(verdict.unreliable(findings.evidence), texts["unreliable"])
    own = corrections.by_reader(findings.evidence, findings.changes) | {item.number for item in findings.added}
    rows = []
    for item in (*render.numbered(findings.evidence), *findings.added):
        place = item.place and texts[f"place_{item.place}"]
        notes = [texts["by_you"]] if item.number in own else []
        notes += [unused[item.number]] if item.number in unused else []
        rows.append(
            [
                f"{item.number}{marks.get(item.number, '')}",
                item.text,
                source_of(item, texts) + (f" ({', '.join(notes)})" if notes else ""),
                "" if item.confidence is None or item.number in own else f"{item.confidence:.2f}",
                ", ".join(filter(None, (place, colour_words(item.colour, texts)))),
            ]
        )
    return rows


def _of_a_page(findings: Findings) -> frozenset[int]:
    """Numbers of what a captioner of photos says of a page of text, which the model is not given."""
    if caption_of(findings.evidence) is not None:
        return frozenset()
    return frozenset(item.number for item in render.numbered(findings.evidence) if item.expert == "caption")


def source_of(item: render.Item, texts: Mapping[str, str]) -> str:
    """Who found it, as the table says; a captioner's words and likely answers are told from its sentence."""
    return texts[item.kind] if item.kind else expert_label(item.expert, texts)


def colour_words(colour: str, texts: Mapping[str, str]) -> str:
    """A finding's colour (experts.colours) in the reader's language."""
    return " ".join(texts[f"colour_{word}"] for word in colour.split())


def check_answer(findings: Findings) -> verdict.Verdict:
    """The answer against its findings; nothing before there is one."""
    if not findings.receipt:
        return verdict.Verdict()
    answer = findings.receipt["answer"]
    return verdict.verdict(answer, english_question(findings), findings.evidence, findings.left_out)


def english_question(findings: Findings) -> str:
    """The answered question as the model was asked it."""
    question = findings.receipt["question"]
    return korean.translated(question) or question


def researchers_html(findings: Findings, texts: Mapping[str, str]) -> str:
    """The heading of what only researchers need, with the receipt; the exact prompt and the meter stand below."""
    title = f'<h2 class="lav2-subtitle">{html.escape(texts["researchers"])}</h2>'
    return title + receipt_link(findings.receipt, texts)


def verdict_html(findings: Findings, texts: Mapping[str, str]) -> str:
    """What the answer rests on: findings that hold it, words that no finding has, contradictions; and what the model
    was not given."""
    if findings.rule:
        return f'<ul class="lav2-claims"><li>{html.escape(texts["by_rule"])}</li></ul>'
    answer, question = findings.receipt["answer"], english_question(findings)
    held = check_answer(findings)
    lines = []
    if question != findings.receipt["question"]:
        lines.append(("used", texts["read_as"].format(question=question), []))
    resting = [item for item in render.numbered(findings.evidence) if item.number in held.rests_on]
    if resting:
        named = [f"{item.number} “{cut(item.text, RESTS_CHARACTERS)}”" for item in resting]
        lines.append(("used", texts["claims_used"], named[:RESTS_ITEMS] + ["…"] * (len(named) > RESTS_ITEMS)))
    if held.absent:
        lines.append(("used", texts["claims_absent"], held.absent))
    if held.unwritten:
        lines.append(("used", texts["claims_unwritten"], held.unwritten))
    for found in held.denied:
        text = texts["conflict_denied" if found.label else "conflict_written"]
        lines.append(("conflict", text.format(**vars(found)), []))
    if findings.evidence and answer and not held.found and not held.denied:
        lines.append(("alone", texts["claims_none"], held.missing))
    elif findings.evidence and held.missing:
        lines.append(("alone", texts["claims_alone"], held.missing))
    if not_given := not_given_text(findings, texts):
        lines.append(("alone", not_given, []))
    objects = findings.evidence.get("detection")
    if isinstance(objects, Detections):
        unknown = [name for name in claims.asked(question) if name not in objects.classes]
        if unknown:
            lines.append(("alone", texts["unknown_kinds"], unknown))
    read_only = resting and all(item.expert == "ocr" for item in resting)  # what the caption says is of no matter
    for found in [] if read_only else claims.conflicts(findings.evidence):
        text = texts["conflict_missing" if found.said is None else "conflict_count"]
        lines.append(("conflict", text.format(**vars(found)), []))
    for found in claims.miscounted(answer, question, findings.evidence):
        lines.append(("conflict", texts["conflict_answer"].format(**vars(found)), []))
    shown = ""
    for kind, text, marked in lines:
        marks = " ".join(f"<mark>{html.escape(word)}</mark>" for word in marked)
        shown += f'<li class="{kind}">{html.escape(text)} {marks}</li>'
    return f'<ul class="lav2-claims">{shown}</ul>' if shown else ""


TAKEN = {"page": "taken_page", "frame": "taken_frame", "picture": "taken_picture"}  # part of a file -> its text


def not_given_text(findings: Findings, texts: Mapping[str, str]) -> str:
    """How much of the findings the model was not given, and why, and what of the file was looked at; "" if all."""
    unreliable = len(verdict.unreliable(findings.evidence))
    # likely answers are told where they are of use
    likely = {item.number for item in render.numbered(findings.evidence) if item.kind == "candidate"}
    crowded = len(findings.left_out - likely - _of_a_page(findings))
    sentences = [texts["left_out"].format(n=crowded)] if crowded else []
    sentences += [texts["left_unread"].format(n=unreliable)] if unreliable else []
    kind, number = findings.part
    sentences += [texts[TAKEN[kind]].format(n=number)] if kind else []
    return " ".join(sentences)


def receipt_link(value: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    data = base64.b64encode(json.dumps(value, ensure_ascii=False, indent=1).encode()).decode()
    link = f'href="data:application/json;base64,{data}" download="receipt.json"'
    return f'<a class="lav2-receipt" {link}>{html.escape(texts["receipt"])}</a>'


WORD = re.compile(r"\w+(?:['’.,:/-]\w+)*")  # 7.80 and o'clock are one


def mark_differences(text: str, other: str) -> str:
    """HTML of `text` with each word marked that `other` does not have in the same order; neither capitals nor marks
    of punctuation make another word."""
    own, others = list(WORD.finditer(text)), WORD.findall(other.casefold())
    words = [word[0].casefold() for word in own]
    alike = difflib.SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks()
    same = {i for start, _, size in alike for i in range(start, start + size)}
    shown, end = "", 0
    for i, word in enumerate(own):
        piece = html.escape(word[0])
        shown += html.escape(text[end : word.start()]) + (piece if i in same else f"<mark>{piece}</mark>")
        end = word.end()
    return shown + html.escape(text[end:])


def before_after_html(before: str, after: str, changes: Sequence[Change], texts: Mapping[str, str]) -> str:
    """The answer before and after a correction, side by side, and what was corrected."""
    sides = ""
    for name, text, other in (("answer_before", before, after), ("answer_after", after, before)):
        sides += f"<section><b>{html.escape(texts[name])}</b><p>{mark_differences(text, other)}</p></section>"
    same = [word.casefold() for word in WORD.findall(before)] == [word.casefold() for word in WORD.findall(after)]
    alike = f"<p>{html.escape(texts['answer_unchanged'])}</p>" if same else ""
    lines = "".join(f"<li>{html.escape(change_text(change, texts))}</li>" for change in changes[:CHANGES_SHOWN])
    lines += "<li>…</li>" if len(changes) > CHANGES_SHOWN else ""
    return f'<div class="lav2-before-after">{sides}</div>{alike}<ul class="lav2-changes">{lines}</ul>'


def change_text(change: Change, texts: Mapping[str, str]) -> str:
    """One line: what a reader did to a finding."""
    kind = "removed" if change.after is None else "added" if change.before is None else "rewritten"
    quoted = {name: cut(getattr(change, name) or "", RESTS_CHARACTERS) for name in ("before", "after")}
    return texts[f"change_{kind}"].format(expert=expert_label(change.expert, texts), **quoted)


def photo_space_html(photo: Image.Image) -> str:
    """The room that the photo takes in the panel, there before the photo itself has come."""
    return f'<div class="lav2-photo-space" style="aspect-ratio: {photo.width} / {photo.height}"></div>'


def draw_findings(photo: Image.Image, findings: Findings, number: int | None = None) -> Image.Image:
    """The photo with numbered findings, the reader's own too, small enough for the page. What the answer rests on
    stands out; the item `number` alone stays bright."""
    drawn = render.draw(photo, findings.evidence, findings.added, check_answer(findings).rests_on)
    shown = (*render.numbered(findings.evidence), *findings.added)
    chosen = next((item for item in shown if item.number == number), None)
    if chosen is not None and chosen.polygon is not None:
        mask = Image.new("L", drawn.size, 70)  # of 255: the rest stays visible, but dim
        ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in chosen.polygon], fill=255)
        drawn = Image.composite(drawn, Image.new("RGB", drawn.size), mask)
    drawn.thumbnail((PANEL_SIDE, PANEL_SIDE))
    return drawn
