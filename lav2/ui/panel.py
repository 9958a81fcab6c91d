"""The evidence panel: the photo with numbered findings, the table of findings, the exact prompt."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from PIL import Image

from experts.messages import cut
from experts.render import Item
from lav2.events import Done, Event, EvidenceFound, ExpertStarted, PromptReady, Routed
from lav2.ui.fixing import FixForm
from lav2.ui.state import Findings
from lav2.ui.texts import TEXTS, T
from lav2.ui.views import (
    draw_findings,
    findings_table,
    hint_html,
    meter_html,
    notice,
    photo_space_html,
    researchers_html,
    status_html,
    verdict_html,
)

FINDING_CHARACTERS = 500  # of a finding that a reader rewrote


class EvidencePanel:
    """The photo with numbered findings, each expert's state, one table of all items, the exact prompt."""

    WIDTHS = ((12, 40, 18, 14, 16), (9, 12, 34, 17, 13, 15))  # percent of the table, without and with check boxes

    def __init__(self, correctable: bool = False):
        self.correctable = correctable  # its findings can be switched off and rewritten, for another answer
        # Side by side where there is room, one below the other in a narrow column.
        with gr.Row(elem_classes="lav2-panel"):
            with gr.Column(scale=4, min_width=260):
                self.hint = gr.HTML(f'<p class="lav2-hint" role="status">{T("evidence_empty")}</p>', padding=False)
                with gr.Column(min_width=0, elem_classes="lav2-photo-slot"):
                    self.photo_space = gr.HTML(visible=False, padding=False)
                    self.picture = gr.Image(
                        label=T("photo"),
                        show_label=False,
                        type="pil",
                        format="webp",
                        interactive=False,
                        visible=False,
                        buttons=["fullscreen"],
                        elem_classes="lav2-photo",
                    )
                self.fix = FixForm() if correctable else None
                self.status = gr.HTML(visible=False, padding=False)
            with gr.Column(scale=6, min_width=440):
                self.table = gr.Dataframe(
                    headers=self.headers(TEXTS["en"]),
                    label=T("findings"),
                    datatype=["bool", *["str"] * 5] if correctable else "str",
                    type="array",
                    interactive=correctable,
                    static_columns=[1, 3, 4, 5] if correctable else None,
                    wrap=True,
                    visible=False,
                    column_widths=[f"{share}%" for share in self.WIDTHS[correctable]],
                    buttons=[],
                    max_height=900,  # px, about 20 findings: Gradio 6.31 loses clicks on rows that it must scroll to
                    elem_classes="lav2-table",
                )
                self.again = gr.Button(T("again"), size="sm", visible=False, elem_classes="lav2-again")
                self.claims = gr.HTML(visible=False, padding=False)
                self.researchers = gr.HTML(visible=False, padding=False, elem_classes="lav2-researchers")
                with gr.Accordion(T("prompt"), open=False, visible=False) as self.fold:
                    self.prompt = gr.Textbox(
                        label=T("prompt"),
                        show_label=False,
                        container=False,
                        lines=6,
                        max_lines=24,
                        interactive=False,
                        buttons=["copy"],
                    )
                self.meter = gr.HTML(visible=False, padding=False)
        self.parts = [self.status, self.photo_space, self.picture, self.table, self.again]
        self.parts += [self.claims, self.researchers, self.fold, self.prompt, self.meter]
        self.all = [self.hint, *self.parts, *(self.fix.all if self.fix else [])]

    def headers(self, texts: Mapping[str, str]) -> list[str]:
        names = ("number", "finding", "expert", "confidence", "place")
        return [texts[f"column_{name}"] for name in (("use", *names) if self.correctable else names)]

    def kept_findings(self, table: Sequence[Sequence[Any]]) -> dict[int, str]:
        """Number -> text of the findings that a reader left on, from the table's value."""
        texts = {}
        for use, number, text, *_ in table:
            digits = re.match(r"\d+", str(number))  # none in a row that the reader added
            if digits and str(use).lower() == "true" and str(text).strip():
                texts[int(digits[0])] = cut(str(text).strip(), FINDING_CHARACTERS)
        return texts

    def number(self, row: Sequence[Any]) -> int | None:
        """Of the finding in a row of the table; None in a row that the reader added."""
        found = re.match(r"\d+", str(row[1 if self.correctable else 0]))
        return int(found[0]) if found else None

    def empty(self) -> dict[Any, Any]:
        """Before the first question. Each part is another component than those of an answer: none has to move."""
        hidden = {component: gr.update(visible=False) for component in self.parts}
        hidden |= self.fix.shown(False) if self.fix else {}
        return {**hidden, self.hint: gr.update(visible=True)}

    def start(self, findings: Findings, photo: Image.Image | None, texts: Mapping[str, str]) -> dict[Any, Any]:
        """Before the first event: the bare photo, and every expert waiting."""
        return {
            **self.empty(),
            self.hint: gr.update(visible=False),
            self.status: gr.update(value=self._state(findings, photo, texts), visible=True),
            self.photo_space: gr.update(value=photo and photo_space_html(photo), visible=photo is not None),
            self.picture: gr.update(value=photo and draw_findings(photo, Findings()), visible=photo is not None),
        }

    def changed(
        self, event: Event | Exception, findings: Findings, photo: Image.Image | None, texts: Mapping[str, str]
    ) -> dict[Any, Any]:
        """Updates of what `event` changed and of nothing else, so that streaming stays light."""
        match event:
            case Routed() | ExpertStarted():
                return {self.status: status_html(findings, texts)}
            case EvidenceFound():
                return {self.status: status_html(findings, texts), **self._items(findings, photo, texts)}
            case PromptReady():
                return self._prompt(findings, texts)
            case Done() | Exception():
                state = {self.status: self._state(findings, photo, texts)}  # a stopped answer's experts no longer run
                updates = self._prompt(findings, texts) if findings.prompt else {}  # a busy browser may lose the first
                return state | self._items(findings, photo, texts) | self._claims(findings, texts) | updates
        return {}

    def finished(self, findings: Findings, photo: Image.Image | None, texts: Mapping[str, str]) -> dict[Any, Any]:
        """Everything about an exchange that is over."""
        shown = self.start(findings, photo, texts)
        shown |= self._items(findings, photo, texts) | self._claims(findings, texts)
        return shown | self._prompt(findings, texts) if findings.prompt else shown

    def grown(
        self,
        findings: Findings,
        item: Item,
        table: Sequence[Sequence[Any]],
        photo: Image.Image,
        texts: Mapping[str, str],
    ) -> dict[Any, Any]:
        """The table, as the reader has it, with one more finding, and the photo with its box."""
        row = findings_table(findings, texts)[item.number - 1]
        return {
            self.status: status_html(findings, texts),
            self.picture: draw_findings(photo, findings),
            self.table: gr.update(value=[*table, [True, *row]]),
            self.fix.notice: notice(texts["fix_added"].format(number=item.number), texts["fix_added_next"], good=True),
            self.fix.text: "",
            self.fix.corners: "",
        }

    def fixed(self) -> dict[Any, Any]:
        """Of an earlier answer nothing is corrected any more."""
        return {self.again: gr.update(visible=False), **self.fix.shown(False)}

    @staticmethod
    def _state(findings: Findings, photo: Image.Image | None, texts: Mapping[str, str]) -> str:
        if findings.states:
            return status_html(findings, texts)
        if findings.rule:
            return hint_html(texts["by_rule"])
        if findings.corrected:
            return hint_html(texts["all_left_out"])
        return hint_html(texts["no_photo" if photo is None else "no_experts"])

    def _items(self, findings: Findings, photo: Image.Image | None, texts: Mapping[str, str]) -> dict[Any, Any]:
        if not findings.evidence:
            return {}
        table = findings_table(findings, texts)
        cells = [[True, *row] for row in table] if self.correctable else table
        drawn = photo and draw_findings(photo, findings)
        correctable = self.correctable and bool(table) and findings.receipt is not None
        shown = self.fix.shown(correctable and photo is not None) if self.fix else {}
        return {
            **shown,
            self.picture: gr.update(value=drawn, visible=photo is not None),
            self.table: gr.update(value=cells, headers=self.headers(texts), visible=bool(table)),
            self.again: gr.update(visible=correctable),
        }

    def _claims(self, findings: Findings, texts: Mapping[str, str]) -> dict[Any, Any]:
        if findings.receipt is None:
            return {}
        updates = {self.researchers: gr.update(value=researchers_html(findings, texts), visible=True)}
        if self.correctable:  # in a conversation, where the verdict stands under the answer
            return updates
        return {**updates, self.claims: gr.update(value=verdict_html(findings, texts), visible=True)}

    def _prompt(self, findings: Findings, texts: Mapping[str, str]) -> dict[Any, Any]:
        return {
            self.fold: gr.update(label=texts["prompt_tokens"].format(tokens=findings.tokens), visible=True),
            self.prompt: gr.update(value=findings.prompt, visible=True),
            self.meter: gr.update(value=meter_html(findings, texts), visible=True),
        }
