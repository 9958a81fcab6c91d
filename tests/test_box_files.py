"""Files of boxes for the detector's training: a byte order mark costs nothing, what is wrong is told with its place."""

import json

import pytest
from PIL import Image

from experts.evidence import ExpertError
from experts.train_detector import data
from experts.train_detector.__main__ import main

ROW = {"image": "0.png", "width": 9, "height": 9, "boxes": [{"label": "dog", "xyxy": [0, 0, 5, 5]}]}
COCO = {"images": [{"id": 1, "file_name": "0.png", "width": 9, "height": 9}], "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5]}]}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "0.png")
    return tmp_path


def test_a_byte_order_mark_costs_no_row(folder):
    for name, value in (("a.jsonl", ROW), ("a.json", COCO)):
        (folder / name).write_bytes(b"\xef\xbb\xbf" + json.dumps(value).encode())
        (photo,) = data.read(folder / name)
        assert photo.boxes[0].label == "dog"


@pytest.mark.parametrize(
    "line", ["{", "[" * 100_000, "7", "{}", json.dumps({**ROW, "boxes": [{"label": "dog"}]}),
             json.dumps({**ROW, "boxes": 1}),
             json.dumps({**ROW, "boxes": [{"label": "dog", "xyxy": [1, 2]}]}), json.dumps({**ROW, "width": "x"})],
)  # fmt: skip
def test_a_bad_line_is_told_with_file_and_line(folder, line, capsys):
    (folder / "a.jsonl").write_text(f"{json.dumps(ROW)}\n{line}\n")
    with pytest.raises(ExpertError, match=r"a\.jsonl, line 2"):
        data.read(folder / "a.jsonl")
    assert main(["count", "--data", str(folder / "a.jsonl")]) == 1
    assert "line 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, message",
    [({"annotations": [COCO["annotations"][0], {"image_id": 1, "caption": "A dog"}]}, "annotation 2"),
     ({"images": [5]}, "image 1"), ({"categories": 5}, "no list of categories"), ({"categories": [{}]}, "categories"),
     ({"annotations": [{"image_id": 1, "category_id": 7, "bbox": [0, 0, 5, 5]}]}, "annotation 1")],
)  # fmt: skip
def test_what_is_wrong_in_a_coco_file_is_told(folder, change, message):
    (folder / "a.json").write_text(json.dumps({**COCO, **change}))
    with pytest.raises(ExpertError, match=message):
        data.read(folder / "a.json")


def test_a_photo_with_a_name_that_is_too_long_is_told_as_missing(folder):
    (folder / "a.jsonl").write_text(json.dumps({**ROW, "image": "x" * 300 + ".png"}))
    with pytest.raises(ExpertError, match="missing"):
        data.read(folder / "a.jsonl")


def test_a_bad_line_of_yolo_is_told_and_a_damaged_photo_left_out(folder, capsys):
    for name in ("images", "labels"):
        (folder / name).mkdir()
    (folder / "0.png").rename(folder / "images/0.png")
    (folder / "images/1.png").write_bytes(b"nothing")
    (folder / "labels/0.txt").write_bytes(b"\xef\xbb\xbf0 .5 .5 .5 .5\n")
    (folder / "data.yaml").write_bytes(b"\xef\xbb\xbftrain: images\nnames: [dog]\n")
    (photo,) = data.read(folder)
    assert photo.boxes[0].label == "dog" and "1.png: left out" in capsys.readouterr().out
    (folder / "labels/0.txt").write_text("0 .5 .5 .5 .5\n9 .5\n")
    with pytest.raises(ExpertError, match=r"0\.txt, line 2"):
        data.read(folder)
    (folder / "data.yaml").write_text("a: [")
    with pytest.raises(ExpertError, match="not YAML"):
        data.read(folder)
