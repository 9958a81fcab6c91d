"""Training: resumable to the same losses, batches that hold what they should, data that is checked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from tiny import LATE, PROJECTOR, VISION, adapted, llama, open_gates, tokenizer

from lav2.data import formats
from lav2.data.batches import Rows, Sample
from lav2.data.features import FeatureCache, view_of
from lav2.data.formats import clean_caption, read_rows
from lav2.data.samples import caption_rows
from lav2.errors import LAV2Error
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import group
from lav2.model.checkpoint import TENSORS
from lav2.model.llm import base_identity, keep_norms_exact
from lav2.training import loop
from lav2.training.optimizer import optimizer
from lav2.training.settings import TrainConfig

PHOTOS = [f"{i}.png" for i in range(12)]


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate(PHOTOS):
        Image.new("RGB", (20, 20), (20 * number, 0, 0)).save(tmp_path / name)
    return tmp_path


def encode(pictures):
    """A stand-in tower whose tokens tell the photo and its side: red level of the left edge."""
    reds = torch.tensor([picture.getpixel((0, 0))[0] / 255 for picture in pictures])
    return reds.view(-1, 1, 1).expand(-1, VISION.tokens, VISION.width)


@pytest.fixture
def rows(photos):
    found = [formats.CaptionRow(str(photos / name), (f"w{3 + i} w{20 + i}",)) for i, name in enumerate(PHOTOS)]
    images = [row.image for row in found]
    features = FeatureCache(photos / "cache", VISION, images, images)
    features.fill(encode)
    words = tokenizer()
    return caption_rows(found, lambda text: words(text).input_ids, 1, 2, features)


def losses(folder):
    lines = (folder / "log.csv").read_text().splitlines()[1:]
    return [line.split(",")[2] for line in lines]


def test_a_killed_run_resumes_to_the_same_losses(rows, tmp_path):
    base = base_identity(llama(), tokenizer(), "tiny")
    settings = TrainConfig(stage="caption", steps=8, batch=4, save_every=3, seed=4)
    loop.train(adapted(), {"caption": rows}, settings, tmp_path / "whole", base, report=lambda line: None)

    class Killed(Exception):
        pass

    class Dying(Rows):
        def __init__(self, rows):
            vars(self).update(vars(rows))
            self.left = 5

        def collate(self, samples):
            self.left -= 1
            if self.left < 0:
                raise Killed
            return super().collate(samples)

    with pytest.raises(Killed):
        loop.train(adapted(), {"caption": Dying(rows)}, settings, tmp_path / "cut", base, report=lambda line: None)
    assert len(losses(tmp_path / "cut")) == 5
    reported = []
    loop.train(
        open_gates(adapted()), {"caption": rows}, settings, tmp_path / "cut", base, report=reported.append, resume=True
    )
    assert "resumed at step 3 of 8" in reported
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_gradient_checkpointing_computes_layers_again_and_learns_the_same(rows, tmp_path):
    base = base_identity(llama(), tokenizer(), "tiny")
    settings, found, calls = TrainConfig(stage="caption", steps=3, batch=4), [], []
    for checkpointing in (False, True):
        model, count = open_gates(adapted()), []
        if checkpointing:
            model.llm.gradient_checkpointing_enable({"use_reentrant": False})
        model.decoder.layers[1].input_layernorm.register_forward_hook(lambda *_, count=count: count.append(1))
        out = tmp_path / str(checkpointing)
        loop.train(model, {"caption": rows}, settings, out, base, report=lambda line: None)
        found.append([float(loss) for loss in losses(out)])
        calls.append(len(count))
    assert calls == [3, 6]
    assert found[1] == pytest.approx(found[0], abs=1e-3)


def test_joint_training_alternates_kinds_and_each_touches_only_its_own_group(rows, tmp_path):
    model = adapted()
    base = base_identity(llama(), tokenizer(), "tiny")
    seen = []
    original = loop.train_step

    def watched(model, optim, batch, config):
        before = {name: p.detach().clone() for name, p in model.adapter_parameters().items()}
        loss = original(model, optim, batch, config)
        changed = {name for name, p in model.adapter_parameters().items() if not torch.equal(p, before[name])}
        seen.append({group(name, model.config) for name in changed})
        return loss

    loop.train_step = watched
    try:
        settings = TrainConfig(stage="joint", steps=4, batch=4)
        both = {"caption": rows, "instruction": rows}
        loop.train(model, both, settings, tmp_path, base, report=lambda line: None)
    finally:
        loop.train_step = original
    assert seen == [{"visual"}, {"language"}, {"visual"}, {"language"}]


def test_training_lowers_the_loss_on_what_it_sees(rows, tmp_path):
    settings = TrainConfig(stage="caption", steps=60, batch=6, lr=1e-2)
    base = base_identity(llama(), tokenizer(), "tiny")
    loop.train(adapted(), {"caption": rows}, settings, tmp_path, base, report=lambda line: None)
    values = [float(loss) for loss in losses(tmp_path)]
    assert sum(values[-6:]) < 0.6 * sum(values[:6])


def test_only_labelled_positions_are_learned(rows):
    two, one = (False, False, True, True), (False, True, True)
    batch = rows.collate([Sample(None, (1, 5, 6, 2), two), Sample(None, (1, 7, 2), one)])
    assert batch.labels.tolist() == [[-100, -100, 6, 2], [-100, 7, 2, -100]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch.clip_tokens is None


def test_rows_with_and_without_photo_mix_in_a_batch(rows, photos):
    batch = rows.collate([Sample(image, (1, 5, 2), (False, True, True)) for image in (None, str(photos / "6.png"))])
    assert batch.has_image.tolist() == [False, True]
    assert batch.clip_tokens[0].abs().sum() == 0
    torch.testing.assert_close(batch.clip_tokens[1, 0, 0], torch.tensor(120 / 255), atol=1e-3, rtol=0)


def test_accumulated_parts_give_the_whole_batchs_loss(rows):
    batch = rows.fixed(12)[0]
    model = adapted(LATE)
    optim = optimizer(model, TrainConfig(stage="caption"))
    one = loop.train_step(model, optim, batch, TrainConfig(stage="caption"))
    model = adapted(LATE)
    optim = optimizer(model, TrainConfig(stage="caption"))
    assert loop.train_step(model, optim, batch, TrainConfig(stage="caption", accumulate=3)) == pytest.approx(one)


def test_bad_rows_are_told_with_file_and_line_and_skipped(photos):
    lines = [
        json.dumps({"image": "0.png", "captions": ["A dog ."]}),
        "{broken",
        json.dumps({"image": "missing.png", "captions": ["A cat"]}),
        json.dumps({"image": "1.png", "captions": ["  "]}),
        json.dumps({"image": "2.png", "captions": ["Two cats"], "split": "val"}),
    ]
    file = photos / "captions.jsonl"
    file.write_text("\n".join(lines))
    reported = []
    found = read_rows(file, report=reported.append)
    assert [(row.captions, row.split) for row in found] == [(("A dog",), "train"), (("Two cats",), "val")]
    assert [line.split(": skipped")[0] for line in reported] == [f"{file}:{n}" for n in (2, 3, 4)]


def test_coco_and_karpathy_files_read_as_the_same_rows(photos):
    coco = {
        "images": [{"id": 7, "file_name": "0.png"}],
        "annotations": [{"image_id": 7, "caption": "A dog"}, {"image_id": 7, "caption": "One dog ."}],
    }
    sentences = [{"raw": "A dog"}, {"raw": "One dog ."}]
    karpathy = {"images": [{"filename": "0.png", "filepath": "", "split": "restval", "sentences": sentences}]}
    found = []
    for name, document in (("coco.json", coco), ("karpathy.json", karpathy)):
        (photos / name).write_text(json.dumps(document))
        found.append(read_rows(photos / name))
    assert found[0] == found[1]
    assert found[0][0].captions == ("A dog", "One dog")


def test_a_file_of_no_known_format_is_refused(tmp_path):
    (tmp_path / "x.json").write_text('{"something": 1}')
    with pytest.raises(LAV2Error, match="no usable row"):
        read_rows(tmp_path / "x.json")


def test_captions_of_all_sources_are_spelled_alike():
    assert clean_caption("a man in a hat , smiling .") == "A man in a hat, smiling"


def test_mirrored_photos_are_not_learned_with_captions_that_name_a_side(photos):
    found = [formats.CaptionRow(str(photos / name), ("w5 left w6",)) for name in PHOTOS]
    images = [row.image for row in found]
    features = FeatureCache(photos / "c2", VISION, images, images, views=6)
    rows = caption_rows(found, lambda text: [5, 6], 1, 2, features)
    drawn = [sample for epoch in range(4) for group in rows.epoch(4, 0, epoch) for sample in group]
    assert len(drawn) == 48
    assert {sample.view for sample in drawn} == {0, 2, 4}


def test_a_photo_is_learned_in_all_of_its_views_and_its_crops_are_always_the_same():
    photo = Image.effect_noise((60, 40), 80)
    views = [view_of(photo, number) for number in range(6)]
    assert views[0] is photo
    for odd in (1, 3, 5):
        assert ImageOps.mirror(views[odd]).tobytes() == views[odd - 1].tobytes()
    for crop in (views[2], views[4]):
        assert 0.6 * 60 - 1 <= crop.width <= 60
        assert 0.6 * 40 - 1 <= crop.height <= 40
        assert any(
            photo.crop((x, y, x + crop.width, y + crop.height)).tobytes() == crop.tobytes()
            for x in range(61 - crop.width)
            for y in range(41 - crop.height)
        )
    assert views[2].size != views[4].size
    assert view_of(photo, 4).tobytes() == views[4].tobytes()


def test_interrupted_feature_caching_goes_on_where_it_was(photos):
    images = [str(photos / name) for name in PHOTOS]
    cache = FeatureCache(photos / "c3", VISION, images)
    cache.CHUNK = 5
    calls = []

    def dying(pictures):
        calls.append(len(pictures))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(pictures)

    with pytest.raises(KeyboardInterrupt):
        cache.fill(dying)
    again = FeatureCache(photos / "c3", VISION, images)
    again.CHUNK = 5
    assert not again.complete
    again.fill(encode)
    assert again.complete
    torch.testing.assert_close(again.get(images)[:, 0, 0], torch.arange(12) * 20 / 255, atol=1e-3, rtol=0)


def test_training_on_bfloat16_matrices_gives_float32s_gradients_but_for_rounding(rows):
    """Also of the norms, which stay float32 so that small steps are not lost."""
    batch = rows.fixed(6)[0]
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        llm = llama().to(dtype)
        keep_norms_exact(llm)
        torch.manual_seed(6)
        model = open_gates(AdaptedLlama(llm, LATE, PROJECTOR, VISION))
        chosen = model.set_stage("caption")
        assert {parameter.dtype for parameter in chosen.values()} == {torch.float32}
        loss = model.loss(**batch.to(model.device))
        loss.backward()
        found[dtype] = loss.item(), {name: parameter.grad for name, parameter in chosen.items()}
    (exact, gradients), (rounded, rough) = found.values()
    assert exact != rounded and abs(exact - rounded) < 0.02 * exact
    for part in ("norm.weight", "lora_b", "adapter_bias", "adapter.gate", "projector.input.weight"):
        names = [name for name in gradients if name.endswith(part)]
        one, other = (torch.cat([found[name].flatten() for name in names]) for found in (gradients, rough))
        assert torch.cosine_similarity(one, other, dim=0) > 0.97, part


@pytest.mark.slow
def test_two_processes_of_torchrun_learn_what_one_does(tmp_path):
    """Batches of three rows, so that one process has two of them and the other one."""
    script = Path(__file__).parent / "torchrun_train.py"
    environment = os.environ | {"PYTHONPATH": str(script.parent.parent), "OMP_NUM_THREADS": "1"}
    one = [sys.executable, str(script), str(tmp_path / "one")]
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    for command in (one, [*two, str(tmp_path / "two")]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("validation loss") == 1  # told by the first process alone
    assert losses(tmp_path / "one") == losses(tmp_path / "two")
    tensors = [load_file(tmp_path / name / TENSORS) for name in ("one", "two")]
    for name, tensor in tensors[0].items():
        # Adam turns even the rounding of a gradient near 0 into a step of its own size, so not equal to the last digit.
        torch.testing.assert_close(tensor, tensors[1][name], atol=2e-3, rtol=0)
