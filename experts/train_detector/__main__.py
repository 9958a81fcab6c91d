"""`python -m experts.train_detector`: count, label, train, export, calibrate, evaluate, draw."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experts.evidence import ExpertError
from experts.train_detector import data
from experts.train_detector.settings import DetectorTraining
from lav2.errors import LAV2Error, missing_package
from lav2.options import Help, add_options, chosen


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m experts.train_detector", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(name: str, action, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, formatter_class=Help)
        sub.set_defaults(action=action)
        return sub

    sub = command("count", _count, "boxes per class, and which classes have enough of them")
    _sources(sub)

    sub = command("label", _label, "label photos by another detector; going on where it stopped")
    sub.add_argument("--teacher", required=True, help="any detector that ultralytics loads")
    sub.add_argument("--photos", type=Path, required=True, help="folder, searched through")
    sub.add_argument("--out", type=Path, required=True, help=".jsonl to write or to go on with")
    sub.add_argument("--confidence", type=float, default=data.TEACHER_CONFIDENCE, help="least of a box")

    sub = command("train", _train, "train, or go on with a run that was cut off (same command)")
    _sources(sub)
    sub.add_argument("--out", type=Path, required=True, help="folder of the run")
    add_options(sub, DetectorTraining)

    sub = command("export", _export, "write a checkpoint as ONNX, for --detector and assets/detector/")
    sub.add_argument("--checkpoint", type=Path, required=True, help="weights/last.pt of a run")
    sub.add_argument("--out", type=Path, required=True, help="NAME.onnx")
    add_options(sub, DetectorTraining, only=("size",))
    sub.add_argument("--second-size", type=int, help="px; look at the photo's mirror image at this size as well: more"
                     " is found, in more time")  # fmt: skip
    sub.add_argument("--classes", help="names, separated by commas; all by default")

    sub = command("calibrate", _calibrate, "fit what its scores are worth, kind by kind, into a file beside it")
    sub.add_argument("--detector", type=Path, required=True)
    sub.add_argument("--data", type=Path, action="append", required=True, help="photos with human boxes that it was not"
                     " trained on")  # fmt: skip
    sub.add_argument("--split", choices=("train", "val"), default="train", help="of those photos")

    sub = command("evaluate", _evaluate, "score detectors on human boxes and print a table")
    sub.add_argument("--detector", action="append", required=True, help="repeat to compare; classes of the first")
    sub.add_argument("--data", type=Path, action="append", required=True, help="photos with human boxes; split val")
    sub.add_argument("--classes", help="names, separated by commas; those of the first detector by default")

    sub = command("draw", _draw, "write photos with the boxes that a detector finds, for a model card")
    sub.add_argument("photos", type=Path, nargs="+")
    sub.add_argument("--detector", required=True)
    sub.add_argument("--confidence", type=float, help="least confidence of a box; by default that of its calibration")
    sub.add_argument("--side", type=int, default=480, help="px, longer side of the pictures")
    sub.add_argument("--out", type=Path, required=True, help="folder")

    options = parser.parse_args(arguments)
    try:
        options.action(options)
    except ModuleNotFoundError as error:
        print(missing_package(error), file=sys.stderr)
        return 1
    except (ExpertError, LAV2Error) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _sources(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--data", type=Path, action="append", required=True, help=f"repeat for more. {data.FORMATS}")
    sub.add_argument("--val", type=Path, action="append", default=[], help="a source of which everything validates")
    sub.add_argument("--classes", help="names, separated by commas; all with enough boxes by default")
    sub.add_argument("--min-boxes", type=int, default=75, help="human training boxes that a class needs")
    sub.add_argument("--min-confidence", type=float, default=0.3, help="of the boxes that a detector drew")


def _photos(options: argparse.Namespace) -> tuple[list[data.Photo], list[str]]:
    """All photos of the sources, and the classes to learn."""
    photos = [photo for source in options.data for photo in data.read(source, options.min_confidence)]
    for source in options.val:
        photos += [data.Photo(p.file, p.width, p.height, p.boxes, "val") for p in data.read(source)]
    chosen = options.classes.split(",") if options.classes else data.choose(photos, options.min_boxes)
    print(f"{'class':16} {'human':>7} {'machine':>7} {'val':>6}  boxes")
    for label, human, machine, val in data.count(photos):
        print(f"{label:16} {human:7} {machine:7} {val:6}  {'' if label in chosen else 'left out'}")
    if not chosen:
        raise ExpertError(f"No class has {options.min_boxes} human training boxes.", "Lower --min-boxes.")
    print(f"{len(photos)} photos, {len(chosen)} classes")
    return photos, chosen


def _count(options: argparse.Namespace) -> None:
    _photos(options)


def _label(options: argparse.Namespace) -> None:
    new = data.label(options.teacher, options.photos, options.out, options.confidence)
    print(f"{new} photos labelled into {options.out}")


def _train(options: argparse.Namespace) -> None:
    from experts.train_detector.train import export, train

    dataset = options.out / "dataset" / "data.yaml"
    if not dataset.is_file():  # a run that goes on keeps its classes
        photos, classes = _photos(options)
        data.write(photos, classes, dataset.parent, options.repeat_human)
    config = chosen(DetectorTraining, options)
    last = train(dataset, options.out, config)
    print(f"exported to {export(last, options.out / 'detector.onnx', config.final_size or config.size)}")


def _export(options: argparse.Namespace) -> None:
    from experts.train_detector.train import export

    classes = options.classes.split(",") if options.classes else None
    file = export(options.checkpoint, options.out, options.size, classes, options.second_size)
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


def _calibrate(options: argparse.Namespace) -> None:
    from experts import calibration
    from experts.train_detector.calibrate import calibrate, detect

    photos = [p for source in options.data for p in data.read(source) if p.split == options.split]
    fitted = calibrate(options.detector, photos, detect(options.detector, photos))
    fitted.write(calibration.beside(options.detector))
    print(f"{calibration.beside(options.detector)}: {len(fitted.kinds)} kinds, fitted on {len(photos)} photos")


def _evaluate(options: argparse.Namespace) -> None:
    from experts.train_detector.evaluate import evaluate, table

    photos = [p for source in options.data for p in data.read(source) if p.split == "val"]
    classes = options.classes.split(",") if options.classes else None
    scores = []
    for detector in options.detector:
        scores.append(evaluate(detector, photos, classes))
        classes = classes or scores[0].classes
    print(table(scores))


def _draw(options: argparse.Namespace) -> None:
    from PIL import Image

    from experts import detection, render

    expert = detection.build(options.detector, options.confidence)
    options.out.mkdir(parents=True, exist_ok=True)
    for file in options.photos:
        photo = Image.open(file).convert("RGB")
        found = expert(photo)
        picture = render.draw(photo, {"detection": found})
        picture.thumbnail((options.side, options.side))
        picture.save(options.out / f"{file.stem}.webp", quality=70)
        boxes = zip(found.labels, found.confidence, strict=True)
        print(f"{file.name}: {', '.join(f'{label} {score:.2f}' for label, score in boxes) or 'nothing'}")


if __name__ == "__main__":
    sys.exit(main())
