"""A caption's animal, or its food, called by the kind that the photo surely shows: a captioner that has seen no lion
calls it a dog, and a cup of coffee a plate of food."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lav2.captioning.imagenet import WHOLE, groups, named, names
from lav2.text.grounding import a, plural

SURE = 0.8  # chance from which a name is put right
# Words of captions -> the group of kinds (lav2.captioning.imagenet) or the kind that they mean.
_MEANT = {
    "dog": "dog", "puppy": "dog", "cat": "cat", "kitten": "cat", "cow": "ox", "calf": "ox", "bull": "ox",
    "sheep": "sheep", "lamb": "sheep", "goat": "sheep", "horse": "horse", "pony": "horse", "bird": "bird",
    "bear": "bear", "elephant": "elephant", "zebra": "zebra", "giraffe": "giraffe",
}  # fmt: skip
_ANIMAL = re.compile(rf"\b(?<!hot )(?:(?P<article>an?) )?(?P<name>{'|'.join(_MEANT)})(?P<many>s?)\b", re.IGNORECASE)


# What a captioner says where it does not know the dish.
_FOOD = re.compile(r"\b(?:a (?:plate|bowl|tray|dish) of food|(?<!hot )(?<!plate of )food)\b", re.IGNORECASE)
_DISHES = ("food", "fruit", "vegetable", "drink", "dessert")


def may_be_renamed(caption: str) -> bool:
    """Whether it names something that a kind may be called by."""
    return bool(_ANIMAL.search(caption) or _FOOD.search(caption))


def renamed(caption: str, chances: Sequence[float]) -> str:
    """The caption, with another name where one kind of animal is sure and the caption names another, and where one kind
    of dish is sure and the caption says food.

    Args:
        chances: of each kind of ImageNet, of the photo.
    """
    kind, chance = named({at: chances[at] for at in groups()["animal"]}, WHOLE)[0]
    dish, sure = named({at: chances[at] for group in _DISHES for at in groups()[group]})[0]

    def right(found: re.Match[str]) -> str:
        meant = _MEANT[found["name"].lower()]
        if kind in (found["name"].lower(), meant, *(names()[at] for at in groups().get(meant, ()))):
            return found[0]
        name = plural(kind) if found["many"] else kind
        return _as_begun(a(name), found[0]) if found["article"] else name

    said = _ANIMAL.sub(right, caption) if chance >= SURE else caption
    return _FOOD.sub(lambda found: _as_begun(a(dish), found[0]), said) if sure >= SURE else said


def _as_begun(text: str, other: str) -> str:
    """With a large letter first where the other text has one."""
    return text[0].upper() + text[1:] if other[0].isupper() else text
