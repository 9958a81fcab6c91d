"""Writes docs/first-answers.md: twenty COCO val photos, a question each, experts on and off, nothing edited.

    python docs/first_answers.py ../shared/data > docs/first-answers.md   (LAV2_DETECTOR names the detector's file)
    python docs/first_answers.py --picture docs/images/on-off.webp        (scikit-image's first three photos, CC0)

Photos are every twelfth of the val split of boxes.jsonl, questions go round: picked by index, not by taste.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

ROOT = Path(__file__).resolve().parent.parent
QUESTIONS = (
    "What is in this photo?",
    "How many people are there?",
    "What is the person doing?",
    "What is on the left side of the photo?",
    "Is there a dog in the photo?",
    "What does the text in the photo say?",
    "Describe the photo in one sentence.",
    "Where was this photo taken?",
)


def answers(questions: Path, experts: str) -> dict[str, dict]:
    out = questions.with_name(f"{experts.replace(',', '-')}.jsonl")
    command = [sys.executable, "-m", "lav2", "batch", str(questions), "--out", str(out), "--experts", experts]
    subprocess.run(command, cwd=ROOT, check=True)
    return {row["id"]: row for row in map(json.loads, out.read_text().splitlines())}


def found(row: dict) -> str:
    evidence = row["evidence"]
    caption = evidence["caption"].get("text") or evidence["caption"]["error"]
    items = evidence["detection"].get("items", [])
    objects = ", ".join(f"{item['label']} {item['confidence']:.2f}" for item in items) or "none"
    text = ", ".join(f"“{item['text']}”" for item in evidence["ocr"].get("items", [])) or "none"
    return f"caption: {caption}; objects: {objects}; text: {text}"


def ask(data: Path, names: list[str]) -> tuple[list[dict], dict[str, dict], dict[str, dict]]:
    """The questions, and the answers to them by photo, experts on and off."""
    with tempfile.TemporaryDirectory() as folder:
        questions = Path(folder) / "questions.jsonl"
        lines = [
            {"id": name, "image": str(data / name), "question": QUESTIONS[i % len(QUESTIONS)]}
            for i, name in enumerate(names)
        ]
        questions.write_text("\n".join(map(json.dumps, lines)))
        return lines, answers(questions, "caption,detection,ocr"), answers(questions, "none")


def picture(out: Path) -> None:
    """Photos side by side, with the question and both answers below."""
    import skimage

    data = Path(skimage.__file__).parent / "data"
    lines, on, off = ask(data, ["astronaut.png", "chelsea.png", "coffee.png"])
    side, margin = 300, 10
    sheet = Image.new("RGB", (len(lines) * (side + margin) + margin, side + 170), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for i, line in enumerate(lines):
        photo = ImageOps.contain(Image.open(line["image"]).convert("RGB"), (side, side))
        x = margin + i * (side + margin)
        sheet.paste(photo, (x, margin))
        parts = (("", line["question"]), ("on: ", on[line["id"]]["answer"]), ("off: ", off[line["id"]]["answer"]))
        rows = [row for before, text in parts for row in textwrap.wrap(before + text, 40)]
        pen.multiline_text((x, margin + side), "\n".join(rows), fill="black", font=font)
    sheet.save(out, quality=80)


def main() -> None:
    parser = argparse.ArgumentParser(description="Twenty questions on COCO val photos, or three in one picture.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("data", type=Path, nargs="?", help="folder with boxes.jsonl and its photos")
    what.add_argument("--picture", type=Path, metavar="FILE", help="write photos, questions and answers there as one picture")
    options = parser.parse_args()
    if options.picture:
        picture(options.picture)
        return
    data = options.data.resolve()
    rows = [json.loads(line) for line in (data / "boxes.jsonl").read_text().splitlines()]
    lines, on, off = ask(data, [row["image"] for row in rows if row["split"] == "val"][::12][:20])
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    print("# First answers: twenty COCO val photos, picked by index, unedited\n")
    print(f"Preset `embedded`, greedy, detector {Path(os.environ.get('LAV2_DETECTOR', 'the shipped one')).name}, commit {commit.strip()};")
    print("written by `docs/first_answers.py`.\n")
    for line in lines:
        name = line["id"]
        print(f"## {Path(name).name}: {line['question']}\n")
        print(f"- **experts on**: {on[name].get('answer') or on[name].get('error')}")
        print(f"- **experts off**: {off[name].get('answer') or off[name].get('error')}")
        print(f"- found: {found(on[name])}\n")


main()
