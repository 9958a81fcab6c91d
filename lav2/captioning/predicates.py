"""Whether somebody in a photo does, wears or holds something, and whether something has a colour: told by the words
that are expected of the photo's captions, and by what people answer when they are asked for the colour.

Likely answers that learned from people's yes-no questions say yes to six of seven of these, whatever the photo shows
(docs/LOG.md).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from lav2.captioning.choices import chance
from lav2.text.asking import OPENING, PHOTO
from lav2.text.claims import singular

# Slope and shift of the log-odds by the logarithm of how many times likelier the word is than on all photos; fitted to
# as many questions with yes as with no about val photos, and of what somebody has to people's own questions about
# photos that were learned from: a hat is worn more often than captions write of it.
DOES, HAS = (1.16, 0.97), (1.0, 1.9)
# The same by the log-odds of a colour where it is asked for.
IS_COLOUR, FAINTEST = (1.25, 2.62), 0.04

_NO_NAME = r"(?!.*\b(?:not|no|nothing|something|anything|same|or|hands?|other)\b)"
_SOMEBODY = (
    r"(?:he|she|it|they|any(?:body|one)|some(?:body|one)|(?:the|this|that|these|those|his|her|all)(?: of the)? "
    r"(?!an? )(?:[a-z]+ ){0,2}?[a-z]+|(?:the )?(?:people|men|women|children|kids|dogs))"
)
_AMID = r"(?: (?:here|there|also|still|both|all|really|actually|currently|just))*"
_IN_PHOTO = rf"(?: (?:here|there|right now|now|today|in (?:the|this) {PHOTO}|at the moment))*\W*"
_BESIDE = r"(?: (?:up|down|around|back|together|outside|inside|along|away|by (?:him|her|it)self))?"
_THING = r"(?:an? |any |some |his |her |their |the )?(?:pair of )?(?P<{}>(?:[a-z]+ )?[a-z]+)"
_HAVING = re.compile(
    rf"{_NO_NAME}{OPENING}(?:is|are|was|were) {_SOMEBODY}{_AMID} (?:wearing|holding|carrying|using|playing(?: with)?)"
    rf" {_THING.format('thing')}{_IN_PHOTO}",
    re.IGNORECASE,
)
_DOING = re.compile(
    rf"{_NO_NAME}{OPENING}(?:is|are|was|were) {_SOMEBODY}{_AMID} (?P<doing>[a-z]+ing)"
    rf"(?: (?:an? |on an? |with an? |in an? )(?P<thing>[a-z]+))?{_BESIDE}{_IN_PHOTO}",
    re.IGNORECASE,
)
_COLOURS = r"red|blue|green|yellow|black|white|brown|gr[ae]y|orange|pink|purple|tan"
_SUBJECT = r"(?P<subject>it|they|(?:the|this|that|these|those|his|her|their|my) (?!an? )(?:[a-z]+ ){0,3}?[a-z]+)"
_COLOURED = re.compile(
    rf"{_NO_NAME}(?!.*\b(?:and|dark|light|bright|total|number|text)\b){OPENING}(?P<verb>is|are|was|were) {_SUBJECT} "
    rf"(?:(?:all|mostly|really) )?(?P<colour>{_COLOURS})(?: (?:in|or not) colou?r)?{_IN_PHOTO}",
    re.IGNORECASE,
)
# Not told by a word of what is done; "missing", "working" and "moving" are rarely written of a photo.
_UNTOLD = frozenset(re.findall(
    "[a-z]+", "wearing holding carrying using having doing being going missing working moving coming raining snowing "
    "king spring evening morning thing ring wedding ceiling building clothing"
))  # fmt: skip

Likelier = Callable[[str], float | None]  # how many times likelier a word is than on all photos; None: not known
People = Callable[[str], Sequence[tuple[str, float]]]  # question -> (answer, chance 0..1)


def whether(question: str, likelier: Likelier, people: People | None = None) -> float | None:
    """The chance that it is so; None where the question asks for something else, or its words are not known.

    Args:
        question: asked outright (lav2.captioning.scenes.outright).
        people: what people answer (lav2.captioning.candidates).
    """
    if coloured := _COLOURED.fullmatch(question):
        return _of_colour(coloured["verb"], coloured["subject"], coloured["colour"], people) if people else None
    found: list[float | None] = []
    by = DOES
    if has := _HAVING.fullmatch(question):
        found, by = [_noun(has["thing"], likelier)], HAS
    elif does := _DOING.fullmatch(question):
        doing = does["doing"].lower()
        found = [None] if doing in _UNTOLD else [_verb(doing, likelier)]
        found += [_noun(does["thing"], likelier)] if does["thing"] else []
    told = [value for value in found if value is not None]
    if not told or len(told) < len(found):
        return None
    return chance(by, math.log(min(told)))


def _of_colour(verb: str, subject: str, colour: str, people: People) -> float:
    """The chance that people who are asked which colour it is say this one, as that of a yes."""
    told = dict(people(f"What color {'are' if verb.lower() in ('are', 'were') else 'is'} {subject.lower()}?"))
    share = min(0.99, max(FAINTEST, told.get(colour.lower().replace("grey", "gray"), 0.0)))
    return chance(IS_COLOUR, math.log(share / (1 - share)))


def _noun(thing: str, likelier: Likelier) -> float | None:
    """Of "red hats" the hat's."""
    name = thing.lower().split()[-1]
    return _most({name, singular(name), f"{singular(name)}s"}, likelier)


def _verb(doing: str, likelier: Likelier) -> float | None:
    """Of "running" also that of run and runs."""
    stem = doing.removesuffix("ing")
    stems = {stem, f"{stem}e"} | ({stem[:-1]} if len(stem) > 3 and stem[-1] == stem[-2] else set())
    return _most({doing} | stems | {f"{one}s" for one in stems}, likelier)


def _most(forms: set[str], likelier: Likelier) -> float | None:
    known = [value for form in forms if (value := likelier(form)) is not None]
    return max(known, default=None)
