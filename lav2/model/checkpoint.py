"""Save and load adapters: a folder with config.json and adapter.safetensors, strict both ways."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lav2 import files, weights
from lav2.config import AdapterConfig, ProjectorConfig, VisionConfig, from_json
from lav2.errors import LAV2Error
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import GROUPS, Group, group
from lav2.model.llm import base_identity
from lav2.model.tensors import read_tensors

CONFIG, TENSORS = "config.json", "adapter.safetensors"
CAPTION_PHRASES = "phrases.safetensors"  # of the reranker of drafts, in the folder of a caption adapter
CAPTION_ANSWERS = "answers.safetensors"  # of its candidates for answers, there as well
READER = "reader.safetensors"  # of the reader of texts (lav2.reading), in the folder of a chat adapter
BESIDE = (CAPTION_PHRASES, CAPTION_ANSWERS, READER)  # files that go with an adapter
FORMAT = 1
FOLDER_SOURCE = "folder:"  # of a source of the image encoder's weights: a file in the adapter's folder


def save(model: AdaptedLlama, folder: Path, base: dict[str, str], notes: dict | None = None,
         dtype: torch.dtype = torch.float32) -> None:  # fmt: skip
    """Write exactly the trained tensors and what is needed to use them.

    Args:
        model: whose adapter is saved.
        folder: made if missing; an earlier adapter in it is replaced.
        base: base_identity of the frozen model.
        notes: anything worth keeping (stage, steps, command, scores).
        dtype: of the stored floating-point tensors.
    """
    found = {name: p.detach().to("cpu", dtype).contiguous() for name, p in model.adapter_parameters().items()}
    write(model, found, folder, base, notes)


def write(
    model: AdaptedLlama, given: dict[str, torch.Tensor], folder: Path, base: dict[str, str], notes: dict | None = None
) -> None:
    """`save` with the tensors given: those of an import keep the precision that their file has.

    Raises:
        LAV2Error: they are not exactly the model's adapter.
    """
    check_fit(model.adapter_parameters(), given, "The adapter to be saved")
    config = {
        "format": FORMAT,
        "base": base,
        "adapter": asdict(model.config),
        "projector": asdict(model.projector_config) if model.projector_config else None,
        "vision": asdict(model.vision_config) if model.vision_config else None,
        "notes": notes or {},
    }
    _write_files(folder, given, config)


def _write_files(folder: Path, given: dict[str, torch.Tensor], config: dict) -> None:
    with files.replacing(folder / TENSORS) as part:
        save_file(given, part)
        files.write_text(folder / CONFIG, json.dumps(config, indent=1) + "\n")


def export(folder: Path, out: Path, other: Path | None = None) -> None:
    """A copy of an adapter in float16, half as large, and of what stands beside it, for shipping; training states are
    left behind.

    Args:
        other: a later or earlier state of the same training, whose mean with the adapter is written (weights of runs
            that share their start can be averaged: Wortsman et al. 2022, arXiv 2203.05482).

    Raises:
        LAV2Error: a folder holds no adapter, or the two are made otherwise.
    """
    config, given = _read_config(folder), _read_tensors(folder)
    if other is not None:
        second, theirs = _read_config(other), _read_tensors(other)
        if any(config[key] != second[key] for key in ("base", "adapter", "projector", "vision")):
            raise LAV2Error(f"{folder} and {other} are adapters of another make.", "Give two states of one training.")
        given = {name: (tensor.float() + theirs[name].float()) / 2 for name, tensor in given.items()}
        config["notes"] = {"mean": {str(folder): config["notes"], str(other): second["notes"]}}
    _write_files(out, {name: tensor.half() for name, tensor in given.items()}, config)
    if folder.resolve() != out.resolve():
        for name in BESIDE:
            (out / name).unlink(missing_ok=True)  # of an adapter that was there before
            if (folder / name).exists():
                shutil.copyfile(folder / name, out / name)


def read_vision(folder: Path) -> VisionConfig | None:
    """The image encoder that an adapter was trained on.

    Raises:
        LAV2Error: `folder` holds no adapter.
    """
    return _settings(folder, VisionConfig, _read_config(folder)["vision"])


def encoder_digest(source: str) -> str | None:
    """SHA-256 of the file of an image encoder's weights; None for a tag of open_clip, which is no file of ours.

    Raises:
        LAV2Error: it is a file, and it is not here.
    """
    if not (source.startswith(("package:", "assets:", "cache:")) or Path(source).suffix):
        return None
    return hashlib.sha256(weights.find(source).read_bytes()).hexdigest()


def check_encoder(folder: Path) -> None:
    """Whether the image encoder here is the one that the adapter was trained on, where its config has the digest
    (adapters of the Hub have).

    Raises:
        LAV2Error: it is another, or is not here.
    """
    config = _read_config(folder)
    expected, vision = config.get("encoder"), _settings(folder, VisionConfig, config["vision"])
    if not expected or vision is None or not vision.weights:
        return
    if encoder_digest(vision.weights) != expected["sha256"]:
        raise LAV2Error(
            "The adapter in {folder} was trained on another image encoder than {source} here.",
            "Use the version of this project that it was made with (assets/encoder), or train an adapter on this one.",
            folder=folder,
            source=vision.weights,
        )


def _settings(folder: Path, kind: type, values: dict | None):
    """Settings of a class from an adapter's config; None where it has none."""
    try:
        settings = from_json(kind, values) if values else None
        if kind is VisionConfig and settings and (settings.weights or "").startswith(FOLDER_SOURCE):
            settings = replace(settings, weights=str(folder / Path(settings.weights.removeprefix(FOLDER_SOURCE)).name))
        return settings
    except TypeError as error:  # of a later version, or not ours
        raise _no_adapter(folder, error) from error


def _read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(folder / TENSORS, "Copy or train the adapter again.")


def load(
    folder: Path,
    llm: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    notice: Callable[[str], None] = print,
    groups: Sequence[Group] = GROUPS,
    base: Mapping[str, str] | None = None,
    lora_rank: int | None = None,
) -> AdaptedLlama:
    """The frozen model with the folder's adapter on it; `llm` becomes part of the result.

    Args:
        folder: as `save` wrote it.
        llm: the frozen model, untouched by any adapter.
        notice: told when the weights are others than those the adapter was trained on.
        groups: parameters that are taken; the others start as a new adapter's.
        base: base_identity of `llm`, where it is known already.
        lora_rank: of a language group that starts anew, in place of the folder's.

    Raises:
        LAV2Error: files are missing or damaged, tensors are missing or too many, or the adapter belongs to another
            architecture or tokenizer.
    """
    config = _read_config(folder)
    here, there = base or base_identity(llm, tokenizer, ""), config["base"]
    for part in ("architecture", "tokenizer"):
        if here[part] != there[part]:
            raise LAV2Error(
                f"The adapter in {folder} belongs to {there['name']}; its {part} differs from the model given"
                + (f" ({there[part]} against {here[part]})." if part == "architecture" else "."),
                "Load the language model that it was trained on, or train an adapter for this one.",
            )
    if here["weights"] != there["weights"]:
        notice(
            f"Notice: the adapter in {folder.name} was trained on the weights of {there['name']}; "
            "other weights of the same model are used now, so answers may differ a little."
        )
    adapter = _settings(folder, AdapterConfig, config["adapter"])
    if lora_rank is not None and lora_rank != adapter.lora_rank:
        if "language" in groups:
            raise LAV2Error(
                f"The language group in {folder} has LoRA pairs of rank {adapter.lora_rank}.",
                "Leave --lora-rank away, or start the language group anew with --init-groups visual.",
            )
        adapter = replace(adapter, lora_rank=lora_rank)
    projector = _settings(folder, ProjectorConfig, config["projector"])
    vision = _settings(folder, VisionConfig, config["vision"])
    model = AdaptedLlama(llm, adapter, projector, vision)
    load_tensors(model, folder, groups)
    return model


def load_tensors(model: AdaptedLlama, folder: Path, groups: Sequence[Group] = GROUPS) -> None:
    """Copy the stored tensors of the groups into the model's adapter; all must fit, none may be missing or left over.

    Raises:
        LAV2Error: otherwise.
    """
    stored = _read_tensors(folder)
    own = {name: tensor for name, tensor in model.adapter_parameters().items() if group(name, model.config) in groups}
    selected = {name: tensor for name, tensor in stored.items() if group(name, model.config) in (None, *groups)}
    check_fit(own, selected, str(folder / TENSORS))
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(stored[name])


def check_fit(own: Mapping[str, torch.Tensor], stored: Mapping[str, torch.Tensor], what: str) -> None:
    """Whether stored tensors are exactly an adapter's own: none missing, none left over, each of its shape.

    Raises:
        LAV2Error: they are not; `what` names them in the message.
    """
    missing, unknown = sorted(own.keys() - stored.keys()), sorted(stored.keys() - own.keys())
    wrong = sorted(name for name in own.keys() & stored.keys() if own[name].shape != stored[name].shape)
    if missing or unknown or wrong:
        raise LAV2Error(
            f"{what} does not fit: missing {missing[:3]}, unknown {unknown[:3]}, other shape {wrong[:3]}.",
            "Its config.json and tensors are from different runs; copy or train the adapter again.",
        )


def read_notes(folder: Path) -> dict:
    """The `notes` of an adapter folder."""
    return _read_config(folder)["notes"]


def _read_config(folder: Path) -> dict:
    try:
        config = files.parse((folder / CONFIG).read_text(encoding="utf-8"))
        if config["format"] != FORMAT:
            raise ValueError(f"format {config['format']}")
        parts = {"base": dict, "adapter": dict, "projector": (dict, type(None)), "vision": (dict, type(None)),
                 "notes": dict}  # fmt: skip
        for name, kind in parts.items():
            if not isinstance(config[name], kind):
                raise ValueError(f"{name} is {config[name]!r}")
        return config
    except (OSError, ValueError, KeyError, TypeError) as error:
        if files.is_lfs_pointer(folder / CONFIG):
            raise files.lfs_error(folder / CONFIG) from error
        raise _no_adapter(folder, error) from error


def _no_adapter(folder: Path, error: Exception) -> LAV2Error:
    return LAV2Error(
        f"{folder} holds no adapter of this project ({type(error).__name__}: {error}).",
        f"Give a folder with {CONFIG} and {TENSORS}, as `python -m lav2 train` writes it.",
    )


CAPTION_STAGES, CHAT_STAGES = ("pretrain", "caption", "scst"), ("finetune",)


def check_roles(chat: Path, captioner: Path, report: Callable[[str], None]) -> None:
    """Whether two adapters were trained for what they are to do; stages that serve both, and imports, do for either.

    Raises:
        LAV2Error: they are swapped.
    """
    if chat == captioner:
        return
    stages = [read_notes(folder).get("stage") for folder in (chat, captioner)]
    wrong = [stages[0] in CAPTION_STAGES, stages[1] in CHAT_STAGES]
    if all(wrong):
        raise LAV2Error(
            f"The adapters are swapped: {chat} was trained for captions (stage {stages[0]}) and {captioner} for chat "
            f"(stage {stages[1]}).",
            "Give the chat adapter as --adapter and the captioner as --caption-adapter.",
        )
    for folder, stage, off, role in zip((chat, captioner), stages, wrong, ("chat", "captions"), strict=True):
        if off:
            report(f"Notice: the adapter for {role}, {folder}, was trained for something else (stage {stage}).")
