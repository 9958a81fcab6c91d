"""Training runs from files: few rows train, a run is never written over, a killed one goes on only as what it was."""

import json
import os
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny import LATE, PROJECTOR, VISION, adapted, llama, tokenizer

from lav2 import config
from lav2.data import formats
from lav2.data.features import FeatureCache
from lav2.data.formats import read_rows
from lav2.errors import LAV2Error
from lav2.evaluation import runner
from lav2.model import checkpoint
from lav2.model.adapter import group
from lav2.model.vision import VisionTower
from lav2.training import loop, run, run_folder, warm_start
from lav2.training.settings import RunConfig, TrainConfig

BOM = b"\xef\xbb\xbf"


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A preset on a language model and an image encoder of tests' size."""
    folder = tmp_path_factory.mktemp("llm")
    llama().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return replace(config.PRESETS["embedded"], llm=str(folder), adapter_config=LATE, projector=PROJECTOR, vision=VISION)


@pytest.fixture
def captions(tmp_path):
    """captions.jsonl of three photos to learn from."""
    for number in range(3):
        Image.new("RGB", (20, 20), (80 * number, 0, 0)).save(tmp_path / f"{number}.png")
    lines = [json.dumps({"image": f"{number}.png", "captions": [f"w{5 + number} w9"]}) for number in range(3)]
    file = tmp_path / "captions.jsonl"
    file.write_text("\n".join(lines))
    return file


@pytest.fixture
def start(preset, captions, tmp_path):
    """Start a run in tmp_path/run; returns what it reported."""

    def begin(resume=False, files=(captions,), out=tmp_path / "run", stage="caption", steps=2, batch=32, **more):
        reported = []
        chosen = TrainConfig(stage=stage, steps=steps, batch=batch)
        more = {"cache": tmp_path / "cache", "device": "cpu", "views": 1, **more}
        run.run(more.pop("preset", preset), chosen, files, out, RunConfig(resume=resume, **more), reported.append)
        return reported

    return begin


def test_training_with_fewer_rows_than_a_batch_ends_and_says_that_it_takes_all(start, tmp_path):
    reported = start()
    assert any("3 rows of captions, fewer than a batch of 32" in line for line in reported)
    assert len((tmp_path / "run/log.csv").read_text().splitlines()) == 3


def test_joint_training_with_fewer_rows_than_a_batch_ends(start, captions, tmp_path):
    asked = tmp_path / "asked.json"
    asked.write_text(json.dumps([{"instruction": "w5", "output": "w6"}]))
    reported = start(files=(captions, asked), stage="joint", steps=4)
    assert sum("fewer than a batch" in line for line in reported) == 2


def test_gates_start_open_only_where_it_is_asked_for_and_runs_from_before_go_on(start, preset, tmp_path):
    """At a rate of 0 the saved gates are those of the start."""
    from safetensors.torch import load_file

    still = TrainConfig(stage="caption", steps=1, gate_lr=0.0)
    for out, value in ((tmp_path / "zero", 0.0), (tmp_path / "open", 1.0)):
        chosen = RunConfig(cache=tmp_path / "cache", device="cpu", views=1, gate_init=value)
        run.run(preset, still, [tmp_path / "captions.jsonl"], out, chosen, lambda line: None)
        gate = load_file(out / "adapter.safetensors")["adapter.gate"]
        assert torch.equal(gate, torch.full_like(gate, value))
    facts = [json.loads(torch.load(tmp_path / name / "state.pt")["facts"]) for name in ("zero", "open")]
    assert "gate_init" not in facts[0] and facts[1]["gate_init"] == 1.0
    with pytest.raises(LAV2Error, match="has gates already"):
        start(out=tmp_path / "third", init=tmp_path / "open", gate_init=1.0)


def test_in_the_stage_joint_all_each_kind_of_batch_trains_both_groups(start, captions, tmp_path, monkeypatch):
    asked = tmp_path / "asked.json"
    asked.write_text(json.dumps([{"instruction": "w5", "output": "w6"}]))
    seen, step = [], loop.train_step

    def watched(model, optim, batch, settings):
        before = {name: p.detach().clone() for name, p in model.adapter_parameters().items()}
        loss = step(model, optim, batch, settings)
        moved = (name for name, p in model.adapter_parameters().items() if not torch.equal(p, before[name]))
        seen.append({group(name, model.config) for name in moved})
        return loss

    monkeypatch.setattr(loop, "train_step", watched)
    start(files=(captions, asked), stage="joint-all", steps=4)
    assert seen == [{"visual", "language"}] * 4
    assert checkpoint.read_notes(tmp_path / "run")["stage"] == "joint-all"


def test_a_warm_start_with_few_photos_ends(start, tmp_path):
    assert any("No warm start" in line for line in start(warm_steps=3))


def test_a_warm_start_takes_the_photos_there_are(tmp_path):
    images = []
    for number in range(6):
        images.append(str(tmp_path / f"{number}.png"))
        Image.new("RGB", (20, 20), (40 * number, 0, 0)).save(images[-1])
    features = FeatureCache(tmp_path / "cache", VISION, images)
    features.fill(lambda photos: torch.ones(len(photos), VISION.tokens, VISION.width))
    model = adapted()
    warm_start.warm_start(model, {image: {5, 9} for image in images}, features, 2)
    assert all(parameter.isfinite().all() for parameter in model.projector.parameters())


def test_rows_that_are_all_too_long_are_told_and_training_ends(start, tmp_path):
    asked = tmp_path / "asked.json"
    asked.write_text(json.dumps([{"instruction": "w5 " * 1100, "output": "w6"}]))
    with pytest.raises(LAV2Error, match="nothing to learn from"):
        start(files=(asked,), stage="finetune")


@pytest.mark.parametrize("name", ["steps", "batch", "accumulate", "together"])
def test_settings_below_one_are_refused(name):
    with pytest.raises(LAV2Error, match=f"{name} is 0"):
        TrainConfig(**{name: 0})


def test_a_run_is_never_written_over_and_the_way_out_is_named(start, tmp_path):
    start()
    before = (tmp_path / "run/adapter.safetensors").read_bytes()
    with pytest.raises(LAV2Error) as error:
        start(steps=3)
    assert all(word in error.value.next_step for word in ("--resume", "--init", "another --out"))
    assert (tmp_path / "run/adapter.safetensors").read_bytes() == before
    (tmp_path / "run" / run_folder.STATE).unlink()  # an exported adapter
    with pytest.raises(LAV2Error, match="already holds"):
        start()


def test_a_run_is_resumed_only_as_what_it_was(start, captions, preset, tmp_path):
    start()
    other = tmp_path / "other.jsonl"
    other.write_text(captions.read_text().replace("w5", "w6"))
    start(out=tmp_path / "first", files=(other,))
    changed = {
        "steps": {"steps": 3}, "batch": {"batch": 2}, "data": {"files": (other,)}, "views": {"views": 2},
        "dtype": {"dtype": "bfloat16"}, "init": {"init": tmp_path / "first"}, "warm_steps": {"warm_steps": 1},
        "preset": {"preset": replace(preset, name="another")},
        "adapter": {"preset": replace(preset, adapter_config=replace(LATE, prompt_length=2))},
    }  # fmt: skip
    for what, how in changed.items():
        with pytest.raises(LAV2Error, match=rf"is another one.*\b{what} \("):
            start(resume=True, **how)
    Image.new("RGB", (20, 20), "blue").save(tmp_path / "0.png")
    with pytest.raises(LAV2Error, match="photos"):
        start(resume=True)
    Image.new("RGB", (20, 20), "black").save(tmp_path / "0.png")
    assert "resumed at step 2 of 2" in start(resume=True)


def test_a_run_on_an_encoder_that_was_tuned_again_under_the_same_name_is_another_one(start, tmp_path):
    file = tmp_path / "encoder.safetensors"
    net = VisionTower(VISION).net.state_dict()
    tensors = {name: tensor.contiguous() for name, tensor in net.items() if not name.startswith("classifier")}
    save_file(tensors, file)
    start(encoder=str(file))
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    save_file({**tensors, name: tensors[name] + 1}, file)
    with pytest.raises(LAV2Error, match=r"is another one.*\bencoder_file \("):
        start(resume=True, encoder=str(file))


def test_there_must_be_a_run_to_resume(start):
    with pytest.raises(LAV2Error, match="no run that could go on"):
        start(resume=True)


@pytest.mark.parametrize("damage", [b"", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_damaged_state_is_told(start, tmp_path, damage):
    start()
    (tmp_path / "run" / run_folder.STATE).write_bytes(damage)
    with pytest.raises(LAV2Error, match=r"cannot be read|git lfs pull"):
        start(resume=True)


@pytest.mark.parametrize("damage", ["cut", "empty"])
def test_a_damaged_photo_is_left_out_told_and_counted(start, tmp_path, damage):
    photo = tmp_path / "1.png"
    photo.write_bytes(photo.read_bytes()[:40] if damage == "cut" else b"")
    reported = start()
    assert any("1.png: left out." in line for line in reported)
    assert "1 of 3 rows are left out for their damaged photos." in reported
    assert (tmp_path / "run/adapter.safetensors").exists()


def test_a_run_whose_photos_are_all_damaged_is_refused(start, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"nothing")
    with pytest.raises(LAV2Error, match="none of the split train that can be used"):
        start()


def test_photos_that_cannot_be_read_are_left_out_of_an_evaluation_and_told(tmp_path):
    photos = [str(tmp_path / name) for name in ("good.png", "cut.png", "missing.png")]
    Image.new("RGB", (20, 20)).save(photos[0])
    (tmp_path / "cut.png").write_bytes(b"nothing")
    reported = []

    class Tower:
        config = VISION

        @staticmethod
        def encode(pictures):
            return torch.zeros(len(pictures), VISION.tokens, VISION.width)

    class Loaded:
        parts = type("Parts", (), {"tower": Tower, "caption_tower": None})

    bench = runner.EvaluationRunner(Loaded, tmp_path / "cache", report=reported.append)
    assert bench.damaged([*photos, None]) == set(photos[1:])
    assert len(reported) == 2 and all("left out" in line for line in reported)


def test_features_that_were_cut_off_are_made_again(tmp_path):
    image = str(tmp_path / "a.png")
    Image.new("RGB", (20, 20)).save(image)

    def encode(pictures):
        return torch.ones(len(pictures), VISION.tokens, VISION.width)

    cache = FeatureCache(tmp_path / "cache", VISION, [image])
    cache.fill(encode)
    (shard,) = cache.folder.glob("*.npy")
    os.truncate(shard, shard.stat().st_size // 2)
    again = FeatureCache(tmp_path / "cache", VISION, [image])
    assert not again.complete
    again.fill(encode)
    assert again.complete and float(again.get([image]).min()) == 1


# --- users' files ---


def test_a_byte_order_mark_costs_no_row_of_training_data(captions, tmp_path):
    file = tmp_path / "bom.jsonl"
    file.write_bytes(BOM + captions.read_bytes())
    assert len(read_rows(file, report=pytest.fail)) == 3
    listed = tmp_path / "bom.json"
    listed.write_bytes(BOM + json.dumps([{"instruction": "Hi", "output": "Hello"}]).encode())
    assert len(read_rows(listed, report=pytest.fail)) == 1


@pytest.mark.parametrize(
    "row", ["[" * 100_000, '{"image": "' + "x" * 300 + '.png", "captions": ["A dog"]}', '{"image": "a\\u0000b"}',
            '{"image": "0.png", "captions": "A dog"}', '{"image": "0.png", "captions": [5]}', "9" * 5000,
            '{"image": "0.png", "captions": ["A"], "split": ["val"]}', '{"instruction": "\\ud800", "output": "b"}',
            '{"image": {}, "captions": ["A dog"]}'],
)  # fmt: skip
@pytest.mark.parametrize("form", ["lines", "list"])
def test_a_bad_row_of_training_data_is_told_by_file_and_line(captions, tmp_path, row, form):
    good = captions.read_text().split("\n")[0]
    text = f"{good}\n{row}" if form == "lines" else f"[{good},\n{row}]"
    file = tmp_path / "data.json"
    file.write_text(text)
    reported = []
    assert len(read_rows(file, report=reported.append)) == 1
    assert len(reported) == 1 and reported[0].startswith(f"{file}:2: skipped")


def test_boxes_of_coco_given_as_captions_are_told_by_name(tmp_path):
    file = tmp_path / "instances.json"
    boxes = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}] * 3
    file.write_text(json.dumps({"images": [{"id": 1, "file_name": "0.png"}], "annotations": boxes}))
    reported = []
    with pytest.raises(LAV2Error, match="no usable row"):
        read_rows(file, report=reported.append)
    assert len(reported) == 1 and "instances" in reported[0]


def test_one_bad_annotation_of_coco_costs_only_itself(captions, tmp_path):
    images = [{"id": 1, "file_name": "0.png"}, {"file_name": "1.png"}, 5]
    notes = [{"image_id": 1, "caption": "A dog"}, {"image_id": 1}, {"image_id": 1, "caption": "Two"}, None]
    file = tmp_path / "coco.json"
    file.write_text(json.dumps({"images": images, "annotations": notes}))
    reported = []
    (row,) = read_rows(file, report=reported.append)
    assert row == formats.CaptionRow(str(tmp_path / "0.png"), ("A dog", "Two"))
    assert [line.split(": skipped")[0].removeprefix(f"{file}:") for line in reported] == [
        "image 2", "image 3", "annotation 2", "annotation 4"]  # fmt: skip
    file.write_text(json.dumps({"images": [{"filename": "0.png"}, {"filename": "0.png", "split": "val", "sentences": [
        {"raw": "A dog"}]}]}))  # fmt: skip
    assert len(read_rows(file, report=reported.append)) == 1
