"""Human questions, statements and tied phrases about photos -> training rows of lav2.data (`python -m lav2.documents.photo_questions`).

Evidence is simulated: the photo's own boxes with a detector's mistakes, and a caption that is the photo's own, that of a
photo that looks alike (as wrong as a small captioner is) or that of any photo.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from experts.evidence import EXPERT_NAMES
from lav2.documents.kinds import READ_QUESTIONS, Ask
from lav2.documents.layout import ocr_json
from lav2.documents.phrasing import worded
from lav2.documents.rows import row
from lav2.instruct.noise import Augment, Noise, evidence_for
from lav2.instruct.photos import Photo, read_photos
from lav2.instruct.sentences import action, sentence
from lav2.instruct.world import World
from lav2.text.grounding import NUMBERS, a, plural

OWN, ALIKE = 0.45, 0.45  # share of photos with a caption of their own, of a photo that looks alike; else of any photo
SIMULATED = Augment(simulated=Noise(0.15, 0.03, 0.06, 0.0, 0.02, 0.1, 0.04))
ANSWERING = 0.6  # share of own captions that are chosen for what they answer
NO_EXPERTS, DROPPED = 0.15, 0.15
MISSING = 0.2  # share of photos that are asked about a kind of object which is not on them
PEOPLE = ("person", "man", "woman", "baby", "child", "boy", "girl")
NAMED = ("What brand is it?", "What is the brand?", "Which name is written there?", "What word is on it?", "What does the shirt say?", "What is written on the bus?",
         "What brand is on the cup?", "Which words can you see?")  # fmt: skip
OF_MISSING = ("What colour is the {x}?", "What is the {x} doing?", "Where is the {x}?", "What color is the {x}?", "What is next to the {x}?", "How big is the {x}?",
              "What kind of {x} is it?", "Who owns the {x}?")  # fmt: skip
LETTERED = 0.3  # share of photos with some words of a street in them, which say nothing about what is asked
DESCRIBED = 0.3  # share of photos that somebody wants described
DESCRIBE = ("What is in the photo?", "Describe the photo.", "What do you see?", "What is this?", "What does the photo show?", "What is happening here?",
            "Describe this picture.", "What's going on?", "Tell me about the photo.", "What is this a picture of?")  # fmt: skip
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


def human(file: Path, split: str = "train") -> dict[int, list[Ask]]:
    """COCO number -> human questions with their best answer, from photo_qa_own.jsonl."""
    found: dict[int, list[Ask]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["split"] == split:
            answer = short_answer(entry["answers"][0])
            found.setdefault(entry["coco_id"], []).append(Ask(entry["question"], answer, "vqa"))
    return found


def short_answer(text: str) -> str:
    """An answer of a few words as the chat writes it: a capital first, small numbers as words."""
    text = text.strip()
    if text.isdigit() and int(text) < len(NUMBERS):
        text = NUMBERS[int(text)] if int(text) else "none"
    return f"{text.capitalize()}." if text.lower() in ("yes", "no") else text[:1].upper() + text[1:]


_IS = re.compile(r"^(The .+?|A .+?|There) (is|are) (.+)$")


def statements(file: Path, rng: random.Random, split: str = "train") -> dict[int, list[Ask]]:
    """COCO number -> yes/no questions made of true and false statements."""
    found: dict[int, list[Ask]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["split"] != split:
            continue
        said = entry["statement"].strip().rstrip(".")
        match = _IS.match(said)
        question = f"Is it true that {said[:1].lower()}{said[1:]}?"
        if match and rng.random() < 0.8:
            question = f"{match[2].capitalize()} {match[1][:1].lower()}{match[1][1:]} {match[3]}?"
        found.setdefault(entry["coco_id"], []).append(Ask(question, "Yes." if entry["label"] else "No.", "statement"))
    return found


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


def captioned(
    photo: Photo, alike: Mapping[str, str], rng: random.Random, captions: Sequence[str], asks: Sequence[Ask] = ()
) -> str:
    """A caption as wrong as a small captioner's; of the photo's own often the one that answers most of the questions."""
    fate = rng.random()
    if fate < OWN and photo.captions:
        text = rng.choice(photo.captions)
        if rng.random() < ANSWERING:
            text = max(photo.captions, key=lambda one: sum(_holds(one, ask.answer) for ask in asks))
    else:
        text = alike.get(str(photo.image)) if fate < OWN + ALIKE else None
        text = text or rng.choice(captions)
    return sentence(text).lower().rstrip(".")


def _holds(caption: str, answer: str) -> bool:
    """Whether a caption says the answer."""
    word = answer.lower().strip(" .")
    return word not in ("yes", "no") and re.search(rf"\b{re.escape(word)}", caption.lower()) is not None


def evidence_of(
    photo: Photo, alike: Mapping[str, str], rng: random.Random, world, captions: Sequence[str], asks: Sequence[Ask] = ()
) -> dict:
    """Simulated findings on a photo; some experts are off at times, all of them now and then."""
    if rng.random() < NO_EXPERTS:
        return {}
    found = evidence_for(photo, "", None, SIMULATED, rng, world)
    found["caption"] = {"text": captioned(photo, alike, rng, captions, asks), "seconds": 0.0, "source": "simulated"}
    return {name: found[name] for name in EXPERT_NAMES if name in found and rng.random() >= DROPPED}


def generate(
    data: Path, photos: Sequence[Photo], alike: Mapping[str, str], seed: int, split: str = "train"
) -> Iterator[dict]:
    """Rows of all photos of a split that somebody asked or said something about.

    Args:
        data: folder with qa/ and entities_flickr8k.jsonl.gz.
        photos: of lav2.instruct.photos.read_photos.
        alike: photo -> caption of one that looks alike.
    """
    world, rng = World(photos), random.Random(seed)
    captions = [photo.captions[0] for photo in photos if photo.captions]
    asked = human(data / "qa/photo_qa_own.jsonl", split)
    for number, asks in statements(data / "qa/photo_statements_own.jsonl", rng, split).items():
        asked.setdefault(number, []).extend(rng.sample(asks, min(2, len(asks))))
    strings = [
        json.loads(line)
        for line in (data / "qa/strings_scene_and_documents.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    streets = [found["texts"] for found in strings if found["source"] in ("icdar2015", "textvqa_rosetta_ocr")]
    tied = {}
    with gzip.open(data / "entities_flickr8k.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["split"] == split:
                tied[os.path.basename(entry["image"])] = entry
    for photo in photos:
        asks = list(asked.get(int(photo.image.stem), ())) if photo.image.stem.isdigit() else []
        if photo.image.name in tied:
            asks += phrases(tied[photo.image.name], rng)[:6]
        if asks:
            rng.shuffle(asks)
            asks = asks[:7]
            evidence = evidence_of(photo, alike, rng, world, captions, asks)
            if photo.captions and rng.random() < DESCRIBED:
                said = sentence(rng.choice(photo.captions))
                asks.append(Ask(worded(rng, rng.choice(DESCRIBE)), said, "described"))
            if "ocr" in evidence and rng.random() < LETTERED:
                texts = rng.choice(streets)[: rng.randint(1, 4)]
                evidence["ocr"] = ocr_json([[text] for text in texts])
                if rng.random() < 0.4:
                    asked_of = [q.format(what="sign") for q in READ_QUESTIONS] + list(NAMED)
                    asks.append(Ask(worded(rng, rng.choice(asked_of)), " ".join(texts), "read"))
            if "detection" in evidence and rng.random() < MISSING:
                asks += _missing(photo, evidence, rng)
            yield row(str(photo.image), evidence, asks, split)


def _missing(photo: Photo, evidence: Mapping, rng: random.Random) -> list[Ask]:
    """A question about a kind of object that neither boxes nor captions nor findings have."""
    told = " ".join((*photo.captions, evidence.get("caption", {}).get("text", ""))).lower()
    there = {item["label"] for item in evidence["detection"]["items"]} | {box.label for box in photo.boxes}
    lacking = [kind for kind in evidence["detection"]["classes"] if kind not in there and kind not in told]
    if not lacking or not photo.boxes:
        return []
    kind = "person" if "person" in lacking and rng.random() < 0.3 else rng.choice(lacking)
    name = rng.choice(PEOPLE) if kind == "person" else kind
    of_one = Ask(worded(rng, rng.choice(OF_MISSING).format(x=name)), f"There is no {name} in the photo.", "missing")
    if rng.random() < 0.4:
        return [of_one]
    many, wearing = plural(name), rng.choice(("hats", "glasses", "red shirts", "helmets"))
    none = f"There are no {many} in the photo."
    count = rng.choice(
        (f"How many {many} are there?", f"How many {many} are in the photo?", f"How many {many} can you see?")
    )
    if kind == "person" and rng.random() < 0.5:
        count, none = f"How many people are wearing {wearing}?", "There are no people in the photo."
    there = rng.choice((f"Is there {a(name)}?", f"Are there any {many}?", f"Can you see {a(name)}?"))
    return [
        of_one,
        Ask(worded(rng, count), none, "missing"),
        Ask(worded(rng, there), f"No, there is no {name}.", "missing"),
    ]


def neighbours(photos: Sequence[Photo], pooled, rng: random.Random) -> dict[str, str]:
    """Photo -> a caption of one of the three photos that look most like it; `pooled` [n, C] features, of unit length."""
    found = {}
    for start in range(0, len(photos), 512):
        near = (pooled[start : start + 512] @ pooled.T).topk(4).indices.tolist()
        for offset, others in enumerate(near):
            photo = photos[start + offset]
            other = photos[rng.choice([i for i in others if i != start + offset])]
            if other.captions:
                found[str(photo.image)] = rng.choice(other.captions)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Write the rows of a split."""
    parser = argparse.ArgumentParser(prog="python -m lav2.documents.photo_questions", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with captions.jsonl, boxes.jsonl, qa/ ...")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", default="train", choices=("train", "val"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    files = [
        options.data / name
        for name in ("captions.jsonl", "captions_new.jsonl", "boxes.jsonl", "boxes_new.jsonl", "teacher_boxes.jsonl")
    ]
    photos = [photo for photo in read_photos(files, options.data, options.split) if photo.image.is_file()]
    rng = random.Random(options.seed)
    alike = neighbours(photos, _pooled(photos), rng)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", encoding="utf-8") as file:
        for made in generate(options.data, photos, alike, options.seed, options.split):
            made["image"] = os.path.relpath(made["image"], options.out.parent)
            file.write(json.dumps(made, ensure_ascii=False) + "\n")
    return 0


def _pooled(photos: Sequence[Photo]):
    """[n, C] mean image features of unit length, encoded where the cache lacks them."""
    import torch

    from lav2.config import EMBEDDED
    from lav2.data.features import FeatureCache
    from lav2.model.vision import VisionTower
    from lav2.weights import cache_dir

    names = [str(photo.image) for photo in photos]
    cache = FeatureCache(cache_dir() / "features", EMBEDDED.vision, names, (), 1)
    if not cache.complete:
        cache.fill(VisionTower(EMBEDDED.vision).encode)
    parts = [cache.get(names[start : start + 256]).mean(1) for start in range(0, len(names), 256)]
    every = torch.cat(parts)
    return torch.nn.functional.normalize(every - every.mean(0), dim=-1)


if __name__ == "__main__":
    raise SystemExit(main())
