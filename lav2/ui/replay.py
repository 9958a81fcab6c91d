"""A receipt's question once more: the same answer, or what differs."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from lav2.assistant import receipt
from lav2.errors import LAV2Error
from lav2.image import open_image
from lav2.ui import answering
from lav2.ui.answering import MODEL
from lav2.ui.inputs import client_key
from lav2.ui.state import Cancellation
from lav2.ui.texts import T, error_texts, texts_for, translated
from lav2.ui.views import notice


class ReplayFold:
    """A fold with places for a receipt and its photo."""

    def __init__(self):
        with gr.Accordion(T("replay"), open=False):
            gr.Markdown(T("replay_lead"))
            self.receipt = gr.File(label=T("replay_file"), file_types=[".json"], height=90, elem_id="replay-receipt")
            self.photo = gr.File(label=T("replay_photo"), file_types=["image"], height=90, elem_id="replay-photo")
            self.button = gr.Button(T("replay"), size="sm")
            self.result = gr.HTML(visible=False, padding=False)
        self.button.click(
            self.replay,
            [self.receipt, self.photo],
            [self.result],
            api_visibility="private",
            show_progress="minimal",
            **MODEL,
        )

    def replay(self, file: str | None, photo: str | None, request: gr.Request) -> dict[str, Any]:
        """A receipt's question again, on its evidence: the same answer, or what differs."""
        texts = texts_for(request)
        cancel = Cancellation()
        try:
            if file is None:
                raise LAV2Error(texts["replay_none"], texts["replay_none_next"])
            before = receipt.read(Path(file))
            image = open_image(photo) if photo else None
            receipt.check_image(before, image)
            model = before["preset"] if before["preset"] == answering.beside() else ""
            asked = replace(receipt.request(before, image), client=client_key(request), model=model)
            with closing(answering.answer(asked, cancel)) as events:
                *_, done = events
            after = receipt.receipt(asked, done)
        except Exception as error:
            return notice(*error_texts(error, texts))
        finally:
            cancel.set()  # also where the page was closed
        differences = [translated(line, texts) for line in receipt.differences(before, after)]
        same = receipt.same_answer(before, after)
        return notice(texts["replay_same" if same else "replay_other"], " · ".join(differences), good=same)
