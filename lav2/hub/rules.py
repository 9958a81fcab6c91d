"""What the Hub's documentation demands of a Space, checked before anything is sent. No network, no torch.

Sources: spaces-config-reference, spaces-dependencies, spaces-zerogpu and storage-limits of huggingface.co/docs/hub.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lav2 import files
from lav2.errors import LAV2Error

PLAIN_LIMIT = 10_000_000  # bytes of a file that plain git takes; larger ones, and all that is no text, go by LFS or Xet
FILE_LIMIT = 50_000_000_000  # bytes of one file
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
KEYS = frozenset(
    {
        "title", "emoji", "colorFrom", "colorTo", "sdk", "python_version", "sdk_version", "suggested_hardware",
        "suggested_storage", "app_file", "app_build_command", "app_port", "base_path", "fullWidth", "header",
        "short_description", "models", "datasets", "tags", "thumbnail", "pinned", "hf_oauth", "hf_oauth_scopes",
        "hf_oauth_expiration_minutes", "hf_oauth_authorized_org", "disable_embedding",
        "startup_duration_timeout", "custom_headers", "preload_from_hub", "license",
    }
)  # fmt: skip
ZERO_GPU_PYTHON = ("3.10", "3.10.13", "3.12", "3.12.12")
HARDWARE = ("cpu-basic", "cpu-upgrade", "zero-a10g", "t4-small", "t4-medium", "l4x1", "a10g-small", "a10g-large")
TOKEN = re.compile(rb"\bhf_[A-Za-z]{30,}\b")


def front_matter(text: str) -> dict[str, Any]:
    """The YAML block at the top of a README.md; empty where there is none.

    Raises:
        LAV2Error: it is no YAML, or no mapping.
    """
    import yaml

    found = re.match(r"\ufeff?---\r?\n(.*?)\r?\n---\r?(?:\n|$)", text, re.DOTALL)
    if not found:
        return {}
    try:
        values = yaml.safe_load(found[1])
        if not isinstance(values, dict):
            raise ValueError(f"it is a {type(values).__name__}")
        return values
    except (yaml.YAMLError, ValueError) as error:
        raise LAV2Error(
            "The block at the top of README.md is not YAML of keys and values ({why}).",
            "Mend the lines between the two ---.",
            why=" ".join(str(error).split()),
        ) from error


def body(text: str) -> str:
    """A README.md without its front matter."""
    return re.sub(r"\A\ufeff?---\r?\n.*?\r?\n---\r?(?:\n|$)", "", text, count=1, flags=re.DOTALL)


def check_front_matter(values: Mapping[str, Any], picked: Iterable[str], pins: str, hardware: str | None) -> list[str]:
    """What is wrong with a Space's front matter, a sentence each.

    Args:
        values: of `front_matter`.
        picked: paths of the Space's files.
        pins: requirements.txt.
        hardware: what the Space is to run on; None: the Hub's default.
    """
    wrong = [f"README.md: {key} is no key of a Space's front matter." for key in values if key not in KEYS]
    wrong += [f"README.md: {key} is missing." for key in ("title", "emoji", "sdk", "app_file") if not values.get(key)]
    for key in ("colorFrom", "colorTo"):
        if values.get(key) not in (None, *COLOURS):
            wrong.append(f"README.md: {key} is {values[key]}; the Hub has {', '.join(COLOURS)}.")
    if values.get("sdk") not in (None, "gradio"):
        wrong.append(f"README.md: sdk is {values['sdk']}; this app runs on gradio.")
    if values.get("app_file") and values["app_file"] not in set(picked):
        wrong.append(f"README.md: app_file {values['app_file']} is not among the files.")
    pinned = re.search(r"^gradio==(\S+)", pins, re.MULTILINE)
    if pinned and str(values.get("sdk_version")) != pinned[1]:
        wrong.append(f"README.md: sdk_version is {values.get('sdk_version')}, requirements.txt has gradio {pinned[1]}.")
    python = values.get("python_version")
    if not isinstance(python, str) or not re.fullmatch(r"3\.\d+(\.\d+)?", python):
        wrong.append(f"README.md: python_version is {python!r}; write it in quotes, such as '3.12'.")
    elif hardware == "zero-a10g" and python not in ZERO_GPU_PYTHON:
        wrong.append(f"README.md: python_version is {python}; ZeroGPU has {' and '.join(ZERO_GPU_PYTHON[::2])}.")
    if len(str(values.get("short_description") or "")) > 60:
        wrong.append("README.md: short_description has more than 60 characters.")
    return wrong


def check_requirements(text: str) -> list[str]:
    """Lines that pip refuses in a requirements file, or that a Space's build cannot find: at that time the file stands
    alone, without the repository beside it."""
    wrong = []
    for line in (line.split(" #")[0].strip() for line in text.splitlines()):
        if re.match(r"(--no-deps|--target|--user|--upgrade)\b", line):
            wrong.append(f"requirements.txt: {line} is no option of a requirements file.")
        elif re.match(r"(-r|-c|--requirement|--constraint|-e|--editable|\.|/|file:)", line):
            wrong.append(f"requirements.txt: {line} names a file, and a Space's build sees requirements.txt alone.")
    return wrong


def is_text(file: Path) -> bool:
    """Whether it is UTF-8 without null bytes: what plain git takes on the Hub."""
    data = file.read_bytes() if file.stat().st_size < PLAIN_LIMIT else b"\0"
    try:
        return b"\0" not in data and data.decode("utf-8") is not None
    except UnicodeDecodeError:
        return False


def large(picked: Mapping[str, Path]) -> list[str]:
    """Paths of the files that go by LFS or Xet."""
    return [path for path, file in picked.items() if file.stat().st_size > PLAIN_LIMIT or not is_text(file)]


def git_attributes(paths: Iterable[str], everything: Iterable[str]) -> str:
    """.gitattributes that send these files by LFS: by their suffix, where no other file has it, else by their path."""
    by_lfs = set(paths)
    plain = {Path(path).suffix for path in set(everything) - by_lfs}
    patterns = {path if Path(path).suffix in {"", *plain} else f"*{Path(path).suffix}" for path in by_lfs}
    return "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in sorted(patterns))


def check_files(picked: Mapping[str, Path]) -> list[str]:
    """Files that the Hub would refuse, or that nobody wants there."""
    wrong = []
    for path, file in picked.items():
        size = file.stat().st_size
        if size > FILE_LIMIT:
            wrong.append(f"{path} has {size / 1e9:.0f} GB; the Hub takes {FILE_LIMIT / 1e9:.0f} GB.")
        if files.is_lfs_pointer(file):
            wrong.append(f"{path} is a pointer of Git LFS; run `git lfs pull` first.")
        if size < PLAIN_LIMIT and TOKEN.search(file.read_bytes()):
            wrong.append(f"{path} has what looks like an access token of the Hub in it.")
    return wrong
