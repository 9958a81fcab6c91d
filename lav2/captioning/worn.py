"""What may be worn, and where: to a question for it nothing else is an answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lav2.text.asking import OPENING, straight

_ON = {
    "head": """
        hat hats cap caps helmet helmets bandana headband crown scarf hood mask wig visor turban veil tiara hair bow
        """,
    "face": "glasses sunglasses goggles mask makeup beard",
    "feet": "shoes sneakers boots sandals socks skates skis slippers cleats heels snowboard rollerblades",
    "body": """
        shirt shirts tshirt jacket jackets coat coats dress dresses suit suits wetsuit uniform uniforms shorts jeans
        pants trousers skirt sweater sweatshirt hoodie vest tie gloves swimsuit bikini trunks costume robe apron jersey
        clothes clothing outfit gown kimono backpack necklace watch earrings bracelet ring jewelry
        overalls pajamas diaper bib collar harness saddle leash blanket belt nothing
        """,
}
_WORDS = {place: frozenset(words.split()) for place, words in _ON.items()}
ANYTHING = frozenset[str]().union(*_WORDS.values()) - {"hair", "beard"}
_BODY = r"(?:heads?|hair|faces?|eyes?|nose|feet|foot)"
_SOMEBODY = (
    r"(?:he|she|they|(?:the|this|that|these|those) (?:\w+ ){0,2}?(?:man|woman|men|women|boys?|girls?|person|people|"
    r"guys?|lady|kids?|child|children|baby|dog|cat|horse|[a-z]+ers?)"
    r"(?: (?:on|in|at) the (?:left|right|middle|front|back))?)"
)
_ON_BODY = rf" on(?: (?:his|her|their|its) {_BODY})?\W*"
_WEARS = re.compile(
    rf"{OPENING}what(?:'s|s| is| are| was| were| does| do| did) (?!the material\b)[\w' ]+? "
    r"(?:wearing|wear|dressed in)\b(?P<where>(?: (?:on|over|in|at|around|here|there|today|right now)\b.*)?\W*)|"
    rf"{OPENING}what (?:does|do|did|has|have) {_SOMEBODY} (?:have|has|got|had)(?P<on>{_ON_BODY})",
    re.IGNORECASE,
)
_UPON = re.compile(
    rf"{OPENING}what(?:'s|s| is| are)(?: (?:that|this))?(?P<where> on (?:his|her|their|its) {_BODY})\W*", re.IGNORECASE
)
_PLACES = {
    "head": re.compile(r".*\bon (?:his|her|their|its|the) (?:heads?|hair)\b.*", re.IGNORECASE),
    "face": re.compile(r".*\b(?:on|over) (?:his|her|their|its|the) (?:faces?|eyes?|nose)\b.*", re.IGNORECASE),
    "feet": re.compile(r".*\bon (?:his|her|their|its|the) (?:feet|foot)\b.*", re.IGNORECASE),
}


def asked(question: str) -> frozenset[str]:
    """The last words that an answer to a question for what is worn may have; none of another question."""
    question = straight(question)
    wears = _WEARS.fullmatch(question)
    where = (wears["where"] or wears["on"] or "") if wears else ""
    if upon := None if wears else _UPON.fullmatch(question):
        where = upon["where"]
    place = next((place for place, form in _PLACES.items() if form.match(where)), "")
    return _WORDS[place] if place else ANYTHING if wears else frozenset()


def fits(answers: Sequence[str], words: frozenset[str]) -> list[bool]:
    """Whether each answer ends with one of the words: "a red t shirt" with shirt."""
    return [answer.replace("t shirt", "tshirt").rpartition(" ")[2] in words for answer in answers]
