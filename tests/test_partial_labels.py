"""Training a detector on labels that are complete for some kinds only, on rare kinds, in bfloat16."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from experts.detection import contained
from experts.train_detector import data
from experts.train_detector.data import Box, Photo
from experts.train_detector.depthwise import QuickDepthwise

BOX = (8.0, 8.0, 40.0, 40.0)


@pytest.fixture(scope="module")
def model():
    from experts.train_detector.model import LiteDetector

    with contained():
        from ultralytics.cfg import get_cfg

    torch.manual_seed(0)
    built = LiteDetector(3)
    built.args = get_cfg()
    return built


def gradient(model, absence, regions, size=64):
    """Of the class scores [cells, 3], on a photo with one object of class 0 and `regions` (row, x, y, w, h)."""
    from experts.train_detector.loss import PartialLabelLoss

    with torch.no_grad():
        preds = model.train()(torch.full((1, 3, size, size), 0.5))
    preds["scores"] = preds["scores"].float().requires_grad_()
    rows = [(0, 0.25, 0.25, 0.3, 0.3), *((3 + row, *xywh) for row, *xywh in regions)]
    batch = {
        "batch_idx": torch.zeros(len(rows)),
        "cls": torch.tensor([[float(row[0])] for row in rows]),
        "bboxes": torch.tensor([row[1:] for row in rows]),
    }
    loss, _ = PartialLabelLoss(model, torch.tensor(absence))(preds, batch)
    loss.sum().backward()
    return preds["scores"].grad[0].T


def test_what_nobody_looked_for_is_not_learned_as_absent_and_all_else_is(model):
    whole = (0.5, 0.5, 1.0, 1.0)
    full = gradient(model, [[0.0, 0.5, 1.0]], [])
    masked = gradient(model, [[0.0, 0.5, 1.0]], [(0, *whole)])
    drawn = (masked == full).all(1)  # cells of the object: a thing that was drawn is none of the other kinds
    assert 0 < drawn.sum() <= 10 and (full[drawn, 0] < 0).any()
    assert (full[~drawn] > 0).all()
    torch.testing.assert_close(masked[~drawn], full[~drawn] * torch.tensor([0.0, 0.5, 1.0]))


def test_a_region_masks_its_own_cells_alone(model):
    full = gradient(model, [[0.0, 0.0, 0.0]], [])
    right = gradient(model, [[0.0, 0.0, 0.0]], [(0, 0.75, 0.5, 0.5, 1.0)])  # the right half
    same = (right == full).all(1)
    assert same[:64].reshape(8, 8)[:, :4].all() and not same[:64].reshape(8, 8)[:, 4:].any()


def test_sources_say_which_kinds_are_complete(tmp_path):
    Image.new("RGB", (48, 48)).save(tmp_path / "a.png")
    base = {"image": "a.png", "width": 48, "height": 48}
    human, machine = {"label": "dog", "xyxy": BOX}, {"label": "cat", "xyxy": BOX, "conf": 0.5}

    def absence(*rows):
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(base | row) + "\n" for row in rows))
        photos = data.read(tmp_path / "a.jsonl")
        return [tuple(photo.absence(label) for label in ("dog", "kite")) for photo in photos], photos[0].human

    assert absence({"boxes": [human]}) == ([(1, 1)], True)
    assert absence({"boxes": [human], "classes": "voc20"}) == ([(1, 0)], False)
    assert absence({"boxes": [human], "partial": True}) == ([(0, 0)], False)
    half = data.SEARCHED  # a detector looked through this file's photos, also through those where it found nothing
    assert absence({"boxes": [human]}, {"boxes": [machine]}) == ([(half, half)] * 2, False)


def test_photos_of_rare_kinds_and_of_human_labels_are_sampled_more_often():
    common = [Photo(f"{i}.png", 48, 48, (Box("dog", BOX, human=False),), complete=frozenset()) for i in range(97)]
    rare = [Photo("r.png", 48, 48, (Box("kite", BOX, human=False),), complete=frozenset())]
    human = [Photo("h.png", 48, 48, (Box("dog", BOX),)), Photo("n.png", 48, 48, (Box("owl", BOX),))]
    factors = data.repeat_factors(common + rare + human, ["dog", "kite"], repeat_human=3)
    assert set(factors[:97]) == {1.0}
    assert factors[97] == pytest.approx((data.FREQUENT / 0.01) ** 0.5)
    assert factors[98:] == [3.0, 3.0]  # owls are not to be learned


def test_hints_tell_the_trainer_regions_and_repeats_and_a_crowd_is_a_region(tmp_path):
    from experts.train_detector.train import LiteTrainer

    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file in files:
        Image.new("RGB", (48, 48)).save(file)
    photos = [
        Photo(files[0], 48, 48, (Box("dog", BOX),), complete=frozenset({"dog"})),
        Photo(files[1], 48, 48, (Box("kite", BOX), Box("dog", (0, 0, 24, 48), crowd=True))),
        Photo(files[2], 48, 48, (Box("dog", BOX),), "val"),
    ]
    made = data.write(photos, ["dog", "kite"], tmp_path / "set", repeat_human=2)
    own = {"data": str(made), "imgsz": 64, "model": "lite.yaml", "save_dir": str(tmp_path / "run")}
    trainer = LiteTrainer(overrides=own)
    trainer.loaders, trainer.model = 0, SimpleNamespace(stride=torch.tensor([32.0]))
    loader = trainer.get_dataloader(trainer.data["train"], batch_size=2, rank=-1)
    absence = np.array(trainer.hints["absence"])
    by_file = {labels["im_file"].split("/")[-1]: labels for labels in loader.dataset.labels}
    partly, crowd = by_file["000000.png"], by_file["000001.png"]
    assert partly["cls"][0] == 0 and absence[int(partly["cls"][1, 0]) - 2].tolist() == [1, 0]
    assert partly["bboxes"][1].tolist() == [0.5, 0.5, 1, 1]
    assert crowd["cls"][0] == 1 and absence[int(crowd["cls"][1, 0]) - 2].tolist() == [0, 1]
    assert crowd["bboxes"][1].tolist() == [0.25, 0.5, 0.5, 1]
    assert list(loader.sampler.weights) == [1.0, 2.0]
    batch = next(iter(loader))
    assert batch["cls"].max() < 2 + len(absence) and len(batch["cls"]) >= 2


@pytest.mark.parametrize("stride, kernel, padding", [(1, 5, 2), (1, 3, 0), (2, 5, 2), (2, 3, 0)])
def test_the_quick_backward_pass_gives_torchs_gradients(stride, kernel, padding):
    torch.manual_seed(0)
    size = 13 if padding == 0 else 12
    values = [torch.randn(2, 6, size, size), torch.randn(6, 1, kernel, kernel), torch.randn(6)]
    values = [v.bfloat16().float().requires_grad_() for v in values]

    def gradients():
        out = F.conv2d(*values, (stride, stride), (padding, padding), (1, 1), 6)
        weights = torch.linspace(-1, 1, out.numel()).reshape(out.shape).bfloat16().to(out.dtype)
        return out, torch.autograd.grad((out * weights).float().sum(), values)

    plain, expected = gradients()
    with QuickDepthwise():
        quick, got = gradients()
    assert quick.dtype == torch.bfloat16 and plain.dtype == torch.float32
    for a, b in zip((quick, *got), (plain, *expected), strict=True):
        assert torch.cosine_similarity(a.float().flatten(), b.flatten(), 0) > 0.999
        torch.testing.assert_close(a.float(), b, rtol=0.03, atol=0.03 * float(b.detach().abs().max()))


def test_convolutions_of_several_channels_a_group_are_left_alone():
    pixels, weight = torch.randn(1, 4, 8, 8), torch.randn(4, 2, 3, 3)
    with QuickDepthwise():
        assert F.conv2d(pixels, weight, None, 1, 1, 1, 2).dtype == torch.float32
