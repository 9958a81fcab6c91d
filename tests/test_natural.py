"""Natural questions are graded as people would: the value asked for, no part of a longer number, votes where known."""

import json

import pytest
from PIL import Image

from lav2.errors import LAV2Error
from lav2.evaluation import natural


@pytest.mark.parametrize(
    ("kind", "truth", "distractors", "answer", "right"),
    [
        ("text", ["19.06"], ["17.65"], "The total is 19.06.", True),
        ("text", ["19.06"], ["17.65"], "19.06, or 17.65", False),
        ("text", ["9.06"], [], "19.06", False),  # no part of a longer number
        ("text", ["(555) 014-7788"], [], "Call 555 014 7788", True),
        ("text", ["corner store"], [], "CORNER STORE", True),
        ("text", ["1,299.00", "1299"], [], "$1,299.00", True),
        ("yesno", ["yes"], ["no,"], "Yes: Bread 3.25.", True),
        ("yesno", ["no"], ["yes"], "There is no dog.", False),
        ("photo", ["pizza"], ["cake"], "They eat pizza.", True),
        ("photo", ["cat"], ["dog"], "A cat and a dog", False),
        ("photo", ["car"], [], "A scar", False),
    ],
)
def test_an_answer_is_right_if_it_says_what_is_asked_and_nothing_else(kind, truth, distractors, answer, right):
    assert natural.is_right({"kind": kind, "truth": truth, "distractors": distractors}, answer) is right


def test_human_answers_count_by_votes_where_there_are_some():
    voted = {"answers": ["yes", "no"], "votes": [8, 2]}
    assert natural.human_accuracy(voted, "Yes, it is a small town.") == 1.0
    assert 0 < natural.human_accuracy(voted, "No.") < 1
    plain = {"answers": ["2"]}
    assert natural.human_accuracy(plain, "Two") == 1.0 and natural.human_accuracy(plain, "There are two.") == 0.0
    assert natural.human_accuracy({"answers": ["banana"]}, "A banana.") == 1.0
    shares = {"answers": ["1960's", "70"], "votes": [1.0, 0.667]}  # OK-VQA's form
    assert [natural.human_accuracy(shares, said) for said in ("70.", "1960's", "1980")] == [0.667, 1.0, 0.0]


def test_files_that_do_not_fit_are_told_by_name(tmp_path):
    file = tmp_path / "questions.jsonl"
    for text, said in (("", "empty"), ('{"id": 1}', "without 'kind'"), ("[1", "cannot be read")):
        file.write_text(text)
        with pytest.raises(LAV2Error, match=said):
            natural.everyday(None, tmp_path)
    asked = {"coco_id": 5, "question": "What?", "answers": ["a"], "split": "val"}
    file.write_text(json.dumps(asked))
    with pytest.raises(LAV2Error, match="none of the photos"):
        natural.human(None, file, tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "000000000005.webp")
    assert natural._photo(tmp_path, 5) and natural._sort(asked) == "open"
