"""A caption's animal, called by the kind that the photo surely shows: a captioner that has seen no lion calls it a
dog."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lav2.captioning.imagenet import WHOLE, groups, named, names
from lav2.text.grounding import plural

SURE = 0.8  # chance from which a name is put right
# Words of captions -> the group of kinds (lav2.captioning.imagenet) or the kind that they mean.
_MEANT = {
    "dog": "dog", "puppy": "dog", "cat": "cat", "kitten": "cat", "cow": "ox", "calf": "ox", "bull": "ox",
    "sheep": "sheep", "lamb": "sheep", "goat": "sheep", "horse": "horse", "pony": "horse", "bird": "bird",
    "bear": "bear", "elephant": "elephant", "zebra": "zebra", "giraffe": "giraffe",
}  # fmt: skip
_ANIMAL = re.compile(rf"\b(?<!hot )(?:(?P<article>an?) )?(?P<name>{'|'.join(_MEANT)})(?P<many>s?)\b", re.IGNORECASE)


def names_animal(caption: str) -> bool:
    return bool(_ANIMAL.search(caption))


def renamed(caption: str, chances: Sequence[float]) -> str:
    """The caption, with another name where one kind of animal is sure and the caption names another.

    Args:
        chances: of each kind of ImageNet, of the photo.
    """
    kind, chance = named({at: chances[at] for at in groups()["animal"]}, WHOLE)[0]

    def right(found: re.Match[str]) -> str:
        meant = _MEANT[found["name"].lower()]
        if kind in (found["name"].lower(), meant, *(names()[at] for at in groups().get(meant, ()))):
            return found[0]
        name = plural(kind) if found["many"] else kind
        if not found["article"]:
            return name
        article = "an" if name[0] in "aeiou" else "a"
        return f"{article.capitalize() if found['article'][0] == 'A' else article} {name}"

    return _ANIMAL.sub(right, caption) if chance >= SURE else caption
