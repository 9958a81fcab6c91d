"""An adapter's folder as it goes to the Hub: tensors, config, reranker, an image encoder of one's own, and the card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lav2 import files
from lav2.config import DEFAULT_PRESET
from lav2.hub import card
from lav2.model import checkpoint

MARK = checkpoint.TENSORS  # that a repository holds an adapter of this project
ENCODER = "encoder.safetensors"


def stage(
    folder: Path,
    out: Path,
    repository: str,
    *,
    base: str | None = None,
    licence: str | None = None,
    datasets: Sequence[str] = (),
    scores: Sequence[Path] = (),
    preset: str = DEFAULT_PRESET,
) -> dict[str, int]:
    """Write what the Hub gets into `out`; returns the sizes of the files. The arguments are those of `card.write`.

    Raises:
        LAV2Error: `folder` holds no whole adapter, its image encoder is not here, or the card lacks something.
    """
    checkpoint.read_notes(folder)  # a config of ours, or it is told
    config = files.read_json(folder / checkpoint.CONFIG)
    _check_tensors(folder / checkpoint.TENSORS)
    out.mkdir(parents=True, exist_ok=True)
    for name in (checkpoint.TENSORS, *checkpoint.BESIDE):
        if (folder / name).exists():
            (out / name).symlink_to((folder / name).resolve())
    _carry_encoder(folder, out, config)
    config["notes"] = _portable(config["notes"])
    files.write_text(out / checkpoint.CONFIG, json.dumps(config, indent=1) + "\n")
    readme = folder / "README.md"
    text = card.write(
        repository, config, files.read_text(readme) if readme.exists() else "",
        base=base, licence=licence, datasets=datasets, scores=scores, preset=preset,
    )  # fmt: skip
    files.write_text(out / "README.md", text)
    return {file.name: file.stat().st_size for file in sorted(out.iterdir())}


def _check_tensors(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            if not opened.keys():
                raise ValueError("it holds no tensor")
    except (OSError, ValueError, SafetensorError) as error:
        raise files.unreadable(file, error, "Copy or train the adapter again.") from error


def _carry_encoder(folder: Path, out: Path, config: dict) -> None:
    """Say which image encoder belongs to the adapter, by the digest of its file; one that only this machine has goes
    along."""
    vision = config["vision"]
    if not vision or not vision.get("weights"):
        return
    own = checkpoint.read_vision(folder).weights  # the path, where the folder has its own already
    digest = checkpoint.encoder_digest(own)
    if digest:
        config["encoder"] = {"sha256": digest}
    if Path(own).is_file():  # neither of a package nor of assets/
        (out / ENCODER).symlink_to(Path(own).resolve())
        vision["weights"] = f"{checkpoint.FOLDER_SOURCE}{ENCODER}"


def _portable(value):
    """Notes without the folders of the machine that they were written on."""
    if isinstance(value, Mapping):
        return {key: _portable(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_portable(part) for part in value]
    if isinstance(value, str) and value.startswith(("/", "~")) and "\n" not in value:
        return Path(value).name
    return value


def report(sizes: Mapping[str, int], text: str) -> str:
    """Files, sizes and metadata, in words."""
    head = text.split("\n---", 1)[0].removeprefix("---\n")
    lines = [f"{len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB:"]
    lines += [f"  {size / 1e6:9.3f} MB  {name}" for name, size in sizes.items()]
    return "\n".join([*lines, "", "metadata of the card:", *(f"  {line}" for line in head.splitlines())])
