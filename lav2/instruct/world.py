"""What all photos together tell, and how a question of a kind is worded."""

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence

from lav2.instruct.photos import Photo
from lav2.instruct.phrasings import QUESTIONS, SIGN_WORDS
from lav2.text.grounding import a, plural

# --- one maker per kind: photo -> (question, answer, truth) or None where the photo does not suit -----------
Made = tuple[str, str, object] | None


class World:
    """What all photos together tell: which objects come with which, and the words that captions use."""

    def __init__(self, photos: Sequence[Photo]):
        self.seen: Counter[str] = Counter()
        self.co_occurring: dict[str, Counter[str]] = {}
        for photo in photos:
            labels = sorted({b.label for b in photo.boxes or ()})
            self.seen.update(labels)
            for label in labels:
                self.co_occurring.setdefault(label, Counter()).update(x for x in labels if x != label)
        self.labels = tuple(sorted(self.seen))
        self.balance: Counter[str] = Counter()  # class -> presence questions answered yes, minus no
        self.captions = [p.captions[0] for p in photos if p.captions]
        words = Counter(w for p in photos for c in p.captions for w in re.findall(r"[a-z]{3,9}", c.lower()))
        self.words = tuple(sorted(w for w, n in words.items() if n >= 2)) or tuple(sorted(SIGN_WORDS.split()))

    def companion(self, labels: Sequence[str], rng: random.Random, suits: Callable[[str], bool]) -> str | None:
        """An object that often comes with these, three times in four; any other, else."""
        weights = Counter()
        for label in sorted(labels):
            weights.update(self.co_occurring.get(label, {}))
        if not weights or rng.random() < 0.25:
            weights = Counter({label: math.sqrt(n) for label, n in self.seen.items()})
        options = [label for label in sorted(weights) if suits(label)]
        return rng.choices(options, [weights[label] for label in options])[0] if options else None


def ask(kind: str, rng: random.Random, **words: str) -> str:
    question = rng.choice(QUESTIONS[kind]).format(**words)
    return question[0].upper() + question[1:]


def ask_presence(label: str, rng: random.Random) -> str:
    if label == "broccoli":  # neither "a broccoli" nor "any broccolis"
        fitting = [q for q in QUESTIONS["presence"] if "{plural}" not in q and "one?" not in q]
        return rng.choice(fitting).format(a=a(label))
    return ask("presence", rng, a=a(label), plural=plural(label))
