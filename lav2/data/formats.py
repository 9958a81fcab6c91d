"""Files of captions and instructions as rows.

Formats, told apart by their content: captions.jsonl, COCO-captions JSON, Karpathy's split JSON; rows of lav2.instruct
(JSON lines), Alpaca / GPT4-LLM JSON, LLaVA-Instruct JSON, ShareGPT JSON. Bad rows are told with file and line and
skipped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from experts.evidence import Caption, Evidence, from_json
from lav2 import files
from lav2.errors import LAV2Error
from lav2.events import Turn
from lav2.text import prompts


@dataclass(frozen=True)
class CaptionRow:
    """A photo and its human captions."""

    image: str  # path
    captions: tuple[str, ...]
    split: str = "train"  # or val, test


@dataclass(frozen=True)
class InstructionRow:
    """Questions and answers, cleaned, about a photo or about nothing; `evidence` belongs to the last question.

    `facts`: the row as it was read. lav2.instruct grades by it; "computed": false leaves the computed line out.
    """

    image: str | None  # path
    turns: tuple[Turn, ...]
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    split: str = "train"  # or val, test
    kind: str = "chat"  # lav2.instruct's kinds; chat: rows of other formats
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)


Row = CaptionRow | InstructionRow
RowType = TypeVar("RowType", CaptionRow, InstructionRow)


def read_rows(file: Path, images: Path | None = None, report: Callable[[str], None] = print) -> list[Row]:
    """The rows of a caption or instruction file of any format above.

    Args:
        file: the data file.
        images: folder of the photos; the file's own folder by default.
        report: gets one line per bad row.

    Raises:
        LAV2Error: the file cannot be read, or holds no good row.
    """
    folder = images or file.parent
    rows: list[Row] = []
    for line, raw in _raw_rows(files.read_text(file, "Check the path given with --data.")):
        try:
            rows += _rows(raw, folder)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            report(f"{file}:{line}: skipped, {type(error).__name__}: {error}")
    if not rows:
        raise LAV2Error(f"{file} holds no usable row.", "See the lines above; lav2/data/formats.py names the formats.")
    return rows


def _raw_rows(text: str) -> Iterator[tuple[int | str, object]]:
    """(line, parsed row) of a JSON list, of JSON lines, or of one document of captions; broken rows as a ValueError.

    The rows of a document are numbered by their place in it.
    """
    start = text.lstrip()[:1]
    if start == "[":
        yield from _json_list(text)
        return
    try:
        document = files.parse(text)
    except ValueError:
        yield from files.parse_lines(text.split("\n"))  # splitlines would also cut inside of texts
        return
    if isinstance(document, dict) and "annotations" in document:
        yield from _coco_captions(document)
    elif isinstance(document, dict) and "images" in document:
        yield from _karpathy_captions(document)
    else:  # one row
        yield 1, document


def _json_list(text: str) -> Iterator[tuple[int, object]]:
    """The elements of a JSON list one by one, each with its line; nothing can be read behind a broken one."""
    position, line, counted = text.index("[") + 1, 1, 0
    between = re.compile(r"[\s,]*")
    while (found := between.match(text, position)) and (position := found.end()) < len(text) and text[position] != "]":
        line, counted = line + text.count("\n", counted, position), position
        try:
            row, position = files.parse_from(text, position)
        except ValueError as error:
            yield line, ValueError(f"{error}; nothing behind it can be read")
            return
        yield line, row


def _coco_captions(document: dict[str, Any]) -> Iterator[tuple[int | str, object]]:
    """Rows of COCO's captions, and what is wrong with single images or annotations."""
    names: dict[Any, Any] = {}
    captions: dict[Any, list[Any]] = {}
    for part in ("images", "annotations"):
        if not isinstance(document.get(part), list):
            yield part, ValueError("a list is missing")
            return
    first = document["annotations"][:1]
    if first and isinstance(first[0], dict) and "bbox" in first[0] and "caption" not in first[0]:
        yield "annotations", ValueError("these are COCO's instances (boxes), not its captions (captions_*.json)")
        return
    for number, image in enumerate(document["images"], start=1):
        try:
            names[image["id"]] = image["file_name"]
        except (KeyError, TypeError) as error:
            yield f"image {number}", _wrong(error)
    for number, annotation in enumerate(document["annotations"], start=1):
        try:
            captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
        except (KeyError, TypeError) as error:
            yield f"annotation {number}", _wrong(error)
    for number, (image_id, texts) in enumerate(captions.items(), start=1):
        yield number, {"image": names.get(image_id), "captions": texts}


def _karpathy_captions(document: dict[str, Any]) -> Iterator[tuple[int | str, object]]:
    """Rows of Karpathy's split file, and what is wrong with single images."""
    if not isinstance(document["images"], list):
        yield "images", ValueError("a list is missing")
        return
    for number, image in enumerate(document["images"], start=1):
        try:
            captions = [sentence["raw"] for sentence in image["sentences"]]
            name = str(Path(image.get("filepath", "")) / image["filename"])
            split = image["split"]
        except (KeyError, TypeError, AttributeError) as error:
            yield number, _wrong(error)
            continue
        yield number, {"image": name, "split": "train" if split == "restval" else split, "captions": captions}


def _wrong(error: Exception) -> ValueError:
    return ValueError(f"{type(error).__name__}: {error}")


def _rows(raw: object, folder: Path) -> list[Row]:
    """The checked rows of one object of a file: several where it holds several questions about the same findings."""
    if not isinstance(raw, dict) or "questions" not in raw:
        row = _row(raw, folder)
        return [_with_candidates(row) if isinstance(row, InstructionRow) else row]
    shared = {name: value for name, value in raw.items() if name != "questions"}
    first = _row({**shared, **raw["questions"][0]}, folder)
    if not isinstance(first, InstructionRow):
        raise ValueError("questions beside captions")
    rows = [first]
    for question in raw["questions"][1:]:  # the findings are read and checked once
        history = [(turn[0], turn[1]) for turn in question.get("history", ())]
        turns = _turns([*history, (question["question"], question["answer"])])
        rows.append(replace(first, turns=turns, kind=question["kind"], facts={**shared, **question}))
    return [_with_candidates(row) for row in rows]


def _with_candidates(row: InstructionRow) -> InstructionRow:
    """The row, its caption expert's evidence with what it makes likely for the question (lav2.documents.candidates)."""
    caption = row.evidence.get("caption")
    if "candidates" not in row.facts or not isinstance(caption, Caption):
        return row
    candidates = tuple((answer, chance) for answer, chance in row.facts["candidates"])
    caption = replace(caption, candidates=candidates, asked=row.turns[-1].question)
    return replace(row, evidence={**row.evidence, "caption": caption})


def _row(raw: object, folder: Path) -> Row:
    """A checked row; raises KeyError, TypeError or ValueError for what is wrong with it."""
    if isinstance(raw, ValueError):
        raise raw
    if not isinstance(raw, dict):
        raise TypeError(f"a row is an object, not {type(raw).__name__}")
    image = raw.get("image")
    if image is not None:
        image = str(folder / image)
        if not os.path.isfile(image):  # unlike Path.is_file, also where the name is too long
            raise ValueError(f"no photo {image[:200]}")
    split = raw.get("split", "train")
    if not isinstance(split, str):
        raise TypeError(f"split is {split!r}")
    if "captions" in raw:
        if not isinstance(raw["captions"], list):
            raise TypeError("captions is not a list")
        captions = tuple(clean_caption(caption) for caption in raw["captions"])
        if image is None:
            raise KeyError("image")
        if not captions or not all(captions):
            raise ValueError("an empty caption")
        return CaptionRow(image, captions, split)
    if "question" in raw:  # lav2.instruct
        evidence = {name: from_json(name, value) for name, value in raw["evidence"].items() if name in raw["experts"]}
        history = [(turn[0], turn[1]) for turn in raw.get("history", ())]
        turns = _turns([*history, (raw["question"], raw["answer"])])
        return InstructionRow(image, turns, evidence, split, raw["kind"], raw)
    if "instruction" in raw:  # Alpaca
        asked = "\n".join(part for part in (raw["instruction"], raw.get("input")) if part)
        return InstructionRow(image, _turns([(asked, raw["output"])]), split=split)
    if "conversations" in raw:  # LLaVA-Instruct, ShareGPT
        return InstructionRow(image, _turns(_exchanges(raw["conversations"])), split=split)
    raise ValueError(f"no known format has the keys {', '.join(map(str, raw))}")


_ASKING, _ANSWERING = ("human", "user"), ("gpt", "chatgpt", "assistant", "bing", "bard")


def _exchanges(messages: list[dict[str, str]]) -> Iterator[tuple[str, str]]:
    """(question, answer) pairs; ShareGPT's system messages and what is said before the first question are left out."""
    question = None
    for message in messages:
        speaker, text = message["from"], message["value"]
        if speaker in _ASKING:
            if question is not None:
                raise ValueError("two questions without an answer between them")
            question = text.replace("<image>", "")
        elif speaker in _ANSWERING:
            if question is not None:
                yield question, text
            question = None
        elif speaker != "system":
            raise ValueError(f"an unknown speaker {speaker!r}")


def _turns(pairs: Iterable[tuple[str, str]]) -> tuple[Turn, ...]:
    turns = tuple(Turn(prompts.clean(question), prompts.clean(answer)) for question, answer in pairs)
    if not turns or not all(turn.question and turn.answer for turn in turns):
        raise ValueError("an empty question or answer")
    return turns


def clean_caption(text: str) -> str:
    """One spelling for all sources: single spaces, none before punctuation, no full stop at the end, capital first."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\s+([.,;:!?'])", r"\1", text).rstrip(" .")
    return text[:1].upper() + text[1:]
