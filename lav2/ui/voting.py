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

    def __init__(self) -> None:
        with gr.Row(visible=False, elem_classes="lav2-votes") as self.two:
            gr.HTML(T("vote_info"), elem_classes="lav2-hint", padding=False)
            self.choices = {choice: gr.Button(T(f"vote_{choice}"), size="sm") for choice in votes.CHOICES}
        with gr.Row(visible=False, elem_classes="lav2-votes") as self.several:
            gr.HTML(T("vote_best_info"), elem_classes="lav2-hint", padding=False)
            self.best = [gr.Button(letter, size="sm", min_width=40) for letter in LETTERS]
        self.unveil = gr.Button(T("unveil"), size="sm", visible=False)
        self.all = [self.two, self.several, self.unveil, *self.choices.values(), *self.best]

    def shown(self, sides: int, ended: bool = True) -> dict[Any, Any]:
        """For that many answers; 0 hides all. Before the last has `ended` nothing can be pressed."""
        return {
            self.two: gr.update(visible=sides == 2),
            self.several: gr.update(visible=sides > 2),
            self.unveil: gr.update(visible=sides > 1, interactive=ended),
            **{button: gr.update(interactive=ended) for button in self.choices.values()},
            **{button: gr.update(visible=number < sides, interactive=ended) for number, button in enumerate(self.best)},
        }


class TallyFold:
    """How often each choice of experts was preferred, of all votes that this server has stored."""

    def __init__(self) -> None:
        with gr.Accordion(T("tally"), open=False, elem_id="tally") as self.fold:
            self.table = gr.HTML(padding=False)
            self.chart = share_chart("tally-chart")
        self.all = [self.fold, self.table, self.chart]
        self.fold.expand(self.count, None, self.all, queue=False, **QUIET)

    def count(self, request: gr.Request) -> dict[Any, Any]:
        """The votes so far, as a table and a chart; a failure is told in their place."""
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
        bars = [(kind, name, won, of) for name, kind, won, of in rows]
        return {
            self.fold: gr.update(open=True),
            self.table: tally_html(rows, counted.undecided, texts),
            self.chart: gr.update(value=bars_html(texts["tally_share"], bars), visible=bool(rows)),
        }


def share_chart(elem_id: str) -> gr.HTML:
    """A place for `bars_html`. Not a BarPlot: Gradio 6.31 cuts off and turns the names below its bars, which on a phone
    leaves nothing to read."""
    return gr.HTML(visible=False, padding=False, elem_id=elem_id)


def bars_html(title: str, bars: Sequence[tuple[str, str, int, int]]) -> str:
    """Bars of (group, name, so many, of how many) below each other, with each name above its bar; a heading a group."""
    groups: dict[str, str] = {}
    for group, name, so_many, of in bars:
        share = round(100 * so_many / of)
        label = f"<span>{html.escape(name)}</span><b>{html.escape(share_text(so_many, of))}</b>"
        groups[group] = groups.get(group, "") + f'<li>{label}<i style="width: {share}%" aria-hidden="true"></i></li>'
    parts = "".join(f"<h3>{html.escape(group)}</h3><ul>{rows}</ul>" for group, rows in groups.items())
    return f'<div class="lav2-bars"><h2>{html.escape(title)}</h2>{parts}</div>'


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
