"""What the words that are expected of a photo's captions tell of its scene: inside or outside, day or night, snow and
rain, whether a thing is there that the detector does not look for, and choices (lav2.captioning.choices).

People who ask "Is it raining?" of a photo mostly mean one where it does, so likely answers learned from their questions
say yes to nearly all of these. The captioner's words do not know the question (lav2.captioning.reranker); docs/LOG.md
has what each is worth.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lav2.captioning import choices, predicates
from lav2.captioning.choices import Answers, chance, either
from lav2.text.asking import OPENING, PHOTO, straight


class WordChance(NamedTuple):
    """Of a word: the chance that a caption of the photo has it, and the share of all photos of which one has; 0..1."""

    chance: float
    share: float


_INSIDE = """
kitchen bedroom bathroom room office indoors inside couch sofa toilet sink oven stove refrigerator classroom library
restaurant dining bed desk bar counter television laptop computer keyboard shower tub microwave
"""
_OUTSIDE = """
field beach street park grass grassy mountain snow snowy ocean outdoors outside road sidewalk tree trees river lake sand
sky yard water city forest woods hill waves wave baseball soccer rock cliff garden skateboard surfboard skiing slope
dirt path building fence bike
"""
INSIDE, OUTSIDE = _INSIDE.split(), _OUTSIDE.split()
NIGHT, RAIN, SNOW = ("night", "dark"), ("rain", "raining", "rainy"), ("snow", "snowy", "skiing", "ski", "snowboard")
# Slope and shift of the log-odds: of how many more words of the inside than of the outside are expected; by the
# logarithm of how many of NIGHT, RAIN and SNOW are; by how many times likelier a thing is than on all photos.
IS_INSIDE, IS_NIGHT, IS_RAIN, IS_SNOW, IS_THERE = (4.0, 0.67), (1.38, 3.7), (1.2, 3.4), (1.08, 1.85), (1.1, 0.7)
WEATHER = "What's the weather like?"  # as people ask, who answer with one of DRY where it neither rains nor snows
DRY = ("sunny", "cloudy", "clear", "overcast", "windy", "foggy")

_SHOWN = rf"(?: (?:here|there|outside|out|on the ground|in the background|in (?:the|this) {PHOTO}))*\W*"
_PEOPLE = (
    r"(?:people|persons?|man|woman|men|women|child|children|kids?|boys?|girls?|players?|animals?|dogs?|cats?|horses?)"
)
_SUBJECT = rf"(?:this|that|it|we|they|he|she|these|those|(?:the|this) (?:{_PEOPLE}|{PHOTO}))"
_DOES = r"(?: (?:taken|shot|set|standing|sitting|playing|walking|running|eating|lying|happening))?"
_IN, _OUT = r"(?:inside|indoors?|in doors)", r"(?:outside|outdoors?|out doors)"
_THIS = rf"(?:this|that|it|(?:the|this) {PHOTO})(?: (?:taken|shot))?"
_DAY, _NIGHT = r"(?:day ?light|day ?time|day)", r"(?:night ?time|night)"
_DAY_OR_NIGHT = rf"(?:(?:at|in|during) )?(?:the )?(?:{_DAY}|{_NIGHT})"
_WHICH_PLACE = re.compile(
    rf"{OPENING}(?:(?:is|are|was|were) )?(?:{_SUBJECT}{_DOES} )?(?:{_IN} or {_OUT}|{_OUT} or {_IN}){_SHOWN}", re.I
)
_PLACE = re.compile(
    rf"{OPENING}(?:is|are|was|were) {_SUBJECT}{_DOES} (?:an? )?"
    rf"(?:(?P<inside>{_IN}|in a (?:room|house|building))|{_OUT})"
    rf"(?: (?:scene|photo|picture|shot|place))?{_SHOWN}",
    re.IGNORECASE,
)
_WHICH_TIME = re.compile(
    rf"{OPENING}(?:(?:is|was) )?(?:{_THIS} )?{_DAY_OR_NIGHT} or {_DAY_OR_NIGHT}{_SHOWN}|"
    rf"{OPENING}(?:is|was) it (?:light or dark|dark or light){_SHOWN}|"
    rf"{OPENING}what time of (?:the )?day (?:is|was) {_THIS}{_SHOWN}",
    re.IGNORECASE,
)
_TIME = re.compile(
    rf"{OPENING}(?:is|was) {_THIS}(?: (?:at|in|during))?(?: the)? (?:(?P<night>{_NIGHT})|{_DAY}){_SHOWN}|"
    rf"{OPENING}(?:is|was) it (?P<dark>dark)(?: already)?{_SHOWN}",
    re.IGNORECASE,
)
_WHICH_WEATHER = re.compile(
    rf"{OPENING}(?:what|how)(?:'s| is| was)(?: the)? weather(?: like)?(?: today)?{_SHOWN}", re.I
)
_WEATHER = re.compile(
    rf"{OPENING}(?:is|was) (?:it|the weather|this)(?: a)? (?:(?P<rain>raining|rainy)|snowy|(?P<dry>sunny))"
    rf"(?: day)?{_SHOWN}",
    re.IGNORECASE,
)
# Words that captions have, and that are no thing to look for.
_NO_THING = r"""
    it its this that what who one two three four several many few lot another other others something someone somebody
    left right top back front side open no some there life time way type part place photo picture image scene view line
    show game stop inside outside red blue green yellow black white brown gray grey orange pink purple large small big
    young old full empty little long high dark bright wet [a-z]+ing
"""
_THERE = re.compile(
    rf"{OPENING}(?:(?:is|are) there|(?:do|can) (?:you|u|i|we) see)(?: an?| any| some| the)? "
    rf"(?!(?:{'|'.join(_NO_THING.split())})\b)(?P<thing>[a-z]+){_SHOWN}",
    re.IGNORECASE,
)
# "tell me if it is raining", "do you know where this was taken": as it would be asked outright.
_INDIRECT = re.compile(
    rf"(?P<which>{OPENING}(?:where|what [a-z]+)? ?)"
    rf"(?P<what>{_THIS}|{_SUBJECT}) (?P<verb>is|are|was|were)\b(?P<rest>.*)",
    re.I,
)
_SAID = re.compile(r"\b(what|how|where|who)s\b", re.IGNORECASE)
_POLITE_END = re.compile(r"[\s,]*\b(?:please|pls|thanks|thank you)\b\W*$", re.IGNORECASE)


def outright(question: str) -> str:
    """The question with straight apostrophes, without "please", and with its verb before what it is about."""
    text = _POLITE_END.sub("", _SAID.sub(r"\1's", straight(question)))
    found = _INDIRECT.fullmatch(text.strip(" ?.!"))
    return f"{found['which']}{found['verb']} {found['what']}{found['rest']}" if found else text


@dataclass(frozen=True)
class PhotoScene:
    """question -> answers of one photo, the likeliest first; none to questions about anything else.

    Attributes:
        words: that the captioner knows.
        people: what people answer (lav2.captioning.candidates), for the weather that no caption tells.
    """

    words: Mapping[str, WordChance]
    people: Callable[[str], Answers] | None = None

    def __call__(self, question: str) -> Answers:
        question = outright(question)
        if _WHICH_PLACE.fullmatch(question):
            return either("inside", "outside", self._inside())
        if asked := _PLACE.fullmatch(question):
            return _yes(self._inside() if asked["inside"] else 1 - self._inside())
        if _WHICH_TIME.fullmatch(question):
            return either("night", "day", self._is(IS_NIGHT, NIGHT))
        if asked := _TIME.fullmatch(question):
            night = self._is(IS_NIGHT, NIGHT)
            return _yes(night if asked["night"] or asked["dark"] else 1 - night)
        if _WHICH_WEATHER.fullmatch(question):
            return self._weather()
        if asked := _WEATHER.fullmatch(question):
            return self._whether(bool(asked["rain"]), bool(asked["dry"]))
        if asked := _THERE.fullmatch(question):
            return self._there(asked["thing"].lower())
        if told := choices.chosen(question, self._number):
            return told
        share = predicates.whether(question, self._likelier, self.people)
        return () if share is None else _yes(share)

    def _inside(self) -> float:
        return chance(IS_INSIDE, self._number(INSIDE) - self._number(OUTSIDE))

    def _is(self, by: tuple[float, float], words: Sequence[str]) -> float:
        return chance(by, math.log(self._number(words) + 1e-3))

    def _number(self, words: Sequence[str]) -> float:
        """How many of the words are expected; what is nearly sure counts as several, since it is said in many ways."""
        return sum(-math.log1p(-min(self.words[word].chance, 0.999)) for word in words if word in self.words)

    def _weather(self) -> Answers:
        snow, rain = self._is(IS_SNOW, SNOW), self._is(IS_RAIN, RAIN)
        if max(snow, rain) > 0.5:
            return either("snowy", "rainy", snow / (snow + rain))
        dry = [pair for pair in (self.people(WEATHER) if self.people else ()) if pair[0] in DRY]
        return dry or [("sunny", 0.5)]

    def _whether(self, rain: bool, dry: bool) -> Answers:
        if not dry:
            return _yes(self._is(IS_RAIN, RAIN) if rain else self._is(IS_SNOW, SNOW))
        wet = max(self._is(IS_RAIN, RAIN), self._is(IS_SNOW, SNOW), self._is(IS_NIGHT, NIGHT), self._inside())
        return _yes(1 - wet) if wet > 0.5 else ()

    def _there(self, thing: str) -> Answers:
        forms = {thing, thing.removesuffix("s"), thing.removesuffix("es"), f"{thing}s"}
        known = [value for form in forms if (value := self._likelier(form)) is not None]
        return _yes(chance(IS_THERE, math.log(max(known)))) if known else ()

    def _likelier(self, word: str) -> float | None:
        """How many times likelier a word is than on all photos; None: it is not known."""
        told = self.words.get(word)
        return told and (told.chance + 1e-4) / told.share


def _yes(share: float) -> Answers:
    return either("yes", "no", share)
