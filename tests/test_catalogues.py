"""The English and Korean texts: complete, used, and what goes wrong is told in the reader's language."""

import ast
import importlib
import io
import pickle
import re
from dataclasses import replace

import pytest
from PIL import Image
from scripted import CHAT, COMPARE, KOREAN, ROOT

import lav2.image
from experts import colours
from experts.messages import Message
from experts.orchestrator import Orchestrator
from experts.registry import EXPERT_NAMES
from lav2.assistant import receipt, votes
from lav2.errors import LAV2Error
from lav2.events import (
    REASONS,
)
from lav2.image import open_image
from lav2.ui import state, texts, views
from lav2.ui.page import TERMS

pytest_plugins = ["scripted"]


def test_both_languages_have_the_same_texts_and_placeholders():
    english, korean = texts.TEXTS["en"], texts.TEXTS["ko"]
    assert english.keys() == korean.keys()
    holes = {key: {part.split("}")[0] for part in text.split("{")[1:]} for key, text in english.items()}
    assert holes == {key: {part.split("}")[0] for part in text.split("{")[1:]} for key, text in korean.items()}


def test_every_text_that_is_used_exists_and_every_one_is_used():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "lav2/ui").glob("*.py")]
    constants = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    made = {f"column_{name}" for name in ("use", "number", "expert", "finding", "confidence", "place")}
    made |= {f"route_{kind}" for kind in REASONS} | {f"vote_{choice}" for choice in votes.CHOICES}
    made |= {f"part_{name}" for name in ("findings", "question", "turns", "template")}
    rows, columns = (("top ", "", "bottom "), ("left", "", "right"))
    made |= {f"place_{(row + column).strip() or 'center'}" for row in rows for column in columns}
    made |= {f"kind_{kind}" for kind in REASONS} | {f"many_{name}" for name in COMPARE.many.choices}
    made |= {f"many_{name}" for name in ("photo", "asked", "kind", "expected")}
    made |= {f"tally_{head}" for head in ("choice", "kind", "won", "share")}
    made |= {f"term_{name}" for name in TERMS} | {f"also_{way}" for way in ("off", "on")}
    made |= {f"fix_{expert}" for expert in ("detection", "ocr")}
    made |= {f"change_{done}" for done in ("removed", "rewritten", "added")}
    made |= {f"colour_{word}" for word in (*colours.NAMES, "or")} | {"concept", "candidate"}  # Item.kind
    assert set(texts.TEXTS["en"]) - made - set(EXPERT_NAMES) - set(COMPARE.SIDES) - {"auto"} <= constants
    assert made <= set(texts.TEXTS["en"])


def test_what_a_visitor_can_do_wrong_is_told_in_korean(monkeypatch, tmp_path):
    monkeypatch.setattr(lav2.image, "MAX_PIXELS", 100)
    monkeypatch.setattr(lav2.image, "MAX_BYTES", 2000)
    noise = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(noise, "png")
    cut = io.BytesIO()
    Image.new("RGB", (9, 9)).save(cut, "jpeg")
    bad = [b"", b"no picture", noise.getvalue(), noise.getvalue()[:1500], cut.getvalue()[:-30]]

    def errors():
        for data in bad:
            yield lambda data=data: open_image(data)
        yield lambda: receipt.read(tmp_path / "missing.json")

    for fails in errors():
        with pytest.raises(LAV2Error) as error:
            fails()
        shown = texts.error_texts(error.value, texts.TEXTS["ko"])
        assert all(re.search("[가-힣]", text) for text in shown), shown
        assert texts.error_texts(error.value, texts.TEXTS["en"]) == (error.value.cause, error.value.next_step)


def messages_of(name: str, *makers: str) -> set[tuple[str, frozenset[str]]]:
    """(key, names of its values) of every message that a module makes by `makers`. A test: a sentence is one piece of
    text, and not put together from what came from outside."""
    module = importlib.import_module(name.removesuffix(".py").replace("/", "."))
    found = set()
    for call in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
        made = getattr(getattr(call, "func", None), "id", "")
        if made not in makers and not (
            getattr(getattr(call, "func", None), "attr", "") == "__init__" and name == "lav2/assistant/admission.py"
        ):
            continue
        values = frozenset(value.arg for value in call.keywords)
        for key in (one for one in call.args if getattr(one, "id", "") not in ("self", "cause", "next_step")):
            text = key.value if isinstance(key, ast.Constant) else getattr(module, getattr(key, "id", ""), None)
            assert isinstance(text, str), (name, key.lineno, "a sentence must be one text; give names as values")
            found.add((text, values))
    return found


def holes(text: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", text))


def test_every_message_that_visitors_meet_has_its_key_in_both_languages_and_no_other_key_is_kept():
    used = set()
    experts = ("caption", "detection", "ocr", "orchestrator", "registry")
    beside = ("image_text", "image_text_loading")
    assistant = (f"assistant/{name}" for name in ("admission", "context", "receipt", "service", "loading", *beside))
    lav2 = ("image", "events", "inference/sampler", *assistant)
    makers = dict.fromkeys([*(f"lav2/{name}.py" for name in lav2), *(f"experts/{name}.py" for name in experts)],
                           ("LAV2Error", "ExpertError", "Message", "Unavailable"))  # fmt: skip
    unavailable = ("lav2/errors.py", "lav2/server/serving.py", "lav2/cluster/remote.py", "lav2/ui/answering.py")
    makers |= dict.fromkeys(unavailable, ("Unavailable",))
    for name in makers:
        found = messages_of(name, *makers[name])
        assert found, name
        for key, values in found:
            used.add(key)
            assert holes(key) <= values and "{}" not in key, (name, key)
            assert re.search("[가-힣]", texts.PROBLEMS["ko"].get(key, "")), (name, key)
            assert holes(texts.PROBLEMS["ko"][key]) == holes(key), (name, key)
    assert set(texts.PROBLEMS["ko"]) <= used


def test_text_from_outside_is_never_read_as_a_message_and_is_cut():
    """A receipt whose format was 1.8 kB of "The ocr expert failed: " once held up all users for ten seconds."""
    korean = texts.TEXTS["ko"]
    for text in ("{name} is empty (0 bytes).", "The {0} expert failed: {1}", "There is no question.", "{", "{name!r}"):
        assert texts.translated(text, korean) == text
        wrapped = LAV2Error("{name} is no receipt ({why}).", "Download it again from the page.", name=text, why=text)
        assert texts.error_texts(wrapped, korean)[0] == f"{text} 파일은 영수증이 아닙니다 ({text})."
        assert texts.error_texts(LAV2Error(text, "x"), texts.TEXTS["en"])[0] == text
    braces = LAV2Error("{name} is empty (0 bytes).", "x")  # without values, so it is no key
    assert texts.error_texts(braces, korean)[0] == "{name} is empty (0 bytes)."
    long = LAV2Error("{name} is no receipt ({why}).", "x" * 5_000_000, name="n" * 5_000_000, why="w")
    assert len(str(long)) < 3000 and len(texts.error_texts(long, korean)[0]) < 300
    nested = LAV2Error("{why}", "x", why=Message("one of {size} pixels", size="9 x 9"))
    assert str(nested) == "one of 9 x 9 pixels x"
    assert pickle.loads(pickle.dumps(nested)).cause.values == nested.cause.values  # as it comes back on ZeroGPU


def test_an_experts_failure_is_told_in_the_readers_language():
    failed = Orchestrator({"ocr": lambda image: 1 / 0}).run(Image.new("RGB", (9, 9)), ["ocr"])
    ((_, failure),) = failed
    found = replace(state.Findings(), states={"ocr": "failed"}, evidence={"ocr": failure})
    assert "글자 전문가가 실패했습니다: ZeroDivisionError" in views.status(found, "ocr", texts.TEXTS["ko"])
    assert "The ocr expert failed: ZeroDivisionError" in views.status(found, "ocr", texts.TEXTS["en"])


def test_messages_follow_the_browsers_language(play):
    play(LAV2Error("Too long.", "Shorten it."))
    assert texts.TEXTS["ko"]["no_question"] in CHAT.submit({"text": "", "files": []}, (), KOREAN)[CHAT.notice]["value"]
