"""Human answers that the caption expert's candidates learn from, and candidates for training rows
(`python -m lav2.documents.candidates` makes the shipped file).

A model is surer of photos whose answers it learned than of any photo it will be asked about, so each photo of the rows
is told by one that learned from the others (cross-fitting).
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

import torch
from tqdm import tqdm

from lav2.captioning import candidates, human_answers
from lav2.captioning.human_answers import CandidateConfig, Example, Vectors
from lav2.captioning.reranker import pooled
from lav2.config import EMBEDDED, VisionConfig
from lav2.data.features import FeatureCache
from lav2.documents.priors import SOURCES
from lav2.errors import LAV2Error
from lav2.metrics.vqa import vqa_normalise
from lav2.model import checkpoint
from lav2.model.llm import load_llm
from lav2.model.vision import VisionTower
from lav2.model.word_vectors import word_vectors
from lav2.options import Help
from lav2.text.grounding import plural
from lav2.weights import cache_dir, find

FOLDS = 3
ENOUGH = 3  # of ten people who say the same make it right (VQA accuracy, Antol et al. 2015)
LENGTH = 4.0  # of the language model's vectors
SHORT = 3  # words of an answer that may be a candidate
TOLD = 0.85  # share of captions that come with candidates
NEVER = ("described", "read", "missing", "short", "detail")  # kinds of question on a photo that have no candidates


def human(data: Path, split: str = "train") -> list[tuple[Example, str]]:
    """(question with the share that each answer satisfies, file of its photo) of qa/photo_qa_own.jsonl; "": a photo
    that is not here (qa/photo_qa_other.jsonl.gz)."""
    found = []
    with (data / "qa/photo_qa_own.jsonl").open(encoding="utf-8") as lines:
        for entry in map(json.loads, lines):
            file = data / f"photos/coco/{entry['coco_id']:012d}.webp"
            if entry["split"] == split and file.is_file():
                found.append((_example(entry), str(file.resolve())))
    others = data / "qa/photo_qa_other.jsonl.gz"
    if split == "train" and others.exists():
        with gzip.open(others, "rt", encoding="utf-8") as lines:
            found += [(_example(e), "") for e in map(json.loads, lines) if e["source"] in (*SOURCES, "coco_qa")]
    return found


def _example(entry: Mapping) -> Example:
    votes = entry.get("votes") or [ENOUGH] * len(entry["answers"])
    pairs = zip(entry["answers"], votes, strict=True)  # OK-VQA's votes come as the share that they satisfy
    shares = {text: min(1.0, n if isinstance(n, float) else n / ENOUGH) for text, n in pairs}
    return Example(entry["question"], shares, -1)


def of_rows(rows: Iterable[Mapping], folder: Path) -> list[tuple[Example, str]]:
    """The same of training rows (lav2.documents): short answers about photos; questions about a text have none. Of
    captions that ask which kinds of object are there (lav2.instruct --presence): each kind once, in some wording."""
    found = []
    for row in rows:
        file = str((folder / row["image"]).resolve()) if row["image"] else ""
        if "captions" in row:
            found += [(example, file) for example in _presence(row["captions"])]
            continue
        written = bool(row["evidence"].get("ocr", {}).get("items"))
        for asked in row.get("questions", [row]):
            if asked["kind"] in ("vqa", "prior"):  # they come with all people's votes from `human`
                continue
            answer = asked["answer"].rstrip(".")
            seen = file and not written and asked["kind"] not in NEVER and len(answer.split()) <= SHORT
            found.append((Example(asked["question"], {answer: 1.0} if seen else {}, -1), file if seen else ""))
    return found


_PRESENT = re.compile(r"Is there (an?|some) ([^?]+)\? (Yes|No)\.")
PRESENCE = ("Is there {one}?", "Is there {one} in the photo?", "Are there any {many}?", "Do you see {one}?",
            "Can you see any {many}?", "Is {one} in the picture?", "Are there {many} in this image?")  # fmt: skip


def _presence(captions: Sequence[str]) -> list[Example]:
    known = {kind: (f"{article} {kind}", said) for text in captions for article, kind, said in _PRESENT.findall(text)}
    rng = Random(str(captions))
    return [
        Example(rng.choice(PRESENCE).format(one=one, many=plural(kind)), {said.lower(): 1.0}, -1)
        for kind, (one, said) in known.items()
    ]


def features(files: Sequence[str], vision: VisionConfig = EMBEDDED.vision) -> torch.Tensor:
    """[files, 2C] pooled image features, encoded where the cache lacks them."""
    cache = FeatureCache(cache_dir() / "features", vision, files, (), 1)
    if not cache.complete:
        cache.fill(VisionTower(vision).encode)
    return torch.cat([pooled(cache.get(files[i : i + 256])).float() for i in range(0, len(files), 256)])


def vectors(source: str = EMBEDDED.llm) -> Vectors:
    """What tells vectors of words of a language model, `source` of lav2.weights."""
    llm, tokenizer = load_llm(source)
    return lambda words: word_vectors(llm, tokenizer, words, LENGTH)


def placed(asked: Sequence[tuple[Example, str]], files: Sequence[str]) -> list[Example]:
    """Examples with the places of their photos in `files`."""
    place = {file: at for at, file in enumerate(files)}
    return [example._replace(photo=place.get(file, -1)) for example, file in asked]


def add(rows: Sequence[dict], folder: Path, data: Path) -> None:
    """Adds candidates to the questions of rows whose caption expert ran, told by a model that knows other photos. The
    models, one a part of the photos, are kept in the folder for rows about the same photos: they take most of the
    time."""
    asked = human(data) + of_rows(rows, folder)
    own = [str((folder / row["image"]).resolve()) if row["image"] else "" for row in rows]
    files = sorted({file for _, file in asked if file} | {file for file in own if file})
    seen = features(files)
    place = {file: at for at, file in enumerate(files)}
    fold = {file: zlib.crc32(file.encode()) % FOLDS for file in files}
    somewhere = Random(0)
    for left_out in range(FOLDS):
        learned = [pair for pair in asked if not pair[1] or fold[pair[1]] != left_out]
        photos = zlib.crc32("\n".join(sorted({photo for _, photo in learned})).encode())
        kept = folder / f"candidates-without-part-{left_out + 1}-{photos:08x}"
        if candidates.load(kept, EMBEDDED.vision) is None:
            try:
                model = human_answers.learn(
                    placed(learned, files), seen, EMBEDDED.vision, replace(CandidateConfig(), models=1), vectors()
                )
            except LAV2Error:  # too few questions to learn from: the rows come without
                return
            kept.mkdir(parents=True, exist_ok=True)
            candidates.save(model, kept)
        model = candidates.load(kept, EMBEDDED.vision)
        for row, file in zip(tqdm(rows, desc=f"candidates, part {left_out + 1}", disable=None), own, strict=True):
            if "text" not in row["evidence"].get("caption", {}):
                continue
            photo = file or files[zlib.crc32(json.dumps(row["evidence"]).encode()) % len(files)]  # some photo
            if fold[photo] != left_out or somewhere.random() > TOLD:
                continue
            for one in row.get("questions", [row]):
                told = model.told(seen[place[photo]], one["question"])
                one["candidates"] = [[answer, round(chance, 4)] for answer, chance in told]


def main(argv: Sequence[str] | None = None) -> int:
    """Teach the caption expert's candidates human answers, and say how often the likeliest is right on photos of val."""
    parser = argparse.ArgumentParser(prog="python -m lav2.documents.candidates", description=main.__doc__, formatter_class=Help)  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder with qa/ and photos/coco")
    parser.add_argument("--rows", type=Path, nargs="*", default=[], help="rows of lav2.documents: more questions")
    options = parser.parse_args(argv)
    share, questions = teach(options.data, options.rows, find(EMBEDDED.caption_adapter))
    print(f"the likeliest candidate is right {share:.3f} of {questions} questions on photos of val")
    return 0


def teach(
    data: Path, rows: Sequence[Path], folder: Path, report: Callable[[str], None] = print, llm: str = EMBEDDED.llm
) -> tuple[float, int]:
    """Write the candidates of a captioner into its folder; (VQA accuracy of the likeliest, questions) on photos of val.

    Args:
        data: folder with qa/ and photos/coco.
        rows: files of lav2.documents: more questions, and such as have no candidates.
        folder: of a caption adapter.
        llm: source of the language model whose vectors of words are used.

    Raises:
        LAV2Error: too few questions, no adapter, or one without an image encoder.
    """
    asked, more = human(data), []
    for file in rows:
        with file.open(encoding="utf-8") as lines:
            more += of_rows(map(json.loads, lines), file.parent)
    most = sum(bool(photo) for _, photo in asked) // 2 if asked else len(more)
    asked += Random(0).sample(more, min(len(more), most))  # people's questions count: rows have far more, all alike
    vision = checkpoint.read_vision(folder)
    if vision is None:
        raise LAV2Error(f"The adapter in {folder} is text only.", "Give the folder of a caption adapter.")
    files, settings = sorted({file for _, file in asked if file}), CandidateConfig()
    model = human_answers.learn(placed(asked, files), features(files, vision), vision, settings, vectors(llm), report)
    candidates.save(model, folder, {"data": [str(data), *map(str, rows)], **asdict(settings)})
    held = human(data, "val")
    files = sorted({file for _, file in held})
    if not held:
        return 0.0, 0
    seen, right = features(files, vision), []
    for example in placed(held, files):
        told = model.told(seen[example.photo], example.question)
        right.append(_right(example, told[0][0]) if told else 0.0)
    return sum(right) / len(right), len(right)


def _right(example: Example, answer: str) -> float:
    wanted = {vqa_normalise(text): share for text, share in example.answers.items()}
    return wanted.get(vqa_normalise(answer), 0.0)


if __name__ == "__main__":
    raise SystemExit(main())
