"""Questions that ask for one of a few things: which sport, which place, which room, a man or a woman. The words that
are expected of a photo's captions tell it (lav2.captioning.scenes); docs/LOG.md has how often they are right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from lav2.text.asking import OPENING, PHOTO
from lav2.text.grounding import a

Answers = Sequence[tuple[str, float]]  # (answer, chance 0..1)
Number = Callable[[Sequence[str]], float]  # how many of the words are expected

SOMEBODY = 0.3  # words of people that are expected where there is one
LEAST = 0.5  # chance from which one is told; below it people's answers are as good
# Slope and shift of the log-odds by the logarithm of how many words of a sport, or place, are expected; by how many
# more words of men than of women are, of children than of adults; by how many times more of one than of another word.
IS_SPORT, IS_PLACE, IS_MAN, IS_CHILD, IS_FIRST = (1.0, 2.5), (0.8, 2.2), (3.5, -0.5), (4.0, -0.1), (1.0, 0.0)


def _table(lines: str) -> Mapping[str, Sequence[str]]:
    """name -> words of captions that tell of it; the name itself where none stand behind it."""
    pairs = (line.partition(":") for line in lines.strip().splitlines())
    return {name.strip(): words.split() or [name.strip()] for name, _, words in pairs}


SPORTS = _table("""
    kayaking: kayak kayaking canoe paddling
    surfing: surfboard surfer surfing surfs surf
    skiing: ski skis skiing skier
    snowboarding: snowboard snowboarder snowboarding
    sledding: sled sledding
    skateboarding: skateboard skateboarder skateboarding skate
    skating: skating rollerblading rollerblades
    soccer:
    football: football quarterback
    rugby:
    baseball: baseball batter pitcher umpire
    tennis: tennis racket
    basketball:
    volleyball:
    hockey:
    frisbee:
    golf:
    swimming: swimming swims pool swim
    climbing: climbing climber climbs climb
    cycling: bike bicycle biker cyclist bicycles bikes
    motocross: motorcycle motorbike
    running: race runner racing
    horse riding: horse horses
    wrestling:
""")
PLACES = _table("""
    a street: street streets road sidewalk city
    a beach: beach sand sandy
    a park: park playground
    a field: field grass grassy
    a mountain: mountain mountains cliff
    a forest: forest woods
    a pool: pool
    a lake: lake
    a river: river stream
    the ocean: ocean sea waves wave
    the snow: snow snowy
    the water: water
    a yard: yard backyard lawn
    a stage: stage concert
    a skate park: ramp skateboard
    a tennis court: tennis
    a baseball field: baseball
    a harbor: harbor dock pier
    a market: market
    a store: store shop
    a train station: train subway station
    an airport: airport airplane
""")
ROOMS = _table("""
    a kitchen: kitchen stove oven refrigerator
    a bathroom: bathroom toilet bathtub
    a bedroom: bedroom bed
    a living room: couch sofa living
    an office: office desk
    a restaurant: restaurant cafe diner
    a bar: bar
    a gym: gym basketball
    a classroom: classroom
    a library: library
""")
GROWN_MEN, GROWN_WOMEN = ("man", "men", "guy"), ("woman", "women", "lady")
CHILDREN = ("boy", "girl", "child", "children", "kid", "baby", "toddler", "little", "boys", "girls", "kids")
ADULTS = ("man", "woman", "men", "women", "lady", "guy")
MEN, WOMEN = ("man", "men", "guy", "boy", "boys"), ("woman", "women", "lady", "girl", "girls", "ladies")

_THIS = rf"(?:this|that|it|here|there|(?:this|the) {PHOTO})"
# Who moves about, so that "where" asks for the place of the whole photo.
_PEOPLE = (
    r"(?:he|she|(?:the|this|that|these|those) (?:(?P<child>boys?|girls?|kids?|child|children|baby)|man|woman|men|women|"
    r"people|persons?|guys?|lady|ladies|couple|family|group|players?|riders?|skaters?|surfers?|skiers?|runners?|bikers?))"
)
_ANIMAL = r"(?:dog|cat|horse|cow|sheep|elephant|giraffe|zebra|bear|bird|animal)"
_ALIVE = rf"(?:(?P<people>{_PEOPLE})|(?:the|this|that|these|those) (?P<animal>{_ANIMAL})s?)"
_AT = rf"(?: (?:taken|shot|happening|at|located|right now|now|in (?:the|this) {PHOTO}))?"
_KIND = r"(?: kind of| type of)?"
_SPORT = re.compile(
    rf"{OPENING}(?:what|which){_KIND} (?:sports?|game) (?:(?:is|are|was|were|do|does|did) )?"
    r"(?:this|that|it|these|he|she|they|we|being|shown|played|(?:the|this) [a-z]+)"
    rf"(?: (?:is|are|being|do|does|playing|play|plays|played|doing|shown|here|in (?:the|this) {PHOTO}))*\W*|"
    rf"{OPENING}what(?:'s| is) the sport\W*",
    re.IGNORECASE,
)
_WHERE = re.compile(
    rf"{OPENING}where(?:'s| is| was| are| were) (?:{_THIS}|they|we|the people|{_ALIVE}){_AT}\W*|"
    rf"{OPENING}(?:what|which){_KIND} (?:place|location|setting) (?:is|was) (?:{_THIS}|shown)(?: taken| shot)?\W*|"
    rf"{OPENING}where am i\W*",
    re.IGNORECASE,
)
_ROOM = re.compile(
    rf"{OPENING}(?:what|which){_KIND} room (?:is|was|are) (?:{_THIS}|they|he|she|we)(?: in| taken in)?\W*", re.I
)
_SOMEBODY = (
    r"(?:person|child|kid|baby|toddler|one|player|rider|skater|surfer|driver|singer|dancer|skier|runner|biker|swimmer|"
    r"officer|worker|teacher|waiter|skateboarder|snowboarder)"
)
_ONE = rf"(?:this|that|it|he|she|they|(?:this|that|the) {_SOMEBODY})"
_MAN, _WOMAN = r"(?:an? )?(?P<{}>man|male|boy|guy)", r"(?:an? )?(?P<{}>woman|female|girl|lady)"
_MAN_OR_WOMAN = re.compile(
    rf"{OPENING}(?:(?:is|was) )?(?:{_ONE} )?(?:{_MAN.format('man')} or {_WOMAN.format('woman')}|"
    rf"{_WOMAN.format('other_woman')} or {_MAN.format('other_man')})\W*",
    re.IGNORECASE,
)
_GENDER = re.compile(
    rf"{OPENING}(?:what|which)(?:'s| is)? (?:the )?(?:gender|sex) (?:is|of) (?:{_ONE}|the (?:tennis )?{_SOMEBODY})"
    rf"(?: (?:on|in) the [a-z]+)?\W*",
    re.IGNORECASE,
)
_IS_ONE = re.compile(
    rf"{OPENING}(?:is|was) (?:this|that|it|he|she|(?:the|this|that) (?:person|child|kid|baby|one)) "
    rf"(?:{_MAN.format('man')}|{_WOMAN.format('woman')})\W*|"
    rf"{OPENING}(?:are|were) (?:(?:the|these|those|both|all)(?: (?:the|two|three))? )?(?:people|they|these|those|"
    r"[a-z]+ers) (?:all |both )?(?:(?P<men>men|males?|boys|guys)|women|females?|girls|ladies)\W*",
    re.IGNORECASE,
)
_YOUNG, _GROWN = r"(?:an? )?(?P<{}>child|kid|baby|boy|girl)", r"(?:an? )?(?P<{}>adult|grown[ -]?up|man|woman)"
_CHILD_OR_ADULT = re.compile(
    rf"{OPENING}(?:(?:is|was) )?(?:{_ONE} )?(?:{_YOUNG.format('child')} or {_GROWN.format('adult')}|"
    rf"{_GROWN.format('other_adult')} or {_YOUNG.format('other_child')})\W*",
    re.IGNORECASE,
)
# "Who is in the background?", "who rides the bike"; not who wins, or runs the shop, nor who is next to the man.
_IN_PHOTO = rf"(?:in|on|at) (?:the|this) (?:{PHOTO}|background|foreground|middle|front|back|left|right|[a-z]+)"
_WHO = re.compile(
    rf"(?!.*\b(?:or|him|his|her|man|woman|men|women|guy|lady|phone)\b){OPENING}"
    rf"who(?:'s|s| is| was) (?:else )?(?:(?:this|that|there|here)|{_IN_PHOTO}|with the (?:child|children|kids?|baby)|"
    r"(?:standing|sitting|riding|holding|flying|wearing|carrying|playing|walking|running|jumping|swimming|surfing|"
    rf"throwing|kicking|skating|skiing|eating|cooking|driving|lying|climbing)\b(?! (?:at|for|tonight)\b).*)"
    rf"(?: {_IN_PHOTO})?\W*|"
    rf"(?!.*\b(?:or|him|his|her|man|woman|men|women|guy|lady)\b){OPENING}who "
    rf"(?:(?:rides|flies|wears|throws|kicks|jumps|swims|surfs) .*|"
    rf"(?:do|can) (?:you|we|i) see(?: here| {_IN_PHOTO})?\W*)",
    re.IGNORECASE,
)
_WITH_CHILDREN = re.compile(r"\b(?:child|children|kids?|boys?|girls?|baby)\b", re.IGNORECASE)
# "Is he standing or sitting?"
_DOING = re.compile(
    rf"{OPENING}(?:(?:is|are|was|were) )?(?:(?:{_ONE}|the (?:man|woman|men|women|boys?|girls?|people|kids|children|"
    r"dogs?|cats?|horses?|animals?|birds?)) )?(?!raining|snowing|coming|going)(?P<one>[a-z]+ing)(?: up| down)? or "
    r"(?!raining|snowing|coming|going)(?P<other>[a-z]+ing)(?: up| down)?\W*",
    re.IGNORECASE,
)


def chosen(question: str, number: Number) -> Answers:
    """The likeliest first; () where the question asks for something else, or none is likely."""
    if _SPORT.fullmatch(question):
        return _likeliest(SPORTS, number, IS_SPORT)
    if _ROOM.fullmatch(question):
        return _likeliest(ROOMS, number, IS_PLACE)
    if asked := _WHERE.fullmatch(question):
        animal = (asked["animal"] or "").lower()
        if animal and number((animal, f"{animal}s")) <= SOMEBODY:  # there is none
            return ()
        if asked["people"] and number(CHILDREN if asked["child"] else (*MEN, *WOMEN, *CHILDREN)) <= SOMEBODY:
            return ()
        return _likeliest({**PLACES, **ROOMS}, number, IS_PLACE)
    if asked := _MAN_OR_WOMAN.fullmatch(question):
        man, woman = asked["man"] or asked["other_man"], asked["woman"] or asked["other_woman"]
        return _man_or_woman(
            number, *(word if word.endswith("male") else a(word) for word in (man.lower(), woman.lower()))
        )
    if asked := _CHILD_OR_ADULT.fullmatch(question):
        child, adult = asked["child"] or asked["other_child"], asked["adult"] or asked["other_adult"]
        if not _anybody(number):
            return ()
        young = chance(IS_CHILD, number(CHILDREN) - number(ADULTS))
        return either(a(child.lower()), a(adult.lower()), young)
    if _WHO.fullmatch(question):
        return _who(number, beside_children=bool(_WITH_CHILDREN.search(question)))
    if asked := _DOING.fullmatch(question):
        return _one_of(number, asked["one"].lower(), asked["other"].lower())
    if _GENDER.fullmatch(question):
        return _man_or_woman(number, "male", "female")
    if asked := _IS_ONE.fullmatch(question):
        return _man_or_woman(number, *(("yes", "no") if asked["man"] or asked["men"] else ("no", "yes")))
    return ()


def _likeliest(table: Mapping[str, Sequence[str]], number: Number, by: tuple[float, float]) -> Answers:
    found = {name: chance(by, math.log(number(words) + 1e-3)) for name, words in table.items()}
    return sorted((pair for pair in found.items() if pair[1] >= LEAST), key=lambda pair: -pair[1])[:2]


def _anybody(number: Number) -> bool:
    """Whether there is somebody; of a cat the words of people tell nothing."""
    return number(MEN) + number(WOMEN) + number(CHILDREN) > SOMEBODY


def _man_or_woman(number: Number, man: str, woman: str) -> Answers:
    return () if not _anybody(number) else either(man, woman, chance(IS_MAN, number(MEN) - number(WOMEN)))


def _who(number: Number, beside_children: bool) -> Answers:
    """A man, a woman or a child; `beside_children`: they are told of already."""
    men, women = (GROWN_MEN, GROWN_WOMEN) if beside_children else (MEN, WOMEN)
    if number(men) + number(women) + (0.0 if beside_children else number(CHILDREN)) <= SOMEBODY:
        return ()
    young = 0.0 if beside_children else chance(IS_CHILD, number(CHILDREN) - number(ADULTS))
    grown = either("a man", "a woman", chance(IS_MAN, number(men) - number(women)))
    told = [(who, share * (1 - young)) for who, share in grown] + [("a child", young)]
    return sorted((pair for pair in told if pair[1]), key=lambda pair: -pair[1])


_ENDS = ("ing", "", "s", "e", "es")


def _one_of(number: Number, *doing: str) -> Answers:
    """The likelier of two words such as "standing"; () where one of them is not known."""
    one, other = (number([f"{stem}{end}" for stem in (word[:-3], word[:-4]) for end in _ENDS]) for word in doing)
    return either(*doing, chance(IS_FIRST, math.log((one + 1e-3) / (other + 1e-3)))) if one and other else ()


def chance(by: tuple[float, float], value: float) -> float:
    """0..1, by the slope and shift of its log-odds."""
    return 1 / (1 + math.exp(-(by[0] * value + by[1])))


def either(one: str, other: str, share: float) -> Answers:
    """Two answers that exclude each other, the likelier first; `share`: the chance of the first."""
    return sorted(((one, share), (other, 1 - share)), key=lambda pair: -pair[1])
