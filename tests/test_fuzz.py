"""The APIs under random bodies and damaged pictures: an answer or one clear error, never a 500."""

import io
import json
import random
import string
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient
from tiny import LATE, llama, tokenizer

from experts import detection
from lav2.assistant.loading import fast_backends
from lav2.assistant.service import Assistant
from lav2.config import EMBEDDED
from lav2.errors import LAV2Error
from lav2.image import open_image
from lav2.model.adapted import AdaptedLlama
from lav2.server import openai_api
from lav2.server.openai_schema import ChatBody

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def api():
    model = AdaptedLlama(llama(), LATE).eval()
    chat, captioner, _ = fast_backends(model, model)
    preset = replace(EMBEDDED, template="alpaca")
    assistant = Assistant(preset, chat, captioner, tokenizer(), None, detection.build(""), {}, {})
    return TestClient(Starlette(routes=openai_api.routes(lambda: assistant, assistant.answer)))


def answers(api) -> None:
    asked = api.post(CHAT, json={"messages": [{"role": "user", "content": "w5 w6"}], "max_tokens": 2})
    assert asked.status_code == 200 and asked.json()["choices"][0]["finish_reason"] in ("stop", "length")


TEXT = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(["w5", "", "data:,", "null", "\x00"])
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
ATOMS = st.none() | st.booleans() | NUMBERS | TEXT
ANYTHING = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
PARTS = st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}) | ANYTHING
ROLES = st.sampled_from(["user", "user", "assistant", "system", "tool", "x"])
MESSAGES = st.fixed_dictionaries({"role": ROLES, "content": TEXT | st.lists(PARTS, max_size=3) | st.none()}) | ANYTHING
FIELDS = {
    "temperature": st.floats(0, 2), "top_p": st.floats(0, 1), "seed": st.integers(-1, 9), "stop": TEXT | st.lists(TEXT),
    "stream": st.booleans(), "stream_options": st.dictionaries(st.just("include_usage"), st.booleans()),
    "model": st.sampled_from(["embedded", "other"]),
}  # fmt: skip
NAMES = st.sampled_from(sorted(set(ChatBody.model_fields) - {"messages", "max_tokens"}))
OTHERS = st.dictionaries(NAMES, ANYTHING, max_size=2)
SAID = st.sampled_from(["w5", "w6 w7", "w9\n"]) | TEXT
GOOD = st.builds(  # most of these can be answered
    lambda earlier, question, known: {
        "messages": [*earlier, {"role": "user", "content": f"w5 {question}"}], **known, "max_tokens": 2
    },
    st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": SAID}), max_size=3),
    TEXT,
    st.fixed_dictionaries({}, optional={"stream": st.booleans(), "stop": st.just("w8")}),
)  # fmt: skip
BODIES = st.builds(
    lambda messages, known, others: {"messages": messages, **known, **others, "max_tokens": 2},
    st.lists(MESSAGES, max_size=4) | ANYTHING,
    st.fixed_dictionaries({}, optional=FIELDS),
    OTHERS | st.just({}),
)  # fmt: skip


@pytest.mark.slow
def test_random_bodies_get_an_answer_or_one_clear_error(api):
    met = []

    @seed(0)
    @settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(GOOD | BODIES)
    def ask(body):
        answered = api.post(CHAT, content=json.dumps(body), headers={"content-type": "application/json"})
        met.append(answered.status_code)
        if answered.status_code == 200:
            assert '"error"' not in answered.text and "finish_reason" in answered.text
            return
        assert answered.status_code in (400, 404), answered.text
        assert set(answered.json()["error"]) == {"message", "type", "param", "code"}
        assert len(answered.json()["error"]["message"]) < 1000

    ask()
    assert met.count(200) >= 20 and met.count(400) >= 100
    answers(api)


def test_bytes_that_are_no_body_get_one_clear_error(api):
    dice = random.Random(0)
    whole = json.dumps({"messages": [{"role": "user", "content": "w5"}], "max_tokens": 2}).encode()
    for _ in range(100):
        broken = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            broken[dice.randrange(len(broken))] = dice.choice(string.printable.encode() + b"\x00\xff\xc3")
        answered = api.post(CHAT, content=bytes(broken), headers={"content-type": "application/json"})
        assert answered.status_code in (200, 400), answered.text
    answers(api)


FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP")


def test_damaged_pictures_of_every_format_open_or_are_told():
    import pillow_heif

    pillow_heif.register_heif_opener()
    dice = random.Random(0)
    picture = Image.effect_noise((48, 48), 60).convert("RGB")
    refused = 0
    for kind in FORMATS:
        buffer = io.BytesIO()
        frames = {"save_all": True, "append_images": [picture.rotate(90)]} if kind in ("GIF", "TIFF", "WEBP") else {}
        picture.save(buffer, kind, **frames)
        whole = buffer.getvalue()
        for i in range(17):  # 204 pictures
            damaged = bytearray(whole)
            for _ in range(1 + i):  # the more, the nearer to the headers
                at = dice.randrange(len(whole) if i % 2 else min(len(whole), 200))
                damaged[at] ^= 1 << dice.randrange(8)
            try:
                assert open_image(bytes(damaged)).mode == "RGB"
            except LAV2Error as error:
                refused += 1
                assert error.next_step and len(error.cause) < 300, error.cause
        assert open_image(whole).size == (48, 48)
    assert refused >= 50
