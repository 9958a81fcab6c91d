"""Photos with boxes from several formats -> a folder that ultralytics trains on.

Sources: lav2's .jsonl (rows {"image", "width", "height", "boxes": [{"label", "xyxy" px, "conf"?, "crowd"?}], "split"?,
"partial"?, "classes"?}, image paths relative to the file), COCO's instances .json, a folder in YOLO format (data.yaml,
images/, labels/).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from experts.evidence import ExpertError
from lav2 import files
from lav2.errors import LAV2Error

FORMATS = "Give a .jsonl of boxes, a COCO instances .json, or a YOLO folder with data.yaml."
PHOTOS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
# fmt: off
VOC20 = frozenset((
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "couch", "cow", "dining table",
    "dog", "horse", "motorcycle", "person", "potted plant", "sheep", "train", "tv",
))
# fmt: on
TEACHER_CONFIDENCE = 0.25  # least of a box that another detector draws
SEARCHED = 0.5  # how much it counts that a detector, which misses half of the small objects, did not find a kind
FREQUENT = 0.05  # share of the photos; kinds that fewer show are sampled more often


@dataclass(frozen=True)
class Box:
    """One object: `xyxy` in px of the photo. `human`: drawn by a person, not by another detector."""

    label: str
    xyxy: tuple[float, float, float, float]
    crowd: bool = False  # a group in one box: scores ignore it, training leaves it out
    human: bool = True


@dataclass(frozen=True)
class Photo:
    """A photo with all its objects; `split` is "train" or "val"."""

    file: Path
    width: int  # px
    height: int  # px
    boxes: tuple[Box, ...] = field(default=())
    split: str = "train"
    complete: frozenset[str] | None = None  # kinds of which a person drew every object; None: all kinds
    searched: bool = False  # whether a detector looked for the other kinds

    @property
    def human(self) -> bool:
        """Whether every box of every kind was drawn by a person: only such photos may validate."""
        return self.complete is None and all(box.human for box in self.boxes)

    def absence(self, label: str) -> float:
        """How much (0..1) it counts that nobody drew an object of this kind."""
        if self.complete is None or label in self.complete:
            return 1.0
        return SEARCHED if self.searched else 0.0


def read(source: Path, least: float = 0.0) -> list[Photo]:
    """The photos of one source, in its order; a detector's boxes below confidence `least` are left out.

    Raises:
        ExpertError: the source is of no known format or cannot be read, a row of it is wrong (told by file and line),
            or a photo of it is missing.
    """
    try:
        return _read(Path(source), least)
    except LAV2Error as error:
        raise ExpertError(error.cause, error.next_step) from error


def _read(source: Path, least: float) -> list[Photo]:
    if source.suffix == ".jsonl":
        photos = list(_lines(source, least))
    elif source.suffix == ".json":
        photos = list(_coco(source))
    elif (source / "data.yaml").is_file():
        photos = list(_yolo(source))
    else:
        raise ExpertError(f"{source} holds no boxes in a format known here.", FORMATS)
    missing = [photo.file for photo in photos if not os.path.isfile(photo.file)]  # also where the name is too long
    if missing:
        raise ExpertError(
            f"{len(missing)} of {len(photos)} photos of {source} are missing, the first is {missing[0]}.",
            "Put the photos where the file names them (COCO: in images/ or one named as the split, beside the .json).",
        )
    return photos


def _lines(file: Path, least: float) -> Iterator[Photo]:
    rows = list(files.json_rows(file))
    searched = any(_has_scores(row) for _, row in rows)  # a detector saw all the file's photos
    for number, row in rows:
        with _naming_row(f"{file}, line {number}"):
            # A row of a detector may hold a box that a person drew: it has no confidence, or one of exactly 1.
            boxes = tuple(
                Box(b["label"], _corners(b["xyxy"]), b.get("crowd", False), b.get("conf", 1.0) == 1.0)
                for b in row["boxes"]
                if b.get("conf", 1.0) >= least
            )
            split, complete = row.get("split", "train"), frozenset() if searched or row.get("partial") else None
            if row.get("classes") == "voc20":
                complete = VOC20
            size = int(row["width"]), int(row["height"])
            photo = Photo(file.parent / row["image"], *size, boxes, split, complete, searched)
        yield photo


def _has_scores(row: dict) -> bool:
    boxes = row.get("boxes")
    return isinstance(boxes, list) and any(isinstance(box, dict) and "conf" in box for box in boxes)


@contextmanager
def _naming_row(place: str) -> Iterator[None]:
    """Say where a row is that is not as it should be."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ExpertError(
            f"{place} is not a row of boxes ({type(error).__name__}: {error}).", f"Mend or remove it. {FORMATS}"
        ) from error


def _corners(values: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(value) for value in values)
    return left, top, right, bottom


def _coco(file: Path) -> Iterator[Photo]:
    content = files.read_json(file)
    for part in ("categories", "annotations", "images"):
        if not isinstance(content, dict) or not isinstance(content.get(part), list):
            raise ExpertError(f"{file} has no list of {part}: it is no COCO instances file.", FORMATS)
    split = "val" if "val" in file.stem else "train"
    named = file.stem.removeprefix("instances_")  # instances_val2017.json -> val2017/
    folders = [file.parent / named, file.parent.parent / named, file.parent / "images", file.parent]
    with _naming_row(f"{file}: its categories"):
        names = {c["id"]: c["name"] for c in content["categories"]}
    boxes: dict[int, list[Box]] = {}
    for number, a in enumerate(content["annotations"], 1):
        with _naming_row(f"{file}: annotation {number}"):
            x, y, w, h = a["bbox"]
            box = Box(names[a["category_id"]], (x, y, x + w, y + h), bool(a.get("iscrowd", 0)))
            boxes.setdefault(a["image_id"], []).append(box)
    for number, image in enumerate(content["images"], 1):
        with _naming_row(f"{file}: image {number}"):
            candidates = [folder / image["file_name"] for folder in folders]
            place = next((p for p in candidates if os.path.isfile(p)), candidates[0])
            photo = Photo(place, image["width"], image["height"], tuple(boxes.get(image["id"], ())), split)
        yield photo


def _yolo(folder: Path) -> Iterator[Photo]:
    import yaml

    try:
        settings = yaml.safe_load(files.read_text(folder / "data.yaml"))
    except yaml.YAMLError as error:
        raise ExpertError(f"{folder / 'data.yaml'} is not YAML ({error}).", FORMATS) from error
    with _naming_row(f"{folder / 'data.yaml'}"):
        names = settings["names"]
        names = dict(enumerate(names)) if isinstance(names, list) else dict(names)
        root = folder / settings.get("path", "")
    for split in ("train", "val"):
        for source in (root / part for part in _listed(settings.get(split))):
            listed = map(Path, files.read_text(source).splitlines()) if source.is_file() else source.rglob("*")
            for file in sorted({source.parent / f for f in listed if f.suffix.lower() in PHOTOS}):
                try:
                    with Image.open(file) as image:
                        width, height = image.size
                except (OSError, ValueError) as error:  # Pillow's own types are OSErrors
                    print(f"{file}: left out, it cannot be read ({error}).")
                    continue
                yield Photo(file, width, height, tuple(_yolo_boxes(_label_file(file), names, width, height)), split)


def _listed(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []


def _label_file(photo: Path) -> Path:
    """Where YOLO's format keeps the boxes of a photo: the last folder `images` in its path is `labels` there."""
    head, found, tail = photo.as_posix().rpartition("/images/")
    return Path(f"{head}/labels/{tail}" if found else tail).with_suffix(".txt")


def _yolo_boxes(file: Path, names: dict[int, str], width: int, height: int) -> Iterator[Box]:
    if not file.is_file():  # a photo without objects
        return
    for row, line in enumerate(files.read_text(file).splitlines(), 1):
        with _naming_row(f"{file}, line {row}"):
            number, x, y, w, h = line.split()[:5]
            x, w, y, h = float(x) * width, float(w) * width, float(y) * height, float(h) * height
            box = Box(names[int(number)], (x - w / 2, y - h / 2, x + w / 2, y + h / 2))
        yield box


def count(photos: Sequence[Photo]) -> list[tuple[str, int, int, int]]:
    """(class, human training boxes, a detector's training boxes, validation boxes), most human boxes first."""
    human, machine, val = Counter(), Counter(), Counter()
    for photo in photos:
        for box in photo.boxes:
            if not box.crowd:
                (val if photo.split == "val" else human if box.human else machine)[box.label] += 1
    labels = sorted(human | machine | val, key=lambda c: (-human[c], -machine[c], c))
    return [(c, human[c], machine[c], val[c]) for c in labels]


def choose(photos: Sequence[Photo], least: int) -> list[str]:
    """The classes with at least `least` human training boxes: fewer teach no reliable class."""
    return [label for label, human, _, _ in count(photos) if human >= least]


def write(photos: Sequence[Photo], classes: Sequence[str], out: Path, repeat_human: float = 1) -> Path:
    """The folder in YOLO format that ultralytics trains on; photos are linked, not copied. Returns its data.yaml.

    Photos of the split val must be human, others of it are left out; of a photo that several sources have, the first
    counts. `hints.json` beside data.yaml holds what the format has no place for, by the photo's number: how often it
    is sampled (`repeats`), and where its labels are incomplete (`regions` of rows of `absence`, see PartialLabelLoss).
    `repeat_human`: how often a photo is sampled that a person labelled.

    Raises:
        ExpertError: no photo trains, or none validates.
    """
    import yaml

    number = {label: i for i, label in enumerate(classes)}
    photos = list({photo.file: photo for photo in reversed(photos)}.values())[::-1]
    photos = [photo for photo in photos if photo.split != "val" or photo.human]
    lists: dict[str, list[str]] = {"train": [], "val": []}
    hints: dict[str, dict] = {"repeats": {}, "regions": {}}
    rows: dict[tuple[float, ...], int] = {}
    repeats = repeat_factors([photo for photo in photos if photo.split == "train"], classes, repeat_human)
    for i, photo in enumerate(photos):
        name, split = f"{i:06d}", photo.split
        image = out / "images" / split / f"{name}{photo.file.suffix.lower()}"
        label = out / "labels" / split / f"{name}.txt"
        for path in (image, label):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
        os.symlink(photo.file.resolve(), image)
        boxes = [b for b in photo.boxes if b.label in number and not b.crowd]
        label.write_text("".join(f"{number[b.label]} {_relative(b.xyxy, photo)}\n" for b in boxes))
        lists[split].append(str(image.absolute()))
        if split == "train":
            hints["repeats"][name] = repeats.pop(0)
            hints["regions"][name] = [
                [rows.setdefault(row, len(rows)), *map(float, _relative(xyxy, photo).split())]
                for row, xyxy in _regions(photo, classes)
            ]
    for split, listed in lists.items():
        if not listed:
            raise ExpertError(
                f"None of the {len(photos)} photos is for {'training' if split == 'train' else 'validation'}.",
                "Rows and folders say so by their split; name validation files with --val.",
            )
        (out / f"{split}.txt").write_text("\n".join(listed) + "\n")
    (out / "hints.json").write_text(json.dumps(hints | {"absence": list(rows)}))
    settings = {"path": str(out.absolute()), "train": "train.txt", "val": "val.txt", "names": dict(enumerate(classes))}
    (out / "data.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return out / "data.yaml"


def _regions(photo: Photo, classes: Sequence[str]) -> Iterator[tuple[tuple[float, ...], Sequence[float]]]:
    """Where the labels of a photo are incomplete: how much each kind's absence counts there, and the box in px."""
    whole = tuple(photo.absence(label) for label in classes)
    if min(whole) < 1:
        yield whole, (0, 0, photo.width, photo.height)
    for box in photo.boxes:
        if box.crowd and box.label in classes:  # each of a crowd is there, but has no box of its own
            yield tuple(float(label != box.label) for label in classes), box.xyxy


def repeat_factors(photos: Sequence[Photo], classes: Sequence[str], repeat_human: float = 1) -> list[float]:
    """How often each photo is sampled: by its rarest kind, sqrt(FREQUENT / share of the photos that show the kind), at
    least 1 (repeat-factor sampling, Gupta et al., LVIS, 2019); `repeat_human` times that if a person labelled all."""
    shown = [{b.label for b in photo.boxes if not b.crowd} & set(classes) for photo in photos]
    share = {label: n / len(photos) for label, n in Counter(c for kinds in shown for c in kinds).items()}
    factors = [max([1.0, *(float(np.sqrt(FREQUENT / share[c])) for c in kinds)]) for kinds in shown]
    human = [repeat_human if photo.human and photo.boxes else 1 for photo in photos]
    return [factor * times for factor, times in zip(factors, human, strict=True)]


def _relative(xyxy: Sequence[float], photo: Photo) -> str:
    """Centre and size as shares of the photo, cut to it."""
    (left, right), (top, bottom) = (
        (min(max(xyxy[k], 0), side) / side, min(max(xyxy[k + 2], 0), side) / side)
        for k, side in ((0, photo.width), (1, photo.height))
    )
    return f"{(left + right) / 2:.6f} {(top + bottom) / 2:.6f} {right - left:.6f} {bottom - top:.6f}"


def label(teacher: str, folder: Path, out: Path, confidence: float = TEACHER_CONFIDENCE) -> int:
    """Label every photo below `folder` by another detector into a .jsonl; photos already in it are kept.

    Returns how many photos are new; damaged ones are told and left out.

    Raises:
        ExpertError: the detector cannot be loaded, or `out` holds something else.
    """
    from tqdm import tqdm

    from experts.detection import build

    expert = build(teacher, confidence)
    files.whole_lines(out)
    done = {row.get("image") for _, row in files.json_rows(out)} if out.exists() else set()
    names = {p: Path(os.path.relpath(p, out.parent)).as_posix() for p in sorted(folder.rglob("*"))}
    todo = [(p, name) for p, name in names.items() if p.suffix.lower() in PHOTOS and name not in done]
    labelled = 0
    with out.open("a", encoding="utf-8") as lines:
        for path, name in tqdm(todo, desc=f"labelled by {Path(teacher).name}", unit="photo"):
            try:
                photo = Image.open(path).convert("RGB")
            except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises on damaged files
                print(f"{path}: left out, it cannot be read ({error}).")
                continue
            found = expert(photo)
            boxes = [
                {"label": c, "conf": min(round(float(p), 3), 0.999), "xyxy": [round(float(v), 1) for v in xyxy]}
                for c, p, xyxy in zip(found.labels, found.confidence, found.xyxy, strict=True)
            ]
            row = {"image": name, "width": found.size[0], "height": found.size[1], "boxes": boxes}
            lines.write(json.dumps(row) + "\n")
            lines.flush()
            labelled += 1
    return labelled
