"""Saving a conversation: as Markdown to read, as JSON with every receipt."""

import json
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache

from lav2.ui.conversation import to_file, to_markdown
from lav2.ui.inputs import QUIET
from lav2.ui.state import Exchanges
from lav2.ui.texts import T, texts_for


class KeepingRow:
    """A fold with two downloads. Their files are made when it is opened; the page closes it when they grow old."""

    def __init__(self, exchanges: gr.State):
        with gr.Accordion(T("keep"), open=False, visible=False, elem_id="keep") as self.fold, gr.Row():
            self.markdown = gr.DownloadButton(T("keep_markdown"), size="sm", elem_id="keep-markdown")
            self.json = gr.DownloadButton(T("keep_json"), size="sm", elem_id="keep-json")
        self.fold.expand(self.make, [exchanges], [self.markdown, self.json], queue=False, **QUIET)

    def make(self, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        text = to_markdown(exchanges, texts_for(request))
        value = json.dumps(to_file(exchanges), ensure_ascii=False, indent=1)
        return {
            button: save_bytes_to_cache(content.encode(), f"lav2-conversation.{kind}", button.GRADIO_CACHE)
            for button, content, kind in ((self.markdown, text, "md"), (self.json, value, "json"))
        }
