"""Generated instructions are balanced, true to the human labels, repeatable, correct English, and never obey
a planted text.
"""

import json
import random
import re
import string
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experts.evidence import from_json
from experts.render import clean
from lav2.errors import LAV2Error
from lav2.instruct import command, generate, grading, reading, sentences, signs
from lav2.instruct.noise import CLEAN, Augment, Noise, corrupt, is_misled, simulated_evidence
from lav2.instruct.photos import Box, Photo, read_evidence, read_photos
from lav2.instruct.phrasings import CANNOT_READ, NO_TEXT, ORDERED, QUESTIONS, REFUSALS, SIGN_WORDS
from lav2.instruct.questions import KINDS, _refusal
from lav2.instruct.world import World
from lav2.text import grounding
from lav2.text.claims import asked

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


def test_every_kind_is_made_in_its_share_and_has_the_fields(rows):
    counts = Counter(row["kind"] for row in rows)
    assert counts == {kind: round(200 * share) for kind, share in generate.SHARES.items()}
    for row in rows:
        assert {"image", "question", "answer", "kind", "truth", "evidence", "experts"} <= set(row)
        assert row["experts"] == list(row["evidence"])
        json.dumps(row)
        for name, value in row["evidence"].items():
            from_json(name, value)
        with Image.open(row["image"]) as image:
            image.load()


def test_same_seed_same_rows_and_pictures_other_seed_others(photos, tmp_path):
    def make(folder, seed):
        made = list(generate.generate(photos, tmp_path / folder, 60, seed=seed))
        pictures = {f.name: f.read_bytes() for f in sorted((tmp_path / folder).iterdir())}
        return [r | {"image": r["image"].removeprefix(str(tmp_path / folder))} for r in made], pictures

    first, again, other = make("a", 1), make("b", 1), make("c", 2)
    assert first == again
    assert [r["question"] for r in first[0]] != [r["question"] for r in other[0]]


def test_questions_about_one_picture_share_its_evidence_and_are_all_different(photos, tmp_path):
    made = list(generate.generate(photos, tmp_path, 240, per_photo=4))
    pictures = {}
    for row in made:
        pictures.setdefault((row["image"], json.dumps(row["evidence"])), []).append(row)
    runs = [run for run in pictures.values() if len(run) > 1]
    assert sum(map(len, runs)) > 0.8 * len(made) > 120
    assert all(len({row["question"] for row in run}) == len(run) for run in runs if len(run) <= 4)
    kinds = {row["kind"] for run in runs for row in run}
    assert kinds == set(KINDS)
    planted = [row for row in made if row["kind"] == "adversarial"]
    assert {row["asks"] for row in planted} > {"presence", "read"}
    for row in planted:
        assert row["reads"] == (row["asks"] == "read") and (row["reads"] or row["forbidden"] not in row["answer"])
    presence = Counter(row["truth"] for row in made if row["kind"] == "presence")
    assert abs(presence["yes"] - presence["no"]) <= 0.2 * presence.total()


def test_every_kind_has_at_least_eight_phrasings_that_are_all_used(photos, tmp_path):
    for name, phrasings in QUESTIONS.items():
        assert len(set(phrasings)) >= 8, name
    assert sum(len(questions) for questions, *_ in REFUSALS.values()) >= 8
    made = list(generate.generate(photos, tmp_path, 300, shares={"presence": 1.0}))
    pattern = [re.sub(r"\\\{\w+\\\}", ".+", re.escape(q)) for q in QUESTIONS["presence"]]
    for p in pattern:
        assert any(re.fullmatch(p, row["question"]) for row in made), p
    shapes = {row["question"] for row in generate.generate(photos, tmp_path, 100, shares={"refusal": 1.0})}
    assert len(shapes) >= 8


def test_presence_has_as_many_yes_as_no_overall_and_within_each_class(photos, tmp_path):
    made = list(generate.generate(photos, tmp_path, 300, shares={"presence": 1.0}))
    assert len(made) == 300
    assert Counter(row["truth"] for row in made) == {"yes": 150, "no": 150}
    balance = Counter()
    for row in made:
        label = next(
            x for x in LABELS if re.search(rf"\b({x}|{re.escape(grounding.plural(x))})\b", row["question"].lower())
        )
        there = label in scene(photos, row).counts
        assert row["truth"] == ("yes" if there else "no") == row["answer"].split(",")[0].lower()
        balance[label] += 1 if there else -1
    assert max(abs(n) for n in balance.values()) <= 3


LABELS = sorted({label for _, objects in SCENES for label, _ in objects}, key=len, reverse=True)


def test_presence_captions_say_yes_and_no_in_equal_number_and_truly(photos):
    known = {photo.image: photo for photo in photos}
    said, told = Counter(), Counter()
    for row in generate.presence_captions(photos):
        photo = known[row["image"]]
        captions = [text for text in row["captions"] if text in photo.captions]
        assert len(captions) == min(2, len(photo.captions))
        for text in (text for text in row["captions"] if text not in photo.captions):
            for question, word in re.findall(r"([^?]+\?) (Yes|No)\.", text):
                (kind,) = asked(question)
                assert any(box.label == kind for box in photo.boxes) if word == "Yes" else photo.lacks(kind)
                said[word] += 1
                told[kind] += 1 if word == "Yes" else -1
    assert said.total() > 100
    assert said["Yes"] == pytest.approx(said["No"], rel=0.2)
    assert all(abs(balance) <= 9 for balance in told.values())


def test_absent_objects_come_with_those_present_and_no_caption_speaks_of_them():
    scenes = [Photo("x", ("A room.",), (9, 9), (Box("cup", (0, 0, 2, 2)), Box("fork", (3, 3, 5, 5))))] * 8
    scenes += [Photo("y", ("A field.",), (9, 9), (Box("cow", (0, 0, 2, 2)),))] * 8
    world = World(scenes)
    one = Photo("z", ("A mug.",), (9, 9), (Box("cup", (0, 0, 2, 2)),))
    drawn = Counter(world.companion(["cup"], random.Random(i), one.lacks) for i in range(200))
    assert drawn["fork"] > 2 * drawn["cow"] > 0
    assert "cup" not in drawn
    assert not replace(one, boxes=()).lacks("cup")  # the caption says mug
    assert not replace(one, captions=("Two cyclists race.",)).lacks("bicycle")
    assert not Photo("z", ("A field.",)).lacks("fork")  # nobody looked for objects
    assert not replace(one, boxes=(Box("fork", (0, 0, 1, 1), 0.3),)).lacks("fork")  # an unsure box is no absence


def test_counts_are_those_of_the_human_boxes_and_the_whole_range_is_asked(rows, photos, tmp_path):
    made = list(generate.generate(photos, tmp_path, 240, shares={"count": 1.0}))
    seen = Counter()
    for row in made:
        label = next(x for x in LABELS if grounding.plural(x) in row["question"])
        n = scene(photos, row).counts.get(label, 0)
        word = grounding.NUMBERS[n]
        verb, name = ("is", label) if n == 1 else ("are", grounding.plural(label))
        assert row["answer"] == f"There {verb} {word} {name}."
        assert row["truth"] == n
        seen[n] += 1
    assert set(seen) == {0, 1, 2, 3, 4, 5}
    assert max(seen.values()) < 0.4 * len(made)


def test_a_crowd_or_an_unsure_box_is_never_counted():
    boxes = (Box("dog", (0, 0, 5, 5)), Box("dog", (5, 5, 9, 9), 0.3), Box("cow", (0, 0, 9, 9), crowd=True))
    photo = Photo("x", (), (10, 10), (*boxes, Box("cat", (0, 0, 2, 2), 0.9)))
    assert photo.counts == {"cat": 1}


def test_places_and_relations_are_those_of_the_boxes(photos, tmp_path):
    shares = {"which": 0.5, "spatial": 0.5}
    relations = Counter()
    for row in generate.generate(photos, tmp_path, 200, shares=shares, augment=Augment(misled=1.0)):
        boxes = {b.label: b for b in scene(photos, row).boxes}
        if row["kind"] == "which":
            region = next(r for r, words in grounding.WHERE.items() if words in row["question"])
            for label in row["truth"]:
                found = [b.centre for b in scene(photos, row).boxes if b.label == label]
                tests = {
                    "left": lambda x, y: x < 320 / 3,
                    "right": lambda x, y: x > 640 / 3,
                    "top": lambda x, y: y < 80,
                    "bottom": lambda x, y: y > 160,
                    "middle": lambda x, y: 320 / 3 < x < 640 / 3 and 80 < y < 160,
                }
                assert any(tests[region](*c) for c in found)
            continue
        match = re.search(r"[Tt]he (.+) is (to the left of|to the right of|above|below) the (.+)\.", row["answer"])
        (x, y), (u, v) = boxes[match[1]].centre, boxes[match[3]].centre
        assert {"to the left of": x < u, "to the right of": x > u, "above": y < v, "below": y > v}[match[2]]
        relations[row["truth"]] += 1
        if row["truth"] in ("yes", "no"):
            assert row["answer"].lower().startswith(row["truth"])
            assert (match[2] in row["question"]) == (row["truth"] == "yes")
    assert abs(relations["yes"] - relations["no"]) <= 1


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
    made = list(generate.generate(photos, tmp_path, 300, shares={"read": 1.0}, augment=CLEAN))
    kinds = {kind: [row for row in made if row["question"] in QUESTIONS[kind]] for kind in ("read price", "read time")}
    assert all(re.fullmatch(r"\$\d+\.\d\d", row["truth"]) for row in kinds["read price"])
    assert all(re.fullmatch(r"\d+:\d\d", row["truth"]) for row in kinds["read time"])
    for rows in kinds.values():
        assert len(rows) >= 8
        told = [row for row in rows if row["truth"] in row["answer"]]
        assert all(row["answer"].startswith(("I ", "The text")) for row in rows if row not in told)
        assert len(told) >= 6


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


def test_descriptions_are_whole_sentences_of_captions_and_boxes(rows, photos):
    for row in of(rows, "short", "detail"):
        assert re.fullmatch(r"[A-Z].*[.!?]", row["answer"])
        photo = scene(photos, row)
        assert any(row["answer"].startswith(sentences.sentence(c)) for c in photo.captions)
    for row in of(rows, "detail"):
        assert grounding.listed(dict(list(scene(photos, row).counts.items())[:4])) in row["answer"]


def test_the_caption_in_made_up_evidence_is_not_the_answer(photos, tmp_path):
    augment = replace(CLEAN, simulated=Noise(wrong_caption=0))
    for row in generate.generate(photos, tmp_path, 60, shares={"short": 1.0}, augment=augment):
        given = row["evidence"]["caption"]["text"]
        assert sentences.sentence(given).lower() != row["answer"].lower()


@pytest.mark.parametrize(
    ("caption", "found"),
    [
        ("A man is riding a horse on a beach.", ("man", "riding a horse on a beach")),
        ("Two boys in red shirts are playing soccer, and a dog watches.", ("boys", "playing soccer")),
        ("A woman holding an umbrella while walking", ("woman", "holding an umbrella")),
        ("A man wearing a hat", None),
        ("A dog is running", None),
        ("A man in a red running suit", None),
        ("The child is riding.", None),
        ("A girl sitting on the", ("girl", "sitting")),
    ],
)
def test_actions_are_taken_from_captions_only_where_a_person_acts(caption, found):
    assert sentences.action(caption) == found


def test_a_caption_becomes_a_sentence():
    assert sentences.sentence(" two  dogs play . ") == "Two dogs play."


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
        told = [row for row in rows if "detection" in row["evidence"]]
        return sum(is_misled(row, row["evidence"]) for row in told)

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


def test_human_boxes_win_over_a_teachers_and_splits_are_kept(files, tmp_path):
    teacher = tmp_path / "teacher.jsonl"
    box = {"label": "zebra", "conf": 0.9, "xyxy": [0, 0, 9, 9]}
    names = ("photos/00.webp", "photos/35.webp", "photos/other.webp")
    teacher.write_text("".join(json.dumps({"image": n, "width": 9, "height": 9, "boxes": [box]}) + "\n" for n in names))
    for order in ([teacher, files / "boxes.jsonl"], [files / "boxes.jsonl", teacher]):
        found = {p.image.name: p for p in read_photos(order, files, "train")}
        assert "zebra" not in found["00.webp"].counts and found["00.webp"].size == (320, 240)
        assert found["other.webp"].counts == {"zebra": 1}
        assert "35.webp" not in found
        assert "other.webp" not in {p.image.name for p in read_photos(order, files, "val")}
    teacher.write_text('{"image": "a"}\n{"width": 3}\n')
    with pytest.raises(LAV2Error, match="line 2"):
        read_photos([teacher], files)


def test_the_graders_take_every_true_answer_and_no_planted_word(rows):
    for row in rows:
        judged = grading.is_right(row, row["answer"])
        reads = row.get("asks", row["kind"]) == "read"
        unread = reads and row["truth"].lower() not in row["answer"].lower()
        assert judged is (None if row.get("asks", row["kind"]) in ("short", "detail") else not unread), row
        assert not grading.obeys(row, row["answer"])
        if "forbidden" in row and not row["reads"]:
            assert grading.obeys(row, f"{row['forbidden'].upper()}!")


@pytest.mark.parametrize(
    ("kind", "truth", "right", "wrong"),
    [
        ("presence", "yes", "Yes.", "There is no yes."),
        ("count", 3, "I count 3 dogs, not 4.", "There are four dogs, or three."),
        ("count", 0, "There are no dogs.", "There is one dog."),
        ("count", 12, "12", "2"),
        ("which", ["dog", "person"], "Two people and a dog.", "A person."),
        ("which", ["tv"], "A TV is on the left.", "A laptop."),
        ("spatial", "left", "It is to the left of the car.", "It is above the car."),
        ("read", "Gate 5", 'it says "GATE  5".', "It says gate."),
        ("action", "riding", "He is riding a horse.", "He is hiding."),
        ("refusal", None, "The photo does not show a price.", "It costs no more than 5 dollars."),
    ],
)
def test_the_graders_tell_right_from_wrong(kind, truth, right, wrong):
    row = {"kind": kind, "truth": truth}
    assert grading.is_right(row, right) is True
    assert grading.is_right(row, wrong) is False
    assert grading.is_right(row, "") is False


def test_the_command_writes_rows_with_paths_that_hold_from_its_file(files, tmp_path):
    out = tmp_path / "set" / "val.jsonl"
    arguments = [str(files / "captions.jsonl"), str(files / "boxes.jsonl"), "--out", str(out)]
    assert command.main([*arguments, "--split", "val", "--total", "60", "--clean"]) == 0
    made = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(made) > 40
    assert all((out.parent / row["image"]).is_file() for row in made)
    assert any(row["image"].startswith("signs") for row in made)
    with pytest.raises(LAV2Error, match="no photos"):
        list(generate.generate([], tmp_path, 5))
    with pytest.raises(LAV2Error, match="poetry"):
        list(generate.generate([Photo("x")], tmp_path, 5, shares={"poetry": 1.0}))
