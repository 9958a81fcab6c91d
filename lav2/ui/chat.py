"""The Chat tab: a conversation about a photo."""

import html
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from lav2.assistant import receipt
from lav2.errors import LAV2Error
from lav2.events import Done, EvidenceFound, Queued, Token
from lav2.image import facts, open_image
from lav2.text import claims, routing
from lav2.ui import answering
from lav2.ui.answering import MODEL
from lav2.ui.examples import EXAMPLES
from lav2.ui.inputs import (
    IDLE,
    NOTHING,
    QUIET,
    RUNNING,
    TOKEN_PAUSE,
    Settings,
    checked_question,
    client_key,
    make_request,
    open_uploaded_photo,
    question_box,
    read_message,
    shown_photo,
    stop_answer,
)
from lav2.ui.messages import messages, owner
from lav2.ui.panel import EvidencePanel
from lav2.ui.state import Cancellation, Correction, Exchange, Exchanges, Findings, busy, current_photo, history
from lav2.ui.texts import T, error_texts, queue_notice, texts_for, translated
from lav2.ui.views import draw_findings, notice

QUESTIONS = 100  # of one conversation


class ChatTab:
    """A conversation about a photo. It lives in the session's `exchanges`; the Chatbot only shows it."""

    def __init__(self):
        self.exchanges = gr.State(())
        self.cancel = gr.State(None)  # the Cancellation of the newest answer
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=320):
                self.chat = gr.Chatbot(
                    label=T("chat"),
                    show_label=False,
                    height="58vh",
                    min_height=300,
                    render_markdown=False,  # answers repeat what photos say: no links or images
                    latex_delimiters=[],  # nor formulas, which are read even so
                    sanitize_html=True,
                    allow_tags=False,
                    editable="user",
                    layout="bubble",
                    buttons=["copy"],
                    feedback_options=None,
                    allow_file_downloads=False,
                    placeholder=T("chat_empty"),
                    examples=[example.message() for example in EXAMPLES],
                    elem_id="chat",
                )
                self.chat.keep_in_cache.update(shown["icon"]["path"] for shown in self.chat.examples)
                self.notice = gr.HTML(visible=False)
                self.box = question_box()
                self.settings = Settings()
                with gr.Accordion(T("replay"), open=False):
                    gr.Markdown(T("replay_lead"))
                    self.receipt = gr.File(
                        label=T("replay_file"), file_types=[".json"], height=90, elem_id="replay-receipt"
                    )
                    self.replay_photo = gr.File(
                        label=T("replay_photo"), file_types=["image"], height=90, elem_id="replay-photo"
                    )
                    self.replay_button = gr.Button(T("replay"), size="sm")
                    self.replayed = gr.HTML(visible=False, padding=False)
            with gr.Column(scale=5, min_width=320):
                gr.HTML(T("evidence"), elem_classes="lav2-title", padding=False)
                self.panel = EvidencePanel(correctable=True)
        self._connect()

    def _connect(self) -> None:
        page = [self.exchanges, self.cancel, self.chat, self.notice, self.box, *self.panel.all]
        at_once = {**QUIET, "queue": False, "outputs": page}
        asked = [
            self.box.submit(self.take, [self.box, self.exchanges], **at_once),
            self.chat.example_select(self.example, [self.exchanges], **at_once),
            self.chat.retry(self.retry, [self.exchanges], **at_once),
            self.chat.edit(self.edit, [self.exchanges], **at_once),
            self.panel.again.click(self.again, [self.exchanges, self.panel.table], **at_once),
        ]
        for event in asked:
            answered = event.then(
                self.reply,
                [self.exchanges, self.cancel, *self.settings.all],
                page,
                api_visibility="private",
                show_progress="minimal",
                show_progress_on=self.chat,
                **MODEL,
            )
            answered.failure(self.give_back, [self.exchanges], **at_once)  # for example: the queue is full
        self.replay_button.click(
            self.replay,
            [self.receipt, self.replay_photo],
            [self.replayed],
            api_visibility="private",
            show_progress="minimal",
            **MODEL,
        )
        self.box.stop(stop_answer, [self.cancel], None, queue=False, api_visibility="private")
        self.chat.undo(self.undo, [self.exchanges], **at_once)
        # An update of the discarded answer may be under way when the page is cleared: show what is true once more.
        self.chat.clear(self.clear, [self.cancel], **at_once).then(self.redraw, [self.exchanges], **at_once)
        self.panel.table.select(self.choose, [self.exchanges], [self.panel.picture], queue=False, **QUIET)

    def take(self, message: dict[str, Any], exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        """A question was sent. If it cannot be asked, it stays in the box and the reason stands above it."""
        texts = texts_for(request)
        if busy(exchanges):
            return {self.notice: notice(texts["busy"], texts["busy_next"])}
        try:
            question, photo = read_message(message, texts)
            if len(exchanges) >= QUESTIONS:
                raise LAV2Error(texts["conversation_full"].format(n=QUESTIONS), texts["conversation_full_next"])
        except LAV2Error as error:
            return {self.notice: notice(*error_texts(error, texts))}
        several = notice(texts["several"]) if len(message["files"]) > 1 else notice()
        empty = gr.MultimodalTextbox(value={"text": "", "files": []}, **RUNNING)
        correction = exchanges[-1].correction if exchanges and not photo else None
        asked = Exchange(question, photo, correction)
        return {**self._pending(exchanges, asked, texts), self.box: empty, self.notice: several}

    def example(self, exchanges: Exchanges, event: gr.SelectData, request: gr.Request) -> dict[Any, Any]:
        """An example was chosen. Only its number is believed: a path from the browser could be any file's."""
        chosen, language = EXAMPLES[event.index], texts_for(request)["language"]
        message = {"text": chosen.question[language], "files": [str(chosen.photo)]}
        taken = self.take(message, exchanges, request)
        if chosen.then and self.box in taken:  # the question that follows waits in the box
            taken[self.box] = gr.MultimodalTextbox(value={"text": chosen.then[language], "files": []}, **RUNNING)
        return taken

    def retry(self, exchanges: Exchanges, event: gr.RetryData, request: gr.Request) -> dict[Any, Any]:
        """The question once more, on what the experts find: corrections are given up."""
        texts = texts_for(request)
        if busy(exchanges):
            return {self.notice: notice(texts["busy"], texts["busy_next"])}
        i = owner(exchanges, event.index, texts)
        again = Exchange(exchanges[i].question, exchanges[i].photo)
        return {**self._pending(exchanges[:i], again, texts), self.box: gr.MultimodalTextbox(**RUNNING)}

    def edit(self, exchanges: Exchanges, event: gr.EditData, request: gr.Request) -> dict[Any, Any]:
        """A question was rewritten: it is asked again, and what came after it is gone."""
        texts = texts_for(request)
        if busy(exchanges):
            return {self.notice: notice(texts["busy"], texts["busy_next"]), self.chat: messages(exchanges, texts)}
        i = owner(exchanges, event.index, texts)
        try:
            question = checked_question(html.unescape(str(event.value)), texts)
        except LAV2Error as error:
            return {self.notice: notice(*error_texts(error, texts)), self.chat: messages(exchanges, texts)}
        again = Exchange(question, exchanges[i].photo, exchanges[i].correction)
        return {**self._pending(exchanges[:i], again, texts), self.box: gr.MultimodalTextbox(**RUNNING)}

    def again(self, exchanges: Exchanges, table: list[list[Any]], request: gr.Request) -> dict[Any, Any]:
        """The last question once more, on the findings that the reader left on and as they were corrected."""
        texts = texts_for(request)
        if busy(exchanges):
            return {self.notice: notice(texts["busy"], texts["busy_next"])}
        *earlier, last = exchanges
        given = claims.corrected(last.findings.evidence, self.panel.kept_findings(table))
        asked = Exchange(last.question, last.photo, Correction(last.findings.experts, given), last.answer)
        return {**self._pending(tuple(earlier), asked, texts), self.box: gr.MultimodalTextbox(**RUNNING)}

    def _pending(self, earlier: Exchanges, asked: Exchange, texts: Mapping[str, str]) -> dict[Any, Any]:
        exchanges = (*earlier, asked)
        return {
            self.exchanges: exchanges,
            self.cancel: Cancellation(),
            self.chat: messages(exchanges, texts),
            self.notice: notice(),
        }

    def reply(
        self, exchanges: Exchanges, cancel: Cancellation, request: gr.Request, *settings: Any
    ) -> Iterator[dict[Any, Any]]:
        """Streams the answer to the pending question, the experts' findings first."""
        if cancel is None or cancel.begun or not busy(exchanges):
            yield NOTHING
            return
        cancel.begun = True
        texts = texts_for(request)
        *earlier, pending = exchanges
        held = ExitStack()
        try:
            path = current_photo(exchanges)
            photo = open_uploaded_photo(path, texts) if path else None
            asked = make_request(pending.question, photo, history(exchanges), *settings, asking=request)
            findings = Findings.waiting(asked.experts)
            if correction := pending.correction:
                experts, _ = routing.choose(asked.experts, pending.question)
                experts = experts if pending.before is None else correction.experts
                given = correction.of(experts)
                if given is not None:
                    asked = replace(asked, experts=tuple(given), evidence=given)
                    findings = Findings(dict.fromkeys(given, "waiting"), experts=experts, corrected=True)
            taken = facts(photo) if photo else None
            findings = replace(findings, part=(taken["part"], taken["number"])) if taken else findings
            pending = replace(pending, findings=findings)
            yield {self.chat: messages((*earlier, pending), texts), **self.panel.start(pending.findings, photo, texts)}
            shown, start, queued = 0.0, time.monotonic(), False
            for event in held.enter_context(closing(answering.answer(asked, cancel))):
                update = {}
                if cancel.discarded:
                    return
                if queued and not isinstance(event, Queued):
                    queued, start = False, time.monotonic()
                    yield {self.notice: notice()}
                match event:
                    case Queued(position):
                        queued = True
                        yield {self.notice: notice(*queue_notice(position, texts))}
                        continue
                    case Token(text):
                        pending = replace(pending, answer=pending.answer + text)
                        if time.monotonic() - shown < TOKEN_PAUSE:
                            continue
                        shown = time.monotonic()
                    case Done():
                        state = "stopped" if event.stopped else "done"
                        findings = replace(pending.findings.after(event), receipt=receipt.receipt(asked, event))
                        pending = replace(pending, answer=event.answer, state=state, findings=findings)
                        update = self.panel.changed(event, findings, photo, texts)
                        update |= {self.exchanges: (*earlier, pending), self.box: gr.MultimodalTextbox(**IDLE)}
                    case _:
                        findings = pending.findings.after(event)
                        if isinstance(event, EvidenceFound):
                            findings = replace(findings, waited=time.monotonic() - start)
                        pending = replace(pending, findings=findings)
                        update = self.panel.changed(event, pending.findings, photo, texts)
                yield {self.chat: messages((*earlier, pending), texts), **update}
        except Exception as error:
            yield {**self.give_back(exchanges, request), self.notice: notice(*error_texts(error, texts))}
        finally:
            cancel.set()  # a closed page must not keep the model busy
            held.close()

    def give_back(self, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        """An unanswered question goes back into the box, and the conversation is as it was before."""
        if not busy(exchanges):
            return {self.box: gr.MultimodalTextbox(**IDLE)}
        return self._taken_back(exchanges, request)

    def undo(self, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        if not exchanges:
            return NOTHING
        if busy(exchanges):
            texts = texts_for(request)
            return {self.notice: notice(texts["busy"], texts["busy_next"]), self.chat: messages(exchanges, texts)}
        return self._taken_back(exchanges, request)

    def _taken_back(self, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        """The page without the last exchange: its question and photo return to the box."""
        *earlier, last = exchanges
        value = {"text": last.question, "files": [last.photo] if last.photo and Path(last.photo).is_file() else []}
        return {**self._show(tuple(earlier), texts_for(request)), self.box: gr.MultimodalTextbox(value=value, **IDLE)}

    def clear(self, cancel: Cancellation | None, request: gr.Request) -> dict[Any, Any]:
        if cancel is not None:
            cancel.discarded = True
            cancel.set()
        return {**self._show((), texts_for(request)), self.box: gr.MultimodalTextbox(**IDLE)}

    def replay(self, file: str | None, photo: str | None, request: gr.Request) -> dict[str, Any]:
        """A receipt's question again, on its evidence: the same answer, or what differs."""
        texts = texts_for(request)
        cancel = Cancellation()
        try:
            if file is None:
                raise LAV2Error(texts["replay_none"], texts["replay_none_next"])
            before = receipt.read(Path(file))
            image = open_image(photo) if photo else None
            receipt.check_image(before, image)
            asked = replace(receipt.request(before, image), client=client_key(request))
            with closing(answering.answer(asked, cancel)) as events:
                *_, done = events
            after = receipt.receipt(asked, done)
        except Exception as error:
            return notice(*error_texts(error, texts))
        finally:
            cancel.set()  # also where the page was closed
        differences = [translated(line, texts) for line in receipt.differences(before, after)]
        same = receipt.same_answer(before, after)
        return notice(texts["replay_same" if same else "replay_other"], " · ".join(differences))

    def redraw(self, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        return self._show(exchanges, texts_for(request))

    def _show(self, exchanges: Exchanges, texts: Mapping[str, str]) -> dict[Any, Any]:
        photo = shown_photo(exchanges)
        panel = self.panel.whole(exchanges[-1].findings, photo, texts) if exchanges else self.panel.empty(texts)
        return {self.exchanges: exchanges, self.chat: messages(exchanges, texts), self.notice: notice(), **panel}

    def choose(self, exchanges: Exchanges, event: gr.SelectData) -> dict[Any, Any]:
        """A row of the table was chosen: its place in the photo stays bright."""
        photo = shown_photo(exchanges)
        if photo is None or busy(exchanges):  # while an answer comes, its findings are not in the session yet
            return NOTHING
        number = self.panel.number(event.row_value)
        return {self.panel.picture: draw_findings(photo, exchanges[-1].findings.evidence, number)}
