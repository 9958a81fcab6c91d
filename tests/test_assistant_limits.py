"""Assistants of their own: one photo for several who look, no thread to start, a model of a small context."""

import threading

import pytest
from asking import events, short
from PIL import Image

pytestmark = pytest.mark.slow


def test_a_large_photo_is_scaled_once_by_each_who_looks_and_encoded_once_for_captions_and_answers(bus, monkeypatch):
    import cv2

    from lav2.assistant.service import Assistant
    from lav2.events import Request

    together = Assistant.load(report=lambda line: None)
    together.load_experts(report=lambda line: None)
    large = bus.resize((2430, 3240))
    scaled, encoded = [], []
    resize, of_opencv, encode = Image.Image.resize, cv2.resize, together._tower.encode

    def pillow(self, *args, **kwargs):
        if self.size == large.size:
            scaled.append("Pillow")
        return resize(self, *args, **kwargs)

    def opencv(pixels, *args, **kwargs):
        if pixels.shape[:2] == large.size[::-1]:
            scaled.append("OpenCV")
        return of_opencv(pixels, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "resize", pillow)
    monkeypatch.setattr(cv2, "resize", opencv)
    monkeypatch.setattr(together._tower, "encode", lambda photos: encoded.append(1) or encode(photos))
    sides = [Request("What is it?", large, experts=names, sampling=short()) for names in ((), together.experts)]
    threads = [threading.Thread(target=lambda side=side: list(together.answer(side))) for side in sides]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # the detector; the reader, the image encoder and the classifier of kinds
    assert sorted(scaled) == ["OpenCV", "Pillow", "Pillow", "Pillow"]
    assert encoded == [1, 1]  # the photo; its mirror image, for the caption


@pytest.mark.parametrize("name", ["vision", "ahead", "encoder"])
def test_where_a_thread_cannot_start_the_question_is_told_so_and_the_next_is_answered(name, monkeypatch):
    from lav2.assistant.service import Assistant
    from lav2.errors import Unavailable

    fresh = Assistant.load(report=lambda line: None)
    photo = Image.effect_noise((64, 64), 90).convert("RGB")
    start = threading.Thread.start

    def refused(thread):
        if thread.name.startswith(name):
            raise RuntimeError("can't start new thread")
        start(thread)

    asked = {"experts": ("ocr",), "sampling": short()}
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        for _ in range(2):
            with pytest.raises(Unavailable, match="no further thread"):
                events(fresh, "What?", photo, **asked)
    assert not fresh._admission._slots
    assert events(fresh, "What?", photo, **asked)[-1].answer


def test_a_model_made_for_fewer_tokens_is_given_no_more():
    from dataclasses import replace

    from tiny import LATE, llama, tokenizer

    from experts import detection
    from lav2.assistant.loading import fast_backends
    from lav2.assistant.service import Assistant
    from lav2.config import EMBEDDED
    from lav2.errors import LAV2Error
    from lav2.events import PromptReady, Request
    from lav2.model.adapted import AdaptedLlama

    model = AdaptedLlama(llama(max_position_embeddings=128), LATE).eval()
    chat, captioner, _ = fast_backends(model, model)
    assert chat.context == 128
    preset = replace(EMBEDDED, template="alpaca")
    small = Assistant(preset, chat, captioner, tokenizer(), None, detection.build(""), {}, {})
    asked = small.answer(Request("w5", sampling=short(max_new_tokens=20)))
    assert next(event for event in asked if isinstance(event, PromptReady)).context == 128
    with pytest.raises(LAV2Error, match="the model's context has 128"):
        list(small.answer(Request("w5 " * 110, sampling=short(max_new_tokens=20))))
