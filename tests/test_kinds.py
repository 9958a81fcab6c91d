"""Kinds of ImageNet answer what they are asked for, on a real photo and by the chances of each."""

import pickle
from dataclasses import replace

import pytest
from PIL import Image

from experts.evidence import Caption
from lav2.captioning import imagenet, kinds, right_names
from lav2.captioning.answers import LikelyAnswers, OfPhoto
from lav2.config import EMBEDDED
from lav2.text import weighing
from lav2.weights import find


def told(question, **of):
    known = [0.0] * 1000
    for name, chance in of.items():
        known[imagenet.names().index(name.replace("_", " "))] = chance
    return [answer for answer, _ in kinds.PhotoKinds(lambda: tuple(known))(question)]


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        ("What bird is that?", ["an egret", "a stork"]),
        ("which kind of animal is on the car", ["an egret", "a stork"]),
        ("What is this?", ["an egret", "a stork", "a pizza"]),
        ("What birds are these?", ["egrets", "storks"]),
        ("Is that an egret?", ["yes"]),
        ("is it a bird", ["yes"]),
        ("Are these penguins?", ["no"]),
        ("What fish is that?", []),
        ("What colour is the bird?", []),
        ("what is the bird doing?", []),
        ("Is it raining?", []),
    ],
)
def test_a_question_for_a_kind_is_answered_and_no_other(question, answers):
    assert told(question, egret=0.5, stork=0.3, pizza=0.1) == answers


def test_an_animal_is_a_dog_and_its_breed_is_told_where_it_is_asked_for():
    breeds = {"beagle": 0.4, "basset_hound": 0.3, "pizza": 0.1}
    assert told("What animal is this?", **breeds) == ["a dog"]
    assert told("What breed is the dog?", **breeds) == ["a beagle", "a basset hound"]
    assert told("what breed is it", **breeds) == told("What kind of dog is this?", **breeds)
    assert told("Is that a wolf?", **breeds) == ["no"] and told("is this a beagle?", **breeds) == ["yes"]


def test_every_group_has_kinds_with_names():
    assert len(imagenet.names()) == 1000
    assert all(any(imagenet.names()[at] for at in own) for own in imagenet.groups().values())
    assert set(imagenet.WHOLE) <= set(imagenet.groups())


def test_the_real_classifier_knows_the_cat_of_the_examples_and_goes_to_another_process():
    classifier = kinds.ImageClassifier(EMBEDDED.classifier)
    photo = Image.open(find("assets:examples") / "cat.webp").convert("RGB")
    answers = LikelyAnswers(None, classifier).of(photo, None)
    assert isinstance(answers, OfPhoto) and answers("What animal is this?")[0][0] == "a cat"
    assert pickle.loads(pickle.dumps(answers))("Is this a cat?") == answers("Is this a cat?")


def test_words_of_a_photo_are_called_by_its_kind_and_told_once():
    classifier = kinds.ImageClassifier(EMBEDDED.classifier)
    photo = Image.open(find("assets:examples") / "cat.webp").convert("RGB")
    told = LikelyAnswers(None, classifier).concepts(photo, (("dog", 0.6), ("cat", 0.3), ("sofa", 0.2)))
    assert told == (("cat", 0.6), ("sofa", 0.2))
    assert LikelyAnswers(None, None).concepts(photo, (("dog", 0.6),)) == (("dog", 0.6),)


def test_of_two_sources_the_surer_one_counts():
    people = lambda _: [("dog", 0.3), ("two", 0.2)]  # noqa: E731
    assert OfPhoto(people, lambda _: [("dog", 0.5)])("What is it?") == [("dog", 0.5), ("two", 0.2)]
    assert OfPhoto(people, lambda _: [("lion", 0.9)])("What is it?") == [("lion", 0.9)]
    assert OfPhoto(people, None)("What is it?") == people("") and not OfPhoto(None, None)("What is it?")


@pytest.mark.parametrize(
    ("caption", "kinds_of", "said"),
    [
        ("A brown dog is on the ground", {"lion": 0.8}, "A brown lion is on the ground"),
        ("A dog and two dogs", {"otter": 0.9}, "An otter and two otters"),
        ("A dog runs", {"beagle": 0.5, "pug": 0.3}, "A dog runs"),
        ("A bird on a car", {"egret": 0.9}, "A bird on a car"),
        ("A cat sleeps", {"cheetah": 0.9}, "A cheetah sleeps"),
        ("A bear by a lake", {"dog": 0.0, "beagle": 0.9}, "A dog by a lake"),
        ("A dog runs", {"lion": 0.4}, "A dog runs"),
        ("A hot dog on a plate", {"pizza": 0.9}, "A hot dog on a plate"),
        ("A man on a horse", {"horse": 0.9}, "A man on a horse"),
        ("A plate of food on a table", {"cup of coffee": 0.9}, "A cup of coffee on a table"),
        ("Two men eat food", {"ice cream": 0.9}, "Two men eat an ice cream"),
        ("A plate of food and a dog", {"pizza": 0.3}, "A plate of food and a dog"),
    ],
)
def test_a_caption_calls_its_animal_or_dish_what_the_photo_surely_shows(caption, kinds_of, said):
    known = [kinds_of.get(name, 0.0) for name in imagenet.names()]
    assert right_names.renamed(caption, known) == said


def test_a_sure_kind_is_the_whole_answer_and_a_faint_one_weighs_what_the_model_begins():
    asked = "What is this?"
    caption = Caption("a rock", 0.0, "toy", (), (("an egret", 0.9), ("a stork", 0.3)), asked)
    found = weighing.likely({"caption": caption}, asked)
    assert set(found.whole) == {"An egret", "Egret"} and set(found.answers) == {"Stork", ("A", " stork")}
    assert found.whole["Egret"] > 2 * found.answers["Stork"] > 0
    sure, surer = (replace(caption, candidates=(("an egret", chance),)) for chance in (0.9, 0.98))
    told = [weighing.likely({"caption": one}, asked).whole["Egret"] for one in (sure, surer)]
    assert told[1] > told[0] + 2


def test_a_photo_is_looked_at_where_a_question_or_a_caption_asks_for_it_and_once():
    looks = []
    photo = kinds.PhotoKinds(lambda: looks.append(1) or tuple(1.0 * (name == "lion") for name in imagenet.names()))
    assert photo("What is he doing?") == [] and photo.renamed("A man on a rock") == "A man on a rock" and not looks
    assert photo.renamed("A dog") == "A lion" and photo("What animal is it?")[0][0] == "a lion" and len(looks) == 1
