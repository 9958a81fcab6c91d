"""The Compare tab: one question with experts off and on."""

import html
import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gradio as gr

from experts.evidence import EXPERT_NAMES
from lav2.assistant import receipt, votes
from lav2.errors import LAV2Error
from lav2.events import Done, Queued, Token
from lav2.ui.answering import MODEL, stream
from lav2.ui.examples import EXAMPLES
from lav2.ui.inputs import (
    IDLE,
    NOTHING,
    QUIET,
    RUNNING,
    TOKEN_PAUSE,
    Settings,
    make_request,
    open_uploaded_photo,
    question_box,
    read_message,
    read_photo,
    stop_answer,
)
from lav2.ui.messages import display_answer
from lav2.ui.panel import EvidencePanel
from lav2.ui.state import Cancellation, Findings
from lav2.ui.texts import T, error_texts, queue_notice, texts_for
from lav2.ui.views import draw_findings, mark_differences, notice, receipt_link


@dataclass(frozen=True)
class Compared:
    """What the Compare tab shows: the photo's file, the findings, and each side's receipt once it has answered."""

    path: str
    findings: Findings
    receipts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    vote: threading.Lock = field(default_factory=threading.Lock)  # held by the one vote: two clicks can be quick


class CompareTab:
    """One photo and question, the same seed: without and with the experts side by side, or every choice of them."""

    SIDES = ("off", "on")
    GRID = tuple("+".join(names) or "off" for n in range(4) for names in itertools.combinations(EXPERT_NAMES, n))

    def __init__(self):
        self.cancel = gr.State(None)
        self.shown = gr.State(None)  # Compared
        gr.Markdown(T("compare_lead"))
        self.notice = gr.HTML(visible=False)
        self.mode = gr.Radio(
            [(T("mode_pair"), "pair"), (T("mode_grid"), "grid")], value="pair", show_label=False, label=T("compare_tab")
        )
        self.box = question_box()
        self.settings = Settings()
        self.answers = gr.HTML(padding=False, elem_id="answers")
        with gr.Row(visible=False, elem_classes="lav2-votes") as self.voting:
            gr.HTML(T("vote_info"), elem_classes="lav2-hint", padding=False)
            self.votes = {choice: gr.Button(T(f"vote_{choice}"), size="sm") for choice in votes.CHOICES}
        gr.HTML(T("evidence"), elem_classes="lav2-title", padding=False)
        self.panel = EvidencePanel()
        gr.Examples(
            [[example.value()] for example in EXAMPLES],
            self.box,
            label=T("examples"),
            examples_per_page=len(EXAMPLES),
            elem_id="compare-examples",
        )
        page = [self.cancel, self.shown, self.notice, self.box, self.answers, self.voting, *self.panel.all]
        at_once = {**QUIET, "queue": False, "outputs": page}
        taken = self.box.submit(self.take, [self.box, self.mode, self.cancel], **at_once)
        answered = taken.then(
            self.reply,
            [self.box, self.mode, self.cancel, *self.settings.all],
            page,
            api_visibility="private",
            show_progress="minimal",
            show_progress_on=self.answers,
            **MODEL,
        )
        answered.failure(self.give_back, [self.cancel], **at_once)  # for example: the queue is full
        self.box.stop(stop_answer, [self.cancel], None, queue=False, api_visibility="private")
        self.panel.table.select(self.choose, [self.shown], [self.panel.picture], queue=False, **QUIET)
        for choice, button in self.votes.items():
            button.click(self.vote, [gr.State(choice), self.shown], **at_once)

    def sides(self, mode: str) -> tuple[str, ...]:
        return self.GRID if mode == "grid" else self.SIDES

    def take(
        self, message: dict[str, Any], mode: str, cancel: Cancellation | None, request: gr.Request
    ) -> dict[Any, Any]:
        """The question stays in the box, so that another one on the same photo is one edit away."""
        texts = texts_for(request)
        if cancel is not None and not cancel.is_set():
            return {self.notice: notice(texts["busy"], texts["busy_next"])}
        try:
            _, photo = read_message(message, texts)
            if photo is None:
                raise LAV2Error(texts["no_compare_photo"], texts["no_compare_photo_next"])
        except LAV2Error as error:
            return {self.notice: notice(*error_texts(error, texts))}
        return {
            self.answers: self.answers_html(dict.fromkeys(self.sides(mode), ""), {}, None, texts),
            self.voting: gr.update(visible=False),
            self.shown: None,
            self.notice: notice(),
            self.cancel: Cancellation(),
            self.box: gr.MultimodalTextbox(**RUNNING),
        }

    def reply(
        self, message: dict[str, Any], mode: str, cancel: Cancellation | None, request: gr.Request, *settings: Any
    ) -> Iterator[dict[Any, Any]]:
        """Streams the answers together; a side that fails says so in its place, the others go on. The evidence shown
        is that of the last side, which has the most."""
        if cancel is None or cancel.begun:
            yield NOTHING
            return
        cancel.begun = True
        texts = texts_for(request)
        held = ExitStack()
        try:
            question, path = read_message(message, texts)
            photo = open_uploaded_photo(path, texts)
            experts, *sampling = settings
            chosen = {side: side.split("+") for side in self.GRID} if mode == "grid" else {"off": (), "on": experts}
            requests = {
                side: make_request(question, photo, (), chosen[side], *sampling, asking=request) for side in chosen
            }
            *_, richest = requests
            findings = Findings.waiting(requests[richest].experts)
            yield self.panel.start(findings, photo, texts)
            answers = dict.fromkeys(requests, "")
            receipts: dict[str, Mapping[str, Any]] = {}
            failed: dict[str, str] = {}
            shown, queued = 0.0, set()
            for side, event in held.enter_context(closing(stream(requests, cancel))):
                match event:
                    case Queued(position):
                        queued.add(side)
                        yield {self.notice: notice(*queue_notice(position, texts))}
                        continue
                    case _ if side in queued:
                        queued.discard(side)
                        if not queued:
                            yield {self.notice: notice()}
                match event:
                    case Token(text):
                        answers[side] += text
                        if time.monotonic() - shown >= TOKEN_PAUSE:
                            shown = time.monotonic()
                            yield {self.answers: self.answers_html(answers, failed, None, texts)}
                    case Done() | Exception():
                        if isinstance(event, Done):
                            answers[side] = display_answer(event.answer, "stopped" if event.stopped else "done", texts)
                            receipts[side] = receipt.receipt(requests[side], event)
                        else:
                            failed[side] = " ".join(error_texts(event, texts))
                        ended = receipts if len(receipts) + len(failed) == len(requests) else None
                        update = {self.answers: self.answers_html(answers, failed, ended, texts)}
                        if side == richest:
                            findings = replace(findings.after(event), receipt=receipts.get(side))
                            update |= self.panel.changed(event, findings, photo, texts)
                        yield update
                    case _ if side == richest:
                        findings = findings.after(event)
                        yield self.panel.changed(event, findings, photo, texts)
            yield {
                self.box: gr.MultimodalTextbox(**IDLE),
                self.shown: Compared(path, findings, receipts),
                self.voting: gr.update(visible=mode == "pair" and set(receipts) == set(self.SIDES)),
            }
        except Exception as error:
            yield {**self.give_back(cancel), self.notice: notice(*error_texts(error, texts))}
        finally:
            cancel.set()
            held.close()

    @staticmethod
    def answers_html(
        answers: Mapping[str, str],
        failed: Mapping[str, str],
        receipts: Mapping[str, Mapping[str, Any]] | None,
        texts: Mapping[str, str],
    ) -> str:
        """Every side's answer, or why it `failed`; once all have ended and their receipts are there, words that differ
        from the first side's (there: the last's) are marked."""
        sides = [side for side in answers if side not in failed]
        marked = receipts is not None and len(sides) > 1
        cards = ""
        for side, text in answers.items():
            shown = html.escape(failed.get(side, text))
            if marked and side in sides:
                shown = mark_differences(text, answers[sides[-1] if side == sides[0] else sides[0]])
            name = texts[side] if side in texts else " + ".join(texts[name] for name in side.split("+"))
            link = receipt_link(receipts[side], texts) if receipts and side in receipts else ""
            kind = ' class="failed"' if side in failed else ""
            title = f"<h3>{html.escape(name)}</h3>"
            cards += f'<section id="answer-{side}">{title}<p{kind}>{shown}</p>{link}</section>'
        live = "polite" if receipts is None else "off"
        legend = f'<p class="lav2-hint">{html.escape(texts["differing"])}</p>' if marked else ""
        return f'<div class="lav2-answers" aria-live="{live}">{cards}</div>{legend}'

    def give_back(self, cancel: Cancellation | None) -> dict[Any, Any]:
        if cancel is not None:
            cancel.set()
        return {self.box: gr.MultimodalTextbox(**IDLE)}

    def vote(self, choice: str, shown: Compared | None, request: gr.Request) -> dict[Any, Any]:
        texts = texts_for(request)
        if shown is None or not shown.vote.acquire(blocking=False):
            return NOTHING
        try:
            votes.store(choice, shown.receipts["off"], shown.receipts["on"], open_uploaded_photo(shown.path, texts))
        except LAV2Error as error:
            shown.vote.release()
            return {self.notice: notice(*error_texts(error, texts))}
        return {self.notice: notice(texts["voted"]), self.voting: gr.update(visible=False)}

    def choose(self, shown: Compared | None, event: gr.SelectData) -> dict[Any, Any]:
        if shown is None:
            return NOTHING
        if not Path(shown.path).is_file():
            return NOTHING
        number = self.panel.number(event.row_value)
        return {self.panel.picture: draw_findings(read_photo(shown.path), shown.findings.evidence, number)}
