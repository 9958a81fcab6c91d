"""Writes docs/first-answers.md: twenty COCO val photos, a question each, experts on and off, nothing edited.

    python docs/first_answers.py ../shared/data      (LAV2_DETECTOR names the detector's file)

Photos are every twelfth of the val split of boxes.jsonl, questions go round: picked by index, not by taste.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

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


def main() -> None:
    data = Path(sys.argv[1]).resolve()
    rows = [json.loads(line) for line in (data / "boxes.jsonl").read_text().splitlines()]
    names = [row["image"] for row in rows if row["split"] == "val"][::12][:20]
    with tempfile.TemporaryDirectory() as folder:
        questions = Path(folder) / "questions.jsonl"
        lines = [
            {"id": name, "image": str(data / name), "question": QUESTIONS[i % len(QUESTIONS)]}
            for i, name in enumerate(names)
        ]
        questions.write_text("\n".join(map(json.dumps, lines)))
        on, off = answers(questions, "caption,detection,ocr"), answers(questions, "none")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    print("# First answers: twenty COCO val photos, picked by index, unedited\n")
    print(f"Preset `embedded`, greedy, detector {Path(os.environ.get('LAV2_DETECTOR', 'none')).name}, commit {commit.strip()};")
    print("written by `docs/first_answers.py`.\n")
    for line in lines:
        name = line["id"]
        print(f"## {Path(name).name}: {line['question']}\n")
        print(f"- **experts on**: {on[name].get('answer') or on[name].get('error')}")
        print(f"- **experts off**: {off[name].get('answer') or off[name].get('error')}")
        print(f"- found: {found(on[name])}\n")


main()
