"""Generated questions about text: answered as the reader read it, refusals name nothing, no planted order is obeyed."""

import random
import re
import string
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scenes import of, scene

from experts.render import clean
from lav2.instruct import generate, reading, signs
from lav2.instruct.noise import CLEAN
from lav2.instruct.photos import Box, Photo
from lav2.instruct.phrasings import NO_TEXT, ORDERED, QUESTIONS, REFUSALS, SIGN_WORDS
from lav2.instruct.questions import _refusal
from lav2.instruct.world import World
from lav2.text.weighing import CANNOT_READ

pytest_plugins = ["scenes"]


def test_what_is_read_is_what_the_text_reader_found(rows):
    styles = Counter()
    for row in of(rows, "read"):
        found = [item["text"] for item in row["evidence"].get("ocr", {}).get("items", ())]
        answer = row["answer"]
        if answer == CANNOT_READ:
            assert not found
        elif not answer.startswith(("I see no ", "The text has ")):
            said = re.sub(r'^.*?(?:says "?|is |costs )(.*?)"?\.$', r"\1", answer)
            assert set(said.replace(" or ", " ").split()) <= set(clean(" ".join(found), 999).split())
        styles["only" if row["question"] in QUESTIONS["read only"] else answer.split()[0]] += 1
    assert {"only", "It", "The", "I"} <= set(styles)


def test_a_price_or_a_time_is_asked_of_the_signs_that_tell_it(photos, tmp_path):
    made = list(generate.generate(photos, tmp_path, 500, shares={"read": 1.0}, augment=CLEAN))
    kinds = {kind: [row for row in made if row["question"] in QUESTIONS[kind]] for kind in ("read price", "read time")}
    assert all(re.fullmatch(r"\$\d+\.\d\d", row["truth"]) for row in kinds["read price"])
    assert all(re.fullmatch(r"\d+:\d\d", row["truth"]) for row in kinds["read time"])
    for rows in kinds.values():
        assert len(rows) >= 8
        answered = [row for row in rows if row["truth"] in row["answer"]]
        assert all(row["answer"].startswith(("I ", "The text")) for row in rows if row not in answered)
        assert len(answered) >= 6


def test_a_sign_is_answered_as_the_text_reader_read_it_mistakes_and_all():
    def read(question, answer, truth, *found):
        quads = [[[9, 20 * i], [90, 20 * i], [90, 20 * i + 12], [9, 20 * i + 12]] for i in range(len(found))]
        items = [{"text": text, "confidence": 0.9, "quad": quad} for text, quad in zip(found, quads, strict=True)]
        ocr = {"items": items, "seconds": 0.1, "size": [100, 100]}
        return reading.answer_as_read(question, answer, truth, {"ocr": ocr} if found else {})

    whole = "What is written here?", 'It says "Gate 42 open daily".', "Gate 42 open daily"
    assert read(*whole, "GATE 4Z", "opcn daily") == 'It says "GATE 4Z opcn daily".'
    assert read(*whole) == CANNOT_READ
    number = "What is the number?", "The number is 42.", "42"
    assert read(*number, "open daily") == "I see no number in the text."
    assert read(*number, "gate 42", "open at 9") == "The number is 42 or 9."
    line = "What does the second line say?", 'The second line says "open daily".', "open daily"
    assert read(*line, "Gate", "0pen daily") == 'The second line says "0pen daily".'
    assert read(*line, "open daily") == "The text has one line."
    empty = {"ocr": {"items": [], "seconds": 0.1, "size": [9, 9]}}
    assert reading.answer_as_read(*whole, empty) == CANNOT_READ


@pytest.mark.parametrize("seed", range(12))
def test_the_drawn_letters_lie_in_their_quads_however_turned(seed):
    plain = Image.new("RGB", (400, 300), (128, 128, 128))
    lines = ["HELLO", "Gate 42"]
    picture, quads = signs.draw_sign(plain, lines, random.Random(seed))
    changed = np.abs(np.asarray(picture, int) - 128).sum(2) > 60  # [h,w]: sign or letters
    assert changed.any()
    for quad in quads:
        points = np.array(quad)  # [4,2]
        assert (points >= -3).all() and (points <= np.array(plain.size) + 3).all()
        edges = np.roll(points, -1, 0) - points  # [4,2]
        turns = edges[:, 0] * np.roll(edges[:, 1], -1) - edges[:, 1] * np.roll(edges[:, 0], -1)  # [4]
        assert (turns > 0).all()  # clockwise, y pointing down
        # The quad is full of ink or paper: take points on a grid well inside of it.
        s, t = np.meshgrid(np.linspace(0.05, 0.95, 30), np.linspace(0.1, 0.9, 12))
        inside = points[0] + s[..., None] * edges[0] + t[..., None] * (points[3] - points[0])  # [12,30,2]
        x, y = np.clip(inside.round().astype(int), 0, [399, 299]).transpose(2, 0, 1)
        assert changed[y, x].mean() > 0.25
    ys, xs = np.nonzero(changed)
    points = np.concatenate([np.array(q) for q in quads])
    assert xs.min() - 40 < points[:, 0].min() and points[:, 0].max() < xs.max() + 4
    assert ys.min() - 40 < points[:, 1].min() and points[:, 1].max() < ys.max() + 4


def test_signs_of_the_held_out_set_share_no_word_with_training(photos):
    words = [*string.ascii_lowercase, *SIGN_WORDS.split()]

    def vocabulary(held_out):
        lines = [line for i in range(200) for line in signs.sign_text(random.Random(i), words, held_out)]
        return {w.lower() for line in lines for w in line.split() if w.isalpha()}

    train, val = vocabulary(False), vocabulary(True)
    assert train and val and not train & val


def test_an_answer_to_a_planted_order_follows_the_question(photos, tmp_path):
    made = list(generate.generate(photos, tmp_path, 40, shares={"adversarial": 1.0}))
    assert {row["reads"] for row in made} == {True, False}
    for row in made:
        assert row["forbidden"] in ORDERED
        said = row["answer"].startswith("It says")
        assert row["reads"] == (row["asks"] == "read") == (said or row["answer"] == CANNOT_READ)
        assert said or row["forbidden"] not in row["answer"].lower()
    shown = [i["text"] for row in made for i in row["evidence"].get("ocr", {}).get("items", ())]
    assert len(shown) > 15  # the orders do stand in the evidence


def test_what_a_sign_hides_is_not_asked_for(photos, tmp_path):
    photo = next(p for p in photos if "horse" in p.counts)
    signed = signs.with_sign(photo, ["A LONG LINE OF TEXT"], tmp_path / "x.webp", random.Random(0))
    (left, top), (right, bottom) = np.min(signed.signs[0][1], 0), np.max(signed.signs[0][1], 0)
    covered = Box("cat", (left, top, right, bottom))
    assert signs.is_hidden(covered, (left, top, right, bottom))
    assert not signs.is_hidden(Box("cat", (0, 0, 1, 1)), (2, 2, 3, 3))
    again = signs.with_sign(
        replace(photo, boxes=(covered,)), ["A LONG LINE OF TEXT"], tmp_path / "y.webp", random.Random(0)
    )
    assert again.counts == {}


def test_a_refusal_names_nothing_and_asks_only_what_cannot_be_known(photos, tmp_path):
    made = list(generate.generate(photos, tmp_path, 120, shares={"refusal": 1.0}))
    for row in made:
        answer = row["answer"]
        assert not re.search(r"\d", answer)
        assert not [w for w in answer.split()[1:] if w[0].isupper()]
        assert re.search(r"\b(does not|cannot|no)\b", answer)
        if "person" in row["question"].lower():
            assert "person" in scene(photos, row).counts
    clock = Photo("x", ("A clock tower.",), (9, 9), (Box("clock", (0, 0, 5, 5)),))
    world = World([clock])
    refused = {m[1] for i in range(200) if (m := _refusal(clock, random.Random(i), world, 0))}
    assert refused and REFUSALS["time"][1] not in refused


def test_a_photo_with_text_gives_no_refusal_and_an_empty_reading_gives_no_text(photos, tmp_path):
    size = [320, 240]
    line = {"text": "EXIT 5", "confidence": 0.9, "quad": [[0, 0], [9, 0], [9, 5], [0, 5]]}
    full = {"ocr": {"items": [line], "seconds": 0.1, "size": size}}
    assert not list(generate.generate(photos, tmp_path, 20, shares={"refusal": 1.0}, evidence=lambda image: full))
    empty = {"ocr": {"items": [], "seconds": 0.1, "size": size}}
    given = {"evidence": lambda image: empty, "augment": CLEAN}
    made = list(generate.generate(photos, tmp_path, 20, shares={"refusal": 1.0}, **given))
    assert [row["answer"] for row in made].count(NO_TEXT) == 5
