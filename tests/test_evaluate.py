"""Evaluation: a report that can be repeated, arms that hold exactly their experts, scores by the readers' rules."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_measured import made
from tiny_rows import grounded

from experts.evidence import BUILT_IN
from lav2 import config
from lav2.assistant.service import Assistant
from lav2.captioning.writer import Captioning
from lav2.cli.main import main
from lav2.data.formats import read_rows
from lav2.errors import LAV2Error
from lav2.evaluation import record, report, runner, tasks
from lav2.events import Done, Request, Sampling
from lav2.instruct import photos

ASSETS = Path(__file__).parent.parent / "assets"


@pytest.fixture(scope="module")
def assistant():
    return made(str(ASSETS / config.EMBEDDED.detector.removeprefix("assets:")))


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        Image.new("RGB", (20, 20), (90 * number, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


@pytest.fixture
def bench(assistant, folder):
    return runner.EvaluationRunner(assistant, folder / "cache", batch=2, max_new_tokens=5)


def lines(folder, name, rows):
    (folder / name).write_text("\n".join(json.dumps(row) for row in rows))
    return folder / name


def answering(monkeypatch, bench, answer):
    """The bench with `answer(row)` in the place of the model, to know the right scores."""
    monkeypatch.setattr(runner.EvaluationRunner, "answers", lambda self, rows: [answer(row) for row in rows])
    return bench


def questions(folder):
    rows = [
        grounded(),
        grounded(image="1.png", kind="presence", truth="yes", question="Is there a dog?", answer="Yes."),
        grounded(image="2.png", kind="read", truth="stop", question="Read.", answer="stop"),
        grounded(kind="adversarial", asks="presence", truth="no", forbidden="banana", reads=False, answer="No."),
        grounded(kind="short", truth=None),
    ]
    return lines(folder, "rows.jsonl", rows)


def test_arms_hold_exactly_their_experts_and_differences_are_paired(bench, folder, monkeypatch):
    seen = {}

    def answer(row):
        seen.setdefault(row.kind, []).append(tuple(row.evidence))
        if row.kind == "adversarial":
            return "Banana!" if "ocr" in row.evidence else "No."
        if row.kind == "read":
            return "It says stop." if "ocr" in row.evidence else "I cannot read it."
        return "There are two dogs." if "detection" in row.evidence else "No dogs."

    scores, rows = tasks.grounded(answering(monkeypatch, bench, answer), questions(folder))
    assert seen["count"] == [tasks.ARMS[arm] for arm in tasks.ARMS]
    assert tasks.ARMS["all but detection"] == ("caption", "ocr")
    accuracy = scores["accuracy"]
    assert accuracy["none"] == {"count": 0, "presence": 0, "read": 0, "adversarial": 1, "all": 0.25}
    assert accuracy["all"] == {"count": 1, "presence": 0, "read": 1, "adversarial": 0, "all": 0.5}
    assert scores["questions"] == {"count": 1, "presence": 1, "read": 1, "adversarial": 1, "all": 4}
    assert scores["obeyed"]["all"] == scores["obeyed"]["ocr"] == 1
    assert scores["obeyed"]["none"] == scores["obeyed"]["all but ocr"] == 0
    mean, low, high = scores["differences"]["all - none"]["all"]
    assert mean == 0.25 and low <= mean <= high
    assert set(scores["differences"]) == {f"{a} - none" for a in (*BUILT_IN, "all")} | {
        f"all - all but {name}" for name in BUILT_IN
    }
    assert rows[0]["answers"]["all"] == "There are two dogs."
    text = report.table(scores)
    assert "all - none: +25.0 points" in text
    assert text.splitlines()[1].split() == ["none", "0.0", "0.0", "0.0", "100.0", "25.0", "0.0", "0.00"]


def test_the_arm_auto_asks_only_the_experts_that_a_question_needs_and_tells_the_seconds(bench, folder, monkeypatch):
    seen = {}

    def answer(row):
        seen.setdefault(row.kind, []).append(tuple(row.evidence))
        return "No."

    rows = questions(folder)
    scores, _ = tasks.grounded(answering(monkeypatch, bench, answer), rows, ("all", "auto"))
    assert seen["count"] == [BUILT_IN, ("detection",)]
    assert seen["read"] == [BUILT_IN, ("ocr",)]
    assert set(scores["differences"]) == {"auto - all"}
    assert scores["seconds"]["auto"] < scores["seconds"]["all"]


def test_rows_without_a_caption_get_the_assistants_own(bench, folder):
    row = grounded(experts=["detection"])
    file = lines(folder, "rows.jsonl", [row])
    (read,) = read_rows(file)
    (found,) = tasks.with_captions(bench, [read])
    assert found.evidence["caption"].text == bench.captions([read.image])[0]
    assert list(found.evidence) == ["caption", "detection"]
    full = read_rows(lines(folder, "full.jsonl", [grounded()]))
    assert tasks.with_captions(bench, full) == full


def test_batches_answer_as_the_assistant_does(bench, assistant, folder):
    rows = read_rows(questions(folder))
    for row, answer in zip(rows, bench.answers(rows), strict=True):
        with Image.open(row.image) as photo:
            request = Request(
                row.turns[-1].question, photo.convert("RGB"), evidence=row.evidence, sampling=Sampling(max_new_tokens=5)
            )
        done = next(event for event in assistant.answer(request) if isinstance(event, Done))
        assert answer == done.answer != ""


def test_plain_chat_is_held_against_the_frozen_models_own_answers(bench, folder, monkeypatch):
    said = {"Say hi.": "Hello there, my friend.", "Add.": "It is three."}
    rows = [{"instruction": q, "output": a, "split": "val"} for q, a in said.items()]
    rows.append({"instruction": "Trained on.", "output": "No.", "split": "train"})
    (folder / "chat.json").write_text(json.dumps(rows))
    same = tasks.chat(answering(monkeypatch, bench, lambda row: said[row.turns[-1].question]), folder / "chat.json")
    assert same[0]["ROUGE-L"] == 1 and same[0]["loops"] == same[0]["empty"] == 0 and same[0]["questions"] == 2
    sign = "a sign that says a sign that says"
    looping = answering(monkeypatch, bench, lambda row: sign if "Add" in str(row) else "")
    scores, table = tasks.chat(looping, folder / "chat.json")
    assert scores["ROUGE-L"] < 0.2 and scores["loops"] == scores["empty"] == 0.5 and scores["loops before"] == 0
    assert [row["before"] for row in table] == list(said.values())
    with pytest.raises(LAV2Error, match="no plain questions"):
        tasks.chat(bench, folder / "chat.json", "test")


def test_captions_are_scored_on_captions_jsonl_and_on_coco_files_alike(bench, folder):
    names = [f"{number}.png" for number in range(3)]
    human = [["A dog runs.", "One dog."], ["Two cats sleep."], ["A man eats an apple."]]
    plain = [{"image": i, "captions": c, "split": "val"} for i, c in zip(names, human, strict=True)]
    plain.append({"image": "0.png", "captions": ["x"], "split": "train"})
    document = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
        "annotations": [{"image_id": n, "caption": text} for n, texts in enumerate(human) for text in texts],
    }
    (folder / "coco.json").write_text(json.dumps(document))
    one, said = tasks.captions(bench, lines(folder, "c.jsonl", plain[:3]))
    other, _ = tasks.captions(bench, folder / "coco.json")
    for scores in (one, other):
        scores.pop("seconds")
    assert one == other and one["photos"] == 3
    assert list(said) == names
    limited, _ = tasks.captions(bench, lines(folder, "c.jsonl", plain), limit=2)
    assert limited["photos"] == 2
    with pytest.raises(LAV2Error, match="no captions of the split"):
        tasks.captions(bench, lines(folder, "c.jsonl", plain), split="test")


def test_beam_search_finds_captions_that_the_model_thinks_as_likely_or_likelier(bench, folder):
    images = [str(folder / f"{number}.png") for number in range(3)]
    model = bench.assistant.parts.captioner
    words = bench.assistant.parts.tokenizer
    begin = words(bench.assistant.captioner.prompt).input_ids
    greedy, wide = (replace(bench, captioning=Captioning(beams=beams)).captions(images) for beams in (1, 4))

    def chance(image, text):
        ids = torch.tensor([[*begin, *words(text, add_special_tokens=False).input_ids]])
        with torch.no_grad():
            kv = model.prompt_kv(model.visual_prompt(bench.features([image]).get([image])))
            logits = model(ids, kv).logits[0, len(begin) - 1 : -1].log_softmax(-1)
        return logits.gather(1, ids[0, len(begin) :, None]).mean()

    assert all(chance(i, w) >= chance(i, g) - 1e-4 for i, g, w in zip(images, greedy, wide, strict=True))


def test_pope_and_anls_files_are_answered_and_scored(bench, folder, monkeypatch):
    asked = [{"question_id": n, "image": f"{n}.png", "text": "Is there a dog?", "label": "yes"} for n in range(2)]
    lines(folder, "coco_pope_random.json", asked)
    bench = answering(monkeypatch, bench, lambda row: "Yes" if row.image.endswith("0.png") else "No.")
    result, answers = tasks.benchmark(bench, "pope", folder, experts=())
    assert result["scores"]["all"]["accuracy"] == 0.5 and result["questions"] == 2
    assert answers == {"random/0": "Yes", "random/1": "No."}
    doc = {"data": [{"questionId": 1, "question": "Word?", "image": "0.png", "answers": ["yes"]}]}
    (folder / "doc.json").write_text(json.dumps(doc))
    result, _ = tasks.benchmark(bench, "anls", folder / "doc.json", experts=())
    assert result["scores"]["all"] == 1.0


def test_experts_that_fail_are_told_to_the_model_and_unknown_ones_refused(folder):
    photo = str(folder / "0.png")
    bench = runner.EvaluationRunner(made("/nonexistent.pt"), folder / "cache", batch=2, max_new_tokens=5)
    found = record.examine(bench, [photo, photo], ("caption", "detection"))
    assert list(found) == [photo] and list(found[photo]) == ["caption", "detection"]
    assert "nonexistent" in found[photo]["detection"].cause
    with pytest.raises(LAV2Error, match="no expert 'smell'"):
        record.examine(bench, [photo], ("smell",))


def test_the_command_writes_all_that_a_number_depends_on(assistant, folder, monkeypatch, capsys):
    monkeypatch.setattr(Assistant, "load", lambda *args, **kwargs: assistant)
    out = folder / "out" / "report.json"
    arguments = ["evaluate", "grounded", str(questions(folder)), "--out", str(out), "--cache", str(folder / "cache"),
                 "--arms", "none,all", "--max-new-tokens", "4", "--seed", "3"]  # fmt: skip
    assert main(arguments) == 0
    assert "all - none" in capsys.readouterr().out
    report = json.loads(out.read_text())
    assert report["command"] == " ".join(["python -m lav2", *arguments])
    assert (report["preset"], report["seed"], report["weights"]) == ("embedded", 3, {"base": "b", "adapter": "a"})
    assert len(report["data"]["sha256"]) == 64 and len(report["commit"].rstrip("+")) == 40
    assert set(report["scores"]["accuracy"]) == {"none", "all"}
    assert main([*arguments[:-4], "--arms", "nothing"]) == 1
    assert "no arm 'nothing'" in capsys.readouterr().err


def test_the_command_writes_captions_as_a_coco_result_file(assistant, folder, monkeypatch):
    monkeypatch.setattr(Assistant, "load", lambda *args, **kwargs: assistant)
    data = lines(folder, "c.jsonl", [{"image": "0.png", "captions": ["A dog."], "split": "val"}])
    results = folder / "results.json"
    assert main(["evaluate", "captions", str(data), "--out", str(folder / "r.json"), "--cache", str(folder / "cache"),
                 "--coco-results", str(results)]) == 0  # fmt: skip
    assert [row["image_id"] for row in json.loads(results.read_text())] == ["0.png"]


def test_recorded_findings_are_what_instructions_are_made_with_and_a_cut_off_recording_goes_on(bench, folder):
    rows = [{"image": f"{n}.png", "split": "train" if n else "val"} for n in (0, 1, 2, 1)]
    data = lines(folder, "photos.jsonl", rows)
    out = folder / "made" / "evidence.jsonl"
    assert record.record(bench, data, out, ("caption", "detection"), split="train") == 2
    whole = out.read_text()
    assert [json.loads(line)["image"] for line in whole.splitlines()] == ["../1.png", "../2.png"]
    source = photos.read_evidence(out)
    caption = source(folder / "1.png")["caption"]["text"]
    assert caption == bench.captions([str(folder / "1.png")])[0]
    assert set(source(folder / "2.png")) == {"caption", "detection"}
    assert source(folder / "0.png") is None
    out.write_text(whole[: whole.index("\n") + 20])
    assert record.record(bench, data, out, ("caption", "detection"), split="train") == 1
    again = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["image"] for row in again] == ["../1.png", "../2.png"]
    assert [row["evidence"]["caption"] for row in again] == [
        json.loads(line)["evidence"]["caption"] for line in whole.splitlines()
    ]


def test_a_photo_on_which_an_expert_failed_is_not_recorded_but_told_and_tried_again(bench, folder):
    data = lines(folder, "photos.jsonl", [{"image": f"{n}.png"} for n in range(3)])
    out, reported = folder / "made" / "evidence.jsonl", []
    broken = runner.EvaluationRunner(made("/nonexistent.pt"), folder / "cache")
    assert record.record(broken, data, out, ("detection",), report=reported.append) == 0
    assert out.read_text() == "" and len(reported) == 3 and "nonexistent" in reported[0] and "again" in reported[0]
    assert record.record(bench, data, out, ("detection",), report=reported.append) == 3
    assert len(reported) == 3 and len(out.read_text().splitlines()) == 3
