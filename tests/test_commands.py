"""Every command of README, docs and cards is one that its program takes; those that need only the repository run."""

import argparse
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAPERS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")),
          *sorted((ROOT / "assets").glob("*/README.md"))]  # fmt: skip
OURS = ("lav2", "experts")  # packages whose programs are asked


def fenced(text: str) -> list[str]:
    """The lines of a paper's blocks of commands, one command each, with the shell's variables filled in."""
    found = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        if language not in ("", "bash"):
            continue
        names: dict[str, str] = {}
        for line in block.replace("\\\n", " ").splitlines():
            if assigned := re.fullmatch(r'(\w+)="(.*)"', line):
                names[assigned[1]] = assigned[2]
            elif line.strip() and not line.startswith("#"):
                found.append(re.sub(r"\$(\w+)", lambda match, known=dict(names): known.get(match[1], match[0]), line))
    return found


def inline(text: str) -> list[str]:
    """Whole commands within sentences: those that begin with the program, without a part left out."""
    quoted = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    whole = [one for one in quoted if re.match(r"(?:\.venv/bin/)?python3? ", one) and "..." not in one]
    return [
        one for one in whole if re.search(r" [^ a-z]", one.partition("-m ")[2]) or ".py " in one
    ]  # others are names


def programs(line: str) -> list[list[str]]:
    """[program, *its words] for each program of this project in a line: a module, or a file."""
    found = []
    for part in re.split(r"\s&&\s", line):
        if "python" not in part:
            continue
        words = shlex.split(part, comments=True)
        at = max((i for i, word in enumerate(words) if word == "-m"), default=0)
        if at and words[at + 1].split(".")[0] in OURS:
            found.append(words[at + 1 :])
        elif len(words) > 1 and re.search(r"python3?$", words[0]) and words[1].endswith(".py"):
            found.append(words[1:])
    return found


LINES = {paper: [*fenced(text), *inline(text)] for paper in PAPERS for text in [paper.read_text(encoding="utf-8")]}
COMMANDS = {shlex.join(one): one for lines in LINES.values() for line in lines for one in programs(line)}
MAKE = {line.split("  ")[0].strip() for lines in LINES.values() for line in lines if line.startswith("make ")}
README = [one for line in LINES[ROOT / "README.md"] for one in programs(line)]


def test_the_papers_have_commands_of_every_kind():
    assert {"make demo", "make setup", "make lint", "make test"} <= MAKE
    assert {one[0] for one in COMMANDS.values()} >= {
        "lav2", "lav2.instruct", "lav2.documents.mix", "lav2.bench", "experts.train_detector", "app.py",
    }  # fmt: skip
    assert {one[1] for one in COMMANDS.values() if one[0] == "lav2"} >= {"ask", "batch", "train", "publish", "recipe"}


@pytest.mark.parametrize("line", sorted(MAKE))
def test_make_targets_exist(line):
    done = subprocess.run(["make", "--dry-run", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Taken(Exception):
    """A program took its words; nothing of it runs. `parser`: its own."""

    def __init__(self, parser: argparse.ArgumentParser):
        self.parser = parser


@pytest.fixture
def take(monkeypatch):
    """Starts [program, *words] in this process up to where its words are parsed."""
    parse = argparse.ArgumentParser.parse_args

    def stop(parser, args=None, namespace=None):
        if len(sys.argv) > 1:
            parse(parser, args, namespace)
        raise Taken(parser)

    def start(words):
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(Taken) as taken:
            if words[0].endswith(".py"):
                runpy.run_path(words[0], run_name="__main__")
            else:
                runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        return taken.value.parser

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.chdir(ROOT)
    return start


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")  # runpy, of a module that another test imported
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_program_takes_its_words(words, take):
    take(words)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
@pytest.mark.parametrize(("program", "papers"), [("lav2", ""), ("experts.train_detector", "detector")])
def test_commands_and_options_that_sentences_name_exist(program, papers, take):
    """`train --fusion early` and the like."""
    (known,) = (a.choices for a in take([program])._actions if isinstance(a, argparse._SubParsersAction))
    named = []
    for paper in (one for one in PAPERS if ("detector" in str(one)) == bool(papers)):
        for quoted in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", paper.read_text(encoding="utf-8")):
            prefix, command, *words = re.fullmatch(r"((?:python -m )?lav2 )?(\S*)(.*)", quoted).groups()
            assert command in known or not prefix or papers, (paper.name, quoted)
            if command in known:
                named += [(paper.name, command, word) for word in words[0].split(" ") if word.startswith("--")]
    assert len(named) > 3
    assert [one for one in named if one[2] not in known[one[1]]._option_string_actions] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [one for one in README if one[1] in ("ask", "batch", "caption", "presets")], ids=shlex.join
)
def test_commands_on_the_example_pictures_run(words, tmp_path):
    words = [word.replace("runs/", f"{tmp_path}/") for word in words]
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() or list(tmp_path.iterdir())
