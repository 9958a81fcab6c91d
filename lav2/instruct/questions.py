"""A question and its true answer about a photo, by kind."""

import random
import re
from collections import Counter
from collections.abc import Callable

from lav2.instruct.photos import Box, Photo
from lav2.instruct.phrasings import REFUSALS
from lav2.instruct.reading import NTH
from lav2.instruct.sentences import PLURAL_PEOPLE, action, sentence
from lav2.instruct.world import Made, World, ask, ask_presence
from lav2.text.grounding import (
    NUMBERS,
    OPPOSITE,
    PLURAL_ONLY,
    RELATIONS,
    UNCOUNTED,
    WHERE,
    is_or_are,
    listed,
    named,
    plural,
    several,
    side,
)


def _presence(photo: Photo, rng: random.Random, world: World, turn: int) -> Made:
    counts = {b.label: 0 for b in photo.boxes or () if b.sure}  # there, but how many is unsure
    counts |= photo.counts
    # Every second row is a no, and so it is within each class: else "person" would nearly always be a yes.
    if turn % 2:
        label = world.companion(list(counts), rng, lambda x: photo.lacks(x) and world.balance[x] > -3)
        if label is None:
            return None
        world.balance[label] -= 1
        be = "are" if label in PLURAL_ONLY else "is"
        return ask_presence(label, rng), f"No, there {be} no {named(label)}.", "no"
    options = [label for label in counts if world.balance[label] < 3]
    if not options:
        return None
    label = rng.choices(options, [world.seen[label] ** -0.5 for label in options])[0]
    world.balance[label] += 1
    n = counts[label]
    counted = 0 < n <= 3  # more would be a second claim, and a harder one
    answer = f"Yes, there {is_or_are(n, label)} {several(n, label)}." if counted else f"Yes, there are {plural(label)}."
    return ask_presence(label, rng), answer, "yes"


# Numbers asked for in turn, or one and two would be the best guess everywhere. 6 stands for 6 to 10.
_COUNT_TURNS = (0, 1, 2, 3, 1, 2, 0, 4, 3, 2, 5, 1, 6)


def _count(photo: Photo, rng: random.Random, world: World, turn: int) -> Made:
    counts = {label: n for label, n in photo.counts.items() if n <= 10 and label not in UNCOUNTED}
    goal = _COUNT_TURNS[turn % len(_COUNT_TURNS)]
    if goal == 0:
        label = world.companion(list(counts), rng, lambda x: x not in UNCOUNTED and photo.lacks(x))
        if label is None:
            return None
        return ask("count", rng, plural=plural(label)), f"There are no {plural(label)}.", 0
    fitting = [label for label, n in counts.items() if min(n, 6) == goal]
    if not fitting:
        return None
    label = rng.choice(fitting)
    n = counts[label]
    number = f"{is_or_are(n, label)} {NUMBERS[n]} {plural(label) if n > 1 else named(label)}"
    return ask("count", rng, plural=plural(label)), f"There {number}.", n


def _which(photo: Photo, rng: random.Random, world: World, turn: int) -> Made:
    if not photo.boxes or photo.size is None:
        return None
    cells = [(b, *(min(2, int(c / s * 3)) for c, s in zip(b.centre, photo.size, strict=True))) for b in photo.boxes]
    region = rng.choice(list(WHERE))
    inside = {
        "left": lambda x, y: x == 0,
        "right": lambda x, y: x == 2,
        "top": lambda x, y: y == 0,
        "bottom": lambda x, y: y == 2,
        "middle": lambda x, y: x == y == 1,
    }[region]
    boxes = [b for b, x, y in cells if inside(x, y)]
    large = [b for b in boxes if b.area >= 0.01 * photo.size[0] * photo.size[1]]
    if not large or not all(b.sure for b in boxes):
        return None
    counts = Counter(b.label for b in sorted(large, key=lambda b: -b.area))
    if len(counts) > 3 or max(counts.values()) > 5:
        return None
    if list(counts) == ["person"] and rng.random() < 0.6:
        return None  # or "a person" would be the best guess everywhere
    first = next(iter(counts))
    verb = "are" if len(counts) > 1 else is_or_are(counts[first], first)
    text = listed(counts)
    answer = f"{text[0].upper()}{text[1:]} {verb} {WHERE[region]}."
    return ask("which", rng, where=WHERE[region]), answer, sorted(counts)


def _spatial(photo: Photo, rng: random.Random, world: World, turn: int) -> Made:
    single = [b for b in photo.boxes or () if photo.counts.get(b.label) == 1 and b.label not in UNCOUNTED]
    if len(single) < 2 or photo.size is None:
        return None
    one, other = rng.sample(single, 2)
    side = side_of(one, other, photo.size)
    if side is None:
        return None
    names = {"one": named(one.label), "other": named(other.label)}
    truth = f"the {names['one']} is {RELATIONS[side]} the {names['other']}"
    if turn % 3 == 2:
        return ask("spatial where", rng, **names), f"T{truth[1:]}.", side
    right = turn % 3 == 0
    asked = side if right else OPPOSITE[side]
    question = ask("spatial yes-no", rng, **names, relation=RELATIONS[asked])
    return question, f"Yes, {truth}." if right else f"No, {truth}.", "yes" if right else "no"


def side_of(one: Box, other: Box, size: tuple[int, int]) -> str | None:
    """On which side of `other` the centre of `one` lies, of RELATIONS; None where that is not plain."""
    dx, dy = (abs(p - q) / s for p, q, s in zip(one.centre, other.centre, size, strict=True))
    if max(dx, dy) < 0.15 or not (dx > 1.5 * dy or dy > 1.5 * dx):
        return None
    return side(one.centre, other.centre, size)


def read_sign(photo: Photo, rng: random.Random, world: World, turn: int) -> Made:
    lines = [text for text, _ in photo.signs]
    text = " ".join(lines)
    numbers = [w for w in text.split() if re.fullmatch(r"[\d.,:$%/-]*\d[\d.,:$%/-]*", w)]
    for kind, (pattern, answer) in _ON_SIGNS.items():
        found = [w for w in numbers if re.fullmatch(pattern, w)]
        if len(found) == 1 and rng.random() < 0.6:
            return ask(kind, rng), answer.format(found[0]), found[0]
    if len(numbers) == 1 and rng.random() < 0.5:
        return ask("read number", rng), f"The number is {numbers[0]}.", numbers[0]
    if len(lines) > 1 and rng.random() < 0.3:
        n = rng.randrange(len(lines))
        return ask("read line", rng, nth=NTH[n]), f'The {NTH[n]} line says "{lines[n]}".', lines[n]
    if rng.random() < 0.25:
        return ask("read only", rng), text, text
    return ask("read", rng), f'It says "{text}".', text


# Questions that a photo alone cannot answer, and a sign can: kind -> (what is written there, the answer).
_ON_SIGNS = {
    "read price": (r"\$\d+\.\d\d", "It costs {}."),
    "read time": (r"\d+:\d\d", "The sign says {}."),
}


def good_captions(photo: Photo) -> list[str]:
    return [c for c in photo.captions if 5 <= len(c.split()) <= 22]


def _short(photo: Photo, rng: random.Random, world: World, turn: int) -> Made:
    captions = good_captions(photo)
    return (ask("short", rng), sentence(rng.choice(captions)), None) if captions else None


def _detail(photo: Photo, rng: random.Random, world: World, turn: int) -> Made:
    captions, counts = good_captions(photo), dict(list(photo.counts.items())[:4])
    if not captions or not counts or max(counts.values()) > 10 or photo.size is None:
        return None
    parts = [sentence(rng.choice(sorted(captions, key=len)[-2:])), f"The photo shows {listed(counts)}."]
    for box in sorted(photo.boxes, key=lambda b: -b.area):
        if counts.get(box.label) == 1 and box.label not in UNCOUNTED and len(parts) < 4:
            parts.append(f"The {named(box.label)} is {_place(box, photo.size)}.")
    return ask("detail", rng), " ".join(parts), None


def _place(box: Box, size: tuple[int, int]) -> str:
    column, row = (min(2, int(c / s * 3)) for c, s in zip(box.centre, size, strict=True))
    rows, columns = ("top", "", "bottom")[row], ("left", "", "right")[column]
    if not rows:
        return f"on the {columns}" if columns else "in the middle"
    return f"at the {rows} {columns}".strip()


def _action(photo: Photo, rng: random.Random, world: World, turn: int) -> Made:
    found = [act for act in map(action, photo.captions) if act]
    if not found:
        return None
    who, what = rng.choice(found)
    be = "are" if who in PLURAL_PEOPLE else "is"
    asked = ("people" if be == "are" else "person") if rng.random() < 0.5 else who
    return ask("action", rng, who=asked, **{"is": be}), f"The {who} {be} {what}.", what.split()[0]


def _refusal(photo: Photo, rng: random.Random, world: World, turn: int) -> Made:
    topic = rng.choice(list(REFUSALS))
    questions, answer, needed, excluded = REFUSALS[topic]
    labels = {b.label for b in photo.boxes or ()}
    if (needed and not photo.counts.get(needed)) or (excluded and (excluded in labels or not photo.lacks(excluded))):
        return None
    return rng.choice(questions), answer, None


MAKERS: dict[str, Callable[[Photo, random.Random, World, int], Made]] = {
    "presence": _presence,
    "count": _count,
    "which": _which,
    "spatial": _spatial,
    "read": read_sign,
    "short": _short,
    "detail": _detail,
    "action": _action,
    "refusal": _refusal,
}
KINDS = (*MAKERS, "adversarial")
