"""Findings that a reader corrects: each change has one entry, whoever made it is known, and a receipt carries it."""

import json

import numpy as np
import pytest
from PIL import Image

from experts.evidence import Caption, Detections, ExpertFailure, OcrLines
from experts.prompt_block import prompt_block
from experts.render import draw, numbered
from lav2.assistant import receipt
from lav2.errors import LAV2Error
from lav2.events import Change, Done, Request
from lav2.text import corrections
from lav2.ui.fixing import box_shares
from lav2.ui.texts import TEXTS

SIZE = (200, 100)
FOUND = {
    "caption": Caption("a heron", 0.1, "test", (("bird", 0.8),)),
    "detection": Detections(
        np.array([[0, 0, 50, 50], [100, 0, 200, 100]]), np.array([0.5, 0.9]), ("dog", "cat"), 0.2, "d.pt",
        ("dog", "cat"), SIZE, colours=("black", "white"),
    ),
    "ocr": OcrLines(np.array([[[9, 9], [60, 9], [60, 20], [9, 20]]]), np.array([0.7]), ("STOP",), 0.1, SIZE),
}  # fmt: skip
NUMBERS = {item.text: item.number for item in numbered(FOUND)}


def kept(**changed):
    """Number -> text of all findings, some of them rewritten (None: left out)."""
    kept_texts = {NUMBERS[text]: changed.get(text.replace(" ", "_"), text) for text in NUMBERS}
    return {number: text for number, text in kept_texts.items() if text is not None}


def test_boxes_keep_their_own_colour_when_one_is_left_out():
    """Once a box left out of a photo with colours raised an error."""
    given = corrections.corrected(FOUND, kept(cat=None))["detection"]
    assert (given.labels, given.colours) == (("dog",), ("black",))
    both = corrections.corrected(FOUND, kept())["detection"]
    assert dict(zip(both.labels, both.colours, strict=True)) == {"dog": "black", "cat": "white"}


def test_a_reader_can_add_boxes_and_text_also_where_no_expert_looked_or_one_failed():
    dog = corrections.added("detection", "fox <b>", (150, 90, 120, -5), SIZE, 7)
    sign = corrections.added("ocr", "EXIT", (10, 40, 60, 60), SIZE, 8)
    assert dog.text == "fox b" and dog.polygon.tolist() == [[120, 0], [150, 0], [150, 90], [120, 90]]
    for evidence in (FOUND, {}, {"ocr": ExpertFailure("ocr", "No.", "Yes.", 0.1)}):
        on = kept() if evidence is FOUND else {}
        given = corrections.corrected(evidence, on | {7: "fox", 8: "EXIT"}, [dog, sign], SIZE)
        text = prompt_block(given, len, 9999).text
        assert "one fox (right)" in text and "> EXIT" in text
        assert given["ocr"].reliable.all() and given["ocr"].confidence[-1] == 1
    unticked = corrections.corrected(FOUND, kept(), [dog, sign], SIZE)
    assert prompt_block(unticked, len, 9999) == prompt_block(corrections.corrected(FOUND, kept()), len, 9999)


def test_a_box_that_a_reader_added_is_drawn_with_its_number():
    photo = Image.new("RGB", SIZE, "white")
    item = corrections.added("detection", "fox", (100, 40, 180, 90), SIZE, 3)
    assert draw(photo, {}, [item]).getpixel((180, 60)) != (255, 255, 255)
    assert draw(photo, {}).tobytes() == photo.tobytes()


def test_every_changed_finding_has_one_entry_also_when_it_is_changed_again():
    fox = corrections.added("detection", "fox", (10, 10, 20, 20), SIZE, 6)
    first = kept(dog="wolf", STOP=None, bird="stork") | {6: "fox"}
    given = corrections.corrected(FOUND, first, [fox], SIZE)
    changes = corrections.changes(FOUND, first, [fox])
    assert [(one.expert, one.before, one.after) for one in changes] == [
        ("detection", "dog", "wolf"),
        ("ocr", "STOP", None),
        ("caption", "bird", "stork"),
        ("detection", None, "fox"),
    ]
    own = {item.text for item in numbered(given) if item.number in corrections.by_reader(given, changes)}
    assert own == {"wolf", "fox", "stork"}
    numbers = {item.text: item.number for item in numbered(given)}
    second = {number: text for text, number in numbers.items() if text != "fox"} | {numbers["wolf"]: "dog"}
    again = corrections.changes(given, second, (), changes)
    assert [(one.before, one.after) for one in again] == [("STOP", None), ("bird", "stork")]  # the rest is as it was
    after = corrections.corrected(given, second)
    own = {item.text for item in numbered(after) if item.number in corrections.by_reader(after, again)}
    assert own == {"stork"}


def test_a_receipt_carries_the_corrections_through_its_file(tmp_path):
    text = kept(dog="wolf")
    changes = corrections.changes(FOUND, text)
    given = corrections.corrected(FOUND, text)
    photo = Image.new("RGB", SIZE)
    done = Done("A wolf.", given, "prompt", {}, 0, "embedded", {}, False, {})
    made = receipt.receipt(Request("What?", photo, evidence=given, corrections=changes), done)
    (tmp_path / "receipt.json").write_text(json.dumps(made))
    read = receipt.request(receipt.read(tmp_path / "receipt.json"), photo)
    assert read.corrections == changes == (Change("detection", "dog", "wolf", ((0, 0), (50, 0), (50, 50), (0, 50))),)
    assert corrections.by_reader(read.evidence, read.corrections) == {
        item.number for item in numbered(given) if item.text == "wolf"
    }
    for bad in ([{"expert": "dog"}], [{"expert": "ocr", "before": 1, "after": None}], 7):
        (tmp_path / "receipt.json").write_text(json.dumps({**made, "corrections": bad}))
        with pytest.raises(LAV2Error, match="no receipt"):
            receipt.read(tmp_path / "receipt.json")


@pytest.mark.parametrize("text", ["", "1, 2, 3", "1 2 1 4", "1 2 3 2", "-1, 2, 3, 4", "1, 2, 3, 101", "a, b, c, d"])
def test_corners_that_are_no_box_in_the_photo_are_told(text):
    with pytest.raises(LAV2Error, match="no box"):
        box_shares(text, TEXTS["en"])
    assert box_shares("10, 20.5, 30 %, 100", TEXTS["en"]) == [10, 20.5, 30, 100]
