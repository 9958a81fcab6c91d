"""Every command of the README exists; those that need nothing but the repository run."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINES = [
    line.split("  # ")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.strip() and not line.startswith("#")
]
COMMANDS = [shlex.split(line)[1:] for line in LINES if line.startswith(".venv/bin/python")]


def test_the_readme_has_commands_of_both_kinds():
    assert {"make demo", "make test"} <= set(LINES)
    assert {command[2] for command in COMMANDS} >= {"ask", "batch", "caption", "train"}


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_make_targets_exist(line):
    done = subprocess.run(["make", "--dry-run", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_options_are_known(command):
    """argparse accepts the words: with --help after them, an unknown command or option still fails first."""
    assert command[:2] in (["-m", "lav2"], ["-m", "lav2.instruct"], ["-m", "lav2.documents.mix"])
    names = [word for word in command if word.startswith("--")]
    called = command[:3] if command[1] == "lav2" else command[:2]
    done = subprocess.run([sys.executable, *called, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert [name for name in names if name not in done.stdout] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c[2] in ("ask", "batch", "caption", "presets")], ids=" ".join
)
def test_commands_on_the_example_pictures_run(command, tmp_path):
    words = [word.replace("runs/", f"{tmp_path}/") for word in command]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() or list(tmp_path.iterdir())


def test_every_file_that_the_readme_links_exists():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAMED = re.findall(r"\[`([\w.]+)`\]\(([\w/]+\.py)\)", CONTRIBUTING)  # [`Class.method`](file)


def names_of(file: Path) -> set[str]:
    """What a module defines: functions, classes, constants, and Class.method."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        names = [node.name] if hasattr(node, "name") else []
        names += [t.id for t in getattr(node, "targets", [getattr(node, "target", None)]) if isinstance(t, ast.Name)]
        inner = getattr(node, "body", []) if isinstance(node, ast.ClassDef) else []
        found |= {*names, *(f"{node.name}.{one.name}" for one in inner if hasattr(one, "name"))}
    return found


def test_the_walk_from_question_to_answer_has_ten_steps_and_each_names_a_function_that_exists():
    walk = CONTRIBUTING.partition("## From a question")[2].partition("\n## ")[0]
    steps = re.split(r"^\d+\. ", walk, flags=re.MULTILINE)[1:]
    assert len(steps) == 10 and all(re.search(r"\[`[\w.]+`\]\([\w/]+\.py\)", step) for step in steps)
    assert len(NAMED) > 25
    assert [(name, file) for name, file in NAMED if name not in names_of(ROOT / file)] == []


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_file_that_the_other_papers_link_exists(name):
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", (ROOT / name).read_text(encoding="utf-8"))
    assert links and [link for link in links if not (ROOT / link).exists()] == []


def test_the_licence_is_the_whole_apache_licence_and_what_differs_is_noted():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "license: apache-2.0" in TEXT and "Version 2.0, January 2004" in text
    assert [f"   {n}. " in text for n in range(1, 10)] == [True] * 9 and "END OF TERMS AND CONDITIONS" in text
    for told in (TEXT, (ROOT / "NOTICE").read_text(encoding="utf-8")):
        assert "AGPL-3.0" in told
