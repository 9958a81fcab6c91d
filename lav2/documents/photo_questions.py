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

from experts.evidence import BUILT_IN
from lav2.documents.kinds import READ_QUESTIONS, Ask
from lav2.documents.layout import ocr_json
from lav2.documents.phrases import phrases
from lav2.documents.phrasing import worded
from lav2.documents.rows import row
from lav2.instruct.noise import Augment, Noise, evidence_for
from lav2.instruct.photos import Photo, read_photos
from lav2.instruct.sentences import sentence
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
LETTERED = 0.45  # share of photos with some words of a street in them, which say nothing about what is asked
DESCRIBED, WITH_WORDS = 0.3, 0.7  # share of photos that somebody wants described; of those with words of a street
DESCRIBE = ("What is in the photo?", "Describe the photo.", "What do you see?", "What is this?", "What does the photo show?", "What is happening here?",
            "Describe this picture.", "What's going on?", "Tell me about the photo.", "What is this a picture of?")  # fmt: skip


def human(file: Path, split: str = "train") -> dict[int, list[Ask]]:
    """COCO number -> human questions with their best answer, from photo_qa_own.jsonl."""
    found: dict[int, list[Ask]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["split"] == split:
            answer = short_answer(next(filter(str.strip, entry["answers"]), ""))
            if not answer:  # nobody said anything
                continue
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
    return {name: found[name] for name in BUILT_IN if name in found and rng.random() >= DROPPED}


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
            lettered = "ocr" in evidence and rng.random() < LETTERED
            if photo.captions and rng.random() < (WITH_WORDS if lettered else DESCRIBED):
                said = sentence(rng.choice(photo.captions))
                asks.append(Ask(worded(rng, rng.choice(DESCRIBE)), said, "described"))
            if lettered:
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
