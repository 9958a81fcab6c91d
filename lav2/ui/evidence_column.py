"""Beside the conversation: the evidence of one answer, and the way from it to Compare."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from lav2.ui.inputs import NOTHING, shown_photo
from lav2.ui.messages import owner
from lav2.ui.panel import EvidencePanel
from lav2.ui.state import Exchange, Exchanges, busy, current_photo
from lav2.ui.texts import T, texts_for
from lav2.ui.views import draw_findings, notice


class EvidenceColumn:
    """A heading with the question, the panel on its answer, and "Compare this"."""

    def __init__(self):
        self.opened = gr.State(None)  # whose evidence is shown: the number of an exchange, None for the last
        self.heading = gr.HTML(T("evidence"), elem_classes="lav2-title", padding=False)
        self.panel = EvidencePanel(correctable=True)
        self.compare_this = gr.Button(T("compare_this"), size="sm", visible=False, elem_id="compare-this")
        self.all = [self.opened, self.heading, self.compare_this, *self.panel.all]

    def asked(self, exchange: Exchange, texts: Mapping[str, str]) -> dict[Any, Any]:
        """A question was asked: the column is about it from now on."""
        return {self.heading: self._heading(exchange, texts), self.opened: None}

    @staticmethod
    def _heading(exchange: Exchange | None, texts: Mapping[str, str]) -> str:
        return html.escape(texts["evidence_for"].format(question=exchange.question) if exchange else texts["evidence"])

    def of(self, exchanges: Exchanges, texts: Mapping[str, str]) -> dict[Any, Any]:
        """The panel on the last of these exchanges."""
        if not exchanges:
            return {self.heading: self._heading(None, texts), **self.panel.empty()}
        last = exchanges[-1]
        shown = self.panel.finished(last.findings, shown_photo(exchanges), texts)
        return {self.heading: self._heading(last, texts), **shown}

    def open(
        self, exchanges: Exchanges, opened: int | None, event: gr.SelectData, request: gr.Request
    ) -> dict[Any, Any]:
        """A message was clicked: the panel shows the evidence and receipt of its answer."""
        texts = texts_for(request)
        if busy(exchanges) or not exchanges:
            return NOTHING
        i = owner(exchanges, event.index, texts)
        last = len(exchanges) - 1
        if i == (last if opened is None else opened):
            return NOTHING
        shown = {self.opened: i, **self.of(exchanges[: i + 1], texts)}
        return shown if i == last else {**shown, **self.panel.fixed()}

    def carried(self, exchanges: Exchanges, opened: int | None, request: gr.Request) -> list[Any]:
        """The photo and the question whose evidence is shown, for the Compare tab and its box; a notice here where
        there is none."""
        shown = exchanges if opened is None else exchanges[: opened + 1]
        photo, texts = current_photo(shown), texts_for(request)
        if photo is None or not Path(photo).is_file():
            keys = ("photo_gone", "photo_gone_next") if photo else ("no_compare_photo", "no_compare_photo_next")
            return [gr.skip(), gr.skip(), notice(*(texts[key] for key in keys))]
        return [gr.Tabs(selected="compare"), {"text": shown[-1].question, "files": [photo]}, notice()]

    def choose(self, exchanges: Exchanges, opened: int | None, event: gr.SelectData) -> dict[Any, Any]:
        """A row of the table was chosen: its place in the photo stays bright."""
        shown = exchanges if opened is None else exchanges[: opened + 1]
        photo = shown_photo(shown)
        if photo is None or busy(exchanges):  # while an answer comes, its findings are not in the session yet
            return NOTHING
        number, found = self.panel.number(event.row_value), shown[-1].findings
        return {self.panel.picture: draw_findings(photo, found, number)}
