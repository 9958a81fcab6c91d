"""Candidates for answers: what is learned of human answers, how prompt and table tell it, its file, its rows."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import adapted, clip_tokens, open_gates, tokenizer

from experts.evidence import Caption, Detections, OcrLines, from_json, to_json
from experts.render import numbered
from lav2 import weights
from lav2.captioning import candidates, human_answers
from lav2.captioning.human_answers import CandidateConfig, Example
from lav2.config import EMBEDDED
from lav2.data.formats import read_rows
from lav2.documents import candidates as of_documents
from lav2.errors import LAV2Error
from lav2.events import Sampling
from lav2.inference import search, streaming
from lav2.inference.sampler import Bias, RowBias, SequenceSampler
from lav2.model.vision import VisionTower
from lav2.text import grounding, weighing
from lav2.text.corrections import corrected
from lav2.text.verdict import verdict
from lav2.text.weighing import Likely
from lav2.ui import texts
from lav2.ui.views import source_of

GREEDY = Sampling(max_new_tokens=8, repetition_penalty=1.0)
VISION = replace(EMBEDDED.vision, width=3, tokens=2)
SETTINGS = CandidateConfig(least_words=2, least_answers=2, hidden=32, epochs=60, batch=16, dropout=0.1)
RED, BLUE = [1.0, 0.1, 0.0, 1.0, 0.2, 0.1], [0.0, 0.2, 1.0, 0.1, 0.1, 1.0]  # pooled features [2C] of photos


def examples():
    asked = [Example("What color is the ball?", {"red": 1.0}, 0), Example("What color is the ball?", {"blue": 1.0}, 1)]
    asked += [Example("Is it red?", {"yes": 1.0}, 0), Example("Is it red?", {"no": 1.0, "yes": 0.3}, 1)]
    asked += [Example("How many legs has a dog?", {"4": 1.0}, -1), Example("How much is the tea?", {}, -1)]
    return asked * 8


@pytest.fixture(scope="module")
def model():
    return human_answers.learn(examples(), torch.tensor([RED, BLUE]), VISION, SETTINGS, report=lambda line: None)


def test_candidates_are_learned_from_question_and_photo_and_a_question_about_a_text_has_none(model):
    red, blue = torch.tensor(RED), torch.tensor(BLUE)
    assert [model.told(photo, "What color is the ball?")[0][0] for photo in (red, blue)] == ["red", "blue"]
    assert [model.told(photo, "Is it red?")[0][0] for photo in (red, blue)] == ["yes", "no"]
    assert model.told(red, "What colour is the ball?") == model.told(red, "What color is the ball?")
    said = model.told(red, "How many legs has a dog?")
    assert said[0][0] == "four" and said[0][1] > 0.5
    assert model.told(red, "How much is the tea?") == ()
    chances = [chance for _, chance in model.told(blue, "Is it red?")]
    assert chances == sorted(chances, reverse=True) and len(chances) <= candidates.MAX_CANDIDATES


def test_a_file_of_candidates_tells_the_same_and_a_wrong_one_is_named(model, tmp_path):
    candidates.save(model, tmp_path, {"data": "toy"})
    again = candidates.load(tmp_path, VISION)
    for photo in (RED, BLUE):
        found = [m.told(torch.tensor(photo), "What color is the ball?") for m in (model, again)]
        assert found[0][0][0] == found[1][0][0] and found[0][0][1] == pytest.approx(found[1][0][1], abs=0.01)
    ask = again.on(torch.tensor([[RED[:3], RED[:3]]]))
    sent = pickle.dumps(ask)  # to a process of a cluster: without the weights, which lie there as well
    assert len(sent) < 2000 and pickle.loads(sent)("Is it red?") == ask("Is it red?")
    assert candidates.load(tmp_path, None) is None and candidates.load(tmp_path / "none", VISION) is None
    with pytest.raises(LAV2Error, match="another image encoder"):
        candidates.load(tmp_path, replace(VISION, width=4))
    (tmp_path / candidates.CAPTION_ANSWERS).write_bytes(b"no tensors")
    with pytest.raises(LAV2Error, match="cannot be read"):
        candidates.load(tmp_path, VISION)
    with pytest.raises(LAV2Error, match="too few"):
        human_answers.learn([Example("Is it red?", {}, 0)], torch.tensor([RED]), VISION)


def test_the_prompt_tells_candidates_of_the_question_that_was_asked_and_of_no_other(model):
    clip_tokens = torch.tensor([[RED[:3], RED[:3]]])
    caption = Caption("a ball", 0.0, "toy", ask=model.on(clip_tokens))
    asked = "What color is the ball?"
    result = grounding.filter_for_question(caption, asked)
    assert grounding.filter_for_question(caption, "Is there a red ball on the menu?").candidates == ()
    assert grounding.filter_for_question(caption, "Is there a baby?").candidates == ()
    assert result.ask is None and result.asked == asked and result.candidates[0][0] in ("red", "blue")
    fixed = {"caption": Caption("a ball", 0.0, "toy", (), (("red", 0.7), ("blue", 0.4), ("<|im_end|>", 0.2)), asked)}
    assert grounding.likely_answers(fixed, asked) == "Likely answers: red; probably blue"
    block = grounding.block(fixed, asked, len).text
    assert block.endswith("\nLikely answers: red; probably blue")
    assert "Likely" not in grounding.block(fixed, "Is it red?", len).text
    assert from_json("caption", json.loads(json.dumps(to_json(fixed["caption"])))) == fixed["caption"]
    with pytest.raises(ValueError, match="outside"):
        Caption("a ball", 0.0, "toy", (), (("red", 1.7),), asked)


@pytest.mark.parametrize(
    ("found", "line"), [(("dog",), ""), (("cat",), "Likely answers: three"), (None, "Likely answers: three")]
)
def test_how_many_there_are_of_a_kind_the_boxes_tell_and_a_likely_answer_where_they_found_none(found, line):
    asked = "How many dogs are there?"
    evidence = {"caption": Caption("dogs", 0.0, "toy", (), (("three", 0.7),), asked)}
    if found:
        box = np.array([[0, 0, 9, 9]], np.float32)
        evidence["detection"] = Detections(
            box, np.ones(1, np.float32), found, 0.1, "toy", ("dog", "cat"), (20, 20), 0.5
        )
    assert grounding.likely_answers(evidence, asked) == line
    assert ("Three" in weighing.likely(evidence, asked).answers) == bool(line)


def test_how_many_women_there_are_a_likely_answer_may_tell_since_boxes_do_not():
    asked = "How many women are there?"
    found = Detections(np.array([[0, 0, 9, 9]], np.float32), np.ones(1, np.float32), ("person",), 0.1, "toy",
                       ("person",), (20, 20), 0.5)  # fmt: skip
    evidence = {"caption": Caption("women", 0.0, "toy", (), (("two", 0.7),), asked), "detection": found}
    assert grounding.likely_answers(evidence, asked) == "Likely answers: two"
    assert list(weighing.likely(evidence, asked).answers) == ["Two"]


def test_rows_are_told_candidates_of_each_of_their_questions_by_a_model_that_knows_other_photos(
    tmp_path, monkeypatch, bus
):
    for name in "abcd":
        bus.resize((32, 32)).save(tmp_path / f"{name}.webp")
    learned = []

    def learn(examples, photos, vision, *rest):
        learned.append({example.photo for example in examples if example.photo >= 0})
        return candidates_learn(examples, photos, VISION, SETTINGS, report=lambda line: None)

    candidates_learn, candidates_load = human_answers.learn, candidates.load
    monkeypatch.setattr(candidates, "load", lambda folder, vision: candidates_load(folder, VISION))
    monkeypatch.setattr(of_documents, "human", lambda data: [(e, "") for e in examples()])
    monkeypatch.setattr(of_documents, "features", lambda files: torch.tensor([RED] * len(files)))
    monkeypatch.setattr(of_documents, "TOLD", 1.0)
    monkeypatch.setattr(human_answers, "learn", learn)
    monkeypatch.setattr(of_documents, "vectors", lambda: None)
    caption = {"text": "a ball", "seconds": 0.0, "source": "simulated"}
    asked = [{"question": "What color is the ball?", "answer": "Red", "kind": "object", "history": []}]
    asked += [{"question": "Is it red?", "answer": "Yes.", "kind": "object", "history": []}]
    rows = [
        {"image": f"{name}.webp", "split": "train", "evidence": {"caption": caption} if name != "d" else {},
         "experts": ["caption"] if name != "d" else [], "questions": [dict(one) for one in asked]}
        for name in "abcd"
    ]  # fmt: skip
    of_documents.add(rows, tmp_path, tmp_path)
    assert all("candidates" in one for row in rows[:3] for one in row["questions"])
    assert not any("candidates" in one for one in rows[3]["questions"])
    files = sorted(str((tmp_path / row["image"]).resolve()) for row in rows)
    folds = [of_documents.zlib.crc32(file.encode()) % of_documents.FOLDS for file in files]
    for left_out, photos in enumerate(learned):
        assert photos == {at for at, fold in enumerate(folds) if fold != left_out}
    learned.clear()
    of_documents.add(rows, tmp_path, tmp_path)
    assert not learned  # what a part's model has learned is kept
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    read = read_rows(file)
    for row in read[:6]:
        found = row.evidence["caption"]
        assert found.asked == row.turns[-1].question and found.candidates
    assert len({row.evidence["caption"].candidates for row in read[:2]}) == 2
    assert np.isclose(sum(chance for _, chance in read[0].evidence["caption"].candidates), 1.0, atol=0.9)


def test_the_shipped_candidates_know_colours_and_yes_or_no_and_leave_prices_alone(bus):
    folder = weights.find("assets:caption")
    model = candidates.load(folder, EMBEDDED.vision)
    ask = model.on(VisionTower(EMBEDDED.vision).encode([bus]))
    colours = ("white", "blue", "red", "green", "yellow", "black", "gray", "brown", "orange")
    assert ask("What color is the bus?")[0][0] in colours
    assert {answer for answer, _ in ask("Is this a bus?")[:2]} == {"yes", "no"} or ask("Is this a bus?")[0][0] == "yes"
    for about_text in ("How much is the total?", "What is the phone number?", "When do they open on Sunday?"):
        assert not ask(about_text) or ask(about_text)[0][1] < 0.35, about_text
    assert (folder / candidates.CAPTION_ANSWERS).stat().st_size < 10_000_000  # a plain git push takes no larger file


def test_candidates_are_rows_of_the_table_that_an_answer_can_rest_on_and_a_visitor_can_correct():
    caption = Caption("a ball", 0.0, "toy", (("ball", 0.9),), (("yes", 0.7), ("red", 0.2)), "Is it red?")
    evidence = {"caption": caption}
    items = numbered(evidence)
    assert [(item.text, item.kind) for item in items] == [
        ("a ball", ""), ("yes", "candidate"), ("red", "candidate"), ("ball", "concept"),
    ]  # fmt: skip
    assert verdict("Yes.", "Is it red?", evidence).rests_on == {2}
    assert verdict("Red", "What colour is it?", evidence).rests_on == {3}
    assert 2 not in verdict("No.", "Is it red?", evidence).rests_on
    assert grounding.block(evidence, "Is it red?", len).left_out == frozenset()
    assert grounding.block(evidence, "Is it blue?", len).left_out == {2, 3}
    fixed = corrected(evidence, {1: "a ball", 2: "no", 4: "ball"})["caption"]
    assert fixed.candidates == (("no", 1.0),) and fixed.concepts == (("ball", 0.9),) and fixed.text == "a ball"
    assert source_of(items[1], texts.TEXTS["en"]) == "Likely answer"


def test_the_chance_of_a_candidate_weighs_the_words_of_the_answer(model):
    evidence = {"caption": Caption("a ball", 0.0, "toy", (), (("yes", 0.9), ("dark red", 0.1), ("no", 0.02)), "Is it?")}
    weights = weighing.likely(evidence, "Is it?").answers
    assert list(weights) == ["Yes", "Dark red", "No"] and weights["No"] == 0
    sure = np.log(0.9 / 0.1)  # likelier than all others: its odds as well
    assert weights["Yes"] == pytest.approx(weighing.BIAS * np.log(0.9 / weighing.UNTOLD) + sure)
    assert weights["Dark red"] == pytest.approx(weighing.BIAS * np.log(0.1 / weighing.UNTOLD))
    assert weighing.likely(evidence, "Is it red?").answers == {} == weighing.likely({}, "Is it?").answers
    asked = {"caption": Caption("a ball", 0.0, "toy", ask=model.on(torch.tensor([[RED[:3], RED[:3]]])))}
    assert max(weights := weighing.likely(asked, "Is it red?").answers, key=weights.get) == "Yes"


def test_a_likely_answer_is_lifted_as_long_as_the_answer_goes_on_like_it():
    likely = [RowBias([Bias([2, 3, 2], 5.0), Bias([2, 2], 3.0)]), RowBias([Bias([2, 3], 5.0)]), RowBias()]
    choice = SequenceSampler(Sampling(temperature=0.0), [0], [[1], [1], [1]], likely)
    logits = torch.tensor([[0.0, 4.0, 0.0, 0.0], [0.0, 6.0, 0.0, 0.0], [0.0, 4.0, 0.0, 0.0]])
    said = [choice(logits.clone()) for _ in range(4)]
    assert said == [[2, 1, 1], [3, 1, 1], [2, 1, 1], [1, 1, 1]]  # the second row began otherwise, the third has none


def test_likely_answers_change_what_one_and_many_prompts_are_answered():
    model, words = open_gates(adapted()), tokenizer()
    visual, prompts, likely = (
        model.visual_prompt(clip_tokens(2)),
        ["w1 w2", "w3"],
        [Likely({"w7": 50.0, "w8": 1.0}), Likely()],
    )
    plain = search.batch(model, words, prompts, model.prompt_kv(visual), GREEDY)
    moved = search.batch(model, words, prompts, model.prompt_kv(visual), GREEDY, likely)
    assert moved[0].startswith("w7") and moved[0] != plain[0] and moved[1] == plain[1]
    alone = streaming.stream(model, words, prompts[0], model.prompt_kv(visual[:1]), GREEDY, likely=likely[0])
    assert "".join(text for text, _ in alone).strip() == moved[0]


def test_which_of_several_kinds_it_is_the_surest_box_of_them_weighs():
    boxes = np.array([[0, 0, 9, 9], [20, 0, 40, 20], [0, 0, 80, 80]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.3, 0.2], np.float32), ("person", "bird", "dog"), 0.1, "d",
                       ("person", "bird", "dog"), (80, 80), 0.5)  # fmt: skip
    asked = "What animal is this?"
    kept = grounding.filter_for_question(found, asked)
    assert kept.labels == ("person", "bird")  # none of the animals is sure, so the surest
    assert "perhaps one bird" in grounding.block({"detection": kept}, asked, len).text
    weights = weighing.likely({"detection": kept}, asked).answers
    assert list(weights) == ["Bird", "A bird"]
    assert weights["Bird"] == pytest.approx(weighing.BIAS * np.log(0.3 / weighing.UNTOLD))
    for other in ("What is the animal doing?", "What is this?", "What vehicle is this?"):
        assert grounding.filter_for_question(found, other).labels == ("person",)
        assert weighing.likely({"detection": found}, other).answers == {}


@pytest.mark.parametrize(
    "asked",
    ["What number is on the jersey?", "what does the sign say", "What is the name on the boat?", "What’s written?",
     "What does the T-shirt say", "What does the sign on the wall behind him say?", "what is the sign saying"],
)  # fmt: skip
def test_what_is_written_where_no_letters_were_found_cannot_be_read(asked):
    nothing, something = (
        OcrLines(np.zeros((n, 4, 2)), np.full(n, 0.9), ("CUMA",) * n, 0.1, (100, 100)) for n in (0, 1)
    )
    caption = Caption("players", 0.0, "toy", (), (("13", 0.9),), asked)
    assert list(weighing.likely({"caption": caption, "ocr": nothing}, asked).whole) == [weighing.CANNOT_READ]
    assert weighing.CANNOT_READ not in weighing.likely({"caption": caption, "ocr": something}, asked).whole
    assert weighing.CANNOT_READ not in weighing.likely({"caption": caption}, asked).whole  # nobody looked
    for question in ("What number of people is there?", "What does the dog say?", "What does his expression say?",
                     "What does that say about the weather?", "What is the word in German for horse?"):  # fmt: skip
        other = replace(caption, asked=question)
        assert weighing.CANNOT_READ not in weighing.likely({"caption": other, "ocr": nothing}, question).whole


@pytest.mark.parametrize(
    ("asked", "people", "colour", "said"),
    [
        ("What is the man wearing?", 1, "blue", ("A", " blue")),
        ("what's she wearing", 1, "orange", "An orange"),
        ("What’s the baby wearing in this picture?", 1, "blue", ("A", " blue")),
        ("What is the man wearing?", 1, "brown", None),
        ("What is the man wearing?", 1, "blue or grey", None),
        ("What is the man wearing?", 2, "blue", None),
        ("What is the man wearing on his head?", 1, "blue", None),
    ],
)
def test_the_colour_of_the_only_persons_clothes_weighs_what_that_person_wears(asked, people, colour, said):
    boxes = np.array([[0, 0, 9, 9], [20, 0, 40, 20]], np.float32)[:people]
    found = Detections(boxes, np.full(people, 0.9, np.float32), ("person",) * people, 0.1, "d", ("person",), (60, 60),
                       sure=0.5, colours=(colour,) * people)  # fmt: skip
    assert list(weighing.likely({"detection": found}, asked).answers) == ([said] if said else [])


def test_a_faint_persons_colour_weighs_nothing():
    found = Detections(np.array([[0, 0, 9, 9]], np.float32), np.array([0.3], np.float32), ("person",), 0.1, "d",
                       ("person",), (60, 60), sure=0.5, colours=("blue",))  # fmt: skip
    assert weighing.likely({"detection": found}, "What is the person wearing?").answers == {}
