"""Data and a language model small enough for the whole recipe."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from PIL import Image
from tiny import llama
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lav2.documents import mix, written

DOG, SEA = "A red dog runs .", "The blue sea ."
TABLES = ("sroie_receipts", "wikitablequestions", "qamr", "tabmwp", "textvqa_ocr", "xquad", "fetaqa")


def write_lines(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def photos_and_questions(folder: Path) -> Path:
    """A data folder of every kind of file, with 28 photos: half red with a dog, half blue."""
    (folder / "photos").mkdir(parents=True)
    captions, boxes = [], []
    for n in range(28):
        name, red = f"photos/{n:06d}.png", n % 2 == 0
        Image.new("RGB", (64, 48), (250, n, 20) if red else (20, n, 250)).save(folder / name)
        row = {"image": name, "split": "val" if n > 23 else "train"}
        captions.append({**row, "captions": [DOG if red else SEA] * 2})
        found = [{"label": "dog", "xyxy": [4, 4, 40, 40]}] if red else [{"label": "boat", "xyxy": [8, 8, 60, 40]}]
        boxes.append({**row, "width": 64, "height": 48, "boxes": found})
    for name, rows in {"captions": captions, "captions_new": captions[:1], "boxes": boxes, "boxes_new": boxes[:1],
                       "boxes_flickr8k_merged": boxes[2:3], "teacher_boxes": boxes[1:2]}.items():  # fmt: skip
        write_lines(folder / f"{name}.jsonl", rows)
    text = {"lines": ["Cafe Sun", "Tea  2.50"], "question": "What does tea cost?", "answers": ["2.50"], "in_text": True}
    for name in TABLES:
        write_lines(folder / f"qa/text_qa_{name}.jsonl", [text])
    strings = [{"source": "icdar2015", "texts": [f"GATE {n} EAST" for n in range(8)]}]
    write_lines(folder / "qa/strings_scene_and_documents.jsonl", strings)
    asked = {"question": "Is there a dog?", "answers": ["yes"], "split": "train"}
    write_lines(folder / "qa/photo_qa_own.jsonl", [{"coco_id": n, **asked} for n in range(0, 12, 2)])
    stated = [{"coco_id": 2, "statement": "The dog is red.", "label": True, "split": "train"}]
    write_lines(folder / "qa/photo_statements_own.jsonl", stated)
    phrase = {"text": "a red dog runs", "phrases": [[0, 9, "1", "animals"]]}
    with gzip.open(folder / "entities_flickr8k.jsonl.gz", "wt") as file:
        tied = {"image": "photos/000004.png", "split": "train", "width": 64, "height": 48, "captions": [phrase]}
        file.write(json.dumps({**tied, "boxes": {"1": [[4, 4, 40, 40]]}}) + "\n")
    return folder


def language_model(folder: Path) -> Path:
    """Folder of a LLaMA of tests' size whose tokenizer knows the captions' words."""
    llama().save_pretrained(folder)
    words = ["<unk>", "<s>", "</s>", "A", "The", "a", "red", "dog", "runs", "blue", "sea", ".", "Yes.", "No.", "Dog"]
    words += [f"w{n}" for n in range(len(words), 64)]
    core = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    made.save_pretrained(folder)
    return folder


def few_rows(patch: pytest.MonkeyPatch) -> None:
    """Let lav2.documents.mix choose from few rows, and the reader of texts learn from few documents."""
    whole = written.templates
    patch.setattr(written, "templates", lambda *given, **how: whole(*given, **how)[:20])
    documents, asked, few = mix.documents.main, mix.write_templates, {"4500": "12", "9000": "24"}
    patch.setattr(mix.documents, "main", lambda argv: documents([few.get(word, word) for word in argv]))
    patch.setattr(mix, "write_templates", lambda argv: asked([few.get(word, word) for word in argv]))
