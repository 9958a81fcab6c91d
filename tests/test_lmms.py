"""The assistant as a model of lmms-eval, by its documented interface (docs/model_guide.md there, release 0.7.3). Where
lmms-eval is not installed, a stand-in of two names takes its place; with it, its own loader finds the model and its own
program measures it."""

import json
import os
import subprocess
import sys
import types
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from lav2.cli.main import main
from lav2.errors import LAV2Error
from lav2.events import EXPERT_NAMES

ROOT = Path(__file__).resolve().parent.parent
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


@pytest.mark.parametrize(
    "said, wanted", [("Yes.", "Yes"), ("3.5 m.", "3.5 m"), ("Yes. It is.", "Yes. It is."), ("", "")]
)
def test_one_sentence_loses_its_full_stop_which_exact_matches_would_count_as_wrong(model, monkeypatch, said, wanted):
    make, fake = model
    monkeypatch.setattr(fake, "answer", lambda request: iter([types.SimpleNamespace(answer=said)]))
    assert make().generate_until([instance("Is it red?")]) == [wanted]


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


MISSING = pytest.mark.skipif(
    find_spec("lmms_eval") is None, reason="lmms-eval is not installed (pip install lmms-eval)"
)


@MISSING
def test_lmms_eval_finds_the_model_by_the_plug_in(model, monkeypatch):
    monkeypatch.setenv("LMMS_EVAL_PLUGINS", "lav2.hub.lmms")
    monkeypatch.setattr("lmms_eval.models.AVAILABLE_SIMPLE_MODELS", {})
    import lmms_eval.models as theirs

    registry = theirs._initialize_model_registry()
    assert registry.resolve("lav2").class_path == "lav2.hub.lmms.models.lav2.LAV2"


ROWS = [("cat.webp", "cat", "yes"), ("cat.webp", "bus", "no"), ("street-sign.webp", "stop sign", "yes"),
        ("street-sign.webp", "dog", "no"), ("shapes.webp", "person", "no")]  # fmt: skip
WORD = "Answer the question using a single word or phrase."
TASK = f"""task: lav2_local
dataset_path: json
dataset_kwargs: {{{{data_files: {{{{test: {{folder}}/rows.jsonl}}}}}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.photos
doc_to_text: !function utils.pope_doc_to_text
doc_to_target: answer
process_results: !function utils.pope_process_results
generation_kwargs: {{{{max_new_tokens: 64, temperature: 0, do_sample: false}}}}
metric_list:
  - {{{{metric: pope_accuracy, aggregation: !function utils.pope_aggregate_accuracy, higher_is_better: true}}}}
lmms_eval_specific_kwargs: {{{{default: {{{{pre_prompt: "", post_prompt: " {WORD}"}}}}}}}}
"""
UTILS = """from lmms_eval.tasks.pope.utils import *
from PIL import Image

def photos(doc):
    return [Image.open(doc["file"]).convert("RGB")]
"""


@MISSING
@pytest.mark.slow
@pytest.mark.parametrize("experts", ["none", "detection"])
def test_lmms_eval_itself_finds_what_evaluate_finds_on_the_same_rows(tmp_path, experts):
    folder, photos = tmp_path / "task", ROOT / "assets/examples"
    folder.mkdir()
    rows = [{"question_id": i, "image": image, "text": f"Is there a {what} in the image?", "label": label}
            for i, (image, what, label) in enumerate(ROWS)]  # fmt: skip
    (tmp_path / "coco_pope_random.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    theirs = [{"question_id": row["question_id"], "file": str(photos / row["image"]), "question": row["text"],
               "answer": row["label"]} for row in rows]  # fmt: skip
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in theirs))
    (folder / "lav2_local.yaml").write_text(TASK.format(folder=folder))
    (folder / "utils.py").write_text(UTILS)
    environment = {
        **os.environ, "LMMS_EVAL_PLUGINS": "lav2.hub.lmms", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"),
    }  # fmt: skip
    command = [sys.executable, "-m", "lmms_eval", "--model", "lav2", "--model_args", f"experts={experts}", "--tasks",
               "lav2_local", "--include_path", str(folder), "--batch_size", "1", "--log_samples", "--output_path",
               str(tmp_path / "out")]  # fmt: skip
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    (results,) = (tmp_path / "out").rglob("*_results.json")
    (samples,) = (tmp_path / "out").rglob("*_samples_lav2_local.jsonl")
    accuracy = json.loads(results.read_text())["results"]["lav2_local"]["pope_accuracy,none"]
    said = [json.loads(line)["filtered_resps"] for line in samples.read_text().splitlines()]
    out = tmp_path / "ours.json"
    ours = ["evaluate", "pope", str(tmp_path), "--images", str(photos), "--suffix", WORD, "--experts", experts]
    assert main([*ours, "--out", str(out)]) == 0
    answers = json.loads(out.read_text())["answers"]
    answers = [answers[f"random/{row['question_id']}"].removesuffix(".") for row in rows]
    assert said == answers
    right = [answer.lower() == row["label"] for answer, row in zip(answers, rows, strict=True)]
    assert accuracy == pytest.approx(sum(right) / len(rows))
