"""The benchmark: what it compares is measured in turns, and its last line is JSON."""

import json

import pytest
import torch
from tiny import adapted, llama, token_ids, tokenizer

from lav2 import config
from lav2.bench import command, decode, harness
from lav2.inference import backend, native
from lav2.inference.engine import Engine
from lav2.model.adapted import AdaptedLlama
from lav2.model.llm import preset_on


def test_quartiles_of_a_spread():
    spread = harness.Spread((4.0, 1.0, 2.0, 3.0, 5.0))
    assert spread.json() == {"median": 3.0, "low": 2.0, "high": 4.0}
    assert str(harness.Spread((1.0, 2.0))) == "1.5 (1.25-1.75)"


def test_what_is_compared_is_measured_in_turns_after_one_round_that_does_not_count():
    order = []
    found = harness.in_turns({name: lambda name=name: order.append(name) or len(order) for name in "ab"}, 2)
    assert "".join(order) == "ababab"
    assert found["a"].values == (3, 5)
    assert found["b"].values == (4, 6)


@pytest.mark.slow
def test_the_last_line_is_one_json_object_with_conditions_and_sections(capsys, monkeypatch):
    monkeypatch.setattr(harness, "PROMPT", 20)
    assert command.main(["--section", "concurrency", "--quick"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    found = json.loads(lines[-1])
    assert {"processor", "cores", "commit", "dtype", "prompt tokens"} <= found["conditions"].keys()
    assert [row["users at once"] for row in found["concurrency"]] == [1, 2, 4, 8]
    assert found["concurrency"][0]["tokens/s"].keys() == {"median", "low", "high"}


def test_the_gpu_section_runs_on_a_tiny_shape_where_no_gpu_is_and_says_so(capsys, monkeypatch):
    monkeypatch.setattr(harness, "PROMPT", 8)
    monkeypatch.setattr(harness.torch.cuda, "is_available", lambda: False)
    assert command.main(["--section", "gpu", "--quick"]) == 0
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])["gpu"]
    assert all(row["machine"].startswith("NO GPU") and row["shape"] == "tiny" for row in found)
    decoded = [row for row in found if row["decode tokens/s"]]
    assert [(row["gpu"], row["batch"]) for row in decoded] == [
        (name + label, batch)
        for label in (", no adapter", "")
        for name in ("transformers' forward", "engine")
        for batch in (1, 8, 32)
    ] + [("engine, users with a cache each", users) for users in (1, 2, 4, 8)]
    users, decoded = decoded[12:], decoded[:12]
    assert [row["x one"] > 0 for row in users] == [True] * 4
    assert [row["batch"] for row in users if row["target x"]] == [4]
    assert all(row["prefill tokens/s"]["median"] > 0 and row["of copy %"] > 0 for row in decoded)
    assert [row["adapter overhead %"] is None for row in decoded] == [True] * 6 + [False] * 6
    judged = [row for row in decoded if row["target of copy %"] or row["target overhead %"]]
    assert [(row["gpu"], row["batch"]) for row in judged] == [("engine", 1)]
    assert judged[0]["target of copy %"].startswith(">= 70: ")
    assert judged[0]["target overhead %"].startswith("<= 5: ")
    assert [row["gpu"] for row in found if row["samples/s"]] == [
        "training step without gradient checkpointing", "training step with gradient checkpointing"
    ]  # fmt: skip


@pytest.mark.slow
def test_decoding_is_measured_with_early_fusion_beside_late_in_one_run(capsys, monkeypatch, tmp_path):
    """On a LLaMA of tests' size: only that it runs, and how its rows are told."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 32}
    llama(**sizes).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    monkeypatch.setitem(config.PRESETS, "tiny", preset_on(config.EMBEDDED, str(tmp_path)))
    monkeypatch.setattr(harness, "PROMPT", 20)
    monkeypatch.setattr(decode, "bandwidth", lambda: lambda: 10.0)
    assert command.main(["--section", "decode", "--quick", "--preset", "tiny"]) == 0
    rows = {row["decode"]: row for row in json.loads(capsys.readouterr().out.strip().splitlines()[-1])["decode"]}
    best = "engine, torch only" if native.library() is None else "engine, int8"
    early = rows.pop(f"{best}, early fusion")
    assert early["x late fusion"].keys() == {"median", "low", "high"} and early["x late fusion"]["low"] > 0
    assert early["target x late"].startswith(">= 0.95: ")
    assert early["of the ceiling %"]["median"] > 0 and early["MB/token"] == rows[best]["MB/token"]
    assert {row["x late fusion"] for row in rows.values()} == {row["target x late"] for row in rows.values()} == {None}
    assert rows[best]["target overhead %"]


def test_a_batch_that_does_not_fit_the_gpu_is_told_in_its_row_and_the_others_stay(capsys, monkeypatch):
    prefill = backend.prefill

    def small(model, ids, *args, **kwargs):
        if len(ids) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return prefill(model, ids, *args, **kwargs)

    monkeypatch.setattr(harness, "PROMPT", 8)
    monkeypatch.setattr(harness.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(backend, "prefill", small)
    assert command.main(["--section", "gpu", "--quick"]) == 0
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])["gpu"]
    assert {row["batch"] for row in found if row["note"] == "out of memory"} == {32}
    assert {row["batch"] for row in found if row["decode tokens/s"] and not row["x one"]} == {1, 8}


def test_a_section_that_does_not_fit_at_all_is_told_and_the_json_still_comes(capsys, monkeypatch):
    def full(options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setitem(command.SECTIONS, "gpu", full)
    assert command.main(["--section", "gpu", "--quick"]) == 1
    assert json.loads(capsys.readouterr().out.strip().splitlines()[-1])["gpu"] == {"error": "CUDA out of memory"}


def test_what_an_issue_asked_for_is_met_or_missed_at_most_or_at_least():
    assert harness.target(5, 5) == "<= 5: met"
    assert harness.target(5.1, 5) == "<= 5: MISSED"
    assert harness.target(70, 70, least=True) == ">= 70: met"
    assert harness.target(69, 70, least=True) == ">= 70: MISSED"


def test_without_git_the_commit_is_what_the_environment_says(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("LAV2_COMMIT", "abc1234")
    assert harness.commit() == "abc1234"
    monkeypatch.delenv("LAV2_COMMIT")
    assert harness.commit() == "unknown"


def test_a_model_that_is_measured_has_nothing_that_a_trained_one_would_not_leave_out():
    """Biases of a new adapter are zero, and the engine drops zero biases."""
    measured, unadapted = harness.opening(adapted()), AdaptedLlama(llama(), harness.BARE)
    assert all(layer.qkv.bias is not None for layer in Engine(measured).layers)
    assert all(bool((p != 0).any()) for p in measured.adapter_parameters().values())
    engine = Engine(unadapted)
    assert all(layer.qkv.bias is None and layer.down.bias is None for layer in engine.layers)
    ids, closed = token_ids(), (None,) * 4
    torch.testing.assert_close(backend.prefill(engine, ids, closed)[0], llama()(ids).logits[:, -1])
    assert harness.weight_bytes(engine) == harness.weight_bytes(unadapted)
