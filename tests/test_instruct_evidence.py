"""Evidence beside generated questions: dropped, wrong or real, it never makes an answer untrue."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experts.evidence import from_json
from lav2.instruct import generate, sentences
from lav2.instruct.noise import CLEAN, Augment, Noise, corrupt, is_misled, simulated_evidence
from lav2.instruct.photos import read_evidence
from lav2.instruct.world import World
from lav2.text.weighing import CANNOT_READ

pytest_plugins = ["scenes"]


def test_the_caption_in_made_up_evidence_is_not_the_answer(photos, tmp_path):
    augment = replace(CLEAN, simulated=Noise(wrong_caption=0))
    for row in generate.generate(photos, tmp_path, 60, shares={"short": 1.0}, augment=augment):
        given = row["evidence"]["caption"]["text"]
        assert sentences.sentence(given).lower() != row["answer"].lower()


def test_evidence_is_dropped_as_often_as_stated(photos, tmp_path):
    augment = Augment(no_experts=0.5, drop_expert=0.2)
    made = list(generate.generate(photos, tmp_path, 600, shares={"short": 1.0}, augment=augment))
    off = sum(not row["experts"] for row in made) / len(made)
    assert off == pytest.approx(0.5 + 0.5 * 0.2**3, abs=0.06)
    on = [row["experts"] for row in made if row["experts"]]
    assert sum("detection" in names for names in on) / len(on) == pytest.approx(0.8, abs=0.07)


def test_real_evidence_is_used_unchanged_when_clean_and_the_answer_follows_the_truth(photos, files, tmp_path):
    wrong = {
        "detection": {
            "items": [{"label": "zebra", "confidence": 0.9, "xyxy": [0.0, 0.0, 50.0, 50.0]}],
            "seconds": 0.1,
            "detector": "test",
            "classes": ["zebra"],
            "size": [320, 240],
        }
    }
    with (tmp_path / "evidence.jsonl").open("w") as out:
        for photo in photos:
            out.write(json.dumps({"image": str(photo.image), "evidence": wrong}) + "\n")
    source = read_evidence(tmp_path / "evidence.jsonl")
    shares = {"presence": 0.5, "count": 0.5}
    plain = list(generate.generate(photos, tmp_path, 40, shares=shares, augment=CLEAN))
    made = list(generate.generate(photos, tmp_path, 40, shares=shares, augment=CLEAN, evidence=source))
    assert all(row["evidence"] == wrong for row in made)
    assert [(r["question"], r["answer"]) for r in made] == [(r["question"], r["answer"]) for r in plain]


def test_of_counts_and_places_that_the_boxes_get_wrong_only_some_are_kept(photos, tmp_path):
    """Else half of the counts would teach not to look at the boxes."""

    def found(*items, classes=("dog", "person", "cat")):
        boxes = [{"label": label, "confidence": 0.9, "xyxy": xyxy} for label, xyxy in items]
        looked = {"seconds": 0.1, "detector": "d.onnx", "classes": list(classes), "size": [320, 240]}
        return {"detection": {"items": boxes, **looked}}

    left, right = [0, 0, 40, 240], [280, 0, 320, 240]
    two = found(("dog", left), ("dog", right))
    apart = found(("dog", left), ("person", right))
    for kind, question, answer, truth, evidence, misled in (
        ("count", "How many dogs are there?", "There are two dogs.", 2, two, False),
        ("count", "How many dogs are there?", "There are three dogs.", 3, two, True),
        ("count", "How many cows are there?", "There is one cow.", 1, two, False),  # not looked for
        ("count", "How many dogs are there?", "There are three dogs.", 3, {}, False),  # not run
        ("which", "What is on the left of the photo?", "A dog is on the left.", ["dog"], two, False),
        ("which", "What is on the left of the photo?", "A cat is on the left.", ["cat"], two, True),
        ("spatial", "Where is the dog relative to the person?", "The dog is to the left of the person.", "left", apart,
         False),
        ("spatial", "Is the person to the left of the dog?", "No, the person is to the right of the dog.", "no", apart,
         False),
        ("spatial", "Is the dog above the person?", "Yes, the dog is above the person.", "yes", apart, True),
        ("spatial", "Is the dog above the person?", "Yes, the dog is above the person.", "yes", two, True),
    ):  # fmt: skip
        row = {"kind": kind, "question": question, "answer": answer, "truth": truth}
        assert is_misled(row, evidence) == misled, (question, answer)

    def made(augment):
        return list(generate.generate(photos, tmp_path, 120, shares={"count": 1.0}, augment=augment, seed=1))

    def wrong(rows):
        with_boxes = [row for row in rows if "detection" in row["evidence"]]
        return sum(is_misled(row, row["evidence"]) for row in with_boxes)

    noisy = Augment(simulated=Noise(drop_item=0.5), misled=1.0)
    some = wrong(made(replace(noisy, misled=0.25)))
    assert wrong(made(noisy)) > 2 * some > wrong(made(replace(noisy, misled=0.0))) == 0


def test_a_second_pass_adds_what_experts_read_on_the_signs_and_changes_nothing_else(photos, tmp_path):
    shares = {"read": 0.5, "adversarial": 0.5}
    first = list(generate.generate(photos, tmp_path, 16, shares=shares, augment=CLEAN))
    real = {"ocr": {"items": [], "seconds": 0.1, "size": [320, 240]}}
    with (tmp_path / "signs.jsonl").open("w") as out:
        for row in first:
            out.write(json.dumps({"image": Path(row["image"]).name, "evidence": real}) + "\n")
    source = read_evidence(tmp_path / "signs.jsonl")
    second = list(generate.generate(photos, tmp_path, 16, shares=shares, augment=CLEAN, evidence=source))
    answers = [{"answer": CANNOT_READ} if (row["kind"] == "read" or row["reads"]) else {} for row in first]
    known = {"evidence": real, "experts": ["ocr"]}
    assert second == [row | known | answer for row, answer in zip(first, answers, strict=True)]


def test_findings_of_a_second_pass_change_no_picture_and_leave_only_misled_questions_out(photos, tmp_path):
    """Else what the experts read on a sign would be told of another one."""

    def made(folder, source=None, misled=1.0):
        augment = Augment(misled=misled)
        rows = list(generate.generate(photos, tmp_path / folder, 240, evidence=source, augment=augment, per_photo=4))
        asked = {(row["image"].removeprefix(str(tmp_path / folder)), row["question"]) for row in rows}
        return asked, {file.name: file.read_bytes() for file in (tmp_path / folder).iterdir()}

    wrong = {"detection": {"items": [], "seconds": 0.1, "detector": "blind", "classes": ["person", "dog", "car"],
                           "size": [320, 240]}}  # fmt: skip
    first, second, some = made("one"), made("two", lambda image: wrong), made("three", lambda image: wrong, 0.25)
    assert second == first and some[0] < first[0] and some[1] == first[1]


def test_noise_drops_swaps_adds_and_misreads_at_about_its_rates(photos):
    world = World(photos)
    photo = replace(
        next(p for p in photos if "umbrella" in p.counts), signs=(("STOP 15", ((0, 0), (9, 0), (9, 5), (0, 5))),)
    )
    before = simulated_evidence(photo, "", random.Random(0), world)
    noise = Noise(0.3, 0.3, 0.3, 0.3, 0.3, 0.05, 0.02)
    after = [corrupt(before, noise, random.Random(i), world) for i in range(300)]
    labels = [[i["label"] for i in e["detection"]["items"]] for e in after]
    true = {"person", "umbrella", "car"}
    assert np.mean([len(x) for x in labels]) == pytest.approx(3 * 0.7 + 0.3, abs=0.15)
    assert np.mean([bool(set(x) - true) for x in labels]) > 0.3
    assert np.mean([not e["ocr"]["items"] for e in after]) == pytest.approx(0.3, abs=0.08)
    texts = {i["text"] for e in after for i in e["ocr"]["items"]}
    assert len(texts) > 20
    assert len({e["caption"]["text"] for e in after}) > 3
    for e in after:
        from_json("detection", e["detection"])
    assert corrupt(before, CLEAN.real, random.Random(1), world) == before
