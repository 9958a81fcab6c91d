"""The scene of a photo, told by the words that are expected of its captions."""

import pickle
import time

import pytest
from PIL import Image

from lav2.captioning import choices, reranker, scenes
from lav2.captioning.answers import OfPhoto
from lav2.captioning.scenes import PhotoScene, WordChance
from lav2.config import EMBEDDED
from lav2.model.vision import VisionTower
from lav2.weights import find

SHARE = 0.02  # of all photos that have a word
KITCHEN, STREET = {"kitchen": 0.9, "stove": 0.6}, {"street": 0.8, "building": 0.5, "umbrella": 0.01}
NIGHT, SNOW = {"street": 0.6, "night": 0.7}, {"snow": 0.95, "mountain": 0.4}
RAIN = {"street": 0.6, "rain": 0.6, "umbrella": 0.5}
KAYAK, GIRL = {"water": 0.5, "kayak": 0.7, "man": 0.6}, {"girl": 0.8, "playground": 0.6}


def of(expected, people=None):
    known = (
        *scenes.INSIDE,
        *scenes.OUTSIDE,
        *scenes.NIGHT,
        *scenes.RAIN,
        *choices.MEN,
        *choices.WOMEN,
        *choices.CHILDREN,
        "umbrella",
        "fence",
    )
    words = dict.fromkeys(known, 0.001)
    return PhotoScene({word: WordChance(chance, SHARE) for word, chance in (words | expected).items()}, people)


def told(question, expected, people=None):
    answers = of(expected, people)(question)
    return answers[0][0] if answers else ""


@pytest.mark.parametrize(
    ("question", "photo", "answer"),
    [
        ("Is this inside or outside?", KITCHEN, "inside"),
        ("indoors or outdoors", STREET, "outside"),
        ("was the photo taken outdoors or indoors?", STREET, "outside"),
        ("Are they inside?", KITCHEN, "yes"),
        ("Is this an indoor scene?", STREET, "no"),
        ("is the woman standing outside?", STREET, "yes"),
        ("Is it day or night?", STREET, "day"),
        ("day or night", NIGHT, "night"),
        ("What time of day is it?", NIGHT, "night"),
        ("Is it dark outside?", NIGHT, "yes"),
        ("Is it night time?", STREET, "no"),
        ("was this taken during the day", STREET, "yes"),
        ("Is it daytime?", NIGHT, "no"),
        ("Is it raining?", STREET, "no"),
        ("Hi there, can you please tell me if it is... is it raining?", STREET, ""),
        ("hey, is it raining?", STREET, "no"),
        ("Is it raining outside?", STREET, "no"),
        ("tell me if it is raining pls", STREET, "no"),
        ("hows the weather", SNOW, "snowy"),
        ("What’s the weather like?", SNOW, "snowy"),
        ("do you know where this was taken?", STREET, "a street"),
        ("wheres this", STREET, "a street"),
        ("are the kids inside in this pic?", STREET, "no"),
        ("can u see the umbrella", RAIN, "yes"),
        ("is it light or dark outside?", NIGHT, "night"),
        ("male or female?", KAYAK, "male"),
        ("is he riding or running", {"rides": 0.5, "runs": 0.1}, "riding"),
        ("Excuse me, could you tell me what sport this is", KAYAK, "kayaking"),
        ("is it rainy in this picture", RAIN, "yes"),
        ("is it sunny?", RAIN, "no"),
        ("What's the weather like?", SNOW, "snowy"),
        ("how is the weather today?", RAIN, "rainy"),
        ("Is there snow on the ground?", SNOW, "yes"),
        ("Is there snow?", STREET, "no"),
        ("can you see an umbrella here?", RAIN, "yes"),
        ("Are there any fences?", KITCHEN, "no"),
        ("What sport is this?", KAYAK, "kayaking"),
        ("which game are they playing", {"racket": 0.6}, "tennis"),
        ("Where was this photo taken?", STREET, "a street"),
        ("what kind of place is this", GIRL, "a park"),
        ("Where are they?", KITCHEN, "a kitchen"),
        ("Where is the man?", STREET | {"man": 0.6}, "a street"),
        ("Where is the child in the photo?", GIRL, "a park"),
        ("where are these dogs now", STREET | {"dogs": 0.6}, "a street"),
        ("What room is this?", KITCHEN, "a kitchen"),
        ("Who is in the background?", KAYAK, "a man"),
        ("who rides the bike?", {"woman": 0.8}, "a woman"),
        ("Who is holding the umbrella?", GIRL, "a child"),
        ("Who is with the children?", GIRL | {"woman": 0.5}, "a woman"),
        ("Who is with the children?", GIRL, ""),
        ("whos that", KAYAK, "a man"),
        ("Is this a man or a woman?", KAYAK, "a man"),
        ("is the child a boy or a girl?", GIRL, "a girl"),
        ("What is the gender of the person?", GIRL, "female"),
        ("Is the person a woman?", KAYAK, "no"),
        ("Is it a child or an adult?", GIRL, "a child"),
        ("a man or a boy?", KAYAK, "a man"),
        ("Is he standing or sitting?", {"stands": 0.1, "sitting": 0.6, "sits": 0.2}, "sitting"),
        ("are the dogs running or walking?", {"runs": 0.5, "walks": 0.1}, "running"),
    ],
)
def test_a_question_about_the_scene_is_answered_by_the_words_that_are_expected(question, photo, answer):
    assert told(question, photo) == answer


@pytest.mark.parametrize(
    "question",
    [
        "Is the cat inside or outside the box?",
        "Is the switch on the inside?",
        "what day is it?",
        "Is it snowing?",
        "Is the umbrella open?",
        "Is there a zeppelin?",
        "is there anything to eat on the umbrella",
        "What is the weather forecast for Sunday?",
        "Is it sunny?",
        "Is the sun shining outside?",
        "What sport is this?",
        "What room is this?",
        "Where is the dog?",
        "Where is the exit?",
        "Is the door for men or women?",
        "Is he flying or diving?",
        "Is the power out?",
        "is he out?",
        "Is this shirt inside out?",
        "is the battery inside",
        "Is this paint for inside or outside?",
        "is the chocolate dark",
        "Is the bus at night?",
        "is this pill taken at night?",
        "Is there one?",
        "can you see it",
        "Is there a photo?",
        "are there two",
        "what game is on sale",
        "which game is the cheapest?",
        "Where was this made?",
        "Where is the man going?",
        "Where is the man?",
        "Where are the kids?",
        "Where is the umbrella?",
        "Is the adapter male or female?",
        "which gender does this bathroom belong to",
        "Is it raining or snowing?",
        "Is it cloudy?",
        "Are they opening or closing the door?",
    ],
)
def test_other_questions_are_left_to_others(question):
    assert told(question, STREET) == ""


@pytest.mark.parametrize(
    "question",
    ["Who is it for?", "who is going to the party", "Who wrote this?", "Who is the owner?", "Who is Anna?",
     "Who is next to the man?", "Who is holding her hand?", "Who is taking the photo?", "Who is king of England?",
     "Who is winning?", "Who runs this shop?", "Who is on the phone with him?", "Who are they?", "Who is right?",
     "Who is kicking the ball, the boy or the girl?", "Who is playing tonight?", "Who plays Batman?", "Who is she?"],
)  # fmt: skip
def test_who_somebody_is_the_photo_does_not_tell(question):
    assert told(question, KAYAK) == ""


@pytest.mark.parametrize(
    "question", ["Is that a woman?", "man or woman?", "What gender is the person?", "a child or an adult"]
)
def test_of_a_photo_without_people_nobody_is_told(question):
    assert told(question, {"cat": 0.9}) == ""


def test_what_people_say_of_the_weather_is_told_where_it_is_dry():
    asked = []

    def people(question):
        asked.append(question)
        return (("rainy", 0.5), ("yes", 0.3), ("cloudy", 0.2))

    assert told("How's the weather?", STREET, people) == "cloudy"
    assert asked == [scenes.WEATHER]
    assert told("How's the weather?", STREET) == "sunny"


def test_opposite_questions_have_opposite_answers():
    pairs = (("Is it day?", "Is it night?"), ("Is this inside?", "Is this outside?"))
    for photo in (KITCHEN, STREET, NIGHT, SNOW, RAIN):
        for one, other in pairs:
            assert {told(one, photo), told(other, photo)} == {"yes", "no"}


def test_a_scene_is_told_before_what_people_answer_and_goes_to_another_process():
    answers = OfPhoto(None, None, of(STREET))
    assert answers("Is it raining?")[0][0] == "no"
    assert pickle.loads(pickle.dumps(answers))("Is it night?") == answers("Is it night?")


def test_patterns_end_on_any_question():
    begun = time.monotonic()
    for part in ("is the ", "inside or ", "in the picture ", "day ", "is it a "):
        told("is there a " + part * 3000, STREET)
        told(part * 3000 + "?", STREET)
    assert time.monotonic() - begun < 20  # hangs otherwise


def test_the_shipped_words_tell_the_scene_of_a_real_photo():
    photo = Image.open(find("assets:examples") / "cat.webp").convert("RGB")
    model = reranker.load(find(EMBEDDED.caption_adapter), EMBEDDED.vision)
    words = model.word_chances(VisionTower(EMBEDDED.vision).encode([photo]))
    assert len(words) > 1000 and all(0 <= one.chance <= 1 and 0 < one.share <= 1 for one in words.values())
    scene = PhotoScene(words)
    assert [scene(question)[0][0] for question in ("Is it raining?", "Is there snow?", "Is it night?")] == ["no"] * 3
