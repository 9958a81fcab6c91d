"""Memory and missing parts are told before anything loads."""

import os
import subprocess
import sys

import pytest
from test_families import FAMILIES
from transformers import AutoModelForCausalLM, LlamaConfig

from lav2.config import EMBEDDED, PRESETS
from lav2.errors import LAV2Error
from lav2.model import preflight

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
    # weights, keys' and values' projections once more, a cache of 2,048 tokens, and what the app takes beside them
    assert high == pytest.approx(2 * (13.48e9 + 2.15e9 + 1.07e9) + 1.7e9, rel=0.001)
    assert low == pytest.approx(13.48e9 + 2.15e9 + 1.07e9 + 1.7e9, rel=0.001)
    gpu = preflight.needed(preset, "bfloat16", device="cuda")
    assert gpu == pytest.approx(13.48e9 + 2.15e9 + 2 * 1.07e9 + 1.0e9, rel=0.001)
    assert preflight.needed(preset, "bfloat16", training=True) == pytest.approx(13.48e9 + 1.7e9, rel=0.001)


def test_a_preset_that_does_not_fit_is_refused_with_what_is_needed_free_and_fitting(monkeypatch):
    preset = PRESETS["llama-7b-bias"]
    monkeypatch.setattr(preflight, "free", lambda device: 20e9)
    assert preflight.check(preset, "bfloat16") == (
        "llama-7b-bias needs about 19.7 GB in bfloat16; cpu has 20.0 GB free."
    )
    with pytest.raises(LAV2Error, match=r"needs about 36\.\d GB in float32; cpu has 20\.0 GB free.*--dtype bfloat16"):
        preflight.check(preset, "float32")
    monkeypatch.setattr(preflight, "free", lambda device: 8e9)
    with pytest.raises(LAV2Error, match=r"needs about 19\.7 GB in bfloat16; cpu has 8\.0 GB free.*--preset embedded"):
        preflight.check(preset, "bfloat16")


def test_a_small_preset_is_never_refused(monkeypatch):
    monkeypatch.setattr(preflight, "free", lambda device: 1e9)
    preflight.check(EMBEDDED, "float32")


def test_the_assistant_refuses_before_anything_loads(monkeypatch):
    from lav2.assistant.service import Assistant

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
        "import sys; from lav2.cli.main import main; code = main(['presets', '--device', 'cpu']); "
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
    sizes = {kind: preflight.needed(preset, "bfloat16", kind, "cuda") / 1e9 for kind in (None, "8bit", "4bit")}
    assert sizes == pytest.approx({None: 18.8, "8bit": 10.2, "4bit": 7.3}, abs=0.1)
    for have, advice in ((12e9, "--quantize 8bit"), (9e9, "--quantize 4bit"), (6e9, "--preset embedded")):
        monkeypatch.setattr(preflight, "free", lambda device, have=have: have)
        with pytest.raises(LAV2Error, match=advice):
            preflight.check(preset, "bfloat16", "cuda")
    monkeypatch.setattr(preflight, "free", lambda device: 15e9)
    preflight.check(preset, "bfloat16", "cuda", "8bit")
    with pytest.raises(LAV2Error, match=r"18\.4 GB in 8bit; cpu.*--preset embedded"):  # made of whole ones
        preflight.check(preset, "bfloat16", "cpu", "8bit")


def test_to_train_packed_weights_need_their_packed_size_on_a_cpu_too_and_are_suggested_on_a_gpu(monkeypatch, tmp_path):
    from dataclasses import replace

    LLAMA_7B.save_pretrained(tmp_path)
    preset = replace(EMBEDDED, llm=str(tmp_path))
    monkeypatch.setattr(preflight, "free", lambda device: 12e9)
    assert "8.8 GB in 8bit" in preflight.check(preset, "bfloat16", "cpu", "8bit", training=True)
    with pytest.raises(LAV2Error, match="--quantize 8bit"):
        preflight.check(preset, "bfloat16", "cuda", training=True)


def test_the_estimate_counts_what_a_released_engine_and_its_cache_hold(tmp_path):
    from dataclasses import replace

    import torch
    from tiny import llama

    from lav2.config import AdapterConfig
    from lav2.inference.engine import Engine
    from lav2.model.adapted import AdaptedLlama

    nothing = AdapterConfig("late", 1, 1, norm=False, bias=False, scale=False)
    llm = llama(max_position_embeddings=96)
    llm.save_pretrained(tmp_path)
    engine = Engine(AdaptedLlama(llm, nothing).eval(), context=96, release=True)
    folded = [part.weight for layer in engine.layers for part in (layer.qkv, layer.out, layer.gate_up, layer.down)]
    held = sum(tensor.nbytes for tensor in (*folded, *llm.parameters()))
    cache = engine(torch.tensor([[3, 4]]), (None,) * 4)[1].kv.nbytes
    estimate = preflight.needed(replace(EMBEDDED, llm=str(tmp_path)), "float32")
    assert estimate - preflight.APP_BYTES == held + cache


def test_on_a_gpu_as_many_questions_are_answered_at_once_as_have_room(monkeypatch, tmp_path):
    from dataclasses import replace

    LLAMA_7B.save_pretrained(tmp_path)
    preset = replace(EMBEDDED, llm=str(tmp_path))  # 18.8 GB for one, 1.07 GB for each other
    for have, count in ((10e9, 1), (19.5e9, 1), (21.3e9, 3), (80e9, 8)):
        monkeypatch.setattr(preflight, "free", lambda device, have=have: have)
        assert preflight.at_once(8, preset, "bfloat16", "cuda") == count
    assert preflight.at_once(8, preset, "bfloat16", "cpu") == 8


def test_the_device_is_the_one_asked_for_or_a_gpu_that_torch_can_use_whatever_its_number(monkeypatch, tmp_path):
    import torch

    monkeypatch.setattr(preflight, "DEV", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert preflight.device() == "cpu"  # torch is not even asked
    (tmp_path / "nvidia3").touch()
    assert preflight.device() == "cuda"
    assert preflight.device("cpu") == "cpu"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert preflight.device("cuda:1") == "cuda:1"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # a driver too old, or torch for the CPU
    assert preflight.device() == "cpu"


@pytest.mark.parametrize(
    ("asked", "build", "cause"),
    [("tpu", "13.0", "no device 'tpu'"), ("cuda:", "13.0", "no device 'cuda:'"),
     ("cuda:2", "13.0", "torch sees 2 GPUs"), ("cuda", None, "built for the CPU alone")],
)  # fmt: skip
def test_a_device_that_is_not_there_is_told_with_what_to_give_instead(asked, build, cause, monkeypatch):
    import torch

    monkeypatch.setattr(torch.version, "cuda", build)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(LAV2Error, match=cause) as raised:
        preflight.device(asked)
    assert "cpu" in raised.value.next_step


def test_a_gpu_that_only_imitates_bfloat16_gets_float16(monkeypatch):
    from contextlib import nullcontext

    import torch

    monkeypatch.setattr(torch.cuda, "device", lambda number: nullcontext())
    for real, kind in ((True, "bfloat16"), (False, "float16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, real=real: real)
        assert preflight.precision("cuda:0") == kind
    assert preflight.precision("cpu") == "bfloat16"
