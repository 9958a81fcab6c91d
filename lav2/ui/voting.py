"""Votes on the Compare tab: the buttons, and how the votes stand so far."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from lav2.assistant import votes
from lav2.errors import LAV2Error
from lav2.metrics.wilson import wilson_interval
from lav2.ui.inputs import QUIET
from lav2.ui.sides import names
from lav2.ui.texts import T, error_texts, texts_for
from lav2.ui.views import notice

LETTERS = "ABCDEFGHIJ"  # of the answers while nobody may know which is which


class VotingRow:
    """The buttons of a vote between two answers, or for the best of several; or to see which is which without one."""

    def __init__(self):
        with gr.Row(visible=False, elem_classes="lav2-votes") as self.two:
            gr.HTML(T("vote_info"), elem_classes="lav2-hint", padding=False)
            self.choices = {choice: gr.Button(T(f"vote_{choice}"), size="sm") for choice in votes.CHOICES}
        with gr.Row(visible=False, elem_classes="lav2-votes") as self.several:
            gr.HTML(T("vote_best_info"), elem_classes="lav2-hint", padding=False)
            self.best = [gr.Button(letter, size="sm", min_width=40) for letter in LETTERS]
        self.unveil = gr.Button(T("unveil"), size="sm", visible=False)
        self.all = [self.two, self.several, self.unveil, *self.best]

    def shown(self, sides: int) -> dict[Any, Any]:
        """For that many answers; 0 hides all."""
        return {
            self.two: gr.update(visible=sides == 2),
            self.several: gr.update(visible=sides > 2),
            self.unveil: gr.update(visible=sides > 1),
            **{button: gr.update(visible=place < sides) for place, button in enumerate(self.best)},
        }


class TallyFold:
    """How often each choice of experts was preferred, of all votes that this server has stored."""

    def __init__(self):
        with gr.Accordion(T("tally"), open=False, elem_id="tally") as self.fold:
            self.table = gr.HTML(padding=False)
            self.chart = share_chart(T("tally_share"), "tally-chart")
        self.all = [self.fold, self.table, self.chart]
        self.fold.expand(self.count, None, self.all, queue=False, **QUIET)

    def count(self, request: gr.Request) -> dict[Any, Any]:
        texts = texts_for(request)
        try:
            counted = votes.tally()
        except LAV2Error as error:
            return {self.table: notice(*error_texts(error, texts)), self.chart: gr.update(visible=False)}
        rows = [
            (names(choice, texts), texts[kind], won, of)
            for kind, wins in (("tally_two", counted.two), ("tally_several", counted.several))
            for choice, (won, of) in sorted(wins.items())
        ]
        bars = [(kind, name, won / of) for name, kind, won, of in rows]
        return {
            self.fold: gr.update(open=True),
            self.table: tally_html(rows, counted.undecided, texts),
            self.chart: gr.update(value=plot(bars), visible=bool(rows)),
        }


def share_chart(title: Any, elem_id: str) -> gr.BarPlot:
    """Bars of shares, 0 to 1, side by side: Gradio 6.31 would stack those of one x. Its value is `plot`."""
    return gr.BarPlot(
        x="bar",
        y="share",
        color="series",
        x_title=" ",
        y_title=" ",
        color_title=" ",
        y_lim=[0, 1],
        y_axis_format=".0%",
        x_label_angle=-30,
        sort=None,
        tooltip="all",
        height=300,
        label=title,
        visible=False,
        buttons=["export"],
        elem_id=elem_id,
    )


def plot(bars: Sequence[tuple[str, str, float]]) -> dict[str, Any]:
    """(group, series, share) of each bar as Gradio draws them, without pandas."""
    kinds = {"bar": "nominal", "series": "nominal", "share": "quantitative"}
    data = [[f"{group}: {series}", series, share] for group, series, share in bars]
    return {"columns": list(kinds), "data": data, "datatypes": kinds, "mark": "bar"}


def tally_html(
    rows: Sequence[tuple[str, str, int, int]], undecided: Mapping[str, int], texts: Mapping[str, str]
) -> str:
    """A table of (choice of experts, kind of vote, preferred, of how many), with 95 % intervals."""
    if not rows and not any(undecided.values()):
        return f'<p class="lav2-hint">{html.escape(texts["tally_empty"])}</p>'
    heads = [texts[f"tally_{head}"] for head in ("choice", "kind", "won", "share")]
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in heads)
    body = ""
    for name, kind, won, of in rows:
        cells = (name, kind, f"{won} / {of}", share_text(won, of))
        body += f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"
    rest = " · ".join(f"{texts[f'vote_{choice}']}: {n}" for choice, n in undecided.items())
    table = f'<table class="lav2-tally"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>' if rows else ""
    return f'{table}<p class="lav2-hint">{html.escape(rest)}. {html.escape(texts["tally_info"])}</p>'


def share_text(won: int, of: int) -> str:
    """62 % (41 to 79 %): the share and its 95 % interval."""
    share, low, high = (round(100 * part) for part in wilson_interval(won, of))
    return f"{share} % ({low}–{high} %)"
