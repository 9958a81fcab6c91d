"""Many photos and questions at once, with several choices of experts: a table, a chart, and a file of all answers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache

from experts.registry import EXPERT_NAMES
from lav2.errors import LAV2Error
from lav2.events import Done
from lav2.ui.answering import MODEL, stream
from lav2.ui.inputs import NOTHING, QUIET, Settings, make_request, open_uploaded_photo, stop_answer
from lav2.ui.many_rows import QuestionRow, Result, read_rows, shares_by_kind, to_csv
from lav2.ui.messages import display_answer
from lav2.ui.sides import Side, names, sides
from lav2.ui.state import Cancellation
from lav2.ui.texts import TEXTS, T, error_texts, texts_for
from lav2.ui.views import notice
from lav2.ui.voting import bars_html, share_chart, share_text

EACH = ("off", *EXPERT_NAMES, "+".join(EXPERT_NAMES))


class ManyFold:
    """Photos with a CSV of questions, or a folder of photos and one question for all."""

    def __init__(self, settings: Settings, also: gr.CheckboxGroup, grid: Sequence[str]):
        self.choices = {"each": EACH, "pair": ("off", "on"), "grid": tuple(grid)}
        self.cancel = gr.State(None)
        with gr.Accordion(T("many"), open=False, elem_id="many"):
            gr.HTML(T("many_lead"), elem_classes="lav2-hint", padding=False)
            self.files = gr.File(
                label=T("many_files"),
                file_count="multiple",
                file_types=["image", ".csv"],
                height=140,
                elem_id="many-files",
            )
            self.folder = gr.UploadButton(T("many_folder"), file_count="directory", size="sm", elem_id="many-folder")
            self.question = gr.Textbox(label=T("many_question"), max_lines=2, elem_id="many-question")
            labels = [(T(f"many_{name}"), name) for name in self.choices]
            self.mode = gr.Radio(labels, value="each", label=T("many_choices"))
            with gr.Row():
                self.start = gr.Button(T("many_start"), size="sm", variant="primary", elem_id="many-start")
                self.stop = gr.Button(T("many_stop"), size="sm", visible=False)
            self.notice = gr.HTML(visible=False)
            self.table = gr.Dataframe(
                headers=self.headers(EACH, TEXTS["en"]),
                label=T("many_results"),
                datatype="str",
                type="array",
                interactive=False,
                wrap=True,
                visible=False,
                max_height=600,
                buttons=["copy"],
                elem_classes="lav2-table",
                elem_id="many-table",
            )
            self.chart = share_chart("many-chart")
            self.download = gr.DownloadButton(T("many_download"), size="sm", visible=False, elem_id="many-download")
        page = [self.cancel, self.notice, self.start, self.stop, self.table, self.chart, self.download]
        self.folder.upload(lambda files: files, [self.folder], [self.files], queue=False, **QUIET)
        begun = self.start.click(self.begin, [self.cancel], page, queue=False, **QUIET)
        asked = [self.files, self.question, self.mode, also, self.cancel, *settings.all]
        shown = {"show_progress": "minimal", "show_progress_on": self.table}
        ran = begun.then(self.run, asked, page, api_visibility="private", **shown, **MODEL)
        ran.failure(self.ended, [self.cancel], page, queue=False, **QUIET)  # for example: the queue is full
        self.stop.click(stop_answer, [self.cancel], None, queue=False, api_visibility="private")

    @staticmethod
    def headers(sides: Sequence[str], texts: Mapping[str, str]) -> list[str]:
        own = [texts[f"many_{name}"] for name in ("photo", "asked", "kind", "expected")]
        return [*own, *(names(side, texts) for side in sides)]

    def begin(self, cancel: Cancellation | None, request: gr.Request) -> dict[Any, Any]:
        if cancel is not None and not cancel.is_set():
            texts = texts_for(request)
            return {self.notice: notice(texts["busy"], texts["busy_next"])}
        hidden = {part: gr.update(visible=False) for part in (self.table, self.chart, self.download)}
        return {**hidden, self.cancel: Cancellation(), self.notice: notice(), **self._running(True)}

    def _running(self, running: bool) -> dict[Any, Any]:
        return {self.start: gr.update(interactive=not running), self.stop: gr.update(visible=running)}

    def ended(self, cancel: Cancellation | None) -> dict[Any, Any]:
        if cancel is not None:
            cancel.set()
        return self._running(False)

    def run(
        self,
        files: Sequence[str] | None,
        question: str,
        mode: str,
        also: Sequence[str],
        cancel: Cancellation | None,
        request: gr.Request,
        *settings: Any,
    ) -> Iterator[dict[Any, Any]]:
        """Asks row after row, each with all choices of experts at once; what has an answer stays when it is stopped."""
        if cancel is None or cancel.begun:
            yield NOTHING
            return
        cancel.begun = True
        texts, results, (experts, *sampling) = texts_for(request), [], settings
        asked = sides(self.choices[mode], experts, also)
        try:
            rows = read_rows(files or (), question or "", texts)
            for row in rows:
                text = texts["many_running"].format(n=len(results) + 1, of=len(rows))
                yield {self.notice: notice(text, Path(row.photo).name, good=True)}
                result = self.answered(row, asked, sampling, cancel, request)
                if cancel.is_set():
                    break
                results.append(result)
                yield self.shown(results, tuple(asked), texts)
            text = texts["many_done" if len(results) == len(rows) else "many_stopped"]
            last = {**self.ended(cancel), self.notice: notice(text.format(n=len(results), of=len(rows)), good=True)}
            if results:
                file = save_bytes_to_cache(to_csv(results).encode(), "lav2-compare.csv", self.download.GRADIO_CACHE)
                last |= {**self.shown(results, tuple(asked), texts), self.download: gr.update(value=file, visible=True)}
            yield last  # all at once: a busy browser may lose what came before
        except Exception as error:
            yield {**self.ended(cancel), self.notice: notice(*error_texts(error, texts))}
        finally:
            cancel.set()

    def answered(
        self,
        row: QuestionRow,
        asked: Mapping[str, Side],
        sampling: Sequence[Any],
        cancel: Cancellation,
        request: gr.Request,
    ) -> Result:
        """One row's answers; a photo that cannot be read is that row's failure."""
        texts = texts_for(request)
        try:
            photo = open_uploaded_photo(row.photo, texts)
        except LAV2Error as error:
            return Result(row, {}, dict.fromkeys(asked, " ".join(error_texts(error, texts))))
        requests = {
            key: make_request(row.question, photo, (), side.experts, *sampling, asking=request, model=side.model)
            for key, side in asked.items()
        }
        answers, failed = {}, {}
        with closing(stream(requests, cancel)) as events:
            for side, event in events:
                if isinstance(event, Done):
                    answers[side] = event.answer
                elif isinstance(event, Exception):
                    failed[side] = " ".join(error_texts(event, texts))
        ordered = {side: answers[side] for side in asked if side in answers}
        return Result(row, ordered, failed)

    def shown(self, results: Sequence[Result], keys: Sequence[str], texts: Mapping[str, str]) -> dict[Any, Any]:
        """Table and chart of what has been answered."""
        cells = []
        for result in results:
            row = result.row
            kinds = ", ".join(texts[f"kind_{kind}"] for kind in row.kinds)
            answers = []
            for side in keys:
                mark = {True: "✓ ", False: "✗ ", None: ""}[result.right(side)]
                failure = result.failed.get(side)
                answers.append(failure or mark + display_answer(result.answers.get(side, ""), "done", texts))
            cells.append([Path(row.photo).name, row.question, kinds, " | ".join(row.truths), *answers])
        known, found = shares_by_kind(results, keys)
        bars = [(texts[f"kind_{kind}"], names(side, texts), so, of) for (kind, side), (so, of) in found.items()]
        if known:
            graded = [[right for one in results if (right := one.right(side)) is not None] for side in keys]
            shares = [share_text(sum(right), len(right)) if right else "" for right in graded]
            cells.append(["", texts["many_right"], "", "", *shares])
        return {
            self.table: gr.update(value=cells, headers=self.headers(keys, texts), visible=True),
            self.chart: gr.update(
                value=bars_html(texts["many_chart_right" if known else "many_chart_changed"], bars), visible=bool(bars)
            ),
        }
