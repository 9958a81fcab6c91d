"""The Compare tab: one question with experts off and on, or with every choice of them. Which answer is whose is told
after the vote."""

import html
import itertools
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from experts.evidence import BUILT_IN
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
    Settings,
    example_strip,
    make_request,
    open_uploaded_photo,
    question_box,
    read_message,
    read_photo,
    stop_answer,
)
from lav2.ui.many import ManyFold
from lav2.ui.messages import display_answer
from lav2.ui.panel import EvidencePanel
from lav2.ui.sides import BesideChoice, names, sides
from lav2.ui.state import Cancellation, Findings
from lav2.ui.texts import T, error_texts, queue_notice, texts_for
from lav2.ui.views import draw_findings, mark_differences, notice, receipt_link
from lav2.ui.voting import LETTERS, TallyFold, VotingRow

SHUFFLED = random.SystemRandom()  # of the answers' order: no seed of the page or a test may foretell it


@dataclass(frozen=True)
class Compared:
    """What the Compare tab shows: the photo's file, the findings of the side that has most, and of each side in the
    order shown its answer, "" until it is there; its receipt, or why it failed. `veiled`: nobody is told which is
    which."""

    path: str
    findings: Findings
    answers: Mapping[str, str]
    receipts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    ended: bool = False
    veiled: bool = True
    choice: str = ""  # the vote: a side, or one of votes.CHOICES
    vote: threading.Lock = field(default_factory=threading.Lock)  # held by the one vote: two clicks can be quick


class CompareTab:
    """One photo and question, the same seed: without and with the experts side by side, or every choice of them."""

    SIDES = ("off", "on")
    GRID = tuple("+".join(names) or "off" for n in range(4) for names in itertools.combinations(BUILT_IN, n))

    def __init__(self):
        self.cancel = gr.State(None)
        self.shown = gr.State(None)  # Compared
        gr.Markdown(T("compare_lead"))
        self.notice = gr.HTML(visible=False)
        self.mode = gr.Radio(
            [(T("mode_pair"), "pair"), (T("mode_grid"), "grid")], value="pair", show_label=False, label=T("compare_tab")
        )
        self.also = BesideChoice()
        self.box = question_box()
        self.settings = Settings()
        self.answers = gr.HTML(padding=False, elem_id="answers")
        self.voting = VotingRow()
        self.tally = TallyFold()
        gr.HTML(T("evidence"), elem_classes="lav2-title", padding=False)
        self.panel = EvidencePanel()
        self.examples = example_strip("compare-examples")
        self.many = ManyFold(self.settings, self.also.box, self.GRID)
        page = [self.cancel, self.shown, self.notice, self.box, self.answers]
        page += [*self.voting.all, *self.panel.all]
        at_once = {**QUIET, "queue": False, "outputs": page}
        taken = self.box.submit(self.submit, [self.box, self.mode, self.also.box, self.cancel], **at_once)
        answered = taken.then(
            self.reply,
            [self.box, self.mode, self.also.box, self.cancel, *self.settings.all],
            page,
            api_visibility="private",
            show_progress="minimal",
            show_progress_on=self.answers,
            **MODEL,
        )
        answered.failure(self.restore_question, [self.cancel], **at_once)  # for example: the queue is full
        self.box.stop(stop_answer, [self.cancel], None, queue=False, api_visibility="private")
        self.examples.select(self.example, None, [self.box], queue=False, **QUIET)
        self.panel.table.select(self.choose, [self.shown], [self.panel.picture], queue=False, **QUIET)
        ballots = [*self.voting.choices.items(), *enumerate(self.voting.best)]
        for choice, button in ballots:
            voted = button.click(self.vote, [gr.State(choice), self.shown], **at_once)
            voted.then(self.tally.count, None, self.tally.all, queue=False, **QUIET)
        self.voting.unveil.click(self.unveil, [self.shown], **at_once)

    @staticmethod
    def example(event: gr.SelectData, request: gr.Request) -> dict[str, Any]:
        """An example for the box. Only its number is believed: a path from the browser could be any file's."""
        chosen = EXAMPLES[event.index]
        return gr.update(value={"text": chosen.question[texts_for(request)["language"]], "files": [str(chosen.photo)]})

    def submit(
        self,
        message: dict[str, Any],
        mode: str,
        also: Sequence[str],
        cancel: Cancellation | None,
        request: gr.Request,
    ) -> dict[Any, Any]:
        """The question stays in the box, so that another one on the same photo is one edit away. The places of the
        answers and the buttons of the vote are there at once, so that nothing is pushed down later."""
        texts = texts_for(request)
        if cancel is not None and not cancel.is_set():
            return {self.notice: notice(texts["busy"], texts["busy_next"])}
        try:
            _, photo = read_message(message, texts)
            if photo is None:
                raise LAV2Error(texts["no_compare_photo"], texts["no_compare_photo_next"])
        except LAV2Error as error:
            return {self.notice: notice(*error_texts(error, texts))}
        waiting = dict.fromkeys(sides(self.choices(mode), (), also), "")
        return {
            self.answers: self.answers_html(Compared(photo, Findings(), waiting), texts),
            **self.voting.shown(len(waiting), ended=False),
            self.shown: None,
            self.notice: notice(),
            self.cancel: Cancellation(),
            self.box: gr.MultimodalTextbox(**RUNNING),
        }

    def choices(self, mode: str) -> tuple[str, ...]:
        """The choices of experts that are compared."""
        return self.GRID if mode == "grid" else self.SIDES

    def reply(
        self,
        message: dict[str, Any],
        mode: str,
        also: Sequence[str],
        cancel: Cancellation | None,
        request: gr.Request,
        *settings: Any,
    ) -> Iterator[dict[Any, Any]]:
        """The answers, in an order that says nothing, and all at once when the last is there: which comes first would
        tell that no expert was asked. A side that fails says so in its place, the others go on. The evidence, which is
        shown as it comes, is that of the side that has the most."""
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
            compared_sides = sides(self.choices(mode), experts, also)
            requests = {
                key: make_request(question, photo, (), side.experts, *sampling, asking=request, model=side.model)
                for key, side in compared_sides.items()
            }
            *_, richest = (key for key, side in compared_sides.items() if not side.model)
            findings = Findings.waiting(requests[richest].experts)
            answers = dict.fromkeys(SHUFFLED.sample(list(requests), len(requests)), "")
            receipts: dict[str, Mapping[str, Any]] = {}
            failed: dict[str, str] = {}
            compared = Compared(path, findings, answers, receipts, failed)
            yield {**self.panel.start(findings, photo, texts), self.answers: self.answers_html(compared, texts)}
            queued = set()
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
                    case Token():
                        continue
                    case Done() | Exception():
                        if isinstance(event, Done):
                            answers[side] = display_answer(event.answer, "stopped" if event.stopped else "done", texts)
                            receipts[side] = receipt.receipt(requests[side], event)
                        else:
                            failed[side] = " ".join(error_texts(event, texts))
                        update = {self.answers: self.answers_html(compared, texts)}
                        if side == richest:  # what of it holds which answer is told with the names
                            findings = findings.after(event)
                            update |= self.panel.changed(event, findings, photo, texts)
                        yield update
                    case _ if side == richest:
                        findings = findings.after(event)
                        yield self.panel.changed(event, findings, photo, texts)
            findings = replace(findings, receipt=receipts.get(richest))
            compared = replace(compared, findings=findings, ended=True)
            ended = {self.box: gr.MultimodalTextbox(**IDLE)}
            if failed:  # no fair vote, so no secret
                yield {**ended, **self._unveiled(replace(compared, veiled=False), photo, texts)}
                return
            answers_shown = {self.shown: compared, self.answers: self.answers_html(compared, texts)}
            yield {**ended, **answers_shown, **self.voting.shown(len(answers))}
        except Exception as error:
            yield {**self.restore_question(cancel), self.notice: notice(*error_texts(error, texts))}
        finally:
            cancel.set()
            held.close()

    @staticmethod
    def answers_html(compared: Compared, texts: Mapping[str, str]) -> str:
        """A letter for every side; when all have ended, its answer or why it `failed` below, and words that differ from
        the first side's (there: the last's) marked. With names and receipts once they may be known."""
        answers, failed = compared.answers, compared.failed
        sides = [side for side in answers if side not in failed]
        marked = compared.ended and len(sides) > 1
        cards = ""
        for letter, (side, text) in zip(LETTERS, answers.items(), strict=False):  # ids too say nothing
            shown = html.escape(failed.get(side, text)) if compared.ended else "…"
            if marked and side in sides:
                shown = mark_differences(text, answers[sides[-1] if side == sides[0] else sides[0]])
            title, link = letter, ""
            if not compared.veiled:
                title = f"{letter}: {names(side, texts)}"
                title += f" · {texts['your_vote']}" if compared.choice == side else ""
                link = receipt_link(compared.receipts[side], texts) if side in compared.receipts else ""
            kind = ' class="failed"' if side in failed and compared.ended else ""
            heading = f"<h2>{html.escape(title)}</h2>"
            cards += f'<section id="side-{letter.lower()}">{heading}<p{kind}>{shown}</p>{link}</section>'
        live = "off" if compared.ended else "polite"
        ready = sum(side in failed or bool(text) for side, text in answers.items())
        progress = texts["together"].format(n=ready, of=len(answers))
        legend = texts["differing"] if marked else "" if compared.ended else progress
        below = f'<p class="lav2-hint">{html.escape(legend)}</p>' if legend else ""
        return f'<div class="lav2-answers" aria-live="{live}">{cards}</div>{below}'

    def _unveiled(self, compared: Compared, photo: Image.Image | None, texts: Mapping[str, str]) -> dict[Any, Any]:
        """The page with names, receipts and what each answer rests on."""
        return {
            self.shown: compared,
            self.answers: self.answers_html(compared, texts),
            **self.voting.shown(0),
            **self.panel.finished(compared.findings, photo, texts),
        }

    def restore_question(self, cancel: Cancellation | None) -> dict[Any, Any]:
        if cancel is not None:
            cancel.set()
        return {self.box: gr.MultimodalTextbox(**IDLE), self.answers: "", **self.voting.shown(0)}

    def vote(self, choice: str | int, shown: Compared | None, request: gr.Request) -> dict[Any, Any]:
        """Of votes.CHOICES, or the place of the best answer; then everybody may know which is which."""
        texts = texts_for(request)
        if shown is None or not shown.vote.acquire(blocking=False):
            return NOTHING
        try:
            photo = open_uploaded_photo(shown.path, texts)
            sides = list(shown.answers)
            receipts = [shown.receipts[side] for side in sides]
            if isinstance(choice, int):
                best = receipts.pop(choice)
                votes.store_best(best, receipts, photo)
                voted = sides[choice]
            else:
                votes.store(choice, *receipts, photo)
                voted = dict(zip(votes.CHOICES, sides, strict=False)).get(choice, choice)
        except LAV2Error as error:
            shown.vote.release()
            return {self.notice: notice(*error_texts(error, texts))}
        page = self._unveiled(replace(shown, veiled=False, choice=voted), photo, texts)
        return {**page, self.notice: notice(texts["voted"], good=True)}

    def unveil(self, shown: Compared | None, request: gr.Request) -> dict[Any, Any]:
        """Which is which, without a vote; there is none any more."""
        if shown is None or not shown.vote.acquire(blocking=False):
            return NOTHING
        photo = read_photo(shown.path) if Path(shown.path).is_file() else None
        return self._unveiled(replace(shown, veiled=False), photo, texts_for(request))

    def choose(self, shown: Compared | None, event: gr.SelectData) -> dict[Any, Any]:
        if shown is None:
            return NOTHING
        if not Path(shown.path).is_file():
            return NOTHING
        number = self.panel.number(event.row_value)
        findings = replace(shown.findings, receipt=None) if shown.veiled else shown.findings  # what holds an answer
        return {self.panel.picture: draw_findings(read_photo(shown.path), findings, number)}
