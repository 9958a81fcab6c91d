"""The Chat tab: a conversation about a photo."""

import html
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from lav2.assistant import receipt
from lav2.errors import LAV2Error
from lav2.events import Done, EvidenceFound, Queued, Token
from lav2.image import facts
from lav2.text import corrections
from lav2.ui import answering, fixing, sharing
from lav2.ui.answering import MODEL
from lav2.ui.conversation import check_full, from_storage, to_storage
from lav2.ui.evidence_column import EvidenceColumn
from lav2.ui.examples import EXAMPLES
from lav2.ui.inputs import (
    EMPTY,
    IDLE,
    NOTHING,
    QUIET,
    RUNNING,
    TOKEN_PAUSE,
    Settings,
    attach_photo,
    checked_question,
    example_strip,
    make_request,
    open_uploaded_photo,
    question_box,
    read_message,
    show_at_once,
    shown_photo,
    stop_answer,
    upload_folder,
)
from lav2.ui.messages import messages, owner
from lav2.ui.replay import ReplayFold
from lav2.ui.saving import OWN_AGAIN, SavingRow
from lav2.ui.state import (
    Cancellation,
    Correction,
    Exchange,
    Exchanges,
    Findings,
    busy,
    current_photo,
    experts_seen,
    history,
)
from lav2.ui.texts import T, error_texts, queue_notice, texts_for
from lav2.ui.views import notice


class ChatTab:
    """A conversation about a photo. It lives in the session's `exchanges`; the Chatbot only shows it."""

    def __init__(self):
        self.exchanges = gr.State(())
        self.cancel = gr.State(None)  # the Cancellation of the newest answer
        self.cleared = gr.State(())  # the conversation before Clear
        # Not random, so that it survives a new start of the server; the encryption hides nothing from this machine.
        self.stored = gr.BrowserState(None, storage_key="lav2-conversation", secret="lav2-conversation")
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
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
                    group_consecutive_messages=False,  # Gradio 6.31 cannot edit a question that is grouped with a photo
                    layout="bubble",
                    buttons=["copy"],
                    feedback_options=None,
                    allow_file_downloads=False,
                    placeholder=T("chat_empty"),
                    elem_id="chat",
                )
                self.notice = gr.HTML(visible=False)
                self.each = gr.Button(T("each"), size="sm", visible=False, elem_id="each")
                self.unclear = gr.Button(T("unclear"), size="sm", visible=False)
                self.upload = gr.UploadButton(
                    T("upload"), file_types=["image"], size="md", variant="primary", elem_id="upload"
                )
                self.box = question_box()
                self.examples = example_strip("examples")
                self.settings = Settings()
                self.saving = SavingRow(self.exchanges)
                self.replaying = ReplayFold()
            with gr.Column(scale=8, min_width=320, elem_id="evidence"):
                self.evidence = EvidenceColumn()
                self.panel = self.evidence.panel
        self._connect()

    def _connect(self) -> None:
        page = [self.exchanges, self.cancel, self.cleared, self.stored, self.chat, self.notice, self.each]
        self.page = page = [*page, self.unclear, self.upload, self.box, self.saving.fold, *self.evidence.all]
        at_once = {**QUIET, "queue": False, "outputs": page}
        asked = [
            self.box.submit(self.submit, [self.box, self.exchanges], **at_once),
            self.each.click(self.submit_each, [self.box, self.exchanges], **at_once),
            self.examples.select(self.example, [self.exchanges], **at_once),
            self.chat.retry(self.retry, [self.exchanges], **at_once),
            self.chat.edit(self.edit, [self.exchanges], **at_once),
            self.panel.again.click(self.ask_again, [self.exchanges, self.panel.table], **at_once),
        ]
        fix = self.panel.fix
        for event in (fix.add.click, fix.text.submit, fix.corners.submit):
            event(self.add, [self.exchanges, self.panel.table, *fix.inputs], **at_once)
        for event in asked:
            event.then(None, js=OWN_AGAIN, **QUIET)
            answered = event.then(
                self.reply,
                [self.exchanges, self.cancel, *self.settings.all],
                page,
                api_visibility="private",
                show_progress="minimal",
                show_progress_on=self.chat,
                **MODEL,
            )
            answered.failure(self.restore_question, [self.exchanges], **at_once)  # for example: the queue is full
        self.box.stop(stop_answer, [self.cancel], None, queue=False, api_visibility="private")
        self.chat.undo(self.undo, [self.exchanges], **at_once)
        show_at_once(self.chat.clear, {**self._begun(False), **self.panel.empty(), self.unclear: {"visible": True}})
        # An update of the discarded answer may be under way when the page is cleared: show what is true once more.
        cleared = self.chat.clear(self.clear, [self.cancel, self.exchanges], **at_once)
        cleared.then(self.redraw, [self.exchanges], **at_once)
        self.unclear.click(self.restore, [self.cleared], **at_once)
        self.upload.upload(attach_photo, [self.upload, self.box], [self.box], queue=False, **QUIET)
        chosen = [self.exchanges, self.evidence.opened]
        self.chat.select(self.evidence.open, chosen, **at_once)
        self.panel.table.select(self.evidence.choose, chosen, [self.panel.picture], queue=False, **QUIET)

    def submit(self, message: dict[str, Any], exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        """A question was sent. If it cannot be asked, it stays in the box and the reason stands above it."""
        texts = texts_for(request)
        if busy(exchanges):
            return {self.notice: notice(texts["busy"], texts["busy_next"])}
        try:
            question, photo = read_message(message, texts)
            check_full(exchanges, 1, texts)
        except LAV2Error as error:
            several = gr.update(visible=len(message["files"]) > 1)
            return {self.notice: notice(*error_texts(error, texts)), self.each: several}
        asked = Exchange(question, photo, exchanges[-1].correction if exchanges and not photo else None)
        return {**self._pending(exchanges, asked, texts), self.box: gr.MultimodalTextbox(**EMPTY, **RUNNING)}

    def submit_each(self, message: dict[str, Any], exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        """A question was sent about each of the photos in the box: they are asked about in turn, an answer a photo. One
        that cannot be read is told before any is asked about."""
        texts, photos = texts_for(request), list(dict.fromkeys(message["files"]))
        if len(photos) < 2 or busy(exchanges):
            return self.submit({**message, "files": photos}, exchanges, request)
        try:
            for photo in photos:
                question, _ = read_message({**message, "files": [photo]}, texts)
            check_full(exchanges, len(photos), texts)
        except LAV2Error as error:
            return {self.notice: notice(*error_texts(error, texts))}
        asked = Exchange(question, photos[0], following=tuple(photos[1:]))
        return {**self._pending(exchanges, asked, texts), self.box: gr.MultimodalTextbox(**EMPTY, **RUNNING)}

    def example(self, exchanges: Exchanges, event: gr.SelectData, request: gr.Request) -> dict[Any, Any]:
        """An example was chosen. Only its number is believed: a path from the browser could be any file's."""
        chosen, language = EXAMPLES[event.index], texts_for(request)["language"]
        message = {"text": chosen.question[language], "files": [str(chosen.photo)]}
        updates = self.submit(message, exchanges, request)
        if chosen.then and self.box in updates:  # the question that follows waits in the box
            updates[self.box] = gr.MultimodalTextbox(value={"text": chosen.then[language], "files": []}, **RUNNING)
        return updates

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

    def ask_again(self, exchanges: Exchanges, table: list[list[Any]], request: gr.Request) -> dict[Any, Any]:
        """The last question once more, on the findings that the reader left on and as they were corrected."""
        texts = texts_for(request)
        if busy(exchanges):
            return {self.notice: notice(texts["busy"], texts["busy_next"])}
        *earlier, last = exchanges
        found, photo = last.findings, shown_photo(exchanges)
        table_texts = self.panel.kept_findings(table)
        given = corrections.corrected(found.evidence, table_texts, found.added, photo.size if photo else None)
        changes = corrections.changes(found.evidence, table_texts, found.added, found.changes)
        asked = Exchange(last.question, last.photo, Correction(found.experts, given, changes), last.answer)
        return {**self._pending(tuple(earlier), asked, texts), self.box: gr.MultimodalTextbox(**RUNNING)}

    def add(
        self, exchanges: Exchanges, table: list[list[Any]], kind: str, text: str, corners: str, request: gr.Request
    ) -> dict[Any, Any]:
        """A finding that the experts missed: a row of the table, and a box on the photo, for the next answer."""
        texts = texts_for(request)
        if busy(exchanges) or not exchanges or exchanges[-1].findings.receipt is None:
            return NOTHING
        *earlier, last = exchanges
        try:
            photo = open_uploaded_photo(current_photo(exchanges) or "", texts)
            findings, item = fixing.added(last.findings, kind, text, corners, texts)
        except LAV2Error as error:
            return {self.panel.fix.notice: notice(*error_texts(error, texts))}
        return {
            self.exchanges: (*earlier, replace(last, findings=findings)),
            **self.panel.grown(findings, item, table, photo, texts),
        }

    def _pending(self, earlier: Exchanges, asked: Exchange, texts: Mapping[str, str]) -> dict[Any, Any]:
        exchanges = (*earlier, asked)
        return {
            **self._conversation(exchanges, texts),
            self.cancel: Cancellation(),
            **self.evidence.asked(asked, texts),
            **self._begun(True),
            self.evidence.compare_this: gr.update(visible=False),  # until the answer, which would push it down
        }

    def _conversation(self, exchanges: Exchanges, texts: Mapping[str, str]) -> dict[Any, Any]:
        """The exchanges in the session, in the browser's storage and in the Chatbot."""
        stored, shown = to_storage(exchanges), messages(exchanges, texts)
        return {self.exchanges: exchanges, self.stored: stored, self.chat: shown, self.notice: notice()}

    def _begun(self, begun: bool) -> dict[Any, Any]:
        """What is there before a conversation only, and during one."""
        return {
            self.evidence.compare_this: gr.update(visible=begun),
            self.each: gr.update(visible=False),
            self.upload: gr.update(visible=not begun),
            self.unclear: gr.update(visible=False),
            self.saving.fold: gr.update(visible=begun, open=False),  # its files are made when it is opened
        }

    def reply(
        self, exchanges: Exchanges, cancel: Cancellation, request: gr.Request, *settings: Any
    ) -> Iterator[dict[Any, Any]]:
        """Streams the answer to the pending question, the experts' findings first; then to the same question about each
        of the photos that follow, until one is stopped."""
        if cancel is None or cancel.begun or not busy(exchanges):
            yield NOTHING
            return
        cancel.begun = True
        texts = texts_for(request)
        try:
            while True:
                exchanges = yield from self._answered(exchanges, cancel, request, *settings)
                last = exchanges[-1]
                if cancel.is_set() or cancel.discarded or not last.following:
                    break
                photo, *following = last.following
                asked = Exchange(last.question, photo, following=tuple(following))
                exchanges = (*exchanges[:-1], replace(last, following=()), asked)
                yield {**self._pending(exchanges[:-1], asked, texts), self.cancel: cancel}
            if last.following and not cancel.discarded:  # stopped between two photos
                yield {self.box: gr.MultimodalTextbox(**IDLE)}
        except Exception as error:
            yield {**self.restore_question(exchanges, request), self.notice: notice(*error_texts(error, texts))}
        finally:
            cancel.set()  # a closed page must not keep the model busy

    def _answered(
        self, exchanges: Exchanges, cancel: Cancellation, request: gr.Request, *settings: Any
    ) -> Generator[dict[Any, Any], None, Exchanges]:
        """The pending question's answer, as updates of the page; the exchanges with it."""
        texts, (*earlier, pending) = texts_for(request), exchanges
        with ExitStack() as held:
            path = current_photo(exchanges)
            photo = open_uploaded_photo(path, texts) if path else None
            asked = make_request(pending.question, photo, history(exchanges), *settings, asking=request)
            findings = Findings.waiting(asked.experts, experts_seen(exchanges))
            asked, findings = fixing.corrected(pending, asked, findings)
            photo_facts = facts(photo) if photo else None
            findings = replace(findings, part=(photo_facts["part"], photo_facts["number"])) if photo_facts else findings
            pending = replace(pending, findings=findings)
            yield {self.chat: messages((*earlier, pending), texts), **self.panel.start(pending.findings, photo, texts)}
            shown, start, queued = 0.0, time.monotonic(), False
            for event in held.enter_context(closing(answering.answer(asked, cancel))):
                update = {}
                if cancel.discarded:
                    return exchanges
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
                        now = (*earlier, pending)
                        update |= {self.exchanges: now, self.stored: to_storage(now)}
                        if event.stopped or not pending.following:
                            update |= {self.box: gr.MultimodalTextbox(**IDLE)}
                        update |= {self.saving.fold: gr.update(open=False)}
                        update |= {self.evidence.compare_this: gr.update(visible=True)}
                    case _:
                        findings = pending.findings.after(event)
                        if isinstance(event, EvidenceFound):
                            findings = replace(findings, waited=time.monotonic() - start)
                        pending = replace(pending, findings=findings)
                        update = self.panel.changed(event, pending.findings, photo, texts)
                yield {self.chat: messages((*earlier, pending), texts), **update}
        return (*earlier, pending)

    def restore_question(self, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        """An unanswered question goes back into the box, and the conversation is as it was before."""
        return self._taken_back(exchanges, request) if busy(exchanges) else {self.box: gr.MultimodalTextbox(**IDLE)}

    def undo(self, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        """The last exchange is taken back: its question and photo return to the box."""
        if not exchanges:
            return NOTHING
        if busy(exchanges):
            texts = texts_for(request)
            return {self.notice: notice(texts["busy"], texts["busy_next"]), self.chat: messages(exchanges, texts)}
        return self._taken_back(exchanges, request)

    def _taken_back(self, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        """The page without the last exchange: its question and photo return to the box."""
        *earlier, last = exchanges
        photos = [photo for photo in (last.photo, *last.following) if photo and Path(photo).is_file()]
        value = {"text": last.question, "files": photos}
        return {**self._show(tuple(earlier), texts_for(request)), self.box: gr.MultimodalTextbox(value=value, **IDLE)}

    def clear(self, cancel: Cancellation | None, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        """The conversation is gone from the page and the browser; a button brings it back until the next question."""
        if cancel is not None:
            cancel.discarded = True
            cancel.set()
        page = {**self._show((), texts_for(request)), self.box: gr.MultimodalTextbox(**IDLE)}
        return {**page, self.cleared: exchanges, self.unclear: gr.update(visible=bool(exchanges))}

    def restore(self, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        """A conversation from before; a question that was not answered is in the box again."""
        if not exchanges:
            return NOTHING
        return self._taken_back(exchanges, request) if busy(exchanges) else self._show(exchanges, texts_for(request))

    def reload(self, stored: Any, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        """The page was opened: what this browser has kept, or the conversation that its address leads to. Then the
        browser's own can be brought back, and stays in its storage until the other is asked on."""
        if exchanges:
            return NOTHING
        own, texts = from_storage(stored, upload_folder()), texts_for(request)
        if sharing.PARAMETER not in request.query_params:
            return self.restore(own, request)
        if not (other := sharing.shared(request.query_params[sharing.PARAMETER], upload_folder())):
            back = self.restore(own, request) if own else {}
            return {**back, self.notice: notice(texts["share_gone"], texts["share_gone_next"])}
        page = {**self._show(other, texts), self.cleared: own, self.unclear: gr.update(visible=bool(own))}
        del page[self.stored]
        return {**page, self.notice: notice(texts["share_seen"], texts["share_seen_next"], good=True)}

    def redraw(self, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        texts = texts_for(request)
        return {self.chat: messages(exchanges, texts), **self.evidence.of(exchanges, texts)}

    def _show(self, exchanges: Exchanges, texts: Mapping[str, str]) -> dict[Any, Any]:
        return {
            **self._conversation(exchanges, texts),
            self.evidence.opened: None,
            **self._begun(bool(exchanges)),
            **self.evidence.of(exchanges, texts),
        }
