"""Kinds of object, contradictions, corrections, routing and votes: all without models."""

import json

import numpy as np
import pytest
from PIL import Image

from experts.evidence import Caption, Detections, ExpertFailure, OcrLines
from experts.prompt_block import prompt_block
from experts.render import numbered
from lav2.assistant import receipt, votes
from lav2.cli.main import main
from lav2.errors import LAV2Error
from lav2.events import REASONS, Done, Request
from lav2.text import claims, corrections, routing

EVIDENCE = {
    "caption": Caption("two men ride a horse on a beach", 0.1, "test"),
    "detection": Detections(
        [[0, 0, 9, 9], [10, 10, 50, 90], [60, 10, 90, 90]], [0.4, 0.9, 0.8], ("sports ball", "person", "person"), 0.1,
        "d.pt", ("person", "horse", "sports ball"), (100, 100),
    ),
    "ocr": OcrLines(np.zeros((2, 4, 2)), [0.9, 0.8], ("OPEN 9-18", "Closed on Monday"), 0.1, (100, 100)),
}  # fmt: skip
WITHOUT = ExpertFailure("ocr", "No weights.", "Install them.", 0.0)


@pytest.mark.parametrize(
    "question, kinds",
    [
        ("Is there a dog?", ["dog"]),
        ("How many women are beside the hot dogs?", ["person", "hot dog"]),
        ("Wine glasses, scissors or knives on the dining table?", ["wine glass", "scissors", "knife", "dining table"]),
        ("Where is my phone, and the remote control of the TV?", ["cell phone", "remote", "tv"]),
        ("Is the football left of the baseball gloves?", ["sports ball", "baseball glove"]),
        ("How many buses?", ["bus"]),
        ("What does the sign say?", []),
    ],
)
def test_the_kinds_of_object_that_a_question_speaks_of(question, kinds):
    assert claims.asked(question) == kinds


def test_the_caption_and_the_detector_can_contradict_each_other():
    assert claims.conflicts(EVIDENCE) == [claims.Conflict("horse", "horse", None, 0)]
    three = {**EVIDENCE, "caption": Caption("three women with a cat", 0.1, "test")}  # it knows no cats
    assert claims.conflicts(three) == [claims.Conflict("women", "person", 3, 2)]
    assert claims.conflicts({"caption": EVIDENCE["caption"], "ocr": WITHOUT}) == []


@pytest.mark.parametrize(
    "caption, conflicts",
    [
        ("a hot dog on a plate", [("hot dog", None)]),
        ("a man holding a baseball bat", []),
        ("a train station beside a bus stop", []),
        ("two people, dogs and a car", [("dogs", None), ("car", None)]),
        ("two red buses and 3 hot dogs", [("buses", 2), ("hot dogs", 3)]),
        ("a wine glass and a cell phone on a table", [("wine glass", None), ("cell phone", None)]),
    ],
)
def test_a_caption_contradicts_the_detector_only_in_what_it_names(caption, conflicts):
    classes = ("person", "dog", "hot dog", "sports ball", "train", "bus", "car", "wine glass", "cell phone")
    boxes = np.zeros((2, 4), np.float32)
    objects = Detections(boxes, [0.9, 0.9], ("person", "person"), 0.1, "d.pt", classes, (9, 9))
    found = claims.conflicts({"caption": Caption(caption, 0.1, "test"), "detection": objects})
    assert [(conflict.word, conflict.said) for conflict in found] == conflicts


def test_nothing_changed_leaves_the_prompt_as_it_was():
    same = corrections.corrected(EVIDENCE, {item.number: item.text for item in numbered(EVIDENCE)})
    assert prompt_block(same, len, 9999) == prompt_block(EVIDENCE, len, 9999)


def test_a_reader_can_leave_findings_out_and_correct_them():
    evidence = {**EVIDENCE, "ocr": WITHOUT}
    text = prompt_block(corrections.corrected(evidence, {2: "person", 3: "scarecrow"}), len, 9999).text
    assert "Caption" not in text and "Text: could not run" in text
    assert "one scarecrow (right)" in text and "one person (" in text and "ball" not in text
    nothing = prompt_block(corrections.corrected(EVIDENCE, {}), len, 9999).text
    assert "Objects: none found" in nothing and "Text: none found" in nothing


def test_a_reader_can_leave_out_the_sentence_and_keep_or_correct_the_concepts():
    found = {"caption": Caption("a heron", 0.1, "test", (("bird", 0.8), ("lamp", 0.2)))}
    assert [item.text for item in numbered(found)] == ["a heron", "bird", "lamp"]
    kept = corrections.corrected(found, {2: "bird", 3: "stork"})["caption"]
    assert kept.text == "" and kept.concepts == (("bird", 0.8), ("stork", 1.0))
    assert "caption" not in corrections.corrected(found, {})


def test_a_text_that_is_not_reliable_stays_so_until_a_reader_corrects_it():
    quads = np.arange(16, dtype=np.float32).reshape(2, 4, 2)
    found = {"ocr": OcrLines(quads, [0.4, 0.3], ("g84124", "4g447"), 0.1, (100, 100), np.zeros(2, bool))}
    (one, other) = (item.number for item in numbered(found))
    assert corrections.corrected(found, {one: "g84124", other: "Seoul"})["ocr"].reliable.tolist() == [False, True]
    assert corrections.corrected(found, {other: "4g447"})["ocr"].reliable.tolist() == [False]


@pytest.mark.parametrize(
    "answer, said",
    [("There are two people.", 2), ("3 people, no dog.", None), ("Two.", 2), ("3", None), ("", None), ("Many.", None)],
)
def test_an_answer_that_counts_otherwise_than_the_detector_is_told(answer, said):
    boxes = np.zeros((3, 4), np.float32)
    found = {"detection": Detections(boxes, [0.9] * 3, ("person",) * 3, 0.1, "d.pt", ("person", "dog"), (9, 9))}
    result = claims.miscounted(answer, "How many people are there?", found)
    assert [(conflict.said, conflict.found) for conflict in result] == ([] if said is None else [(said, 3)])
    assert claims.miscounted(answer, "How many people are there?", {}) == []


@pytest.mark.parametrize(
    "question, experts, kinds",
    [
        ("What does the sign say?", ("ocr",), ("read",)),
        ("How much do the apples cost?", ("ocr",), ("read",)),
        ("How many people are there?", ("detection",), ("objects",)),
        ("Is there a dog left of the car?", ("detection",), ("objects",)),
        ("Describe the photo.", ("caption", "detection"), ("describe",)),
        ("How many signs are there, and what do they say?", ("detection", "ocr"), ("read", "objects")),
        ("Is there a fence?", ("caption", "detection"), ("objects",)),
        ("Where was this taken?", ("caption", "detection"), ("objects",)),
        ("Where is the dog?", ("caption", "detection"), ("objects",)),
        ("What time of day is it?", ("caption", "detection", "ocr"), ("other",)),
        ("Is it fun?", ("caption", "detection", "ocr"), ("other",)),
        ("Is the door open?", ("caption", "detection", "ocr"), ("other",)),
        ("Is the shop open on Sundays?", ("ocr",), ("read",)),
        ("Is the man on the phone?", ("caption", "detection", "ocr"), ("other",)),
        ("What is the phone number?", ("ocr",), ("read",)),
        ("Is there a dog?", ("detection",), ("objects",)),
        ("간판에 뭐라고 쓰여 있나요?", ("detection", "ocr"), ("read", "objects")),
        ("사람이 몇 명 있나요?", ("detection",), ("objects",)),
        ("여기가 어디야?", ("caption", "detection"), ("objects",)),
    ],
)
def test_a_question_goes_to_the_experts_it_needs_and_says_why(question, experts, kinds):
    route = routing.route(question)
    assert (route.experts, route.kinds) == (experts, kinds)
    assert str(route).startswith(", ".join(experts)) and REASONS[kinds[0]] in str(route)


def test_only_auto_is_routed():
    assert routing.choose(["caption"], "What does it say?") == (("caption",), None)
    chosen, route = routing.choose(["auto", "caption"], "What does it say?")
    assert chosen == ("ocr",) and route.words == ("say",)


def answered(text, evidence=(), stopped=False):
    asked = Request("What?", Image.new("RGB", (9, 9)))
    done = Done(text, dict(evidence), f"prompt {len(evidence)}", {}, 0, "embedded", {}, stopped, {})
    return receipt.receipt(asked, done)


def test_votes_keep_receipts_and_photo_and_export_preference_pairs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LAV2_VOTES", str(tmp_path / "votes"))
    assert main(["votes", "--export", str(tmp_path / "pairs.jsonl")]) == 1
    assert "There are no votes" in capsys.readouterr().err
    photo = Image.new("RGB", (9, 9))
    left, right = answered("A cat."), answered("A dog.", EVIDENCE)
    for choice in votes.CHOICES:
        votes.store(choice, left, right, photo)
    votes.store("left", left, answered("A c", EVIDENCE, stopped=True), photo)
    votes.store("left", left, answered("A cat.", EVIDENCE), photo)
    lines_in_a_text = {"ocr": OcrLines(np.zeros((1, 4, 2)), [0.9], ("a\u2028b\u2029c\x85d",), 0.1, (9, 9))}
    votes.store("tie", left, answered("A b.", lines_in_a_text), photo)
    lines = (tmp_path / "votes/votes.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["right"] == json.loads(json.dumps(right))
    receipt.check_image(right, Image.open(tmp_path / f"votes/photos/{right['image']['sha256']}.webp").convert("RGB"))
    assert main(["votes", "--export", str(tmp_path / "pairs.jsonl")]) == 0
    assert [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()] == [
        {"prompt": "prompt 3", "chosen": "A cat.", "rejected": "A dog."},
        {"prompt": "prompt 3", "chosen": "A dog.", "rejected": "A cat."},
    ]
    with pytest.raises(LAV2Error, match="no vote"):
        votes.store("maybe", left, right, photo)
