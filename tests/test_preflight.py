"""Memory and missing parts are told before anything loads."""

import os
import subprocess
import sys

import pytest
from test_families import FAMILIES
from transformers import AutoModelForCausalLM, LlamaConfig

from lav2 import preflight
from lav2.config import EMBEDDED, PRESETS
from lav2.errors import LAV2Error

LLAMA_7B = LlamaConfig(
    vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32
)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_count_of_parameters_is_the_models_own(name, tied):
    config = type(FAMILIES[name]).from_dict(FAMILIES[name].to_dict() | {"tie_word_embeddings": tied})
    model = AutoModelForCausalLM.from_config(config)
    assert preflight.parameters(config.to_dict()) == sum(p.numel() for p in model.parameters())


def test_llama_7b_has_its_known_size_and_needs_it_in_each_precision(tmp_path):
    from dataclasses import replace

    assert preflight.parameters(LLAMA_7B.to_dict()) == 6_738_415_616
    LLAMA_7B.save_pretrained(tmp_path)
    preset = replace(EMBEDDED, llm=str(tmp_path))
    low, high = (preflight.needed(preset, dtype) for dtype in ("bfloat16", "float32"))
    assert high - low == 2 * 6_738_415_616
    assert low == pytest.approx(15.2e9, rel=0.01)


def test_a_preset_that_does_not_fit_is_refused_with_what_is_needed_free_and_fitting(monkeypatch):
    preset = PRESETS["llama-7b-bias"]
    monkeypatch.setattr(preflight, "free", lambda device: 18e9)
    preflight.check(preset, "bfloat16")
    with pytest.raises(LAV2Error, match=r"needs about 30\.\d GB in float32; cpu has 18\.0 GB free.*--dtype bfloat16"):
        preflight.check(preset, "float32")
    monkeypatch.setattr(preflight, "free", lambda device: 8e9)
    with pytest.raises(LAV2Error, match=r"needs about 16\.5 GB in bfloat16; cpu has 8\.0 GB free.*--preset embedded"):
        preflight.check(preset, "bfloat16")


def test_a_small_preset_is_never_refused(monkeypatch):
    monkeypatch.setattr(preflight, "free", lambda device: 1e9)
    preflight.check(EMBEDDED, "float32")


def test_the_assistant_refuses_before_anything_loads(monkeypatch):
    from lav2.assistant import Assistant

    monkeypatch.setattr(preflight, "free", lambda device: 5e9)
    with pytest.raises(LAV2Error, match=r"cpu has 5\.0 GB free"):
        Assistant.load("llama-7b-bias", device="cpu", report=pytest.fail)


def test_free_memory_respects_the_containers_limit(monkeypatch, tmp_path):
    stat = "anon 1\ninactive_file 500"
    files = {"memory.max": "3000000000", "memory.current": "2000000000", "memory.stat": stat}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(preflight, "CGROUP", tmp_path)
    assert preflight.free() == 1_000_000_500
    (tmp_path / "memory.max").write_text("max\n")
    assert preflight.free() > 1_000_000_500


def test_the_presets_command_lists_each_with_sources_licence_memory_and_why_not_without_torch(tmp_path):
    code = (
        "import sys; from lav2.__main__ import main; code = main(['presets', '--device', 'cpu']); "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules; sys.exit(code)"
    )
    environment = {**os.environ, "LAV2_CACHE": str(tmp_path), "HF_HUB_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    blocks = dict(block.split(":", 1) for block in done.stdout.strip().split("\n\n"))
    assert list(blocks) == list(PRESETS)
    for name, block in blocks.items():
        for row in ("language model:", "image encoder:", "adapters:", "licence:", "memory:", "runs here now:"):
            assert row in block
        assert PRESETS[name].licence in block
    assert "no: llama-7b-bias has not been imported" in blocks["llama-7b-bias"]
    assert blocks["llama-7b-bias"].count("python -m lav2 import") == 1
    assert "HuggingFaceTB/SmolLM2-135M-Instruct would be fetched from the Hub" in blocks["smollm2-hub"]


def test_packed_weights_need_less_and_are_suggested_where_they_fit(monkeypatch, tmp_path):
    from dataclasses import replace

    LLAMA_7B.save_pretrained(tmp_path)
    preset = replace(EMBEDDED, llm=str(tmp_path))
    sizes = {kind: preflight.needed(preset, "bfloat16", kind) / 1e9 for kind in (None, "8bit", "4bit")}
    assert sizes == pytest.approx({None: 15.2, "8bit": 8.8, "4bit": 5.9}, abs=0.1)
    for have, advice in ((10e9, "--quantize 8bit"), (7e9, "--quantize 4bit"), (5e9, "--preset embedded")):
        monkeypatch.setattr(preflight, "free", lambda device, have=have: have)
        with pytest.raises(LAV2Error, match=advice):
            preflight.check(preset, "bfloat16", "cuda")
    monkeypatch.setattr(preflight, "free", lambda device: 10e9)
    preflight.check(preset, "bfloat16", "cuda", "8bit")
    with pytest.raises(LAV2Error, match=r"15\.2 GB in 8bit; cpu.*--preset embedded"):  # made of whole ones
        preflight.check(preset, "bfloat16", "cpu", "8bit")
