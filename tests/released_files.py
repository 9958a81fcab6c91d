"""The toy size of the released code, imported: its files, and what it computes from them (../shared/golden)."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file

from lav2.config import CLIP_VIT_L_14_BGR
from lav2.convert import released
from lav2.events import Sampling
from lav2.model import checkpoint
from lav2.model.llm import load_llm
from lav2.model.vision import clip_settings

DEVICE = os.environ.get("LAV2_TEST_DEVICE", "cpu")  # of the tests marked so
VARIANTS = ("BIAS", "LORA-BIAS")
GREEDY = Sampling(max_new_tokens=24, repetition_penalty=1.0)


@pytest.fixture(scope="session")
def golden(shared):
    return shared / "golden" / "official_tiny"


@pytest.fixture(scope="session")
def vision(golden):
    from dataclasses import replace

    tower = replace(CLIP_VIT_L_14_BGR, weights=str(golden / "clip_visual.pth"))
    return clip_settings(tower, str(golden / "clip_config.json"))


@pytest.fixture(scope="session")
def imports(golden, vision, tmp_path_factory):
    """Both adapters imported over one converted base model."""
    folder = tmp_path_factory.mktemp("imports")
    for name in VARIANTS:
        released.import_released(
            golden / "llama", golden / f"{name}-tiny.pth", folder / name,
            base=folder / "base", vision=vision, projector_heads=4,
        )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def exact():
    """Full float32: a GPU's convolutions would round to TF32, which is 1e-3 away (its products do so only if asked)."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="session", params=VARIANTS)
def case(request, imports, golden, exact):
    """(model, tokenizer, golden tensors, golden facts) of one variant."""
    model, tokenizer = loaded(imports / request.param)
    facts = json.loads((golden / f"{request.param}-golden.json").read_text())
    return model, tokenizer, load_file(golden / f"{request.param}-golden.safetensors", DEVICE), facts


def loaded(folder, dtype=torch.float32):
    llm, tokenizer = load_llm(str(folder / "llm"), dtype, DEVICE)
    return checkpoint.load(folder, llm, tokenizer, pytest.fail).eval(), tokenizer


def largest(difference):
    return difference.abs().max().item()
