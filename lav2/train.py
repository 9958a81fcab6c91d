"""The training loop: one for every stage (see lav2.adapter.STAGES), resumable to the same losses after a kill.

Started by torchrun, several processes share each batch, by as many GPUs or on one CPU: every one computes its rows, the
gradients are summed, and all take the same step as one process would.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import distributed
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from lav2 import checkpoint, files, phrases, preflight, runs
from lav2.adapter import GROUPS, STAGES, Group, group, trainable
from lav2.config import Preset, VisionConfig
from lav2.data import (
    Batch,
    CaptionRow,
    FeatureCache,
    InstructionRow,
    Rows,
    Sample,
    caption_rows,
    instruction_rows,
    prompt_of,
    read_rows,
    without_damaged,
)
from lav2.errors import LAV2Error
from lav2.events import Sampling
from lav2.inference import search, streaming
from lav2.instruct import is_right, obeys
from lav2.model import AdaptedLlama, Quantize, base_identity, keep_norms_exact, load_llm
from lav2.phrases import PhrasesConfig
from lav2.prompts import Turn
from lav2.selfcritical import Critic
from lav2.vision import VisionTower
from lav2.weights import cache_dir, find

VALIDATION_ROWS = 512
GRADED_ROWS = 256  # held-out questions that are answered and graded when a run ends
PATIENCE = timedelta(hours=6)  # the other processes wait while the first encodes photos or grades


@dataclass(frozen=True)
class TrainConfig:
    """How long and how fast to learn."""

    stage: str = "pretrain"
    steps: int = 2000
    batch: int = 32  # rows per optimiser step
    accumulate: int = 1  # parts that a batch is cut into, to save memory
    together: int = 1  # captions or questions of a photo that make one row; in the stage scst, samples of each photo
    lr: float = 1e-3  # peak; projector, LoRA, norms, biases, scales
    prompt_lr: float = 3e-3  # prompts and queries
    gate_lr: float = 3e-2  # gates start at 0 and hold everything back
    weight_decay: float = 0.02  # on matrices
    warmup: float = 0.03  # share of the steps
    label_smoothing: float = 0.0
    clip: float = 1.0  # gradient norm
    ema: float = 0.0  # decay of a running average of the weights, which is then what is saved; 0: none
    seed: int = 0
    save_every: int = 100  # steps
    validate_every: int = 250  # steps

    def __post_init__(self):
        for name in ("steps", "batch", "accumulate", "together", "save_every", "validate_every"):
            if getattr(self, name) < 1:
                raise LAV2Error(f"{name} is {getattr(self, name)}.", "Give at least 1.")


@dataclass
class Progress:
    """What a killed run needs to go on: written beside the adapter."""

    step: int = 0
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)


def run(
    preset: Preset,
    settings: TrainConfig,
    data: Sequence[Path],
    out: Path,
    *,
    images: Path | None = None,
    init: Path | None = None,
    init_groups: Sequence[Group] = GROUPS,
    lora_rank: int | None = None,
    cache: Path | None = None,
    views: int = 2,
    warm_steps: int = 0,
    device: str | None = None,
    dtype: str | None = None,
    checkpointing: bool = False,
    encoder: str | None = None,
    quantize: Quantize | None = None,
    device_map: str | dict[str, str | int] | None = None,
    resume: bool = False,
    report: Callable[[str], None] = print,
) -> None:
    """Train an adapter on a preset's frozen models from files; what `python -m lav2 train` calls.

    Rows of the split `val` validate: the loss per kind of question on the way, and at the end greedy answers to up to
    GRADED_ROWS questions, graded into scores.json.

    Args:
        data: caption and instruction files (lav2.data.read_rows).
        out: folder of the run; it may hold no other (lav2.runs).
        images: folder of the photos, each file's own by default.
        init: an adapter's folder to start from; its settings are kept. Otherwise the preset's settings start anew.
        init_groups: what is taken from `init`; the other group starts as the identity.
        lora_rank: of a language group that starts anew.
        cache: folder of cached image features.
        views: of each photo that captions are learned from (lav2.data.view_of): 1: only itself.
        warm_steps: steps of `warm_start` before a new run.
        device: `cpu`, `cuda` ...; what is there if None.
        dtype: of the frozen matrices and the products with them; if None, bfloat16 on a GPU that has it, else float32.
            What is trained is float32.
        checkpointing: keep no activations inside of layers, and compute them again on the way back: less memory, about
            a third more time.
        encoder: weights of the image encoder, in place of the preset's or that of `init`.
        quantize: `8bit` or `4bit`: the frozen matrices packed by bitsandbytes, the adapter on top as it is (as QLoRA,
            arXiv 2305.14314). An adapter remembers that it was trained on them.
        device_map: `auto` spreads the frozen model over the GPUs, for one process.
        resume: go on with the killed run in `out`, which must have been started with all the same.

    Raises:
        LAV2Error: data, weights or settings do not fit.
    """
    place = _join(torch.device(preflight.device(device)))
    first = _rank() == 0
    report = report if first else _silent
    runs.check_out(out, resume)
    if views < 1:
        raise LAV2Error(f"views is {views}.", "Give at least 1.")
    if settings.stage == "scst" and (settings.together < 2 or settings.batch < _processes()):
        raise LAV2Error(
            f"The stage scst cannot learn from {settings.together} sample(s) of each of {settings.batch} photo(s).",
            "Give --pack 5, and a --batch of at least one photo for each process.",
        )
    kind = dtype or _precision(place)
    if device_map and _processes() > 1:
        raise LAV2Error("A model that is spread over the devices has them for itself.",
                        "Leave --device-map away, or start one process without torchrun.")  # fmt: skip
    report(preflight.check(preset, kind, device_map or str(place), quantize, training=True))
    llm, tokenizer = load_llm(preset.llm, getattr(torch, kind), place, quantize, device_map)
    keep_norms_exact(llm)
    base = base_identity(llm, tokenizer, preset.llm)
    torch.manual_seed(settings.seed)
    if init:
        model = checkpoint.load(init, llm, tokenizer, report, init_groups, lora_rank=lora_rank)
    else:
        model = AdaptedLlama(llm, preset.adapter_config, preset.projector, preset.vision)
    if encoder:
        if model.vision_config is None:
            raise LAV2Error(f"The preset {preset.name} has no image encoder.", "Leave --encoder away.")
        model.vision_config = replace(model.vision_config, weights=encoder)
    if checkpointing:
        model.llm.gradient_checkpointing_enable({"use_reentrant": False})
    captions, instructions = _by_kind(data, images, settings.stage, report)
    for turn in (True, False):  # the first process encodes, the others then read
        if turn == first:
            features = _features(model.vision_config, captions, instructions, cache, views)
        _wait()
    for rows in (captions, instructions):
        for split, part in rows.items():
            rows[split] = without_damaged(part, features, report)
    _check_rows(captions, instructions, settings.stage)
    if settings.stage == "scst" and len(captions["train"]) < _processes():
        raise LAV2Error(
            f"{len(captions['train'])} photos cannot be shared by {_processes()} processes.",
            "Start fewer processes, or give more photos.",
        )

    encode = partial(_encode, tokenizer)

    together = 1 if settings.stage == "scst" else settings.together

    def caption(chosen: list[CaptionRow]) -> Rows:
        return caption_rows(chosen, encode, tokenizer.bos_token_id, tokenizer.eos_token_id, features, together)

    def instruction(chosen: list[InstructionRow]) -> Rows:
        return instruction_rows(chosen, tokenizer, preset.template, features, report, settings.together)

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
    notes = {"data": [str(file) for file in data], "dtype": kind, "warm_steps": warm_steps,
             "init": str(init) if init else None, "init_groups": list(init_groups) if init else []}  # fmt: skip
    facts = {
        "preset": preset.name, "base": base, "dtype": kind, "quantize": quantize, "views": views,
        "warm_steps": warm_steps, "adapter": repr((model.config, model.projector_config)),
        "init": runs.file_identity([init / checkpoint.TENSORS]) if init else None,
        "init_groups": sorted(init_groups) if init else None,
        "encoder": repr(model.vision_config), "encoder_file": _encoder_file(model.vision_config),
        "data": runs.file_identity(data), "rows": [len(captions["train"]), len(instructions["train"])],
        "photos": features.content() if features is not None else None,
    }  # fmt: skip
    if warm_steps and captions["train"] and not resume:
        words = {row.image: {t for text in row.captions for t in encode(text)} for row in captions["train"]}
        warm_start(model, words, features, warm_steps, seed=settings.seed, report=report)
    critic = Critic(captions["train"], tokenizer, settings.together) if settings.stage == "scst" else None
    train(model, learn, settings, out, base, validation, notes, report, critic, resume=resume, facts=facts)
    if instructions["val"] and first:
        with model.autocast():
            scores = grade(model, tokenizer, preset.template, instructions["val"][:GRADED_ROWS], features)
        report(f"graded answers: {scores}")
        files.write_text(out / "scores.json", json.dumps(scores, indent=1) + "\n")


def _encoder_file(vision: VisionConfig | None) -> list[str] | None:
    """The content of an image encoder that was tuned by somebody, perhaps again under the same name."""
    tuned = vision is not None and (vision.weights or "").endswith(".safetensors")
    return runs.file_identity([find(vision.weights)]) if tuned else None


def learn_phrases(
    folder: Path,
    data: Sequence[Path],
    *,
    images: Path | None = None,
    cache: Path | None = None,
    views: int = 2,
    seed: int = 0,
    device: str | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Teach a captioner's judge (lav2.phrases) on captions; what `python -m lav2 phrases` calls.

    Args:
        folder: of a caption adapter, through whose image encoder the photos are seen; the judge is written into it.
        data: caption files (lav2.data.read_rows); rows of the split `val` are told the loss of.
        images, cache, views, seed, device: as `run` has them.

    Raises:
        LAV2Error: no adapter, an adapter without an image encoder, or too few captions.
    """
    vision = checkpoint.read_vision(folder)
    if vision is None:
        raise LAV2Error(f"The adapter in {folder} is text only.", "Give the folder of a caption adapter.")
    place = preflight.device(device)
    captions, instructions = _by_kind(data, images, "caption", report)
    features = _features(vision, captions, instructions, cache, views, place)
    captions = {split: without_damaged(rows, features, report) for split, rows in captions.items()}
    _check_rows(captions, instructions, "caption")

    def seen(rows: Sequence[CaptionRow], view: int) -> torch.Tensor:  # [photos, 2C]; their tokens are read in parts
        parts = [rows[i : i + FeatureCache.CHUNK] for i in range(0, len(rows), FeatureCache.CHUNK)]
        return torch.cat([phrases.pooled(features.get([r.image for r in part], [view] * len(part))) for part in parts])

    train_rows, val_rows = captions["train"], captions["val"]
    photos = torch.stack([seen(train_rows, view) for view in range(views)], 1)  # [photos, views, 2C]
    held = (seen(val_rows, 0), [row.captions for row in val_rows]) if val_rows else None
    said, settings = [row.captions for row in train_rows], PhrasesConfig(seed=seed)
    model = phrases.learn(photos, said, vision, held, settings, place, report)
    phrases.save(model, folder, {"data": [str(file) for file in data], "views": views, **asdict(settings)})


def _precision(place: torch.device) -> str:
    """bfloat16 on a GPU that has it, else float32: float16 would need its losses scaled."""
    real = place.type != "cpu" and preflight.precision(str(place)) == "bfloat16"
    return "bfloat16" if real else "float32"


def _join(device: torch.device) -> torch.device:
    """Take the place that torchrun gave this process, if it started it; returns the device to use."""
    if "WORLD_SIZE" not in os.environ:
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return device


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def _processes() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def _wait() -> None:
    if distributed.is_initialized():
        distributed.barrier()


def _sum(gradients: Sequence[torch.Tensor], loss: float) -> float:
    """Add up gradients (in place) and loss over the processes; returns the loss."""
    if not distributed.is_initialized():
        return loss
    parts = [gradient.flatten() for gradient in gradients]
    flat = torch.cat([*parts, parts[0].new_tensor([loss])])
    distributed.all_reduce(flat)
    *parts, total = flat.split([*(len(part) for part in parts), 1])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return total.item()


def _silent(line: str) -> None:
    """What the other processes of torchrun report to."""


def _by_kind(data: Sequence[Path], images: Path | None, stage: str, report: Callable[[str], None]):
    """Captions and instructions that the stage uses, each as {"train": rows, "val": rows}.

    Raises:
        LAV2Error: the stage needs rows that the files do not hold.
    """
    found = [row for file in data for row in read_rows(file, images, report)]
    chosen = []
    for kind, form in (("caption", CaptionRow), ("instruction", InstructionRow)):
        rows = [row for row in found if isinstance(row, form)] if kind in STAGES[stage] else []
        chosen.append({split: [row for row in rows if row.split == split] for split in ("train", "val")})
        chosen[-1]["val"] = chosen[-1]["val"][:VALIDATION_ROWS]
    _check_rows(*chosen, stage)
    return chosen


def _check_rows(captions: dict, instructions: dict, stage: str) -> None:
    """
    Raises:
        LAV2Error: the stage learns from rows that there are none of.
    """
    for kind, rows in (("caption", captions), ("instruction", instructions)):
        if kind in STAGES[stage] and not rows["train"]:
            raise LAV2Error(
                f"The stage {stage} learns from {kind}s, and the files hold none of the split train that can be used.",
                f"Add a file of {kind}s to --data.",
            )


def _features(
    vision: VisionConfig | None, captions: dict, instructions: dict, cache: Path | None, views: int, device: str = "cpu"
) -> FeatureCache | None:
    """The features of every photo in the rows, encoded where they are missing; None without photos."""
    shown = {row.image: None for rows in (captions, instructions) for part in rows.values() for row in part}
    shown.pop(None, None)
    if not shown or vision is None:
        return None
    folder = cache or cache_dir() / "features"
    features = FeatureCache(folder, vision, shown, {row.image for row in captions["train"]}, views)
    if not features.complete:
        features.fill(VisionTower(vision).to(device).encode)
    return features


def _encode(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids


def warm_start(
    model: AdaptedLlama,
    words: dict[str, set[int]],
    features: FeatureCache,
    steps: int,
    batch: int = 64,
    lr: float = 1e-3,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> None:
    """Teach the projector to name what is in a photo before the language model is asked: much cheaper per photo.

    Each visual prompt is compared with the frozen token embeddings; a photo's best match per token must tell
    which tokens its captions hold (binary cross-entropy). Not in the paper; measured in docs/LOG.md.

    Args:
        words: token ids of all captions, by photo.
        features: of those photos.
        steps: optimiser steps of `batch` photos, or of all where there are fewer.
    """
    images = list(words)
    batch = min(batch, len(images))
    counts = torch.zeros(model.llm.config.vocab_size)
    for ids in words.values():
        counts[list(ids)] += 1
    known = (counts >= max(5, 0.001 * len(images))).nonzero()[:, 0]  # [W] tokens with enough examples
    if not len(known):
        report(f"No warm start: no word stands in the captions of 5 of the {len(images)} photos.")
        return
    place = {int(token): index for index, token in enumerate(known)}
    truth = torch.zeros(len(images), len(known))  # [photos, W]
    for row, ids in enumerate(words.values()):
        truth[row, [place[token] for token in ids if token in place]] = 1
    embedding = model.llm.get_input_embeddings().weight[known].float()
    embedding = F.normalize(embedding - embedding.mean(0), dim=-1)  # [W, D], without what all tokens share
    # Without knowledge of the photo the loss is the tokens' own entropy; logsumexp over K equal matches is log K.
    offset = torch.logit(truth.mean(0).clamp(1e-4, 1 - 1e-4)) - math.log(model.config.prompt_length)
    offset.requires_grad_()
    scale = torch.tensor(1.0).requires_grad_()
    model.requires_grad_(False)
    trained = list(model.projector.requires_grad_(True).parameters())
    optim = torch.optim.AdamW(
        [{"params": trained, "weight_decay": 0.05}, {"params": [offset, scale], "weight_decay": 0.0}], lr=lr
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, [lr, 10 * lr], total_steps=steps, pct_start=0.1)
    rng = np.random.default_rng(seed)
    views = np.array([features.views(image) for image in images])
    model.projector.train()
    bar = tqdm(range(steps), desc="warm start", unit="step")
    for step in bar:
        rows = rng.choice(len(images), batch, replace=False)
        tokens = features.get([images[row] for row in rows], rng.integers(views[rows]))
        prompt = model.visual_prompt(tokens)  # [B, K, D]
        match = torch.logsumexp(scale * prompt @ embedding.T, dim=1)  # [B, W]
        loss = F.binary_cross_entropy_with_logits(match + offset, truth[rows]) * len(known)
        optim.zero_grad(set_to_none=True)
        loss.backward()
        optim.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.2f}")
        if (step + 1) % 100 == 0:
            report(f"warm start, step {step + 1}: {loss.item():.2f} nats per photo")


def learning_rate(step: int, config: TrainConfig) -> float:
    """Factor of the peak rate: linear warm-up, then a cosine down to 0."""
    warmup = max(1, int(config.warmup * config.steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, config.steps - warmup)))


def optimizer(model: AdaptedLlama, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW with the rates of TrainConfig; prompts, gates, norms and biases are not decayed."""
    rooms: dict[tuple[float, float], list] = {}
    for name, parameter in model.set_stage(config.stage).items():
        leaf = name.rpartition(".")[2]
        if leaf in ("gate", "visual_gate", "gate_scale"):
            room = (config.gate_lr, 0.0)
        elif leaf in ("adapter_prompt", "visual_query", "position"):
            room = (config.prompt_lr, 0.0)
        else:
            room = (config.lr, config.weight_decay if parameter.ndim > 1 else 0.0)
        rooms.setdefault(room, []).append(parameter)
    groups = [
        {"params": parameters, "lr": lr, "peak": lr, "weight_decay": decay}
        for (lr, decay), parameters in rooms.items()
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def parameter_table(model: AdaptedLlama, stage: str) -> str:
    """A table of the trained parameters per group and part."""
    counts: dict[tuple[str, str], int] = {}
    for name, parameter in model.named_parameters():
        if trainable(name, model.config, stage):
            leaf = name.rpartition(".")[2]
            part = "projector" if name.startswith("projector.") else leaf if leaf != "weight" else "norms"
            key = (group(name, model.config), part)
            counts[key] = counts.get(key, 0) + parameter.numel()
    total, frozen = sum(counts.values()), sum(p.numel() for p in model.llm.parameters())
    lines = [f"{'group':10}{'part':16}{'parameters':>12}"]
    lines += [f"{room:10}{part:16}{count:12,}" for (room, part), count in sorted(counts.items())]
    lines.append(f"{'trained':26}{total:12,}  ({100 * total / frozen:.2f} % of the language model's {frozen:,})")
    return "\n".join(lines)


def train(
    model: AdaptedLlama,
    rows: dict[str, Rows],
    config: TrainConfig,
    out: Path,
    base: dict[str, str],
    validation: dict[str, Sequence[Batch]] | None = None,
    notes: dict | None = None,
    report: Callable[[str], None] = print,
    critic: Critic | None = None,
    resume: bool = False,
    facts: dict | None = None,
) -> Progress:
    """Train a stage's parameters; writes the adapter, the state for resuming and log.csv into `out`.

    Args:
        model: the adapted model; its weights are updated in place.
        rows: data per kind of batch (`caption`, `instruction`) that the stage needs.
        out: folder; it may hold no other run.
        base: base_identity, for the checkpoint.
        validation: fixed batches per kind.
        critic: samples and scores the captions of the stage scst; its logged loss is minus their mean CIDEr-D.
        resume: go on with the killed run in `out`.
        facts: what must be equal for that, besides `config`.

    Raises:
        LAV2Error: `out` holds another run, or there is nothing to learn from.
        KeyError: the stage needs a kind of rows that is not given.
    """
    first = _rank() == 0
    report = report if first else _silent
    runs.check_out(out, resume)
    facts = {**(facts or {}), **asdict(config)}
    out.mkdir(parents=True, exist_ok=True)
    report(parameter_table(model, config.stage))
    kinds = list(STAGES[config.stage])
    optim = optimizer(model, config)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    average = _Average(named, config.ema) if config.ema else None
    progress = _resume(model, optim, average, facts, out) if resume else Progress()
    if resume:
        report(f"resumed at step {progress.step} of {config.steps}")
    _wait()  # all have read the state before the first writes the next
    log = _open_log(out / "log.csv", progress.step) if first else None
    bar = tqdm(
        total=config.steps, initial=progress.step, desc=config.stage, unit="step", smoothing=0.05, disable=not first
    )
    started = time.perf_counter() - progress.seconds
    for kind in kinds:
        if (count := len(rows[kind])) < config.batch:
            report(f"There are {count} rows of {kind}s, fewer than a batch of {config.batch}: each batch holds all.")
    batches = {kind: rows[kind].batches(config.batch, config.seed) for kind in kinds}
    model.train()
    if progress.step:
        for number, kind in enumerate(kinds):  # the batches that the killed run already saw
            batches[kind].skip(len(range(number, progress.step, len(kinds))))
    smooth = None
    while progress.step < config.steps:
        kind = kinds[progress.step % len(kinds)]  # joint: one batch of one kind after the other
        for name, parameter in named.items():
            parameter.requires_grad_(trainable(name, model.config, config.stage, kind))
        factor = learning_rate(progress.step, config)
        for room in optim.param_groups:
            room["lr"] = room["peak"] * factor
        torch.manual_seed(config.seed * 1_000_003 + progress.step)  # dropout: the same after a resume
        if critic:
            loss = _critical_step(model, optim, critic, rows[kind], batches[kind].draw(), config, progress.step)
        else:
            loss = _step(model, optim, next(batches[kind]), config)
        progress.step += 1
        if average:
            average.update(progress.step)
        progress.seconds = time.perf_counter() - started
        smooth = loss if smooth is None else 0.98 * smooth + 0.02 * loss
        bar.set_postfix(loss=f"{smooth:.3f}", samples_s=f"{config.batch * progress.step / progress.seconds:.1f}")
        bar.update()
        row = {"step": progress.step, "kind": kind, "loss": round(loss, 4), "seconds": round(progress.seconds, 1)}
        if log:
            log(row)
        if validation and (progress.step % config.validate_every == 0 or progress.step == config.steps):
            with average.applied() if average else contextlib.nullcontext():
                scores = validate(model, validation)
            report(f"step {progress.step}: validation loss {scores}, mean |tanh(gate)| {_gate_size(model):.3f}")
            progress.history.append({"step": progress.step, **scores})
        if first and (progress.step % config.save_every == 0 or progress.step == config.steps):
            _save(model, optim, average, config, out, base, progress, notes, facts)
    bar.close()
    if average:
        average.swap()
    model.eval()
    return progress


def _step(model: AdaptedLlama, optim: torch.optim.Optimizer, batch: Batch, config: TrainConfig) -> float:
    """One optimiser step on a batch; returns its mean loss per learned token."""
    processes = _processes()
    own = [part for n, part in enumerate(batch.split(config.accumulate * processes)) if n % processes == _rank()]
    return _descend(model, optim, own, _learned(batch), config)


def _critical_step(
    model: AdaptedLlama,
    optim: torch.optim.Optimizer,
    critic: Critic,
    rows: Rows,
    photos: Sequence[Sample],
    config: TrainConfig,
    step: int,
) -> float:
    """One optimiser step on sampled captions, each process' of its own photos; returns minus their mean CIDEr-D."""
    rank, processes = _rank(), _processes()
    own = photos[rank::processes]
    batch, reward = critic.batch(model, rows, own, (config.seed * 1_000_003 + step) * processes + rank)
    count = torch.tensor([_learned(batch), reward * len(own)], dtype=torch.float64)
    if processes > 1:
        distributed.all_reduce(count)
    _descend(model, optim, list(batch.split(config.accumulate)), float(count[0]), config)
    return -float(count[1]) / len(photos)


def _descend(
    model: AdaptedLlama, optim: torch.optim.Optimizer, own: Sequence[Batch], learned: float, config: TrainConfig
) -> float:
    """One optimiser step on this process' parts of a batch with `learned` learned tokens in all; the mean loss."""
    optim.zero_grad(set_to_none=True)
    total = 0.0
    for part in own:
        count = _learned(part)
        if not count:
            continue
        loss = model.loss(**part.to(model.device), label_smoothing=config.label_smoothing) * (count / learned)
        loss.backward()
        total += loss.item()
    parameters = [p for room in optim.param_groups for p in room["params"] if p.requires_grad]
    for parameter in parameters if _processes() > 1 else ():
        if parameter.grad is None:  # of a process without rows; all must add the same tensors
            parameter.grad = torch.zeros_like(parameter)
    parameters = [p for p in parameters if p.grad is not None]
    total = _sum([p.grad for p in parameters], total)
    torch.nn.utils.clip_grad_norm_(parameters, config.clip)
    optim.step()
    return total


def _learned(batch: Batch) -> int:
    return int((batch.labels[:, 1:] != -100).sum())


@torch.no_grad()
def validate(model: AdaptedLlama, validation: dict[str, Sequence[Batch]]) -> dict[str, float]:
    """Mean loss per learned token, by kind; a kind without any is left out."""
    was_training = model.training
    model.eval()
    scores = {}
    for kind, batches in validation.items():
        total = count = 0
        for batch in batches:
            learned = _learned(batch)
            total += model.loss(**batch.to(model.device)).item() * learned
            count += learned
        if count:
            scores[kind] = round(total / count, 4)
    model.train(was_training)
    return scores


def answer_all(
    model: AdaptedLlama,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    images: Sequence[str | None],
    features: FeatureCache | None,
    sampling: Sampling,
    batch: int = 32,
) -> list[str]:
    """Answers to prompts about photos, in their order; rows of like length go through the model together.

    Args:
        images: each prompt's photo, None: text only.
        features: of the photos.
    """
    lengths = [len(streaming.encode(tokenizer, prompt)) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (images[i] is None, lengths[i]))
    answers = [""] * len(prompts)
    parts = []
    for without_photo in (False, True):
        rows = [i for i in order if (images[i] is None) == without_photo]
        parts += [rows[first : first + batch] for first in range(0, len(rows), batch)]
    for part in tqdm(parts, desc="answers", unit="batch", disable=None):
        shown = [images[i] for i in part if images[i] is not None]
        with torch.inference_mode():
            visual = model.visual_prompt(features.get(shown)) if shown else None
            kv = model.prompt_kv(visual)
        found = search.batch(model, tokenizer, [prompts[i] for i in part], kv, sampling)
        for i, answer in zip(part, found, strict=True):
            answers[i] = answer
    return answers


HELD_OUT = 5  # every fifth plain prompt validates
PLAIN_ANSWER = Sampling(max_new_tokens=80, repetition_penalty=1.0)


def distil(
    preset: Preset, prompts: Path, out: Path, device: str | None = None, report: Callable[[str], None] = print
) -> None:
    """The frozen model's own answers to plain prompts, as Alpaca rows to be mixed into an instruction training.

    So tuned, it keeps its way of chatting; the rows of the split `val` tell whether it does (self-distillation).

    Args:
        preset: whose language model answers, without any adapter, in the preset's template.
        prompts: one per line.
        out: JSON list of {"instruction", "output", "split"}; an answer that does not end within PLAIN_ANSWER's length
            is left out.
        device: `cpu`, `cuda` ...; what is there if None.

    Raises:
        LAV2Error: the file cannot be read or holds no prompt, or the device is not there.
    """
    step = "Give a text file with one prompt a line."
    asked = [line.strip() for line in files.read_text(prompts, step).splitlines() if line.strip()]
    if not asked:
        raise LAV2Error(f"{prompts} holds no prompt.", step)
    place = torch.device(preflight.device(device))
    report(preflight.check(preset, _precision(place), str(place)))
    llm, tokenizer = load_llm(preset.llm, getattr(torch, _precision(place)), place)
    plain = AdaptedLlama(llm, replace(preset.adapter_config, fusion="late")).eval()  # a new adapter is the identity
    texts = [prompt_of(InstructionRow(None, (Turn(text, ""),)), tokenizer, preset.template) for text in asked]
    said = answer_all(plain, tokenizer, texts, [None] * len(texts), None, PLAIN_ANSWER)
    rows = [
        {"instruction": text, "output": answer, "split": "val" if n % HELD_OUT == HELD_OUT - 1 else "train"}
        for n, (text, answer) in enumerate(zip(asked, said, strict=True))
        if answer and len(tokenizer(answer).input_ids) < PLAIN_ANSWER.max_new_tokens
    ]
    files.write_text(out, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    report(f"{len(rows)} of {len(asked)} answers: {out}")


def grade(
    model: AdaptedLlama,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    rows: Sequence[InstructionRow],
    features: FeatureCache | None,
) -> dict[str, float | int]:
    """Share of right greedy answers per kind of question and over all that a program can judge (lav2.instruct)."""
    rows = [row for row in rows if "truth" in row.facts]
    prompts = [prompt_of(row, tokenizer, template) for row in rows]
    sampling = Sampling(max_new_tokens=48)
    answers = answer_all(model, tokenizer, prompts, [row.image for row in rows], features, sampling)
    right: dict[str, list[bool]] = {}
    obeyed = []
    for row, answer in zip(rows, answers, strict=True):
        verdict = is_right(row.facts, answer)
        if verdict is not None:
            right.setdefault(row.kind, []).append(verdict)
        if "forbidden" in row.facts and not row.facts["reads"]:
            obeyed.append(obeys(row.facts, answer))
    verdicts = [verdict for part in right.values() for verdict in part]
    scores = {kind: round(sum(part) / len(part), 4) for kind, part in sorted(right.items())}
    return {**scores, "all": round(sum(verdicts) / max(1, len(verdicts)), 4), "judged": len(verdicts),
            "obeyed": round(sum(obeyed) / max(1, len(obeyed)), 4)}  # fmt: skip


def _gate_size(model: AdaptedLlama) -> float:
    return torch.tanh(model.adapter.gate).abs().mean().item()


class _Average:
    """A running average of parameters (EMA); young averages follow faster, so that the start is soon forgotten."""

    def __init__(self, parameters: dict[str, torch.nn.Parameter], decay: float):
        self._parameters, self._decay = parameters, decay
        self.tensors = {name: p.detach().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        for name, parameter in self._parameters.items():
            self.tensors[name].lerp_(parameter, share)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the parameters with their averages."""
        for name, parameter in self._parameters.items():
            kept = parameter.detach().clone()
            parameter.copy_(self.tensors[name])
            self.tensors[name] = kept

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        self.swap()
        yield
        self.swap()


def _save(model, optim, average: _Average | None, config, out: Path, base, progress: Progress, notes, facts) -> None:
    told = {**(notes or {}), "stage": config.stage, "train": asdict(config), "step": progress.step,
            "seconds": round(progress.seconds), "validation": progress.history}  # fmt: skip
    # The state holds the weights as well, so that a kill between the two files leaves no run of two steps.
    state = {
        "optimizer": optim.state_dict(), "progress": asdict(progress),
        "weights": {name: parameter.detach() for name, parameter in model.adapter_parameters().items()},
        "average": average.tensors if average else {},
    }  # fmt: skip
    runs.save_state(out, state, facts)
    with average.applied() if average else contextlib.nullcontext():
        checkpoint.save(model, out, base, told)


@torch.no_grad()
def _resume(model, optim, average: _Average | None, facts: dict, out: Path) -> Progress:
    """
    Raises:
        LAV2Error: the run in `out` is another one.
    """
    state = runs.load_state(out, facts)
    checkpoint.check_fit(model.adapter_parameters(), state["weights"], str(out / runs.STATE))
    for name, parameter in model.adapter_parameters().items():
        parameter.copy_(state["weights"][name])
    if average:
        average.tensors = {name: tensor.to(model.device) for name, tensor in state["average"].items()}
    optim.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])


def _open_log(file: Path, step: int) -> Callable[[dict], None]:
    """A function that appends rows to log.csv; rows past a resumed step are dropped first."""
    fields = ["step", "kind", "loss", "seconds"]
    kept = []
    if step and file.exists():
        with file.open(newline="") as old:
            kept = [row for row in csv.DictReader(old) if int(row["step"]) <= step]
    handle = file.open("w", newline="")
    writer = csv.DictWriter(handle, fields)
    writer.writeheader()
    writer.writerows(kept)

    def log(row: dict) -> None:
        writer.writerow(row)
        handle.flush()

    return log
