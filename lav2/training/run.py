"""A training run from its files to its adapter; resumable to the same losses after a kill.

Started by torchrun, several processes share each batch, by as many GPUs or on one CPU: every one computes its rows, the
gradients are summed, and all take the same step as one process would.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from lav2 import files
from lav2.config import Preset, VisionConfig
from lav2.data.batches import Batch, Rows
from lav2.data.features import without_damaged
from lav2.data.formats import CaptionRow, InstructionRow
from lav2.data.samples import caption_rows, instruction_rows
from lav2.errors import LAV2Error
from lav2.model import checkpoint, preflight
from lav2.model.adapted import AdaptedLlama
from lav2.model.llm import base_identity, keep_norms_exact, load_llm
from lav2.training import run_folder
from lav2.training.distributed import barrier, join_processes, process_count, rank, silent
from lav2.training.grading import GRADED_ROWS, grade
from lav2.training.loop import train
from lav2.training.optimizer import training_precision
from lav2.training.scst import CiderReward
from lav2.training.selection import check_rows, photo_features, rows_by_kind
from lav2.training.settings import RunConfig, TrainConfig
from lav2.training.warm_start import encode_text, warm_start
from lav2.weights import find


def run(
    preset: Preset,
    settings: TrainConfig,
    data: Sequence[Path],
    out: Path,
    start: RunConfig = RunConfig(),
    report: Callable[[str], None] = print,
) -> None:
    """Train an adapter on a preset's frozen models from files; what `python -m lav2 train` calls.

    Rows of the split `val` validate: the loss per kind of question on the way, and at the end greedy answers to up to
    GRADED_ROWS questions, graded into scores.json.

    Args:
        data: caption and instruction files (lav2.data.formats.read_rows).
        out: folder of the run; it may hold no other (lav2.training.run_folder).
        start: photos, adapter and encoder to start from, devices, precision. With `quantize` the adapter lies on packed
            matrices as it is (as QLoRA, arXiv 2305.14314), and remembers that it was trained on them.

    Raises:
        LAV2Error: data, weights or settings do not fit.
    """
    target = join_processes(torch.device(preflight.device(start.device)))
    first = rank() == 0
    report = report if first else silent
    run_folder.check_out(out, start.resume)
    if settings.stage == "scst" and (settings.together < 2 or settings.batch < process_count()):
        raise LAV2Error(
            f"The stage scst cannot learn from {settings.together} sample(s) of each of {settings.batch} photo(s).",
            "Give --pack 5, and a --batch of at least one photo for each process.",
        )
    if start.init and start.gate_init:
        raise LAV2Error("The adapter to start from has gates already.", "Leave --gate-init or --init away.")
    kind = start.dtype or training_precision(target)
    if start.device_map and process_count() > 1:
        raise LAV2Error("A model that is spread over the devices has them for itself.",
                        "Leave --device-map away, or start one process without torchrun.")  # fmt: skip
    report(preflight.check(preset, kind, start.device_map or str(target), start.quantize, training=True))
    llm, tokenizer = load_llm(preset.llm, getattr(torch, kind), target, start.quantize, start.device_map)
    keep_norms_exact(llm)
    base = base_identity(llm, tokenizer, preset.llm)
    torch.manual_seed(settings.seed)
    if start.init:
        model = checkpoint.load(start.init, llm, tokenizer, report, start.init_groups, lora_rank=start.lora_rank)
    else:
        model = AdaptedLlama(llm, preset.adapter_config, preset.projector, preset.vision)
        model.adapter.start_gates(start.gate_init)
    if start.proof_first:
        model.config = replace(model.config, proof_first=True)
    if start.encoder:
        if model.vision_config is None:
            raise LAV2Error(f"The preset {preset.name} has no image encoder.", "Leave --encoder away.")
        model.vision_config = replace(model.vision_config, weights=start.encoder)
    if start.gradient_checkpointing:
        model.llm.gradient_checkpointing_enable({"use_reentrant": False})
    captions, instructions = rows_by_kind(data, start.images, settings.stage, report)
    for turn in (True, False):  # the first process encodes, the others then read
        if turn == first:
            features = photo_features(model.vision_config, captions, instructions, start.cache, start.views)
        barrier()
    for rows in (captions, instructions):
        for split, part in rows.items():
            rows[split] = without_damaged(part, features, report)
    check_rows(captions, instructions, settings.stage)
    if settings.stage == "scst" and len(captions["train"]) < process_count():
        raise LAV2Error(
            f"{len(captions['train'])} photos cannot be shared by {process_count()} processes.",
            "Start fewer processes, or give more photos.",
        )

    encode = partial(encode_text, tokenizer)

    together = 1 if settings.stage == "scst" else settings.together

    def caption(chosen: list[CaptionRow]) -> Rows:
        return caption_rows(chosen, encode, tokenizer.bos_token_id, tokenizer.eos_token_id, features, together)

    def instruction(chosen: list[InstructionRow]) -> Rows:
        return instruction_rows(chosen, tokenizer, preset.template, features, report, settings.together,
                                model.config.proof_first)  # fmt: skip

    learn: dict[str, Rows] = {}
    validation: dict[str, list[Batch]] = {}
    if captions["train"]:
        learn["caption"] = caption(captions["train"])
    if captions["val"]:
        validation["caption"] = caption(captions["val"]).fixed(settings.batch)
    if instructions["train"]:
        learn["instruction"] = instruction(instructions["train"])
    for asks in dict.fromkeys(row.kind for row in instructions["val"]):
        validation[asks] = instruction([r for r in instructions["val"] if r.kind == asks]).fixed(settings.batch)
    opened = {"gate_init": start.gate_init} if start.gate_init else {}  # at 0 left out: earlier runs have none
    notes = {**opened, "data": [str(file) for file in data], "dtype": kind, "warm_steps": start.warm_steps,
             "init": str(start.init) if start.init else None,
             "init_groups": list(start.init_groups) if start.init else []}  # fmt: skip
    facts = {
        **opened, "preset": preset.name, "base": base, "dtype": kind, "quantize": start.quantize, "views": start.views,
        "warm_steps": start.warm_steps, "adapter": repr((model.config, model.projector_config)),
        "init": run_folder.file_identity([start.init / checkpoint.TENSORS]) if start.init else None,
        "init_groups": sorted(start.init_groups) if start.init else None,
        "encoder": repr(model.vision_config), "encoder_file": _encoder_file(model.vision_config),
        "data": run_folder.file_identity(data), "rows": [len(captions["train"]), len(instructions["train"])],
        "photos": features.content() if features is not None else None,
    }  # fmt: skip
    if start.warm_steps and captions["train"] and not start.resume:
        words = {row.image: {t for text in row.captions for t in encode(text)} for row in captions["train"]}
        warm_start(model, words, features, start.warm_steps, seed=settings.seed, report=report)
    critic = CiderReward(captions["train"], tokenizer, settings.together) if settings.stage == "scst" else None
    train(model, learn, settings, out, base, validation, notes, report, critic, resume=start.resume, facts=facts)
    if instructions["val"] and first:
        with model.autocast():
            scores = grade(model, tokenizer, preset.template, instructions["val"][:GRADED_ROWS], features)
        report(f"graded answers: {scores}")
        files.write_text(out / "scores.json", json.dumps(scores, indent=1) + "\n")


def _encoder_file(vision: VisionConfig | None) -> list[str] | None:
    """The content of an image encoder that was tuned by somebody, perhaps again under the same name."""
    tuned = vision is not None and (vision.weights or "").endswith(".safetensors")
    return run_folder.file_identity([find(vision.weights)]) if tuned else None
