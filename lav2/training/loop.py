"""The training loop, one for every stage (see lav2.model.adapter.STAGES)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import distributed
from tqdm import tqdm

from lav2.data.batches import Batch, Rows, Sample
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import STAGES, trainable
from lav2.training import run_folder
from lav2.training.distributed import barrier, process_count, rank, silent, sum_gradients
from lav2.training.optimizer import learning_rate, optimizer, parameter_table
from lav2.training.scst import CiderReward
from lav2.training.settings import TrainConfig
from lav2.training.state import Progress, WeightAverage, open_log, resume_progress, save_progress


def train(
    model: AdaptedLlama,
    rows: dict[str, Rows],
    config: TrainConfig,
    out: Path,
    base: dict[str, str],
    validation: dict[str, Sequence[Batch]] | None = None,
    notes: dict | None = None,
    report: Callable[[str], None] = print,
    critic: CiderReward | None = None,
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
    first = rank() == 0
    report = report if first else silent
    run_folder.check_out(out, resume)
    facts = {**(facts or {}), **asdict(config)}
    out.mkdir(parents=True, exist_ok=True)
    report(parameter_table(model, config.stage))
    kinds = list(STAGES[config.stage])
    optim = optimizer(model, config)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    average = WeightAverage(named, config.ema) if config.ema else None
    progress = resume_progress(model, optim, average, facts, out) if resume else Progress()
    if resume:
        report(f"resumed at step {progress.step} of {config.steps}")
    barrier()  # all have read the state before the first writes the next
    log = open_log(out / "log.csv", progress.step) if first else None
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
        for group in optim.param_groups:
            group["lr"] = group["peak"] * factor
        torch.manual_seed(config.seed * 1_000_003 + progress.step)  # dropout: the same after a resume
        if critic:
            loss = _critical_step(model, optim, critic, rows[kind], batches[kind].draw(), config, progress.step)
        else:
            loss = train_step(model, optim, next(batches[kind]), config)
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
            report(f"step {progress.step}: validation loss {scores}, mean |tanh(gate)| {_gate_sizes(model)}")
            progress.history.append({"step": progress.step, **scores})
        if first and (progress.step % config.save_every == 0 or progress.step == config.steps):
            save_progress(model, optim, average, config, out, base, progress, notes, facts)
    bar.close()
    if average:
        average.swap()
    model.eval()
    return progress


def train_step(model: AdaptedLlama, optim: torch.optim.Optimizer, batch: Batch, config: TrainConfig) -> float:
    """One optimiser step on a batch; returns its mean loss per learned token."""
    processes = process_count()
    own = [part for n, part in enumerate(batch.split(config.accumulate * processes)) if n % processes == rank()]
    return _descend(model, optim, own, _learned(batch), config)


def _critical_step(
    model: AdaptedLlama,
    optim: torch.optim.Optimizer,
    critic: CiderReward,
    rows: Rows,
    photos: Sequence[Sample],
    config: TrainConfig,
    step: int,
) -> float:
    """One optimiser step on sampled captions, each process' of its own photos; returns minus their mean CIDEr-D."""
    own_rank, processes = rank(), process_count()
    own = photos[own_rank::processes]
    batch, reward = critic.batch(model, rows, own, (config.seed * 1_000_003 + step) * processes + own_rank)
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
    parameters = [p for group in optim.param_groups for p in group["params"] if p.requires_grad]
    for parameter in parameters if process_count() > 1 else ():
        if parameter.grad is None:  # of a process without rows; all must add the same tensors
            parameter.grad = torch.zeros_like(parameter)
    parameters = [p for p in parameters if p.grad is not None]
    total = sum_gradients([p.grad for p in parameters], total)
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


def _gate_sizes(model: AdaptedLlama) -> str:
    sizes = [f"{torch.tanh(model.adapter.gate).abs().mean().item():.3f}"]
    if model.config.fusion == "early":
        sizes.append(f"{torch.tanh(model.adapter.visual_gate).abs().mean().item():.3f} (visual)")
    return ", ".join(sizes)
