"""Saving a conversation: as Markdown to read, as JSON with every receipt; and showing it to others by a link."""

import json
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache

from lav2.server.gate import hostname, loopback
from lav2.ui import sharing
from lav2.ui.conversation import to_file, to_markdown
from lav2.ui.inputs import QUIET, upload_folder
from lav2.ui.state import Exchanges, busy
from lav2.ui.texts import T, error_texts, texts_for
from lav2.ui.views import notice

# The page's address is known to the browser alone: servers in front of this one may call it otherwise.
ADDRESS = f"""(name, note) => {{
    const link = new URL(window.location.pathname, window.location.origin);
    link.searchParams.set("{sharing.PARAMETER}", name);
    return [name ? link.href : "", note];
}}"""
# Once a visitor asks on, the conversation is his own, and the address no longer leads to the one that was shared.
OWN_AGAIN = f"""() => {{
    const address = new URL(window.location.href);
    if (!address.searchParams.has("{sharing.PARAMETER}")) return;
    address.searchParams.delete("{sharing.PARAMETER}");
    window.history.replaceState(null, "", address);
}}"""


class SavingRow:
    """A fold with two downloads and a link. The files are made when it is opened; the page closes it when they grow
    old."""

    def __init__(self, exchanges: gr.State):
        with gr.Accordion(T("keep"), open=False, visible=False, elem_id="keep") as self.fold:
            with gr.Row():
                self.markdown = gr.DownloadButton(T("keep_markdown"), size="sm", elem_id="keep-markdown")
                self.json = gr.DownloadButton(T("keep_json"), size="sm", elem_id="keep-json")
            self.share = gr.Button(T("share"), size="sm", elem_id="share")
            self.link = gr.Textbox(
                label=T("share_link"),
                visible=False,
                interactive=False,
                max_lines=1,
                buttons=["copy"],
                elem_id="share-link",
            )
            self.link_note = gr.HTML(T("share_lead"), elem_classes="lav2-hint", padding=False)
        self.name = gr.Textbox(visible=False)  # of the link
        self.fold.expand(self.make, [exchanges], [self.markdown, self.json, self.link], queue=False, **QUIET)
        made = self.share.click(
            self.make_link, [exchanges], [self.name, self.link, self.link_note], queue=False, **QUIET
        )
        made.success(None, [self.name, self.link_note], [self.link, self.link_note], js=ADDRESS, **QUIET)

    def make(self, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        text = to_markdown(exchanges, texts_for(request))
        value = json.dumps(to_file(exchanges), ensure_ascii=False, indent=1)
        files = {
            button: save_bytes_to_cache(content.encode(), f"lav2-conversation.{kind}", button.GRADIO_CACHE)
            for button, content, kind in ((self.markdown, text, "md"), (self.json, value, "json"))
        }
        return {**files, self.link: gr.update(value="", visible=False)}

    def make_link(self, exchanges: Exchanges, request: gr.Request) -> dict[Any, Any]:
        """A link to the conversation as it is now; what is asked later is not behind it."""
        texts = texts_for(request)
        if busy(exchanges):
            return {self.name: "", self.link_note: notice(texts["busy"], texts["busy_next"])}
        try:
            name = sharing.share(exchanges, upload_folder())
        except OSError as error:
            return {self.name: "", self.link_note: notice(*error_texts(error, texts))}
        here = loopback(hostname(request.headers.get("host", "")))
        return {
            self.name: name,
            self.link: gr.update(visible=True),
            self.link_note: notice(texts["share_made"], texts["share_here" if here else "share_lead"], good=True),
        }
