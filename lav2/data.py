"""Training data: rows of captions and instructions, the cache of image features, batches.

Formats, told apart by their content: captions.jsonl, COCO-captions JSON, Karpathy's split JSON; rows of lav2.instruct
(JSON lines), Alpaca / GPT4-LLM JSON, LLaVA-Instruct JSON, ShareGPT JSON. Bad rows are told with file and line and
skipped.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import uuid
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from experts.evidence import Evidence, from_json
from lav2 import files, grounding, prompts, weights
from lav2.config import VisionConfig
from lav2.errors import LAV2Error
from lav2.image import MIRROR_WORDS, open_image
from lav2.prompts import Turn


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
    facts: Mapping = field(default_factory=dict, compare=False)


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
        raise LAV2Error(f"{file} holds no usable row.", "See the lines above; lav2/data.py names the formats.")
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
    place, line, counted = text.index("[") + 1, 1, 0
    between = re.compile(r"[\s,]*")
    while (place := between.match(text, place).end()) < len(text) and text[place] != "]":
        line, counted = line + text.count("\n", counted, place), place
        try:
            row, place = files.parse_from(text, place)
        except ValueError as error:
            yield line, ValueError(f"{error}; nothing behind it can be read")
            return
        yield line, row


def _coco_captions(document: dict) -> Iterator[tuple[int | str, object]]:
    """Rows of COCO's captions, and what is wrong with single images or annotations."""
    names, captions = {}, {}
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


def _karpathy_captions(document: dict) -> Iterator[tuple[int | str, object]]:
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
        return [_row(raw, folder)]
    shared = {name: value for name, value in raw.items() if name != "questions"}
    first = _row({**shared, **raw["questions"][0]}, folder)
    rows = [first]
    for question in raw["questions"][1:]:  # the findings are read and checked once
        history = [(turn[0], turn[1]) for turn in question.get("history", ())]
        turns = _turns([*history, (question["question"], question["answer"])])
        rows.append(replace(first, turns=turns, kind=question["kind"], facts={**shared, **question}))
    return rows


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


def _exchanges(messages: list[dict]) -> Iterator[tuple[str, str]]:
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


def _turns(pairs) -> tuple[Turn, ...]:
    turns = tuple(Turn(prompts.clean(question), prompts.clean(answer)) for question, answer in pairs)
    if not turns or not all(turn.question and turn.answer for turn in turns):
        raise ValueError("an empty question or answer")
    return turns


def clean_caption(text: str) -> str:
    """One spelling for all sources: single spaces, none before punctuation, no full stop at the end, capital first."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\s+([.,;:!?'])", r"\1", text).rstrip(" .")
    return text[:1].upper() + text[1:]


class FeatureCache:
    """clip_tokens of photos on disk, float16: each photo, known by its content, is encoded once per encoder.

    Shards `*.npy` [photos, N, C], each with a `.txt` that names the photo of every row made so far; one shard per call
    of `fill`, so that several runs may share the folder and an interrupted one loses nothing.

    Photos that cannot be read are left out: `damaged` tells why, by their path, once `fill` has met them.

    Args:
        folder: where it lives; one sub-folder per encoder.
        vision: the encoder's settings.
        images: paths of the photos.
        augmented: those that are also kept in other views, for augmentation.
        views: of each augmented photo (view_of): 1 the photo itself, 2 it and its mirror image, more: crops as well.
    """

    CHUNK = 32  # photos per forward pass

    def __init__(
        self,
        folder: Path,
        vision: VisionConfig,
        images: Collection[str],
        augmented: Collection[str] = (),
        views: int = 2,
    ):
        encoder = json.dumps(asdict(vision)).encode()
        if (vision.weights or "").endswith(".safetensors"):  # tuned by someone, and perhaps again under the same name
            encoder += hashlib.sha256(weights.find(vision.weights).read_bytes()).digest()
        self.folder = folder / hashlib.sha256(encoder).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._views = dict.fromkeys(augmented, views)
        self._shape = (vision.tokens, vision.width)
        self.damaged: dict[str, str] = {}
        self._names: dict[str, str] = {}
        for image in images:
            try:
                self._names[image] = hashlib.sha256(Path(image).read_bytes()).hexdigest()[:24]
            except OSError as error:
                self.damaged[image] = f"{image} cannot be read ({error.strerror})."
        self._rows: dict[str, np.ndarray] = {}  # name -> [N, C] on disk
        for index in sorted(self.folder.glob("*.txt")):
            self._add(index)

    def _add(self, index: Path) -> None:
        try:
            shard = np.load(index.with_suffix(".npy"), mmap_mode="r").reshape(-1, *self._shape)
        except (OSError, ValueError):  # cut off or gone: its photos are encoded again
            self._forget(index)
            return
        self._rows.update(zip(index.read_text().split(), shard, strict=False))  # rows behind the index are not made

    @staticmethod
    def _forget(index: Path) -> None:
        for file in (index, index.with_suffix(".npy")):
            file.unlink(missing_ok=True)

    def views(self, image: str) -> int:
        """How many views of a photo there are."""
        return self._views.get(image, 1)

    def _wanted(self) -> dict[str, tuple[str, int]]:
        """Names that are not there yet -> photo and view."""
        every = ((image, name, view) for image, name in self._names.items() for view in range(self.views(image)))
        wanted = {_name(name, view): (image, view) for image, name, view in every}
        return {name: what for name, what in wanted.items() if name not in self._rows}

    @property
    def complete(self) -> bool:
        return not self._wanted()

    def fill(self, encode: Callable[[list], Tensor]) -> None:
        """Encode what is missing; `encode` is VisionTower.encode. Interrupt it and it goes on where it was.

        Raises:
            LAV2Error: there is no room for the features.
        """
        wanted = list(self._wanted().items())
        index = self.folder / f"{uuid.uuid4().hex[:12]}.txt"
        shape, made = (len(wanted), *self._shape), 0
        size, free = 2 * math.prod(shape), shutil.disk_usage(self.folder).free  # bytes
        if size > free:  # writing to a mapped file would end the process
            raise LAV2Error(
                f"The image features need {size / 1e9:.1f} GB in {self.folder}, and {free / 1e9:.1f} GB are free.",
                "Free some space, or give another folder as --cache.",
            )
        shard = np.lib.format.open_memmap(index.with_suffix(".npy"), mode="w+", dtype=np.float16, shape=shape)
        with index.open("w") as names, tqdm(total=len(wanted), desc="image features", disable=None) as progress:
            for start in range(0, len(wanted), self.CHUNK):
                part = wanted[start : start + self.CHUNK]
                progress.update(len(part))
                opened = [(name, photo) for name, (image, view) in part if (photo := self._opened(image, view))]
                if not opened:
                    continue
                shard[made : made + len(opened)] = encode([photo for _, photo in opened]).cpu().half().numpy()
                shard.flush()
                names.writelines(f"{name}\n" for name, _ in opened)
                names.flush()
                made += len(opened)
        if made:
            self._add(index)
        else:
            self._forget(index)

    def _opened(self, image: str, view: int) -> Image.Image | None:
        """A view of a photo; None, and a note of it, where the photo is damaged."""
        if image not in self.damaged:
            try:
                return view_of(open_image(image), view)
            except LAV2Error as error:
                same = (other for other, name in self._names.items() if name == self._names[image])
                self.damaged.update(dict.fromkeys(same, error.cause))
        return None

    def content(self) -> str:
        """SHA-256 of all photos' contents, in hexadecimal."""
        return hashlib.sha256("".join(sorted(self._names.values())).encode()).hexdigest()

    def get(self, images: Sequence[str], views: Sequence[int] | None = None) -> Tensor:
        """clip_tokens [B, N, C] float32 of photos, each in one of its views [B], or as it is."""
        chosen = zip(images, [0] * len(images) if views is None else views, strict=True)
        names = [_name(self._names[image], view) for image, view in chosen]
        return torch.from_numpy(np.stack([self._rows[name] for name in names]).astype(np.float32))


CROPPED = (0.6, 1.0)  # of each side of the photo that a crop keeps: a caption's things are mostly still in it


def view_of(photo: Image.Image, view: int) -> Image.Image:
    """A photo as augmentation shows it: view 0 is itself, 2, 4 ... are crops; each odd one is the one before, mirrored.

    A crop is drawn by its number and the photo's pixels alone, so that a cache on disk can hold it.
    """
    if view >= 2:
        rng = np.random.default_rng((view // 2, zlib.crc32(photo.tobytes())))
        kept = rng.uniform(*CROPPED, size=2) * photo.size  # [width, height]
        left, top = rng.uniform(size=2) * (photo.size - kept)
        photo = photo.crop((round(left), round(top), round(left + kept[0]), round(top + kept[1])))
    return ImageOps.mirror(photo) if view % 2 else photo


def without_damaged(
    rows: Sequence[RowType], features: FeatureCache | None, report: Callable[[str], None] = print
) -> list[RowType]:
    """The rows whose photos could be read; the others are told, each photo once, and counted."""
    damaged = features.damaged if features is not None else {}
    left = [row for row in rows if row.image in damaged]
    for image in dict.fromkeys(row.image for row in left):
        report(f"{image}: left out. {damaged[image]}")
    if left:
        report(f"{len(left)} of {len(rows)} rows are left out for their damaged photos.")
    return [row for row in rows if row.image not in damaged]


def _name(name: str, view: int) -> str:
    return f"{name}-view{view}" if view >= 2 else f"{name}-mirrored" if view else name


@dataclass(frozen=True)
class Batch:
    """Token rows padded on the right, and their photos' features."""

    input_ids: Tensor  # [B, T]
    attention_mask: Tensor  # [B, T]
    labels: Tensor  # [B, T], -100 where nothing is learned
    clip_tokens: Tensor | None  # [B, N, C], None: no row has a photo
    has_image: Tensor | None = None  # [B] bool, None: every row has one
    branch: Tensor | None = None  # [B, T] of each token (Sample), None: one question a row
    weight: Tensor | None = None  # [B, T] of each label in the loss, None: 1

    def to(self, device: torch.device) -> dict[str, Tensor | None]:
        """The arguments of AdaptedLlama.loss."""
        return {name: None if value is None else value.to(device) for name, value in vars(self).items()}

    def split(self, parts: int) -> Iterator[Batch]:
        size = -(-len(self.input_ids) // parts)
        for start in range(0, len(self.input_ids), size):
            rows = slice(start, start + size)
            yield Batch(**{name: None if value is None else value[rows] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Sample:
    """One row: its tokens, and which of them are learned (the others are only context)."""

    image: str | None
    tokens: tuple[int, ...]
    learned: tuple[bool, ...]  # of each token
    view: int = 0  # of the photo (view_of)
    branch: tuple[int, ...] | None = None  # of each token: 0 shared by all questions, 1, 2 ... its own; None: one only


JOINED = 640  # tokens of samples joined into one, at most: the memory of attention grows with their square


def join(samples: Sequence[Sample], most: int) -> list[Sample]:
    """Samples about the same photo that begin alike (rule, findings), as one sample: what they share is read once.

    A question sees what is shared and itself, never the others, so that the losses are those of the samples alone
    (AdaptedLlama.loss). On a CPU, where reading tokens is what costs, this is two to three times as fast.

    Args:
        most: samples that are joined into one; 1: they stay as they are.
    """
    by_photo: dict[str | None, list[Sample]] = {}
    for sample in samples:
        by_photo.setdefault(sample.image, []).append(sample)
    found: list[Sample] = []
    for rows in by_photo.values():
        run: list[Sample] = []
        common = own = 0  # tokens that all of the run share; tokens of its samples together
        for sample in sorted(rows, key=lambda row: row.tokens):
            shared = _shared(run[0], sample, common) if run else 0
            length = own + len(sample.tokens) - shared * len(run)  # of all joined, with what they share once
            if len(run) == most or 2 * shared < len(sample.tokens) or length > JOINED:
                found += [_joined(run, common)] if run else []
                run, own, shared = [], 0, sample.learned.index(True) - 1
            run.append(sample)
            common, own = shared, own + len(sample.tokens)
        found += [_joined(run, common)] if run else []
    return found


def _shared(one: Sample, other: Sample, most: int) -> int:
    """How many tokens two samples have in common at their start, before the last one that is not learned."""
    most = min(most, other.learned.index(True) - 1)
    return next((i for i in range(most) if one.tokens[i] != other.tokens[i]), most)


def _joined(samples: Sequence[Sample], common: int) -> Sample:
    """One sample of several that share their first `common` tokens; the first token of each branch is not learned."""
    if len(samples) == 1:
        return samples[0]
    first = samples[0]
    tokens, learned, branch = list(first.tokens[:common]), [False] * common, [0] * common
    for number, sample in enumerate(samples, start=1):
        tokens += sample.tokens[common:]
        learned += sample.learned[common:]
        branch += [number] * (len(sample.tokens) - common)
    return Sample(first.image, tuple(tokens), tuple(learned), first.view, tuple(branch))


class Rows:
    """Samples to draw batches from: `samples(epoch, rng)` gives an epoch's list, so that augmentation can vary."""

    BUCKET = 16  # batches that are sorted by length together: little padding, still random

    def __init__(self, samples: Callable[[np.random.Generator], list[Sample]], features: FeatureCache | None, pad: int):
        self._samples, self._features, self._pad = samples, features, pad

    def batches(self, size: int, seed: int) -> _Batches:
        return _Batches(self, size, seed)

    def __len__(self) -> int:
        """Samples of an epoch."""
        return len(self._samples(np.random.default_rng(0)))

    def fixed(self, size: int) -> list[Batch]:
        """All samples once, in order: for validation."""
        samples = self._samples(np.random.default_rng(0))
        return [self.collate(samples[first : first + size]) for first in range(0, len(samples), size)]

    def epoch(self, size: int, seed: int, epoch: int) -> list[list[Sample]]:
        """An epoch's batches of `size` samples, or of all where there are fewer.

        Raises:
            LAV2Error: there is no sample at all.
        """
        rng = np.random.default_rng((seed, epoch))
        samples = self._samples(rng)
        if not samples:
            raise LAV2Error(
                "There is nothing to learn from: no row is left.", "See the lines above for the rows that were skipped."
            )
        order, size = rng.permutation(len(samples)), min(size, len(samples))
        groups = []
        for start in range(0, len(order) - size + 1, size * self.BUCKET):
            bucket = sorted(order[start : start + size * self.BUCKET], key=lambda i: len(samples[i].tokens))
            groups += [bucket[first : first + size] for first in range(0, len(bucket) - size + 1, size)]
        return [[samples[i] for i in groups[place]] for place in rng.permutation(len(groups))]

    def collate(self, samples: Sequence[Sample]) -> Batch:
        length = max(len(sample.tokens) for sample in samples)
        input_ids = torch.full((len(samples), length), self._pad)
        attention_mask = torch.zeros(len(samples), length, dtype=torch.long)
        labels = torch.full((len(samples), length), -100)
        branches = torch.zeros(len(samples), length, dtype=torch.long)
        for row, sample in enumerate(samples):
            tokens = torch.tensor(sample.tokens)
            input_ids[row, : len(tokens)] = tokens
            attention_mask[row, : len(tokens)] = 1
            labels[row, : len(tokens)] = torch.where(torch.tensor(sample.learned), tokens, -100)
            if sample.branch:
                branches[row, : len(tokens)] = torch.tensor(sample.branch)
        branch = branches if branches.any() else None
        shown = [sample for sample in samples if sample.image is not None]
        if not shown:
            return Batch(input_ids, attention_mask, labels, None, None, branch)
        tokens = self._features.get([sample.image for sample in shown], [sample.view for sample in shown])
        if len(shown) == len(samples):
            return Batch(input_ids, attention_mask, labels, tokens, None, branch)
        has_image = torch.tensor([sample.image is not None for sample in samples])
        clip_tokens = torch.zeros(len(samples), *tokens.shape[1:])
        clip_tokens[has_image] = tokens
        return Batch(input_ids, attention_mask, labels, clip_tokens, has_image, branch)


class _Batches:
    """An endless iterator over epochs that can skip quickly."""

    def __init__(self, rows: Rows, size: int, seed: int):
        self._rows, self._size, self._seed = rows, size, seed
        self._place, self._epoch, self._groups = 0, -1, []

    def skip(self, count: int) -> None:
        self._place += count

    def __next__(self) -> Batch:
        return self._rows.collate(self.draw())

    def draw(self) -> list[Sample]:
        """The next batch's samples."""
        while self._place >= len(self._groups):
            self._place -= len(self._groups)
            self._epoch += 1
            self._groups = self._rows.epoch(self._size, self._seed, self._epoch)
        samples = self._groups[self._place]
        self._place += 1
        return samples


def caption_rows(
    rows: Sequence[CaptionRow],
    encode: Callable[[str], list[int]],
    bos: int,
    eos: int,
    features: FeatureCache,
    together: int = 1,
) -> Rows:
    """Captions as samples: begin token, caption, end token; some captions of each photo per epoch, in one of its views.

    Args:
        encode: text -> token ids without special ones.
        bos, eos: the caption's first token (context) and last (learned).
        features: of the rows' photos.
        together: captions of a photo in an epoch, as one sample: the photo is projected once for them.
    """
    tokens = [[(bos, *encode(caption), eos) for caption in row.captions] for row in rows]
    mirrors = [[not MIRROR_WORDS.search(caption) for caption in row.captions] for row in rows]

    def samples(rng: np.random.Generator) -> list[Sample]:
        drawn = []
        for row, choices, mirrorable in zip(rows, tokens, mirrors, strict=True):
            chosen = rng.permutation(len(choices))[:together]
            view = int(rng.integers(features.views(row.image)))
            if not all(mirrorable[place] for place in chosen):
                view -= view % 2
            drawn.append(join_captions(row.image, [choices[place] for place in chosen], view))
        return drawn

    return Rows(samples, features, eos)


def join_captions(image: str, captions: Sequence[tuple[int, ...]], view: int) -> Sample:
    """Captions of a photo (token ids, the first one only context) as one sample, each seeing only itself."""
    parts = [Sample(image, tokens, (False, *[True] * (len(tokens) - 1)), view) for tokens in captions]
    return _joined(parts, 0)


MAX_TOKENS = 1024  # of a conversation that is learned; later turns are left out


def instruction_sample(row: InstructionRow, tokenizer: PreTrainedTokenizerBase, template: str) -> Sample | None:
    """The prompt that the assistant would build, the answers and their end token; only these are learned.

    None where not even the first exchange fits into MAX_TOKENS.
    """
    for count in range(len(row.turns), 0, -1):
        sample = _conversation(row, row.turns[:count], tokenizer, template)
        if len(sample.tokens) <= MAX_TOKENS:
            return sample
    return None


def _conversation(
    row: InstructionRow, turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, template: str
) -> Sample:
    prompt = prompt_of(row, tokenizer, template, turns, row.facts.get("computed", True))
    encoded = tokenizer(prompt, return_offsets_mapping=True)
    # Earlier answers stand in the prompt, behind the prompt that they answered, unless the template changes old turns.
    spans = []
    for number, turn in enumerate(turns[:-1]):
        before = prompts.build(template, turn.question, "", turns[:number])
        if not prompt.startswith(before + turn.answer):
            continue
        start, end = len(before), len(before) + len(turn.answer)
        spans.append((start, end + len(tokenizer.eos_token) if prompt.startswith(tokenizer.eos_token, end) else end))
    learned = [
        any(start < last and first < end for start, end in spans) for first, last in encoded.offset_mapping
    ]
    answer = [*tokenizer(turns[-1].answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    return Sample(row.image, (*encoded.input_ids, *answer), (*learned, *[True] * len(answer)))


def prompt_of(
    row: InstructionRow,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    turns: Sequence[Turn] | None = None,
    computed_line: bool = True,
) -> str:
    """The assistant's prompt for the row's last question (or that of `turns`) and its evidence."""
    *history, last = turns or row.turns
    evidence = {name: grounding.told(found, last.question) for name, found in row.evidence.items()}
    count = partial(_count_tokens, tokenizer)
    block = grounding.block(evidence, last.question, count, computed_line=computed_line)
    return prompts.build(template, last.question, block.text, history)



@lru_cache(100_000)
def _count_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False).input_ids)


def instruction_rows(
    rows: Sequence[InstructionRow],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    features: FeatureCache | None,
    report: Callable[[str], None] = print,
    together: int = 1,
) -> Rows:
    """Instructions as samples, each once per epoch; never mirrored, for their words and places hold for one side only.

    Args:
        template: of lav2.prompts.
        features: of the rows' photos; None where no row has one.
        report: told how many rows are too long.
        together: questions about a photo that are joined into one sample (`join`).
    """
    found = [instruction_sample(row, tokenizer, template) for row in rows]
    samples = [sample for sample in found if sample is not None]
    if len(samples) < len(found):
        long = len(found) - len(samples)
        report(f"{long} of {len(found)} instructions are longer than {MAX_TOKENS} tokens: skipped.")
    samples = join(samples, together) if together > 1 else samples
    return Rows(lambda rng: samples, features, tokenizer.eos_token_id)
