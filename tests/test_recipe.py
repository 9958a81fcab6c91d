"""The recipe: every stage on tests' sizes, interrupted and whole, and what its manifest tells."""

import hashlib
import json
from dataclasses import replace

import pytest
import tiny_data
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny import LATE, PROJECTOR, VISION

from lav2 import config, recipe
from lav2.captioning.reranker import RerankerConfig
from lav2.cli.main import main
from lav2.documents import mix
from lav2.errors import LAV2Error
from lav2.events import Done, Request, Sampling
from lav2.model import checkpoint
from lav2.model.adapter import group
from lav2.model.llm import preset_on
from lav2.recipe import Recipe, Run, Stage, Work
from lav2.training import distil, encoder, loop, reranker
from lav2.training import run as training

SMALL = {  # stage -> settings of tests' size
    "encoder": {"epochs": 1, "batch": 8, "least": 3, "save_every": 1, "dtype": "float32"},
    "start": {"steps": 2, "batch": 4, "warm_steps": 2, "views": 1, "dtype": "float32"},
    "captioner": {"steps": 2, "batch": 4, "views": 2, "dtype": "float32"},
    "judge": {"views": 1},
    "rows": {"documents": 3, "known": 2, "human": 3, "tied": 1, "templates": 6},
    "chat": {"steps": 4, "batch": 3, "warm_steps": 0, "views": 1, "dtype": "float32", "save_every": 2,
             "adapter": {"lora_rank": 4}},
    "reader": {"epochs": 0.01},
    "evaluate": {"limit": 2},
}  # fmt: skip
EVERY = [stage.name for stage in recipe.EMBEDDED.stages]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_data.photos_and_questions(tmp_path_factory.mktemp("world") / "data")


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return tiny_data.language_model(tmp_path_factory.mktemp("llm"))


@pytest.fixture(scope="module")
def tiny(data, llm, tmp_path_factory):
    """The recipe in tests' sizes, which `python -m lav2 recipe tiny` knows, and a cache of its own."""
    stages = tuple(replace(s, settings={**s.settings, **SMALL.get(s.name, {})}) for s in recipe.EMBEDDED.stages)
    preset = replace(config.EMBEDDED, vision=VISION, adapter_config=LATE, projector=PROJECTOR)
    made = Recipe("tiny", preset, VISION, stages)
    quick = RerankerConfig(least=4, hidden=8, epochs=2, batch=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAV2_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setitem(recipe.RECIPES, "tiny", made)
        patch.setattr(reranker, "RerankerConfig", lambda seed: replace(quick, seed=seed))
        tiny_data.few_rows(patch)
        yield made


@pytest.fixture(scope="module")
def whole(tiny, data, llm):
    """A run without a break: itself, its manifest, and the groups of parameters that each joint step moved."""
    preset, out = preset_on(tiny.preset, str(llm)), data.parent / "whole"
    run = Run(tiny, preset, data, out, device="cpu", report=lambda line: None)
    moved, step = [], loop.train_step

    def watched(model, optim, batch, settings):
        before = {name: p.detach().clone() for name, p in model.adapter_parameters().items()}
        loss = step(model, optim, batch, settings)
        after = model.adapter_parameters().items()
        if settings.stage == "joint":
            moved.append({group(name, model.config) for name, p in after if not torch.equal(p, before[name])})
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", watched)
        manifest = recipe.make(run)
    return run, manifest, moved


@pytest.mark.slow
def test_the_whole_recipe_ends_in_adapters_that_answer(whole):
    from lav2.assistant.service import Assistant

    run, manifest, _ = whole
    assert list(manifest["stages"]) == EVERY[:-1]  # the evaluation was not asked for
    assert {entry["state"] for entry in manifest["stages"].values()} == {"done"}
    export = run.out / "export"
    preset = replace(run.preset, adapter=str(export / "chat"), caption_adapter=str(export / "caption"))
    loaded = Assistant.load(preset, device="cpu", report=lambda line: None)
    photo = Image.open(run.data / "photos/000000.png").convert("RGB")
    asked = Request("Is there a dog?", photo, experts=("caption",), sampling=Sampling(max_new_tokens=4))
    *_, done = loaded.answer(asked)
    assert isinstance(done, Done) and done.answer
    assert done.evidence["caption"].text
    notes = checkpoint.read_notes(export / "chat")
    assert notes["stage"] == "joint" and notes["recipe"] == "tiny"
    adapter = json.loads((export / "chat/config.json").read_text())["adapter"]
    assert adapter["lora_rank"] == 4  # of the stage, not of the preset


@pytest.mark.slow
def test_a_batch_of_captions_moves_the_visual_group_alone_and_one_of_questions_the_language_group(whole):
    _, _, moved = whole
    assert moved == [{"visual"}, {"language"}] * 2


@pytest.mark.slow
def test_the_manifest_agrees_with_the_files(whole):
    run, manifest, _ = whole
    assert manifest == json.loads((run.out / "manifest.json").read_text())
    for name, entry in manifest["stages"].items():
        assert {"settings", "seed", "started", "seconds", "machine", "score"} <= entry.keys()
        assert entry["versions"].keys() >= {"torch", "transformers"} and entry["inputs"] and entry["outputs"]
        for file, known in entry["outputs"].items():
            content = (run.out / name / file).read_bytes()
            assert known == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    learned = manifest["stages"]["chat"]["inputs"]
    assert {"llm", "data:captions.jsonl", "made:rows/mix.jsonl", "assets:identity.json"} <= learned.keys()
    content = (run.data / "captions.jsonl").read_bytes()
    assert learned["data:captions.jsonl"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert learned["made:rows/mix.jsonl"] == manifest["stages"]["rows"]["outputs"]["mix.jsonl"]
    assert learned["data:photos"]["files"] == 28
    assert manifest["stages"]["chat"]["score"]["validation loss"]["caption"] > 0
    assert manifest["stages"]["judge"]["score"]["validation loss"] > 0


@pytest.mark.slow
def test_the_exported_adapters_carry_the_hash_of_what_made_them(whole):
    run, manifest, _ = whole
    carried = {checkpoint.read_notes(run.out / "export" / name)["manifest"] for name in ("caption", "chat")}
    assert carried == {recipe.manifest_hash(manifest)}
    later = json.loads(json.dumps(manifest))
    later["stages"]["chat"]["seconds"] += 5
    assert recipe.manifest_hash(later) == recipe.manifest_hash(manifest)
    later["stages"]["rows"]["inputs"]["data:boxes.jsonl"]["sha256"] = "0" * 64
    assert recipe.manifest_hash(later) != recipe.manifest_hash(manifest)


@pytest.mark.slow
def test_what_is_done_is_not_done_again(whole, monkeypatch):
    run, manifest, _ = whole
    made = ((encoder, "tune"), (training, "run"), (distil, "distil"), (mix, "main"), (checkpoint, "export"))
    for module, name in made:
        monkeypatch.setattr(module, name, lambda *args, **more: pytest.fail("it was to be made again"))
    reported = []
    assert recipe.make(replace(run, report=reported.append)) == manifest
    assert reported == [f"{name}: done before" for name in EVERY[:-1]]


def once(function, count, before=lambda: None):
    """`function`, interrupted in the call number `count`."""
    calls = []

    def dying(*args, **more):
        calls.append(1)
        if len(calls) == count:
            before()
            raise KeyboardInterrupt
        return function(*args, **more)

    return dying


@pytest.mark.slow
def test_interrupted_anywhere_it_goes_on_to_the_same_result(whole, tiny, data, llm, capsys):
    """By the command, on another language model; the last command ends it with the optional stage."""
    run, manifest, _ = whole
    out = data.parent / "broken"
    save = encoder._save
    half = out / "rows/docs.jsonl"

    def saved(*args):
        save(*args)
        raise KeyboardInterrupt

    breaks = [
        (encoder, "_save", saved),  # in the encoder's first epoch
        (checkpoint, "read_notes", once(None, 1)),  # behind a training that has just ended
        (reranker, "learn_phrases", once(None, 1)),  # between two parts of a stage
        (mix.photo_questions, "main", once(None, 1, lambda: half.write_text(half.read_text()[:300]))),  # in a file
        (distil, "distil", once(None, 1)),  # before the first file of a stage
        (loop, "train_step", once(loop.train_step, 4)),  # in the joint stage, behind its last state
    ]
    command = ["recipe", "tiny", "--data", str(data), "--out", str(out), "--llm", str(llm), "--device", "cpu"]
    began = []
    for module, name, broken in breaks:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, name, broken)
            assert main(command) == 130
        stages = recipe.read_manifest(out)["stages"]
        began.append(list(stages)[-1])
        assert stages[began[-1]]["state"] == "begun"
        assert not list(out.glob("**/.manifest*"))
    assert began == ["encoder", "start", "judge", "rows", "plain", "chat"]
    capsys.readouterr()
    assert main([*command, "--evaluate"]) == 0
    assert "resumed at step 2 of 4" in capsys.readouterr().out
    again = recipe.read_manifest(out)["stages"]
    assert list(again) == EVERY and again["evaluate"]["score"]["photos"] == 2
    for name, entry in manifest["stages"].items():
        for file, known in entry["outputs"].items():
            if file.endswith(("phrases.safetensors", "answers.safetensors")):  # they name the encoder's file, elsewhere
                one, other = (load_file(folder / name / file) for folder in (run.out, out))
                assert all(torch.equal(one[key], other[key]) for key in one)
            elif not file.endswith("config.json"):  # times
                assert again[name]["outputs"][file] == known, (name, file)


# --- what is refused ---


@pytest.mark.slow
def test_what_was_made_with_something_else_is_refused_and_named(whole):
    run, _, _ = whole

    def changed(name, **changes):
        stages = tuple(replace(stage, **changes) if stage.name == name else stage for stage in run.recipe.stages)
        return replace(run, recipe=replace(run.recipe, stages=stages))

    (chat,) = (stage for stage in run.recipe.stages if stage.name == "chat")

    with pytest.raises(LAV2Error, match=r"The stage encoder .* seed \(0 there, 1 now\)") as error:
        recipe.make(replace(run, seed=1))
    assert "another --out" in error.value.next_step and "--from encoder" in error.value.next_step
    with pytest.raises(LAV2Error, match=r"The stage chat .* steps \(4 there, 5 now\)"):
        recipe.make(changed("chat", settings={**chat.settings, "steps": 5}))
    wider = replace(run.preset, adapter_config=replace(run.preset.adapter_config, prompt_length=4))
    with pytest.raises(LAV2Error, match=r"The stage start .* adapter_config \("):
        recipe.make(replace(run, preset=wider))
    with pytest.raises(LAV2Error, match=r"The stage judge .* version \(1 there, 2 now\)"):
        recipe.make(changed("judge", version=2))
    file = run.data / "qa/photo_qa_own.jsonl"
    before = file.read_bytes()
    try:
        file.write_bytes(before.replace(b"yes", b"no."))  # as many bytes
        for tell in (recipe.make, recipe.plan):
            with pytest.raises(LAV2Error, match=r"The stage rows .* data:qa/photo_qa_own.jsonl \(.* SHA-256"):
                tell(run)
    finally:
        file.write_bytes(before)
    other = run.out / "captioner/adapter.safetensors"
    before = other.read_bytes()
    try:
        other.write_bytes(before + b" ")
        with pytest.raises(LAV2Error, match="not the file that the stage captioner made"):
            recipe.make(run)
        other.unlink()
        with pytest.raises(LAV2Error, match="not the file that the stage captioner made"):
            recipe.make(run)
        with pytest.raises(LAV2Error, match=r"The stage judge .* made:captioner/adapter\.safetensors"):
            recipe.plan(run)
    finally:
        other.write_bytes(before)


# --- the order of things, with stages that only write what they read ---


def note(run, stage):
    text = "".join(path.read_text() for source in stage.inputs for path in run.paths(source).values())
    (run.out / stage.name / "text").write_text(f"{text}{stage.name} {stage.settings.get('size', '')}\n")
    return {"length": len(text)}


@pytest.fixture
def toy(tmp_path):
    """A run of three stages, one of them optional, each adding a line to the file of the one before."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/captions.jsonl").write_text('{"image": "a"}\n' * 3)
    stages = (
        Stage("one", "the first", note, ("data:captions.jsonl",), ("text",), {"size": 1}, work=Work(looks=1)),
        Stage("two", "the second", note, ("made:one/text",), ("text",), {"steps": 1000}, work=Work(tokens=160)),
        Stage("three", "the third", note, ("made:two/text",), ("text",), optional=True),
    )
    reported = []
    run = Run(Recipe("toy", config.EMBEDDED, VISION, stages), config.EMBEDDED, tmp_path / "data", tmp_path / "out",
              device="cpu", report=reported.append)  # fmt: skip
    return run, reported


def test_from_a_stage_it_and_those_behind_it_are_made_anew(toy):
    run, reported = toy
    first = recipe.make(run, evaluate=True)["stages"]
    (run.out / "two/other").write_text("left there")
    reported.clear()
    again = recipe.make(run, start="two")["stages"]
    assert again["one"] == first["one"] and list(again) == ["one", "two"]
    assert not (run.out / "two/other").exists() and not (run.out / "three").exists()
    assert reported[1:] == ["one: done before", "two: the second"]
    with pytest.raises(LAV2Error, match=r"no stage four\. Choose of: one, two, three"):
        recipe.make(run, start="four")
    (run.data / "captions.jsonl").write_text("other\n")
    with pytest.raises(LAV2Error, match=r"data:captions\.jsonl"):
        recipe.make(run)
    recipe.make(run, start="one")
    assert (run.out / "two/text").read_text() == "other\none 1\ntwo \n"


def test_a_folder_of_somebody_else_is_left_alone(toy):
    run, _ = toy
    (run.out / "two").mkdir(parents=True)
    (run.out / "two/mine").write_text("mine")
    for start in (None, "one"):
        with pytest.raises(LAV2Error, match="no run of this recipe has made"):
            recipe.make(run, start)
    assert (run.out / "two/mine").read_text() == "mine"
    (run.out / "manifest.json").write_text("[]")
    with pytest.raises(LAV2Error, match="no manifest of a recipe"):
        recipe.make(run)


def test_two_recipes_do_not_run_in_one_folder_at_once(toy):
    run, _ = toy
    run.out.mkdir()
    with recipe.alone(run.out), pytest.raises(LAV2Error, match="Another recipe runs"):
        recipe.make(run)
    recipe.make(run)


def test_a_failed_stage_keeps_its_time_and_is_made_at_the_next_try(toy, monkeypatch):
    run, _ = toy
    broken = replace(run.recipe.stages[1], make=lambda run, stage: (_ for _ in ()).throw(LAV2Error("No room.", "-")))
    with pytest.raises(LAV2Error, match="No room"):
        recipe.make(replace(run, recipe=replace(run.recipe, stages=(run.recipe.stages[0], broken))))
    entry = recipe.read_manifest(run.out)["stages"]["two"]
    assert entry["state"] == "begun" and entry["seconds"] >= 0 and "outputs" not in entry
    assert recipe.make(run)["stages"]["two"]["state"] == "done"


def test_the_list_tells_stages_and_how_far_they_are(toy, capsys, tmp_path):
    run, _ = toy
    lines = recipe.table(run.recipe, None).splitlines()
    assert [line.split()[:3] for line in lines[:2]] == [["one", "to", "do"], ["two", "to", "do"]]
    assert lines[2].split() == ["three", "optional", "the", "third"]
    recipe.make(run)
    assert recipe.table(run.recipe, run.out).splitlines()[1].strip() == '{"length": 45}'
    assert main(["recipe", "embedded", "--list"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == EVERY
    assert main(["recipe", "embedded"]) == 1 and "--data and --out" in capsys.readouterr().err


def test_a_dry_run_estimates_and_makes_nothing(toy, data, llm, capsys, monkeypatch):
    run, _ = toy
    hours, memory = recipe.estimate(config.EMBEDDED, run.recipe.stages[1], 3)
    assert hours == pytest.approx(1000 * (160 / recipe.TOKENS + recipe.STEP) / 3600) and memory > 2e9
    assert recipe.estimate(config.EMBEDDED, run.recipe.stages[0], 2200)[0] == pytest.approx(200 / 3600)
    small, _ = recipe.estimate(preset_on(config.EMBEDDED, str(llm)), run.recipe.stages[1], 3)
    assert small < hours / 1000  # of a language model that is as much smaller
    recipe.make(run)
    assert [line.split()[:2] for line in recipe.plan(run).splitlines()[1:3]] == [["one", "done"], ["two", "done"]]
    monkeypatch.setattr("lav2.recipe.command.make", lambda *args: pytest.fail("it runs"))
    out = data.parent / "dry"
    assert main(["recipe", "embedded", "--data", str(data), "--out", str(out), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    end = len(EVERY)  # a heading, and all stages but the optional one
    assert [line.split()[0] for line in lines[1:end]] == EVERY[:-1]
    assert all(line.endswith(" GB") for line in lines[1:end]) and "for 28 photos" in lines[end]
    assert not out.exists()


def test_a_missing_file_of_data_is_told(toy):
    run, _ = toy
    (run.data / "captions.jsonl").unlink()
    with pytest.raises(LAV2Error, match=r"has no captions\.jsonl"):
        recipe.make(run)
