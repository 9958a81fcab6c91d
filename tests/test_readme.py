"""The papers beside the code: links, the walk in ten steps, the licence."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_file_that_the_readme_links_exists():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_map_of_the_code_has_every_package_and_nothing_else():
    table = TEXT.partition("## Map of the code")[2].partition("\n## ")[0]
    packages = {file.parent.name for file in ROOT.glob("lav2/*/__init__.py")}
    assert set(re.findall(r"\]\(lav2/(\w+)\)", table)) == packages


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


def test_the_tree_has_a_line_for_every_package_in_the_order_of_the_contract():
    tree = CONTRIBUTING.partition("## Layout")[2].partition("\n## ")[0]
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ][0]
    layers = [layer.strip() for line in contract["layers"] for layer in line.split("|")]
    packages = [layer for layer in layers if (ROOT / "lav2" / layer).is_dir()]
    listed = re.findall(r"^  (\w+)/ +\S", tree, re.MULTILINE)
    assert listed == [*packages, "train_detector"]
    assert all(
        (ROOT / one).exists() for one in re.findall(r"^(\S+) ", tree, re.MULTILINE) if one.endswith(("/", ".py"))
    )


def test_the_walk_from_question_to_answer_has_ten_steps_and_each_names_a_function_that_exists():
    walk = CONTRIBUTING.partition("## From a question")[2].partition("\n## ")[0]
    steps = re.split(r"^\d+\. ", walk, flags=re.MULTILINE)[1:]
    assert len(steps) == 10 and all(re.search(r"\[`[\w.]+`\]\([\w/]+\.py\)", step) for step in steps)
    assert len(NAMED) > 25
    assert [(name, file) for name, file in NAMED if name not in names_of(ROOT / file)] == []


def test_no_python_file_has_more_than_400_lines():
    files = [file for folder in ("lav2", "experts", "tests", "docs") for file in (ROOT / folder).rglob("*.py")]
    lines = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in [ROOT / "app.py", *files]}
    assert {str(file): count for file, count in lines.items() if count > 400} == {} and lines[ROOT / "app.py"] <= 150


OTHERS = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob("assets/*/README.md")]


@pytest.mark.parametrize("paper", OTHERS, ids=lambda paper: str(paper.relative_to(ROOT)))
def test_every_file_that_the_other_papers_link_exists(paper):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", paper.read_text(encoding="utf-8"))
    assert [link for link in links if not (paper.parent / link).exists()] == []


def test_the_licence_is_the_whole_apache_licence_and_what_differs_is_noted():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "license: apache-2.0" in TEXT and "Version 2.0, January 2004" in text
    assert [f"   {n}. " in text for n in range(1, 10)] == [True] * 9 and "END OF TERMS AND CONDITIONS" in text
    for document in (TEXT, (ROOT / "NOTICE").read_text(encoding="utf-8")):
        assert "AGPL-3.0" in document
