"""`python -m lav2.documents`: training rows of made-up documents and of question sets about text."""

from __future__ import annotations

import argparse
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lav2.documents import rows
from lav2.options import Help

SETS = {  # file of qa/ -> questions taken at most
    "text_qa_sroie_receipts.jsonl": 2400, "text_qa_wikitablequestions.jsonl": 1500, "text_qa_qamr.jsonl": 3700,
    "text_qa_tabmwp.jsonl": 600, "text_qa_textvqa_ocr.jsonl": 400, "text_qa_xquad.jsonl": 800, "text_qa_fetaqa.jsonl": 300,
}  # fmt: skip


def _strings(file: Path) -> list[str]:
    """Lines of real receipts, forms and streets."""
    lines = [text for line in file.read_text(encoding="utf-8").splitlines() for text in json.loads(line)["texts"]]
    return [line for line in lines if 3 < len(line) < 60]


def main(argv: Sequence[str] | None = None) -> int:
    """Write rows as JSON lines; image paths are relative to the file."""
    parser = argparse.ArgumentParser(prog="python -m lav2.documents", description=main.__doc__, formatter_class=Help)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=3000, help="made-up documents")
    parser.add_argument(
        "--data", type=Path, help="folder with captions.jsonl and qa/: questions about other texts as well"
    )
    parser.add_argument("--split", default="train", choices=("train", "val"), help="of captions and strings")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    options = parser.parse_args(argv)
    captions: list[str] = []
    photos: list[str] = []
    if options.data:
        for line in (options.data / "captions.jsonl").read_text(encoding="utf-8").splitlines():
            found = json.loads(line)
            if found["split"] == options.split:
                captions.append(found["captions"][0].strip(" .").lower())
                photos.append(str(options.data / found["image"]))
    others = _strings(options.data / "qa/strings_scene_and_documents.jsonl") if options.data else []
    made = list(rows.generate(options.count, options.seed, captions, photos, options.split, others))
    made += rows.unreadable(options.count // 20, options.seed, captions, photos)
    if options.data and options.split == "train":
        for name, most in SETS.items():
            made += rows.known_questions(options.data / "qa" / name, options.seed, captions, photos, most)
    random.Random(options.seed).shuffle(made)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", encoding="utf-8") as file:
        for one in made:
            if one["image"]:
                one["image"] = os.path.relpath(one["image"], options.out.parent)
            file.write(json.dumps(one, ensure_ascii=False) + "\n")
    counts = Counter(question["kind"] for one in made for question in one["questions"])
    print(f"{len(made)} documents, {sum(counts.values())} questions")
    for kind, count in counts.most_common():
        print(f"{kind:12} {count}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
