"""The experiment on the paper's claims: arms differ in what they name alone, runs go on, differences are paired."""

import contextlib
import io
import json
import re
import shutil
from dataclasses import replace

import pytest
import tiny_data
import torch
from PIL import Image
from tiny import EARLY, PROJECTOR, VISION, llama

from lav2 import config, files, recipe, weights
from lav2.cli.main import main
from lav2.data.features import FeatureCache
from lav2.data.formats import read_rows
from lav2.errors import LAV2Error
from lav2.evaluation import natural
from lav2.experiments import report, run, stages
from lav2.experiments.caption_loss import caption_loss
from lav2.experiments.claims import BARE, CLAIMS, EXPERIMENTS, GROUNDED, PAPER
from lav2.experiments.stages import MEASURES, arm_recipe, without_findings
from lav2.model import checkpoint
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import STAGES, group
from lav2.model.llm import base_identity, load_llm, preset_on
from lav2.training import loop
from lav2.training import run as training

ARMS = {arm.name: arm for arm in CLAIMS.arms}


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return tiny_data.language_model(tmp_path_factory.mktemp("llm"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The recipe's tiny data, with photos that people asked about, and everyday questions beside it."""
    folder = tiny_data.photos_and_questions(tmp_path_factory.mktemp("world") / "data")
    (folder / "photos/coco").mkdir()
    asked = files.read_text(folder / "qa/photo_qa_own.jsonl").splitlines()
    for n in (900, 901, 902):
        Image.new("RGB", (64, 48), (250, 20, n % 200)).save(folder / f"photos/coco/{n:012d}.webp")
        row = {"coco_id": n, "question": "Is there a dog?", "answers": ["yes"], "split": "val"}
        asked += [json.dumps(row), json.dumps({**row, "question": "What runs?", "answers": ["dog"]})]
    (folder / "qa/photo_qa_own.jsonl").write_text("\n".join(asked) + "\n")
    pictures = folder.parent / "everyday/pictures"
    pictures.mkdir(parents=True)
    Image.new("RGB", (64, 48), (20, 20, 250)).save(pictures / "sea.webp")
    questions = [
        {"id": "e0", "kind": "photo", "image": "pictures/sea.webp", "question": "What is blue?", "truth": ["sea"]},
        {"id": "e1", "kind": "yesno", "image": "pictures/sea.webp", "question": "Is it red?", "truth": ["no"]},
    ]
    tiny_data.write_lines(pictures.parent / "questions.jsonl", questions)
    return folder


@pytest.fixture(scope="module")
def tiny(data, llm, tmp_path_factory):
    """The experiment in tests' sizes, as `python -m lav2 experiment tiny`; a tiny captioner looks at the photos."""
    preset = replace(config.EMBEDDED, vision=VISION, adapter_config=EARLY, projector=PROJECTOR, llm=str(llm))
    reader = tmp_path_factory.mktemp("reader")
    model, words = load_llm(str(llm))
    made = AdaptedLlama(model, EARLY, PROJECTOR, VISION)
    checkpoint.save(made, reader, base_identity(model, words, str(llm)))
    looking = replace(preset_on(preset, str(llm)), adapter=str(reader), caption_adapter=str(reader))
    experiment = replace(
        CLAIMS, name="tiny", preset=preset, reader=looking, steps=4, experts=("caption",),
        rows={"documents": 3, "known": 2, "human": 3, "tied": 1, "templates": 6},
        sizes={"learned": 8, "scored": 4, "chat": 2},
        train={"batch": 3, "together": 2, "views": 1, "warm_steps": 2, "dtype": "float32", "save_every": 2},
        evaluate={"human": 2, "max_new_tokens": 4},
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAV2_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setitem(EXPERIMENTS, "tiny", experiment)
        tiny_data.few_rows(patch)
        yield experiment


def once(function, count):
    """`function`, interrupted in the call number `count`."""
    calls = []

    def dying(*args, **more):
        calls.append(1)
        if len(calls) == count:
            raise KeyboardInterrupt
        return function(*args, **more)

    return dying


@pytest.fixture(scope="module")
def ended(tiny, data, llm):
    """Two arms with two seeds by the command, cut off in a training and in a measurement: its folder, its words, the
    manifests before the last try, and what that one trained."""
    out = data.parent / "claims"
    command = ["experiment", "tiny", "--data", str(data), "--out", str(out), "--llm", str(llm), "--device", "cpu",
               "--arms", "in-turn,paper"]  # fmt: skip
    said = io.StringIO()
    for module, name, count in ((loop, "train_step", 4), (natural, "human", 2)):
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
            patch.setattr(module, name, once(getattr(module, name), count))
            assert main(command) == 130
    before = {name: recipe.read_manifest(out / name) for name in ("paper-0", "in-turn-0")}
    trained, train = [], training.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "run", lambda *args, **more: (trained.append(args[3]), train(*args, **more)))
        assert main(command) == 0
    assert said.getvalue().count("resumed at step 2 of 4") == 1
    return out, command, before, [str(folder.relative_to(out)) for folder in trained]


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on_and_what_is_done_is_not_done_again(ended, tiny, data, llm, monkeypatch, capsys):
    out, command, before, trained = ended
    assert before["paper-0"]["stages"]["evaluate"]["state"] == "done"
    assert [before["in-turn-0"]["stages"][name]["state"] for name in ("visual", "train", "evaluate")] == [
        "done", "done", "begun"]  # fmt: skip
    assert trained == ["paper-1/train", "in-turn-1/visual", "in-turn-1/train"]
    assert len((out / "paper-0/train/log.csv").read_text().splitlines()) == 1 + 4
    monkeypatch.setattr(training, "run", lambda *args, **more: pytest.fail("trained again"))
    table = (out / report.TABLE).read_text()
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "paper, seed 0 (1 of 4)" in printed and printed.count("evaluate: done before") == 4
    assert (out / report.TABLE).read_text() == table
    assert main([*command, "--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == len(CLAIMS.arms)
    assert "seed 0: done  seed 1: done" in listed[0] and "seed 0: to do" in listed[1]
    assert main([*command, "--dry-run", "--seeds", "0,1,2"]) == 0
    left = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert ["paper-0", "done"] in left and ["paper-2", "to", "do"] in left


@pytest.mark.slow
def test_an_interrupted_training_ends_in_the_adapter_of_one_without_a_break(ended, tiny, data, llm, monkeypatch):
    out, *_ = ended
    monkeypatch.setattr(natural, "examine", lambda *args: pytest.fail("experts look again"))
    other = data.parent / "again"
    shutil.copytree(out / "shared", other / "shared")
    preset, arms = preset_on(tiny.preset, str(llm)), run.choose_arms(tiny, ["paper"])
    plan = run.Plan(tiny, preset, data, other, arms, (0,), 4, "cpu", report=lambda line: None)
    run.run(plan)
    name = "paper-0/train/adapter.safetensors"
    assert (other / name).read_bytes() == (out / name).read_bytes()
    assert not (other / "paper-0/train/state.pt").exists()


@pytest.mark.slow
def test_each_run_has_one_json_and_all_were_measured_on_the_same_items(ended):
    out, *_ = ended
    results = [files.read_json(out / name / "evaluate/result.json")
               for name in ("paper-0", "paper-1", "in-turn-0", "in-turn-1")]  # fmt: skip
    for result in results:
        assert {name: len(items) for name, items in result["items"].items()} == {
            "caption loss": 4, "captions": 4, "everyday off": 2, "everyday on": 2, "human off": 4, "human on": 4,
        }  # fmt: skip
        assert result["captions"].keys() == results[0]["captions"].keys()
        for part in ("everyday", "human"):
            assert [row["question"] for row in result[part]] == [row["question"] for row in results[0][part]]
    assert [result["seed"] for result in results] == [0, 1, 0, 1]


@pytest.mark.slow
def test_the_loss_of_a_photos_captions_is_the_mean_over_their_tokens_one_caption_after_the_other(ended, tiny):
    out = ended[0]
    file, adapter = out / "shared/data/scored.jsonl", out / "paper-0/train"
    cache = weights.cache_dir() / "features"  # the tiny encoder is another one each time
    result = caption_loss(tiny.preset, adapter, file, cache, "cpu")
    measured = files.read_json(out / "paper-0/evaluate/result.json")["items"]["caption loss"]
    assert result == pytest.approx(measured, abs=1e-4)
    frozen, words = load_llm(tiny.preset.llm)
    model = checkpoint.load(adapter, frozen, words).eval()
    row = read_rows(file)[0]
    total = count = 0
    with torch.inference_mode():
        seen = FeatureCache(cache, VISION, [row.image], (), 1).get([row.image]).float()
        for caption in row.captions:
            said = words(caption, add_special_tokens=False).input_ids
            ids = torch.tensor([[words.bos_token_id, *said, words.eos_token_id]])
            total += model.loss(ids, torch.ones_like(ids), ids, seen).item() * (ids.shape[1] - 1)
            count += ids.shape[1] - 1
    assert result[0] == pytest.approx(total / count, abs=1e-3)


@pytest.mark.slow
def test_the_table_holds_every_claim_and_says_what_was_not_run(ended):
    out, *_ = ended
    text = (out / report.TABLE).read_text()
    assert text.count("\n## ") == len(CLAIMS.claims) + 1
    for claim in CLAIMS.claims:
        part = text.split(claim.text)[1].split("\n## ")[0]
        for name in claim.arms:
            (line,) = (line for line in part.splitlines() if line.startswith(f"| `{name}`"))
            assert line.count(report.MISSING) == (0 if name == "in-turn" else len(MEASURES))
            assert (line.count("<br>") == len(MEASURES)) == (name == "in-turn")
    assert len(re.findall(r"^\| `(?:paper|in-turn)`, [01] \|", text, re.MULTILINE)) == 4


@pytest.mark.slow
def test_training_rows_of_all_arms_are_the_same_but_for_the_text_of_experts(ended, tiny):
    out, *_ = ended
    shared = out / "shared/data"
    learned = [row for _, row in files.json_rows(shared / "captions.jsonl")]
    assert len(learned) == 8 and {row["split"] for row in learned} == {"train"}
    assert all((shared / row["image"]).is_file() for row in learned)
    grounded, bare = ([row for _, row in files.json_rows(shared / name)] for name in (GROUNDED, BARE))
    assert any(row.get("evidence") for row in grounded) and not any(row.get("evidence") for row in bare)
    assert [row for row in grounded if "instruction" in row] == [row for row in bare if "instruction" in row] != []
    inputs = {name: recipe.read_manifest(out / f"{name}-0")["stages"] for name in ("paper", "in-turn")}
    assert set(inputs["paper"]["train"]["inputs"]) - {"llm"} == {
        "made:../shared/data/captions.jsonl", "made:../shared/data/instructions.jsonl"}  # fmt: skip


@pytest.mark.slow
def test_other_steps_in_the_same_folder_are_refused(ended, capsys):
    _, command, *_ = ended
    for more in ((), ("--dry-run",)):
        assert main([*command, "--steps", "6", *more]) == 1
        printed = capsys.readouterr().err
        assert "has 4 steps, not 6" in printed and "--steps 4" in printed


# --- the arms ---


def test_each_arm_differs_from_the_default_in_what_it_names_and_nothing_else():
    wanted = arm_recipe(CLAIMS, CLAIMS.default, 160)
    (base,) = wanted.stages[:-1]
    for arm in CLAIMS.arms[1:]:
        *trained, measured = arm_recipe(CLAIMS, arm, 160).stages
        assert sum(stage.settings["steps"] for stage in trained) == base.settings["steps"] == 160
        assert measured.settings == wanted.stages[-1].settings and measured.inputs == wanted.stages[-1].inputs
        if arm.in_turn:
            kinds = [stage.settings["stage"] for stage in trained]
            assert kinds == ["pretrain", "finetune"]
            assert {s.settings["steps"] for s in trained} == {80}  # as many batches of each kind as the stage joint
            continue
        (train,) = trained
        names = base.settings.keys() | train.settings.keys()
        changed = {name for name in names if train.settings.get(name) != base.settings.get(name)}
        other_rows = train.inputs != base.inputs
        assert len(changed) + other_rows == 1, arm.name
        assert changed == (set() if other_rows else set(arm.train) or {"adapter"})


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_makes_an_adapter_whose_stages_have_something_to_train(name):
    arm = ARMS[name]
    settings = replace(PAPER, adapter_layers=3, **arm.adapter)
    model = AdaptedLlama(llama(), settings, PROJECTOR, VISION)
    for stage in arm_recipe(CLAIMS, arm, 4).stages[:-1]:
        for kind, groups in STAGES[stage.settings["stage"]].items():
            found = {group(part, settings) for part in model.set_stage(stage.settings["stage"])}
            assert set(groups) <= found, (stage.name, kind)


def test_the_default_arm_is_the_papers_form():
    assert (PAPER.fusion, PAPER.prompt_length, PAPER.adapter_layers) == ("early", 20, 29)
    assert PAPER.norm and PAPER.bias and PAPER.scale and not PAPER.lora_rank
    (train,) = arm_recipe(CLAIMS, CLAIMS.default, 160).stages[:-1]
    assert train.settings["stage"] == "joint" and "gate_init" not in train.settings
    assert {name for claim in CLAIMS.claims for name in claim.arms} == set(ARMS) - {"paper"}


def test_without_findings_a_question_stays_only_if_the_photo_answers_it():
    findings = {"evidence": {"ocr": {"items": []}}, "experts": ["ocr"]}
    asked = [{"question": "What colour is it?", "kind": "colour"}, {"question": "What does it cost?", "kind": "value"}]
    row = without_findings({"image": "a.png", "questions": asked, **findings})
    assert row == {"image": "a.png", "questions": asked[:1], "evidence": {}, "experts": []}
    assert without_findings({"image": None, "questions": asked, **findings}) is None
    assert without_findings({"image": "a.png", "questions": asked[1:], **findings}) is None
    assert without_findings({"image": "a.png", "kind": "read", **findings}) is None
    assert without_findings({"image": "a.png", "kind": "count", **findings})["evidence"] == {}


# --- the tables ---


def runs(**items):
    """Results by seed of one measure."""
    return {int(seed[1:]): {"items": {"captions": values}} for seed, values in items.items()}


def test_a_difference_is_paired_by_item_and_by_seed():
    default = runs(s0=[0.0, 1.0, 0.0, 0.0] * 10, s1=[1.0, 1.0, 0.0, 0.0] * 10, s2=[9.0] * 40)
    better = runs(s0=[0.1, 1.1, 0.1, 0.1] * 10, s1=[1.1, 1.1, 0.1, 0.1] * 10)
    found = report.difference(better, default, "captions")
    assert found == pytest.approx((0.1, 0.1, 0.1))  # alone each varies, and the third seed has no partner
    assert report.score(better, "captions").mean == pytest.approx(0.475)
    assert report.difference(runs(s3=[0.0] * 40), default, "captions") is None
    assert report.score({}, "captions") is None
    with pytest.raises(LAV2Error, match="different items"):
        report.score(runs(s0=[1.0], s1=[1.0, 2.0]), "captions")


def test_only_differences_whose_interval_leaves_out_zero_are_marked():
    from lav2.metrics.bootstrap import Interval

    mean = Interval(0.5, 0.4, 0.6)
    assert report._cell(mean, Interval(0.1, 0.01, 0.2)).endswith("\\*")
    assert report._cell(mean, Interval(-0.1, -0.2, -0.01)).endswith("\\*")
    assert report._cell(mean, Interval(0.1, -0.01, 0.2)) == "0.500 (0.400 to 0.600)<br>+0.100 (-0.010 to +0.200)"
    assert report._cell(None, None) == "not run"


# --- the command ---


def test_by_default_the_whole_table_is_estimated_at_about_six_hours_of_a_core(tmp_path, capsys):
    photos = "".join(json.dumps({"image": f"{n}"}) + "\n" for n in range(9614))
    (tmp_path / "captions.jsonl").write_text(photos)
    out = tmp_path / "out"
    assert main(["experiment", "claims", "--data", str(tmp_path), "--out", str(out), "--dry-run"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 1 + 2 * len(CLAIMS.arms)
    assert 5.7 < float(re.search(r"About ([\d.]+) hours", last)[1]) < 6.7
    assert not out.exists()


def test_what_is_wrong_on_the_command_line_is_told(tmp_path, capsys):
    folders = ("--data", str(tmp_path), "--out", str(tmp_path / "out"))
    for words, said in (
        (("--arms", "later"), "no arm later"),
        (("--seeds", "a"), "no numbers"),
        ((), "needs --data and --out"),
        ((*folders, "--steps", "1"), "steps is 1"),
    ):
        assert main(["experiment", "claims", *words]) == 1
        assert said in capsys.readouterr().err


def test_kinds_that_a_photo_answers_are_kinds_that_rows_have():
    """A renamed kind would silently leave the bare rows."""
    from lav2.documents import photo_questions, phrases
    from lav2.instruct import questions

    sources = "".join(files.read_text(module.__file__) for module in (photo_questions, phrases, questions))
    assert [kind for kind in stages.SEEN if f'"{kind}"' not in sources] == []
