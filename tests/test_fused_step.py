"""The fused step of GPUs, its kernels and its recording. Without a GPU they run on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from engines import DEVICE, family, photo_prompts
from tiny import (
    EARLY,
    LATE,
    adapted,
    clip_tokens,
    open_gates,
    token_ids,
)
from transformers import Qwen3Config

from lav2.inference.engine import Engine


class Launched:
    """Recorded without a graph, which needs a GPU: what would be recorded is computed at each call."""

    def __init__(self, engine, rows):
        self._engine, self._rows = engine, rows

    def __call__(self, tokens, *more):
        assert len(tokens) <= self._rows < 2 * len(tokens)
        return self._engine.fused_step(tokens, *more)


@pytest.fixture
def fused(monkeypatch):
    """An engine whose steps are those of kernels.py: on a GPU as they are, else by Triton's interpreter."""
    pytest.importorskip("triton")

    def make(model):
        if DEVICE == "cpu":
            monkeypatch.setattr("lav2.inference.engine.CudaGraphStep", Launched)
        engine = Engine(model)
        engine.library, engine.fused = None, True
        return engine

    return make


@pytest.mark.device
@pytest.mark.parametrize("config", [LATE, EARLY, Qwen3Config])
@torch.inference_mode()
def test_the_fused_step_is_the_forward(config, fused):
    model = family(config).to(DEVICE)
    prompt_kv = model.prompt_kv(model.visual_prompt(clip_tokens(2).to(DEVICE)))
    padding = torch.ones(2, 140, dtype=torch.int64, device=DEVICE)  # more than the kernel looks at in one go
    padding[0, :3] = 0
    results = []
    for make in (lambda model: Engine(model, compiled=False), fused):
        engine = make(model)
        logits, cache = engine(token_ids(2, 140).to(DEVICE), prompt_kv, padding)
        found = [logits]
        for step in range(2):
            cache.kv[:, :, cache.length :] = float("nan")  # what lies there must not be looked at
            found.append(engine(token_ids(2, 9)[:, step : step + 1].to(DEVICE), prompt_kv, cache=cache)[0])
        cache.batch_select_indices(torch.tensor([1, 0, 1], device=DEVICE))
        cache.kv[:, :, cache.length :] = float("nan")
        found.append(engine(token_ids(3, 1).to(DEVICE), prompt_kv, cache=cache)[0])
        assert engine.fused == (make is fused)
        results.append(torch.cat(found).cpu())
    torch.testing.assert_close(*results, atol=2e-4, rtol=2e-4)


@pytest.mark.device
@torch.inference_mode()
def test_texts_that_share_fused_steps_get_what_each_gets_alone(fused):
    model = open_gates(adapted(LATE)).to(DEVICE)
    engine = fused(model)
    found = []
    for together in (False, True):
        caches = []
        for length in (5, 131):
            prompt_kv = model.prompt_kv(model.visual_prompt(clip_tokens(1, seed=length).to(DEVICE)))
            caches.append(engine(token_ids(1, length).to(DEVICE), prompt_kv)[1])
        steps = token_ids(2, 2).to(DEVICE)
        if together:
            found.append(torch.stack([engine.decode_step(steps[:, i].tolist(), caches) for i in range(2)]))
        else:
            each = [[engine.decode_step([row[i]], [cache]) for row, cache in zip(steps.tolist(), caches, strict=True)]
                    for i in range(2)]  # fmt: skip
            found.append(torch.stack([torch.cat(rows) for rows in each]))
    assert engine.fused
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)


@pytest.mark.device
def test_steps_are_recorded_ahead_for_as_many_rows_as_are_asked_for(fused):
    engine = fused(open_gates(adapted(LATE)).to(DEVICE))
    engine.record(5)
    assert set(engine._steps) == {1, 2, 4} and engine.fused


@pytest.mark.parametrize(("error", "given_up"), [(ZeroDivisionError, True), (torch.OutOfMemoryError, False)])
@torch.inference_mode()
def test_where_fused_steps_fail_torch_takes_over(error, given_up, fused, monkeypatch, caplog):
    def broken(engine, rows):
        raise error("too bad")

    model = open_gates(adapted(LATE))
    engine, plain = fused(model), Engine(model, compiled=False)
    monkeypatch.setattr("lav2.inference.engine.CudaGraphStep", broken)
    ids, prompt_kv = token_ids(2, 4), photo_prompts(model)
    results = []
    for one in (engine, plain):
        cache = one(ids, prompt_kv)[1]
        results.append(one(token_ids(2, 1), prompt_kv, cache=cache)[0])
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)
    assert engine.fused != given_up and "too bad" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_fused_kernels_compile_for_a_gpu_where_there_is_none(dtype):
    """And read a cache 16 bytes at once, or they take several times as long. Apart, as here they are interpreted."""
    pytest.importorskip("triton")
    script = Path(__file__).parent / "compile_kernels.py"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, script, dtype], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert set(made) == {"_add_norm", "_silu_times", "_attend_split", "_merge_partials"}
    assert made["_attend_split"].count("ld.global.v4") > 8
