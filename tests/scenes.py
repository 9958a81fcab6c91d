"""Made-up photos with captions and boxes, and what lav2.instruct generates from them."""

import json

import pytest
from PIL import Image

from lav2.instruct import generate
from lav2.instruct.noise import Augment
from lav2.instruct.photos import read_photos

COLOURS = ("white", "gray", "navy", "olive")
# What each made-up photo shows: caption ends and boxes (label, cell of a 4x3 grid).
SCENES = [
    ("A man is riding a horse on a beach.", [("person", 1), ("horse", 5)]),
    ("Two dogs are running across the wet grass.", [("dog", 4), ("dog", 7)]),
    ("A woman is holding an umbrella near a parked car.", [("person", 6), ("umbrella", 2), ("car", 4)]),
    ("Three sheep stand beside an old wooden bench.", [("sheep", 0), ("sheep", 1), ("sheep", 5), ("bench", 11)]),
    ("Some people are playing soccer in the park.", [("person", 0), ("person", 2), ("person", 5), ("sports ball", 9)]),
    ("a cat sleeps on a red couch by the window ", [("cat", 5), ("couch", 9)]),
    ("Four buses wait in a line beside the station.", [("bus", 0), ("bus", 1), ("bus", 2), ("bus", 3)]),
    ("A girl in a blue coat is feeding five birds.", [("person", 4), *[("bird", i) for i in (1, 2, 3, 6, 7)]]),
    ("An apple and two knives lie on the kitchen counter.", [("apple", 4), ("knife", 5), ("knife", 6)]),
    ("A boy with skis looks at a dog in the snow.", [("person", 5), ("skis", 9), ("dog", 11)]),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder like the shared one: captions.jsonl, boxes.jsonl and 40 plain photos of 320 x 240 px."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "photos").mkdir()
    captions, boxes = [], []
    for i in range(40):
        text, objects = SCENES[i % len(SCENES)]
        name = f"photos/{i:02d}.webp"
        Image.new("RGB", (320, 240), COLOURS[i % 4]).save(folder / name)
        split = "val" if i >= 30 else "train"
        captions.append({"image": name, "split": split, "captions": [text, "A photo of a scene outdoors in daylight."]})
        at = [
            {"label": label, "xyxy": [c % 4 * 80 + 5, c // 4 * 80 + 5, c % 4 * 80 + 70, c // 4 * 80 + 70]}
            for label, c in objects
        ]
        boxes.append({"image": name, "split": split, "width": 320, "height": 240, "boxes": at})
    for name, rows in (("captions.jsonl", captions), ("boxes.jsonl", boxes)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def photos(files):
    return read_photos([files / "captions.jsonl", files / "boxes.jsonl"], files, "train")


@pytest.fixture(scope="module")
def rows(photos, tmp_path_factory):
    every = Augment(misled=1.0)
    return list(generate.generate(photos, tmp_path_factory.mktemp("signs"), 200, seed=3, augment=every))


def of(rows, *kinds):
    found = [row for row in rows if row["kind"] in kinds]
    assert found
    return found


def scene(photos, row):
    return next(p for p in photos if str(p.image) == row["image"])
