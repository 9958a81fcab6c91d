"""Generated instructions are balanced, true to the human labels, repeatable, and in correct English."""

import json
import random
import re
from collections import Counter
from dataclasses import replace

import pytest
from PIL import Image
from scenes import SCENES, of, scene

from experts.evidence import from_json
from lav2.errors import LAV2Error
from lav2.instruct import command, generate, grading, sentences
from lav2.instruct.noise import Augment
from lav2.instruct.photos import Box, Photo, read_photos
from lav2.instruct.phrasings import QUESTIONS, REFUSALS
from lav2.instruct.questions import KINDS
from lav2.instruct.world import World
from lav2.text import grounding
from lav2.text.claims import asked

pytest_plugins = ["scenes"]


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
    said, balances = Counter(), Counter()
    for row in generate.presence_captions(photos):
        photo = known[row["image"]]
        captions = [text for text in row["captions"] if text in photo.captions]
        assert len(captions) == min(2, len(photo.captions))
        for text in (text for text in row["captions"] if text not in photo.captions):
            for question, word in re.findall(r"([^?]+\?) (Yes|No)\.", text):
                (kind,) = asked(question)
                assert any(box.label == kind for box in photo.boxes) if word == "Yes" else photo.lacks(kind)
                said[word] += 1
                balances[kind] += 1 if word == "Yes" else -1
    assert said.total() > 100
    assert said["Yes"] == pytest.approx(said["No"], rel=0.2)
    assert all(abs(balance) <= 9 for balance in balances.values())


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


def test_descriptions_are_whole_sentences_of_captions_and_boxes(rows, photos):
    for row in of(rows, "short", "detail"):
        assert re.fullmatch(r"[A-Z].*[.!?]", row["answer"])
        photo = scene(photos, row)
        assert any(row["answer"].startswith(sentences.sentence(c)) for c in photo.captions)
    for row in of(rows, "detail"):
        assert grounding.listed(dict(list(scene(photos, row).counts.items())[:4])) in row["answer"]


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
