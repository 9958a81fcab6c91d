"""Fixtures of the tests of the Hub: a running stand-in and a tiny adapter."""

import hub_server
import pytest
from hub_server import WRITER
from tiny import LATE, adapted, llama, open_gates, tokenizer

from lav2.model import checkpoint
from lav2.model.llm import base_identity


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A running stand-in, with a token that may write, and an empty cache."""
    from huggingface_hub import constants

    with hub_server.serving() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setenv("HF_TOKEN", WRITER)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        yield running


@pytest.fixture
def folder(tmp_path):
    """A tiny adapter as `train` leaves it."""
    place = tmp_path / "run"
    notes = {"stage": "finetune", "init": "/home/me/secret-project/runs/chat1", "data": ["/data/rows.jsonl"]}
    base = base_identity(llama(), tokenizer(), "someone/tiny-llama")
    checkpoint.save(open_gates(adapted(LATE)), place, base, notes)
    (place / "training_state.pt").write_bytes(b"large")
    return place


ADAPTER = ("--licence", "apache-2.0")
