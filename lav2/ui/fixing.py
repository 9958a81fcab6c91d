"""What a reader corrects: the form for a finding of their own, with a box drawn on the photo, and the next question."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from experts import render
from experts.render import Item
from lav2.errors import LAV2Error
from lav2.events import Request
from lav2.text import corrections, routing
from lav2.ui.state import Exchange, Findings
from lav2.ui.texts import T

ADDED = 20  # findings of a reader's own at once


class FixForm:
    """A fold under the photo. labels.js writes the corners of a box that is drawn on the photo into `corners`, and
    opens the fold for the link under the answer."""

    def __init__(self):
        with gr.Accordion(T("fix"), open=False, visible=False, elem_id="fix") as self.fold:
            gr.HTML(T("fix_lead"), elem_classes="lav2-hint", padding=False)
            self.kind = gr.Radio(
                [(T("fix_detection"), "detection"), (T("fix_ocr"), "ocr")],
                value="detection",
                label=T("fix_kind"),
                show_label=False,
                container=False,
            )
            with gr.Row(equal_height=True):
                self.text = gr.Textbox(label=T("fix_text"), max_lines=1, min_width=120, elem_id="fix-text")
                self.corners = gr.Textbox(
                    label=T("fix_corners"),
                    placeholder=T("fix_corners_hint"),
                    max_lines=1,
                    min_width=120,
                    elem_id="fix-corners",
                )
            self.add = gr.Button(T("fix_add"), size="sm", elem_id="fix-add")
            self.notice = gr.HTML(visible=False, padding=False)
        self.inputs = [self.kind, self.text, self.corners]
        self.all = [self.fold, self.text, self.corners, self.notice]

    def shown(self, visible: bool) -> dict[Any, Any]:
        """The fold closed and the fields empty, or nothing of it."""
        hidden = {self.notice: gr.update(visible=False), self.text: "", self.corners: ""}
        return {**hidden, self.fold: gr.update(visible=visible, open=False)}


def added(findings: Findings, expert: str, text: str, corners: str, texts: Mapping[str, str]) -> tuple[Findings, Item]:
    """The answered findings with one of the reader's own, which counts from the next answer on.

    Args:
        findings: with a receipt that knows the photo's size.
        expert: whose kind of finding it is (lav2.text.corrections.ADDABLE).
        text: what it is.
        corners: left, top, right, bottom in % of the photo.
        texts: of the page.

    Raises:
        LAV2Error: there is no text or no box, or there are too many.
    """
    if expert not in corrections.ADDABLE or not render.clean(text, corrections.ADDABLE[expert]):
        raise LAV2Error(texts["fix_no_text"], texts["fix_no_text_next"])
    if len(findings.added) >= ADDED:
        raise LAV2Error(texts["fix_full"].format(n=ADDED), texts["fix_full_next"])
    size = tuple(findings.receipt["image"]["size"])
    box = [share / 100 * side for share, side in zip(box_shares(corners, texts), size * 2, strict=True)]
    number = len(render.numbered(findings.evidence)) + len(findings.added) + 1
    item = corrections.added(expert, text, box, size, number)
    return replace(findings, added=(*findings.added, item)), item


def corrected(pending: Exchange, asked: Request, findings: Findings) -> tuple[Request, Findings]:
    """A pending question's request and findings, on what a reader corrected where that stands in place of what its
    experts find; else as they are."""
    correction = pending.correction
    if correction is None:
        return asked, findings
    experts, _ = routing.choose(asked.experts, pending.question)
    experts = experts if pending.before is None else correction.experts
    given = correction.of(experts)
    if given is None:
        return asked, findings
    changes = tuple(one for one in correction.changes if one.expert in (*experts, *given))
    asked = replace(asked, experts=tuple(given), evidence=given, corrections=changes)
    return asked, Findings(dict.fromkeys(given, "waiting"), experts=experts, corrected=True, changes=changes)


def box_shares(corners: str, texts: Mapping[str, str]) -> Sequence[float]:
    """Left, top, right, bottom in % as they were typed or drawn. Raises LAV2Error for what is no box in the photo."""
    numbers = [float(number) for number in re.findall(r"-?\d{1,9}(?:\.\d{1,9})?", corners[:100])]
    inside = all(math.isfinite(number) and 0 <= number <= 100 for number in numbers)
    if len(numbers) != 4 or not inside or numbers[0] == numbers[2] or numbers[1] == numbers[3]:
        raise LAV2Error(texts["fix_no_box"], texts["fix_no_box_next"])
    return numbers
