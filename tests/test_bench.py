"""The benchmark: what it compares is measured in turns, and its last line is JSON."""

import json

import pytest

from lav2 import bench


def test_quartiles_of_a_spread():
    spread = bench.Spread((4.0, 1.0, 2.0, 3.0, 5.0))
    assert spread.json() == {"median": 3.0, "low": 2.0, "high": 4.0}
    assert str(bench.Spread((1.0, 2.0))) == "1.5 (1.25-1.75)"


def test_what_is_compared_is_measured_in_turns_after_one_round_that_does_not_count():
    order = []
    found = bench.in_turns({name: lambda name=name: order.append(name) or len(order) for name in "ab"}, 2)
    assert "".join(order) == "ababab"
    assert found["a"].values == (3, 5)
    assert found["b"].values == (4, 6)


@pytest.mark.slow
def test_the_last_line_is_one_json_object_with_conditions_and_sections(capsys, monkeypatch):
    monkeypatch.setattr(bench, "PROMPT", 20)
    assert bench.main(["--section", "concurrency", "--quick"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    found = json.loads(lines[-1])
    assert {"processor", "cores", "commit", "dtype", "prompt tokens"} <= found["conditions"].keys()
    assert [row["users at once"] for row in found["concurrency"]] == [1, 2, 4, 8]
    assert found["concurrency"][0]["tokens/s"].keys() == {"median", "low", "high"}


def test_the_gpu_section_runs_on_a_tiny_shape_where_no_gpu_is_and_says_so(capsys, monkeypatch):
    monkeypatch.setattr(bench, "PROMPT", 8)
    monkeypatch.setattr(bench.torch.cuda, "is_available", lambda: False)
    assert bench.main(["--section", "gpu", "--quick"]) == 0
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])["gpu"]
    assert all(row["machine"].startswith("NO GPU") and row["shape"] == "tiny" for row in found)
    decoded = [row for row in found if row["decode tokens/s"]]
    assert [row["batch"] for row in decoded] == [1] * 4 + [8] * 4 + [32] * 4
    assert all(row["prefill tokens/s"]["median"] > 0 and row["of copy %"] > 0 for row in decoded)
    assert [row["gpu"] for row in found if row["samples/s"]] == [
        "training step without gradient checkpointing", "training step with gradient checkpointing"
    ]  # fmt: skip
