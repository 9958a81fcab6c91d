"""Questions that the phrases of a photo's captions answer, where somebody tied each to what it names (Flickr30k Entities)."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from lav2.documents.kinds import Ask
from lav2.documents.phrasing import worded
from lav2.instruct.sentences import action

COLOURS = [
    "red",
    "blue",
    "green",
    "yellow",
    "black",
    "white",
    "brown",
    "grey",
    "gray",
    "orange",
    "pink",
    "purple",
    "tan",
    "beige",
    "gold",
    "silver",
]


def phrases(entry: Mapping, rng: random.Random) -> list[Ask]:
    """Questions that the tied phrases of a photo's captions answer: what is worn, colours, how many, where."""
    asks: list[Ask] = []
    for caption in entry["captions"]:
        text = caption["text"]
        found = {kind: [text[a:b] for a, b, _, k in caption["phrases"] if k == kind] for kind in ("people", "clothing", "animals", "vehicles", "scene", "other", "instruments")}  # fmt: skip
        for noun in (*found["clothing"], *found["animals"], *found["vehicles"], *found["other"]):
            words = [w for w in noun.lower().split() if w.isalpha()]
            colours = [w for w in words if w in COLOURS]
            if len(colours) == 1 and words[-1] not in COLOURS and len(words) > 1:
                thing = words[-1]
                asks.append(
                    Ask(
                        rng.choice(
                            (
                                f"What colour is the {thing}?",
                                f"What color is the {thing}?",
                                f"Which colour does the {thing} have?",
                                f"What colour are the {thing}?"
                                if thing.endswith("s")
                                else f"The {thing} is what color?",
                            )
                        ),
                        colours[0].capitalize(),
                        "colour",
                    )
                )
                other = rng.choice([c for c in COLOURS[:7] if c != colours[0]])
                yes = rng.random() < 0.5
                asks.append(
                    Ask(
                        f"Is the {thing} {colours[0] if yes else other}?",
                        "Yes." if yes else f"No, it is {colours[0]}.",
                        "colour",
                    )
                )
        if len(found["people"]) == 1 and found["clothing"] and re.search(r"\b(?:in|wearing|dressed in)\b", text):
            who = found["people"][0].lower().split()[-1]
            worn = " and ".join(found["clothing"])
            asks.append(
                Ask(
                    rng.choice(
                        (
                            f"What is the {who} wearing?",
                            f"What does the {who} wear?",
                            "What is the person wearing?",
                            f"What is the {who} dressed in?",
                        )
                    ),
                    worn[:1].upper() + worn[1:],
                    "worn",
                )
            )
        done = action(text)
        if done:
            who, what = done
            many = who in ("men", "women", "people", "boys", "girls", "children", "kids")
            asks.append(
                Ask(
                    rng.choice(
                        (
                            f"What {'are' if many else 'is'} the {who} doing?",
                            f"What {'do' if many else 'does'} the {who} do?",
                            "What is happening?",
                        )
                    ),
                    what[:1].upper() + what[1:],
                    "done",
                )
            )
            held = re.match(r"(?:holding|carrying) (.+)", what)
            if held:
                asks.append(
                    Ask(f"What {'are' if many else 'is'} the {who} holding?", held[1][:1].upper() + held[1][1:], "held")
                )
            riding = re.match(r"riding (?:on )?(.+)", what)
            if riding:
                asks.append(
                    Ask(
                        f"What {'are' if many else 'is'} the {who} riding?",
                        riding[1][:1].upper() + riding[1][1:],
                        "held",
                    )
                )
        if len(found["animals"]) == 1:
            animal = found["animals"][0].lower().split()[-1]
            asks.append(
                Ask(
                    rng.choice(
                        (
                            "Which animal is this?",
                            "What animal is in the photo?",
                            "What animal is it?",
                            "What kind of animal is that?",
                        )
                    ),
                    f"{'An' if animal[0] in 'aeiou' else 'A'} {animal}",
                    "animal",
                )
            )
            mouth = re.search(r"(a [\w ]+?|the [\w ]+?) in (?:its|his|her) mouth", text)
            if mouth:
                asks.append(
                    Ask(f"What does the {animal} have in its mouth?", mouth[1][:1].upper() + mouth[1][1:], "held")
                )
        if found["scene"] and rng.random() < 0.3:
            asks.append(
                Ask(
                    rng.choice(
                        (
                            "Where is this?",
                            "Where was the photo taken?",
                            "What is in the background?",
                            "What place is this?",
                        )
                    ),
                    found["scene"][0][:1].upper() + found["scene"][0][1:],
                    "where",
                )
            )
        people = found["people"][0].lower().split() if len(found["people"]) == 1 else []
        if people and people[-1] in ("man", "woman", "boy", "girl") and rng.random() < 0.4:
            one = {"man": "woman", "woman": "man", "boy": "girl", "girl": "boy"}[people[-1]]
            pair = (people[-1], one) if rng.random() < 0.5 else (one, people[-1])
            asks.append(Ask(f"Is it a {pair[0]} or a {pair[1]}?", f"A {people[-1]}", "person"))
        low = text.lower()
        if rng.random() < 0.25:
            outside = re.search(
                r"\b(?:grass|street|beach|snow|field|park|water|ocean|lake|mountain|outside|outdoors|road|sand|sidewalk|trees|river|pool)\b",
                low,
            )
            inside = re.search(
                r"\b(?:kitchen|bedroom|room|indoors|inside|couch|sofa|table|office|living|restaurant|bathroom)\b", low
            )
            if bool(outside) != bool(inside):
                asks.append(
                    Ask(
                        rng.choice(
                            (
                                "Is this inside or outside?",
                                "Is it indoors or outdoors?",
                                "Was this taken inside or outside?",
                            )
                        ),
                        "Outside" if outside else "Inside",
                        "scene",
                    )
                )
    unique = list({ask.question: ask for ask in asks}.values())
    rng.shuffle(unique)
    return [Ask(worded(rng, ask.question), ask.answer, ask.kind) for ask in unique]
