"""`python -m lav2.instruct`"""

import argparse
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lav2.instruct.generate import generate, presence_captions
from lav2.instruct.noise import CLEAN, Augment
from lav2.instruct.photos import read_evidence, read_photos
from lav2.options import Help, add_renamed


def main(argv: Sequence[str] | None = None) -> int:
    """Write rows as JSON lines, image paths relative to that file; drawn signs go into signs/ beside it."""
    parser = argparse.ArgumentParser(prog="python -m lav2.instruct", description=main.__doc__, formatter_class=Help)
    parser.add_argument("files", nargs="+", help="captions.jsonl, boxes.jsonl, teacher_boxes.jsonl")
    parser.add_argument("--root", help="folder of the photos (default: that of the first file)")
    parser.add_argument("--out", required=True, help="JSON lines to write")
    parser.add_argument("--total", type=int, default=20_000, help="rows")
    parser.add_argument("--split", default="train", choices=("train", "val"), help="of the photos")
    parser.add_argument("--evidence", nargs="+", help="JSON lines of real experts' outputs, {image, evidence}")
    parser.add_argument("--clean", action="store_true", help="no dropped or corrupted evidence, for evaluation")
    parser.add_argument("--per-photo", type=int, default=1, metavar="N", help="questions, on the same evidence")
    add_renamed(parser, "--together", "--per-photo", dest="per_photo", type=int)
    parser.add_argument(
        "--presence", action="store_true", help="write captions that say what is there, for the stage pretrain"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    options = parser.parse_args(argv)
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    photos = read_photos(options.files, options.root or Path(options.files[0]).parent, options.split)
    if options.presence:
        rows = list(presence_captions(photos, seed=options.seed))
    else:
        rows = list(
            generate(
                photos,
                out.parent / "signs",
                options.total,
                evidence=read_evidence(*options.evidence) if options.evidence else None,
                augment=CLEAN if options.clean else Augment(),
                held_out=options.split == "val",
                seed=options.seed,
                per_photo=options.per_photo,
            )
        )
    random.Random(options.seed).shuffle(rows)
    with out.open("w", encoding="utf-8") as file:
        for row in rows:
            row |= {"image": os.path.relpath(row["image"], out.parent), "split": options.split}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    for kind, n in sorted(Counter(row.get("kind", "photos") for row in rows).items()):
        print(f"{kind:12} {n}")
    return 0
