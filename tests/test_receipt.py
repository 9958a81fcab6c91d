"""Receipts: what they keep, and that they give the same answer again or say what differs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experts.evidence import Caption, Detections, ExpertFailure, OcrLines
from experts.prompt_block import prompt_block
from lav2.assistant import receipt
from lav2.cli.main import main
from lav2.errors import LAV2Error
from lav2.events import Done, Request, Sampling, Turn

SIGN = Path(__file__).parent.parent / "assets/examples/street-sign.webp"
PHOTO = Image.new("RGB", (100, 80), "red")
EVIDENCE = {
    "caption": Caption("a dog", 0.5, "test"),
    "detection": Detections(
        [[1, 2, 30, 40]], [0.984963], ("dog",), 0.2, "d.pt", ("dog",), (100, 80), colours=("brown",)
    ),
    "ocr": OcrLines(np.zeros((1, 4, 2)), [0.5], ("STOP",), 0.3, (100, 80)),
}
ASKED = Request("What?", PHOTO, (Turn("Before?", "Yes."),), sampling=Sampling(temperature=0.7, seed=5))
DONE = Done("A dog.", EVIDENCE, "the prompt", {}, 5, "embedded", {"lav2": "1"}, False, {"base": "ab", "adapter": "cd"})


def test_a_receipt_is_json_that_gives_the_same_request_and_prompt_block_back():
    value = json.loads(json.dumps(receipt.receipt(ASKED, DONE)))
    again = receipt.request(value, PHOTO)
    assert (again.question, again.history, again.sampling) == (ASKED.question, ASKED.history, ASKED.sampling)
    assert prompt_block(again.evidence, len, 9999) == prompt_block(EVIDENCE, len, 9999)
    assert again.evidence["detection"].confidence == EVIDENCE["detection"].confidence  # not 0.985
    assert receipt.receipt(again, replace(DONE, evidence=again.evidence))["evidence"] == value["evidence"]
    assert (value["weights"], value["answer"], value["corrected"]) == (DONE.weights, "A dog.", False)


def test_a_photo_is_known_by_its_pixels(tmp_path):
    value = receipt.receipt(ASKED, DONE)
    PHOTO.save(tmp_path / "other-file.png")
    receipt.check_image(value, Image.open(tmp_path / "other-file.png"))
    for other in (Image.new("RGB", (100, 80), "blue"), Image.new("RGB", (80, 100), "red"), None):
        with pytest.raises(LAV2Error, match="another one"):
            receipt.check_image(value, other)
    without = receipt.receipt(replace(ASKED, image=None), DONE)
    receipt.check_image(without, None)
    with pytest.raises(LAV2Error, match="no photo"):
        receipt.check_image(without, PHOTO)


def test_every_difference_has_its_line():
    before = receipt.receipt(ASKED, DONE)
    assert receipt.differences(before, before) == []
    after = receipt.receipt(ASKED, replace(DONE, answer="A cat.", weights={"base": "ab", "adapter": "ef"}))
    assert receipt.differences(before, after) == [
        "answer: 'A dog.' in the receipt, 'A cat.' now",
        "weights: adapter: 'cd' in the receipt, 'ef' now",
    ]


def test_of_a_stopped_answer_only_what_was_said_counts():
    stopped = receipt.receipt(ASKED, replace(DONE, answer="A d", stopped=True))
    whole = receipt.receipt(ASKED, DONE)
    assert receipt.same_answer(stopped, whole) and not receipt.same_answer(whole, stopped)


def refusal(path: Path) -> str:
    """What is said of a file that is no receipt: its name, and not where the server keeps it."""
    with pytest.raises(LAV2Error, match=r"^receipt\.json is no receipt") as error:
        receipt.read(path)
    return str(error.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "lav2 receipt 9"}', "[" * 100_000])
def test_what_is_no_receipt_is_told(tmp_path, content):
    path = tmp_path / "receipt.json"
    assert "FileNotFoundError" in refusal(path) and str(tmp_path) not in refusal(path)
    path.write_text(content)
    refusal(path)


@pytest.mark.parametrize("value", [None, 7, "x", [], {}])
def test_a_damaged_receipt_is_told_whatever_part_is_damaged(tmp_path, value):
    path = tmp_path / "receipt.json"
    whole = json.loads(json.dumps(receipt.receipt(ASKED, DONE)))
    path.write_text(json.dumps(whole))
    assert receipt.read(path) == whole
    may_be = {"question": str, "answer": str, "prompt": str, "preset": str, "history": list, "experts": list,
              "corrections": list, "left_out": list, "evidence": dict, "weights": dict, "versions": dict,
              "sampling": dict}  # fmt: skip
    for name in sorted(whole.keys() - {"format", "corrected"}):
        if name in ("history", "experts") and value in ("x", {}):
            continue  # what can be gone through
        if isinstance(value, may_be.get(name, ())) or (name == "image" and value is None):
            continue
        path.write_text(json.dumps({**whole, name: value}))
        refusal(path)
    for name in sorted(whole.keys() - {"corrected", "corrections", "left_out"}):
        path.write_text(json.dumps({key: one for key, one in whole.items() if key != name}))
        refusal(path)


def places(value, path=()):
    """The path of every part of a JSON value, the value itself first."""
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from places(part, (*path, name))


ODD = (None, True, -1, 0, 7, 1.5, 1e400, float("nan"), 10**400, "", "x", "\ud800", "{name}", [], [[]], {}, {"a": 1})


def test_every_odd_receipt_is_told_in_one_error_or_can_be_replayed(tmp_path):
    """Any part of a receipt replaced by any odd value: what is read can be asked, put into a prompt and compared."""
    failed = {"detection": ExpertFailure("detection", "No weights.", "Give some.", 0.1)}
    path, refused = tmp_path / "receipt.json", 0
    for done, part in ((DONE, ()), (replace(DONE, evidence=EVIDENCE | failed), ("evidence", "detection"))):
        whole = json.dumps(receipt.receipt(ASKED, done))
        for place in places(json.loads(whole)):
            if place[: len(part)] != part:
                continue
            for odd in ODD:
                value = {"receipt": json.loads(whole)}
                *parents, last = ("receipt", *place)
                within = value
                for name in parents:
                    within = within[name]
                within[last] = odd
                path.write_text(json.dumps(value["receipt"]))
                try:
                    read = receipt.read(path)
                    asked = receipt.request(read, PHOTO)
                except LAV2Error as error:
                    assert len(str(error)) < 500 and error.next_step
                    refused += 1
                    continue
                again = replace(done, evidence=asked.evidence, prompt=prompt_block(asked.evidence, len, 9999).text)
                after = json.loads(json.dumps(receipt.receipt(asked, again), allow_nan=False))
                "".join([asked.question, *receipt.differences(read, after)]).encode()
    assert refused > 1000


def test_long_texts_that_differ_are_quoted_where_they_begin_to_differ():
    before = receipt.receipt(ASKED, replace(DONE, prompt="system " * 900 + "a dog"))
    after = receipt.receipt(ASKED, replace(DONE, prompt="system " * 900 + "a cat"))
    (line,) = receipt.differences(before, after)
    assert "a dog' in the receipt" in line and "a cat' now" in line and len(line) < 300


@pytest.mark.slow
def test_replay_gives_the_same_answer_or_says_what_differs(tmp_path, capsys):
    from lav2.assistant.service import Assistant
    from lav2.image import open_image

    asked = Request("What does the sign say?", open_image(SIGN), sampling=Sampling(0.8, max_new_tokens=12, seed=3))
    *_, done = Assistant.load().answer(asked)
    value = receipt.receipt(asked, done)
    assert set(value["weights"]) == {"base", "adapter", "caption_adapter", "image_encoder", "classifier",
                                     "caption_phrases", "caption_answers", "reader"}  # fmt: skip
    assert "weights" in value["versions"]["engine"]  # int8 or folded
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps(value))
    assert main(["replay", str(path), str(SIGN)]) == 0
    assert "The answer is the same" in capsys.readouterr().out
    path.write_text(json.dumps(value | {"answer": "Something else."}))
    assert main(["replay", str(path), str(SIGN)]) == 1
    assert "'Something else.' in the receipt" in capsys.readouterr().out
    assert main(["replay", str(path), str(SIGN.with_name("shapes.webp"))]) == 1
