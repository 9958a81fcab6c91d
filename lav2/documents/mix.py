"""`python -m lav2.documents.mix`: the rows that the shipped chat adapter's language group learned from, in one file.

Made-up documents, question sets about text, human questions on photos, phrases tied to photos, human questions without
their photo, and the questions of lav2.instruct; assets/chat/README.md has the numbers. The same data, shares and seed give the same file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from experts.colours import colour_of
from lav2.documents import __main__ as documents
from lav2.documents import candidates, concepts, photo_questions
from lav2.documents.priors import priors
from lav2.image import open_image
from lav2.instruct.command import main as write_templates
from lav2.options import Help

KNOWN_CHARACTERS = 650  # of a text of a question set at most: longer ones cost more than they teach
PER_KIND, PER_PHOTO = 2, 4  # questions of tied phrases: of one kind, of a photo
COMPUTED = 6  # of ten questions have the computed line, so that the model also reads what the line is made of
TEMPLATE_FILES = ("captions.jsonl", "boxes.jsonl", "boxes_new.jsonl", "teacher_boxes.jsonl")


def main(argv: Sequence[str] | None = None) -> int:
    """Make the parts in a folder, where they are missing, and mix them."""
    parser = argparse.ArgumentParser(
        prog="python -m lav2.documents.mix", description=main.__doc__, formatter_class=Help
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with captions.jsonl, boxes.jsonl, qa/ ...")
    parser.add_argument("--out", type=Path, required=True, help="folder of the parts and of mix.jsonl")
    parser.add_argument("--documents", type=int, default=1750, help="made-up ones")
    parser.add_argument("--known", type=int, default=650, help="texts of question sets")
    parser.add_argument("--human", type=int, default=750, help="photos with human questions")
    parser.add_argument("--tied", type=int, default=450, help="photos with tied phrases")
    parser.add_argument("--templates", type=int, default=1500, help="questions of lav2.instruct")
    parser.add_argument("--priors", type=int, default=0, help="rows of questions without photo")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn")
    options = parser.parse_args(argv)
    made = {name: options.out / f"{name}.jsonl" for name in ("docs", "photos", "templates")}
    data = ["--data", str(options.data), "--seed", str(options.seed)]
    if not made["docs"].exists():
        documents.main([*data, "--out", str(made["docs"]), "--count", str(max(4500, options.documents))])
    if not made["photos"].exists():
        photo_questions.main([*data, "--out", str(made["photos"])])
    if not made["templates"].exists():
        files = [str(options.data / name) for name in TEMPLATE_FILES]
        write_templates([*files, "--root", str(options.data), "--out", str(made["templates"]), "--total", "9000",
                       "--per-photo", "6", "--seed", str(options.seed + 20)])  # fmt: skip
    rng = random.Random(options.seed + 2)
    parts = {name: [json.loads(line) for line in file.open(encoding="utf-8")] for name, file in made.items()}
    rng.shuffle(parts["docs"])
    rng.shuffle(parts["photos"])
    own = [row for row in parts["docs"] if row["questions"][0]["kind"] != "known"]
    known = [row for row in parts["docs"] if row["questions"][0]["kind"] == "known" and _length(row) < KNOWN_CHARACTERS]
    human = [row for row in parts["photos"] if any(q["kind"] == "vqa" for q in row["questions"])]
    tied = [_few(row, rng) for row in parts["photos"] if all(q["kind"] != "vqa" for q in row["questions"])]
    pages = own[: options.documents] + known[: options.known]
    seen = human[: options.human] + tied[: options.tied] + _whole_groups(parts["templates"], options.templates, rng)
    _with_concepts(pages, seen, options.data, options.out, rng)
    mixed = pages + seen
    if options.priors:
        names = [row["image"] for row in human]
        mixed += priors(options.data / "qa/photo_qa_other.jsonl.gz", names, options.priors, options.seed)
    rng.shuffle(mixed)
    _coloured(mixed, options.out)
    for asked in (question for row in mixed for question in row.get("questions", [row])):
        asked["computed"] = zlib.crc32(asked["question"].encode()) % 10 < COMPUTED
    candidates.add(mixed, options.out, options.data)
    with (options.out / "mix.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in mixed)
    kinds = Counter(question["kind"] for row in mixed for question in row.get("questions", [row]))
    print(f"{len(mixed)} rows, {sum(kinds.values())} questions: {os.fspath(options.out / 'mix.jsonl')}")
    return 0


def _coloured(rows: Sequence[dict], folder: Path) -> None:
    """Adds to each box on a photo the colour that the detection expert would tell (experts.colours)."""
    boxed: dict[Path, list[dict]] = {}
    for row in rows:
        found = row["evidence"].get("detection", {}).get("items")
        if row["image"] and found:
            boxed.setdefault(folder / row["image"], []).append(row["evidence"]["detection"])
    for file, detections in tqdm(boxed.items(), desc="colours", unit="photo"):
        photo = open_image(file)
        for found in detections:
            scale = photo.width / found["size"][0], photo.height / found["size"][1]
            for item in found["items"]:
                left, top, right, bottom = item["xyxy"]
                box = (left * scale[0], top * scale[1], right * scale[0], bottom * scale[1])
                item["colour"] = colour_of(photo, box, item["label"])


def _with_concepts(pages: Sequence[dict], seen: Sequence[dict], data: Path, folder: Path, rng: random.Random) -> None:
    """Adds to the captions what their photo makes likely: rows about a text get that of some drawn sign."""
    captions = {
        str((data / entry["image"]).resolve()): entry["captions"]
        for name in ("captions.jsonl", "captions_new.jsonl")
        for entry in map(json.loads, (data / name).open(encoding="utf-8"))
        if entry["split"] == "train" and (data / entry["image"]).is_file()
    }
    files = [str((folder / row["image"]).resolve()) if row["image"] else "" for row in seen]
    signs = sorted(str(file.resolve()) for file in (folder / "signs").glob("*.*"))
    of_signs = concepts.of_pages(signs)
    photos = [file for file in dict.fromkeys(files) if file and file not in of_signs]
    told = concepts.cross_fitted(captions, photos) | of_signs
    concepts.add([row["evidence"].get("caption", {}) for row in seen], [told.get(file) for file in files], rng)
    some = list(of_signs.values())
    drawn = [rng.choice(some) if some else None for _ in pages]
    concepts.add([row["evidence"].get("caption", {}) for row in pages], drawn, rng)


def _length(row: dict) -> int:
    return sum(len(item["text"]) for item in row["evidence"]["ocr"]["items"])


def _few(row: dict, rng: random.Random) -> dict:
    """A row with some of its questions, so that no kind of them is asked more often than others."""
    asked, counts = list(row["questions"]), Counter()
    rng.shuffle(asked)
    kept = []
    for question in asked:
        if counts[question["kind"]] < PER_KIND:
            kept.append(question)
            counts[question["kind"]] += 1
    return {**row, "questions": kept[:PER_PHOTO]}


def _whole_groups(rows: Sequence[dict], most: int, rng: random.Random) -> list[dict]:
    """About `most` rows; all that share a photo and its findings together, since training reads these once."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        groups.setdefault((row["image"], json.dumps(row["evidence"], sort_keys=True)), []).append(row)
    shuffled = list(groups.values())
    rng.shuffle(shuffled)
    kept: list[dict] = []
    for group in shuffled:
        if len(kept) >= most:
            break
        kept += group
    return kept


if __name__ == "__main__":
    raise SystemExit(main())
