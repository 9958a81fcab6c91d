"""The page: both tabs, theme and script."""

import json
from typing import Any

import gradio as gr

from lav2.ui import answering
from lav2.ui.answering import QUEUE_SIZE
from lav2.ui.api import Page, connect_api
from lav2.ui.chat import ChatTab
from lav2.ui.compare import CompareTab
from lav2.ui.examples import EXAMPLES
from lav2.ui.inputs import QUIET
from lav2.ui.texts import ASSETS, TEXTS, T, texts_for, translated
from lav2.ui.views import notice

STYLES = [ASSETS / "style.css", ASSETS / "layout.css"]
KEEP_UPLOADS = (300, 1800)  # seconds: every five minutes, files unused for half an hour are deleted


RESTORED = "() => { document.body.dataset.restored = ''; }"  # labels.js then shows the page


def build() -> gr.Blocks:
    """The page with both tabs and the named endpoints; the server is not started."""
    with Page(title="LAV2", analytics_enabled=False, delete_cache=KEEP_UPLOADS, fill_width=True) as blocks:
        with gr.Column(elem_id="lead"):
            gr.Markdown(f"# {T('title')}")
            gr.Markdown(T("lead"))
            fallback = gr.HTML(visible=False, padding=False)
        with gr.Tabs() as tabs:
            with gr.Tab(T("chat_tab"), id="chat"):
                blocks.chat = ChatTab()
            with gr.Tab(T("compare_tab"), id="compare"):
                blocks.compare = CompareTab()
        chat = blocks.chat
        opened = blocks.load(chat.reload, [chat.stored, chat.exchanges], chat.page, queue=False, **QUIET)
        opened.then(None, js=RESTORED, **QUIET)
        shown = [chat.exchanges, chat.evidence.opened]
        carried = [tabs, blocks.compare.box, chat.notice]
        chat.evidence.compare_this.click(chat.evidence.carried, shown, carried, queue=False, **QUIET)
        connect_api(blocks.chat.settings)
        blocks.load(blocks.compare.also.shown, None, [blocks.compare.also.box], queue=False, **QUIET)
        blocks.load(fallback_notice, None, [fallback], queue=False, **QUIET)
    return blocks.queue(max_size=QUEUE_SIZE, default_concurrency_limit=8)


def fallback_notice(request: gr.Request) -> dict[str, Any]:
    texts = texts_for(request)
    values = {name: translated(text, texts) for name, text in answering.FALLBACK.items()}
    return notice(texts["fallback"].format(**values) if values else "")


def theme() -> gr.themes.Base:
    """Fonts of the reader's system: none is fetched from anywhere."""
    return gr.themes.Soft(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        font=["system-ui", "Noto Sans KR", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(  # darker than the theme's own where its contrast is below 4.5 to 1
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_title_text_color="*primary_800",
        block_title_text_color_dark="white",
        block_title_background_fill_dark="*primary_800",
        block_label_text_color="*primary_800",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_700",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        block_label_background_fill_dark="*primary_800",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )


# Texts in plain words whose technical term is told by a tooltip (labels.js).
TERMS = (
    "caption", "concept", "detection", "ocr", "column_confidence", "column_expert", "temperature", "top_p", "seed",
    "settings", "experts", "evidence",
)  # fmt: skip


def labels_js() -> str:
    """The page's script, with its texts."""
    names = ("photo", "photo_sent", "column_use", "more", "drop", "many_more")
    used = {language: {name: texts[name] for name in names} for language, texts in TEXTS.items()}
    for language, texts in used.items():
        texts["terms"] = {TEXTS[language][name]: TEXTS[language][f"term_{name}"] for name in TERMS}
        texts["examples"] = {example.shown("en"): example.shown(language) for example in EXAMPLES}
    script = (ASSETS / "labels.js").read_text(encoding="utf-8")
    return script[script.index("() =>") :].replace("{", f"{{ const TEXTS = {json.dumps(used)};", 1)
