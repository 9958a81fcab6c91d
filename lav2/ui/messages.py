"""A conversation as messages of the Chatbot."""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lav2.ui.state import Exchange, Exchanges, Findings
from lav2.ui.texts import expert_label
from lav2.ui.views import before_after_html, route_text, status, verdict_html


def messages(exchanges: Exchanges, texts: Mapping[str, str]) -> list[dict[str, Any]]:
    """The exchanges as the Chatbot's messages."""
    return [message for _, message in _owned_messages(exchanges, texts)]


def owner(exchanges: Exchanges, index: int | Sequence[int], texts: Mapping[str, str]) -> int:
    """Which exchange the Chatbot's message number `index` belongs to."""
    number = index if isinstance(index, int) else index[0]
    return [i for i, _ in _owned_messages(exchanges, texts)][number]


def _owned_messages(exchanges: Exchanges, texts: Mapping[str, str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for i, exchange in enumerate(exchanges):
        if exchange.photo and i > 0:
            yield i, {"role": "assistant", "content": "— " + texts["new_photo"]}
        if exchange.photo and Path(exchange.photo).is_file():
            yield i, {"role": "user", "content": {"path": exchange.photo}}
        elif exchange.photo:  # Gradio refuses the whole conversation for the sake of one lost file
            yield i, {"role": "assistant", "content": "— " + texts["photo_gone"]}
        yield i, {"role": "user", "content": escape_html(exchange.question)}
        if exchange.findings.states or exchange.findings.corrected:
            yield i, _step(exchange.findings, texts)
        if exchange.answer or exchange.state != "pending":
            answer = escape_html(display_answer(exchange.answer, exchange.state, texts))
            yield i, {"role": "assistant", "content": answer}
        if exchange.state != "pending" and exchange.findings.receipt is not None:
            last = i == len(exchanges) - 1
            yield i, {"role": "assistant", "content": _verdict(exchange, last, texts)}


def _verdict(exchange: Exchange, last: bool, texts: Mapping[str, str]) -> str:
    """HTML under an answer: what it was before a correction, what it rests on, and the ways to its evidence and, under
    the last one, to the form of corrections. A click on a link is a click on the message, which opens the evidence
    (ChatTab.open); on a phone the link goes down to it as well."""
    findings, links = exchange.findings, [("lav2-open", "#evidence", texts["open_evidence"])]
    if last and findings.evidence:
        links.append(("lav2-fix-link", "#evidence", texts["fix_link"]))
    ways = " ".join(f'<a class="{kind}" href="{to}">{html.escape(text)}</a>' for kind, to, text in links)
    before = ""
    if exchange.before is not None:
        was = display_answer(exchange.before, "done", texts)
        now = display_answer(exchange.answer, exchange.state, texts)
        before = before_after_html(was, now, findings.changes, texts)
    return f'<div class="lav2-verdict">{before}{verdict_html(findings, texts)}<p class="lav2-ways">{ways}</p></div>'


def display_answer(answer: str, state: str, texts: Mapping[str, str]) -> str:
    """An answer as it is shown: an empty or stopped one says so."""
    if state == "stopped":
        return f"{answer} … ({texts['stopped']})" if answer else texts["stopped_empty"]
    return answer or texts["empty_answer"]


def escape_html(text: str) -> str:
    """Text for the Chatbot, which reads HTML even where Markdown is off; `html.unescape` is the way back."""
    return re.sub(r"&(?=#?\w+;)", "&amp;", text).replace("<", "&lt;")


def _step(findings: Findings, texts: Mapping[str, str]) -> dict[str, Any]:
    """The fold in the conversation that says what the experts did: on a phone, the panel is far below."""
    busy = any(state in ("waiting", "running") for state in findings.states.values())
    lines = [escape_html(f"{expert_label(name, texts)}: {status(findings, name, texts)}") for name in findings.states]
    if findings.route:
        lines.insert(0, escape_html(route_text(findings.route, texts)))
    if findings.corrected:
        lines = [escape_html(texts["corrected"]), *(lines or [texts["all_left_out"]])]
    metadata = {"title": texts["looking" if busy else "looked"], "status": "pending" if busy else "done"}
    if not busy:
        metadata["duration"] = round(findings.waited, 1)
    return {"role": "assistant", "content": "\n".join(lines), "metadata": metadata}
