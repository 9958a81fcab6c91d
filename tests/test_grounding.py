"""The computed line says what the boxes say to the question, truly, and nothing where they say nothing."""

import pytest

from experts.evidence import Caption, Detections, ExpertFailure, OcrLines
from experts.prompt_block import prompt_block
from lav2.data.formats import InstructionRow
from lav2.data.samples import prompt_of
from lav2.events import Turn
from lav2.text import grounding

PHOTO = Detections(
    [[0, 0, 20, 40], [70, 60, 100, 100], [40, 40, 60, 60], [0, 90, 5, 95], [70, 0, 90, 20]],
    [0.5, 0.9, 0.8, 0.7, 0.6], ("person", "person", "dog", "cup", "clock"), 0.1, "d.onnx",
    ("person", "dog", "cup", "clock", "cow"), (100, 100),
)  # fmt: skip


def quad(left, top, right, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


LINES = [quad(10, 10, 80, 20), quad(10, 30, 80, 40), quad(10, 50, 80, 60)]
SIGN = OcrLines(LINES, [0.9, 0.8, 0.7], ("OPEN 9:30", "Soup $4.50", "or 12"), 0.1, (100, 100))
EVIDENCE = {"caption": Caption("a dog on grass", 0.1, "test"), "detection": PHOTO, "ocr": SIGN}


def computed(question, evidence=EVIDENCE):
    return grounding.computed(evidence, question).removeprefix("Computed: ")


@pytest.mark.parametrize(
    ("question", "line"),
    [
        ("How many people are there?", "two people (bottom right, top left)"),  # the surest first
        ("Is there a dog?", "one dog (center)"),
        ("Do you see any cows or giraffes?", "no cows found; giraffes not looked for"),
        ("Is the dog above the clock?", "the dog is below the clock"),
        ("Where is the clock relative to the dog?", "the clock is above the dog"),
        ("Is the dog to the left of the cow?", "one dog (center); no cows found"),
        ("What is on the right of the photo?", "a person and a clock on the right"),  # the larger first
        ("What is on the left?", "a person on the left"),  # the cup is smaller than a hundredth of the photo
        ("What do you see in the centre?", "a dog in the middle"),
        ("How many women are there?", "two people (bottom right, top left); women not told apart"),
        ("Is there a boy or a baby?", "two people (bottom right, top left); boy and baby not told apart"),
        ("How many people are wearing hats?", "two people (bottom right, top left); wearing not checked"),
        ("How many black dogs do you see?", "one dog (center); black not checked"),
        ("Is there a mouse cursor?", ""),
        ("What is the phone number?", ""),
        ("What does the sign say?", ""),
        ("What is the price?", ""),
        ("What time does it open?", ""),
        ("Is it orange?", ""),
        ("What colour is the sky?", ""),
        ("Describe the photo.", ""),
    ],
)
def test_the_line_tells_what_the_boxes_say_and_what_they_cannot_tell(question, line):
    assert computed(question) == line


def test_of_many_objects_four_places_are_told():
    crowd = Detections([[0, 0, 9, 9]] * 14, [0.7] * 14, ("person",) * 14, 0.1, "d", ("person",), (90, 90))
    found = computed("How many people?", {"detection": crowd})
    assert found == "14 people (top left, top left, top left, top left, ...)"


@pytest.mark.parametrize(("confidence", "word"), [(0.9, "one"), (0.5, "probably one"), (0.2, "perhaps one")])
def test_a_faint_box_is_told_with_its_doubt(confidence, word):
    found = Detections([[0, 0, 9, 9]], [confidence], ("dog",), 0.1, "d", ("dog",), (90, 90))
    assert computed("Is there a dog?", {"detection": found}) == f"{word} dog (top left)"
    assert f"Objects: {word} dog (top left)" in prompt_block({"detection": found}, len, 10**9).text


def test_text_and_experts_that_did_not_answer_compute_nothing():
    failed = {name: ExpertFailure(name, "No weights.", "Install them.", 0.0) for name in ("detection", "ocr")}
    for evidence in ({}, failed, {"caption": EVIDENCE["caption"]}, {"ocr": SIGN}):
        assert computed("How many signs and dogs? What is the price, the time, the number?", evidence) == ""


def test_the_line_follows_the_findings_within_the_budget_and_can_be_left_out():
    assert grounding.block({}, "How many dogs?", len).text == ""
    plain = prompt_block(EVIDENCE, len, 10**9, plural=grounding.plural).text

    def count(text):
        return len(text) // 4

    assert grounding.block(EVIDENCE, "How nice!", count).text == plain
    assert grounding.block(EVIDENCE, "A dog?", count).text == f"{plain}\nComputed: one dog (center)"
    assert grounding.block(EVIDENCE, "A dog?", count, computed_line=False).text == plain
    crowd = {"detection": Detections([[0, 0, 9, 9]] * 80, [0.7] * 80, ("dog",) * 80, 0.1, "d", ("dog",), (90, 90))}
    for budget in (0, 5, 40, 64, 90, 900):
        block = grounding.block(crowd, "How many dogs?", count, budget).text
        assert count(block) <= budget
    assert block.splitlines()[-1].startswith("Computed: 80 dogs")


def test_a_side_is_told_along_the_axis_of_the_larger_distance():
    assert grounding.side((10, 50), (90, 60), (100, 100)) == "left"
    assert grounding.side((10, 50), (30, 80), (100, 100)) == "above"
    assert grounding.side((10, 50), (30, 80), (50, 200)) == "left"  # measured in the photo's sides


def test_english_forms_are_right():
    assert [grounding.plural(one) for one in ("butterfly", "wolf", "fox", "monkey", "fish")] == [
        "butterflies", "wolves", "foxes", "monkeys", "fish"]  # fmt: skip
    assert grounding.listed({"apple": 1, "bus": 2, "person": 12}) == "an apple, two buses and 12 people"
    assert grounding.listed({"skis": 1, "knife": 2}) == "a pair of skis and two knives"
    assert [grounding.plural(x) for x in ("wine glass", "bench", "toothbrush", "sheep", "mouse", "tv")] == [
        *("wine glasses", "benches", "toothbrushes", "sheep", "mice", "TVs")
    ]
    assert grounding.a("umbrella") == "an umbrella" and grounding.a("broccoli") == "some broccoli"


def test_a_faint_box_is_told_to_those_alone_who_name_its_kind_and_where_no_sure_one_is():
    boxes = [[0, 0, 20, 40], [70, 60, 100, 100], [40, 40, 60, 60], [0, 90, 5, 95]]
    names = ("person", "dog", "cup")
    found = Detections(boxes, [0.9, 0.1, 0.2, 0.3], ("person", "dog", "dog", "person"), 0.1, "d", names, (99, 99), 0.4)
    assert grounding.filter_for_question(found, "What is this?").labels == ("person",)
    dogs = grounding.filter_for_question(found, "Is there a dog, or a person?")
    assert dogs.labels == ("person", "dog")
    assert dogs.confidence.tolist() == pytest.approx([0.9, 0.2])  # the surest of them
    assert grounding.filter_for_question(found, "Do you see a cup?").labels == ("person",)
    assert grounding.filter_for_question(EVIDENCE["ocr"], "Is there a dog?") is EVIDENCE["ocr"]


def test_a_prompt_in_training_tells_of_a_faint_box_that_is_asked_for():
    found = Detections([[0, 0, 20, 40]], [0.1], ("dog",), 0.1, "d", ("dog",), (99, 99), 0.4)

    class Words:
        bos_token, eos_token = "", ""

        def __call__(self, text, add_special_tokens=True):
            return type("Encoded", (), {"input_ids": text.split()})

    def prompt(question):
        row = InstructionRow("photo", (Turn(question, ""),), {"detection": found})
        return prompt_of(row, Words(), "alpaca")

    assert "perhaps one dog" in prompt("Is there a dog?")
    assert "one dog" not in prompt("What is this?")


def test_what_is_not_among_the_boxes_of_a_page_is_a_word_of_its_text():
    page = {"detection": PHOTO.only(PHOTO.confidence > 1), "ocr": SIGN}  # no box, three rows
    assert computed("Which cow leaves at 9:30?", page) == ""
    assert computed("Is there a cow?", page) == "no cows found" == computed("Which cow is it?", {**page, "ocr": None})
    assert computed("Which cow leaves at 9:30?") == "no cows found"  # boxes: a photo with a sign
