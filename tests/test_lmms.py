"""The assistant as a model of lmms-eval, by its documented interface (docs/model_guide.md there, release 0.7.3). Where
lmms-eval is not installed, a stand-in of two names takes its place; with it, its own loader finds the model."""

import sys
import types
from dataclasses import dataclass
from importlib.util import find_spec

import pytest
from PIL import Image

from lav2.errors import LAV2Error
from lav2.events import EXPERT_NAMES

PHOTO = Image.new("RGB", (8, 6), "red")


class Assistant:
    """Answers with what it was asked, and keeps the requests."""

    def __init__(self):
        self.asked = []

    def answer(self, request):
        self.asked.append(request)
        if not request.question:
            raise LAV2Error("There is no question.", "Type one.")
        yield types.SimpleNamespace(answer=f" {request.question} yes\n\nand more ")


@pytest.fixture
def model(monkeypatch):
    """A model of the plug-in, and the assistant behind it."""
    if find_spec("lmms_eval") is None:
        api = {name: types.ModuleType(f"lmms_eval.{name}") for name in ("api", "api.model", "api.registry")}

        class lmms:
            def __init__(self):
                self.task_dict = {}
                self.cache_hook = types.SimpleNamespace(add_partial=lambda *_: None)

        api["api.model"].lmms = lmms
        api["api.registry"].register_model = lambda *names: lambda cls: cls
        monkeypatch.setitem(sys.modules, "lmms_eval", types.ModuleType("lmms_eval"))
        for name, module in api.items():
            monkeypatch.setitem(sys.modules, f"lmms_eval.{name}", module)
    from lav2.assistant import service

    fake = Assistant()
    monkeypatch.setattr(service.Assistant, "load", lambda *_, **__: fake)
    from lav2.hub.lmms.models.lav2 import LAV2

    def make(**options):
        made = LAV2(**options)
        made.task_dict = {"pope": {"test": [{"photos": [PHOTO]}, {"photos": []}, {"photos": [PHOTO, PHOTO]}]}}
        return made

    yield make, fake
    sys.modules.pop("lav2.hub.lmms.models.lav2", None)


@dataclass
class Instance:
    args: tuple


def instance(question, settings=None, row=0):
    return Instance((question, settings or {}, lambda doc: doc["photos"], row, "pope", "test"))


def test_each_request_is_asked_greedily_with_its_photo_and_cut_at_the_tasks_stops(model):
    make, fake = model
    settings = {"max_new_tokens": 16, "temperature": 0, "do_sample": False, "until": ["\n\n"]}
    assert make().generate_until([instance("<image>Is it red?", settings)]) == ["Is it red? yes"]
    (asked,) = fake.asked
    assert (asked.question, asked.image.size, asked.experts) == ("Is it red?", (8, 6), EXPERT_NAMES)
    assert (asked.sampling.temperature, asked.sampling.max_new_tokens) == (0.0, 16)


@pytest.mark.parametrize(
    "given, experts",
    [("none", ()), ("ocr", ("ocr",)), ("ocr+detection", ("ocr", "detection")), ("auto", ("auto",))],
)
def test_experts_on_off_and_each_alone(model, given, experts):
    make, fake = model
    make(experts=given).generate_until([instance("What does the sign say?")])
    assert fake.asked[0].experts == experts


def test_a_row_without_a_photo_is_asked_without_experts_and_one_with_two_is_refused(model):
    make, fake = model
    make().generate_until([instance("Is it red?", row=1)])
    assert (fake.asked[0].image, fake.asked[0].experts) == (None, ())
    with pytest.raises(ValueError, match="pope 2 has 2 photos"):
        make().generate_until([instance("Is it red?", row=2)])


def test_a_question_that_cannot_be_answered_counts_as_wrong_and_is_told(model, capsys):
    make, _ = model
    assert make().generate_until([instance("<image>"), instance("Is it red?", {"until": "\n\n"})]) == [
        "", "Is it red? yes",
    ]  # fmt: skip
    assert "pope 0: no answer. There is no question." in capsys.readouterr().err


@pytest.mark.skipif(find_spec("lmms_eval") is None, reason="lmms-eval is not installed (pip install lmms-eval)")
def test_lmms_eval_finds_the_model_by_the_plug_in(model, monkeypatch):
    monkeypatch.setenv("LMMS_EVAL_PLUGINS", "lav2.hub.lmms")
    monkeypatch.setattr("lmms_eval.models.AVAILABLE_SIMPLE_MODELS", {})
    import lmms_eval.models as theirs

    registry = theirs._initialize_model_registry()
    assert registry.resolve("lav2").class_path == "lav2.hub.lmms.models.lav2.LAV2"
