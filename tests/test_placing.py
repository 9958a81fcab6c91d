"""Packed weights and layers on several devices: the adapter on top computes what it computes on the plain model."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from tiny import EARLY, LATE, PROJECTOR, VISION, adapted, clip_tokens, llama, open_gates, token_ids, tokenizer
from torch import nn
from transformers.utils import is_bitsandbytes_available

from lav2.config import Preset
from lav2.errors import LAV2Error
from lav2.inference import backend, engine
from lav2.model import checkpoint
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import transformer_linears
from lav2.model.llm import base_identity, load_llm, share_frozen
from lav2.training import run
from lav2.training.settings import RunConfig, TrainConfig

PARTS = {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.norm": "cpu", "lm_head": "cpu"}
DEVICE_MAP = PARTS | {f"model.layers.{i}": "disk" if i % 2 else "cpu" for i in range(4)}
QUANTIZE = ("8bit", "4bit")
packed = pytest.mark.skipif(not is_bitsandbytes_available(), reason="needs bitsandbytes")


@pytest.fixture
def folder(tmp_path):
    """A tiny model on disk, with widths that are multiples of what bitsandbytes packs together."""
    llama(hidden_size=64, intermediate_size=128).save_pretrained(tmp_path / "llm")
    tokenizer().save_pretrained(tmp_path / "llm")
    return tmp_path / "llm"


def with_adapter(llm, config=LATE):
    return open_gates(AdaptedLlama(llm, config, PROJECTOR, VISION).eval())


@torch.inference_mode()
def logits(model):
    """Of a prompt and of two more tokens after it."""
    kv, ids = model.prompt_kv(model.visual_prompt(clip_tokens())), token_ids()
    whole = model(ids, kv).logits[:, -2:]
    first, cache = backend.prefill(model, ids[:, :-1], kv)
    second, _ = backend.prefill(model, ids[:, -1:], kv, cache=cache)
    torch.testing.assert_close(whole, torch.stack([first, second], 1), atol=1e-4, rtol=1e-4)
    return whole


@pytest.mark.parametrize("config", [LATE, EARLY])
def test_layers_on_the_disk_compute_what_layers_in_memory_compute(folder, config):
    torch.manual_seed(5)
    plain = with_adapter(load_llm(str(folder))[0], config)
    torch.manual_seed(5)
    spread = with_adapter(load_llm(str(folder), device_map=DEVICE_MAP)[0], config)
    linears = dict(transformer_linears(spread.decoder))
    assert linears["1.self_attn.q_proj"].weight.is_meta
    assert not linears["0.self_attn.q_proj"].weight.is_meta
    assert engine.refusal(spread) == "it lies on several devices"
    torch.testing.assert_close(logits(spread), logits(plain), atol=1e-5, rtol=1e-5)
    assert linears["1.self_attn.q_proj"].weight.is_meta  # dropped again
    assert all(not p.is_meta for p in spread.adapter_parameters().values())


def test_a_model_on_the_disk_has_the_identity_and_takes_the_adapter_of_the_same_model_in_memory(folder, tmp_path):
    llm, words = load_llm(str(folder))
    base = base_identity(llm, words, "tiny")
    trained = with_adapter(llm)
    checkpoint.save(trained, tmp_path / "adapter", base)
    spread, _ = load_llm(str(folder), device_map=DEVICE_MAP)
    assert base_identity(spread, words, "tiny") == base
    twin = share_frozen(spread)
    loaded, second = (checkpoint.load(tmp_path / "adapter", one, words, pytest.fail).eval() for one in (spread, twin))
    torch.testing.assert_close(logits(loaded), logits(trained), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits(second), logits(trained), atol=1e-5, rtol=1e-5)
    maps = (one.llm.model.layers[1].mlp.up_proj._hf_hook.weights_map for one in (loaded, second))
    assert len({id(one) for one in maps}) == 1


def test_each_layers_prompt_lies_where_the_layer_computes():
    """`meta` stands for a second device: it shows places without values."""
    model = adapted(LATE)
    model.decoder.layers[2].to("meta")
    kv = model.prompt_kv(model.visual_prompt(clip_tokens()))
    places = [None if one is None else {part.device.type for part in one} for one in kv]
    assert places == [None, {"cpu"}, {"meta"}, {"cpu"}]


@pytest.mark.skipif(is_bitsandbytes_available(), reason="bitsandbytes is here")
@pytest.mark.parametrize("quantize", QUANTIZE)
def test_without_bitsandbytes_packed_weights_are_refused_with_the_package_to_install(folder, quantize):
    with pytest.raises(LAV2Error, match="pip install bitsandbytes"):
        load_llm(str(folder), quantize=quantize)


@packed
@pytest.mark.parametrize("quantize", QUANTIZE)
def test_on_packed_weights_the_adapter_computes_what_it_computes_on_their_unpacked_values(folder, quantize):
    """The same values twice, packed and as plain layers: what is left is the rounding of activations (8 bit: int8;
    4 bit: of bitsandbytes' kernel, measured 0.022 on a CPU)."""
    torch.manual_seed(5)
    llm, _ = load_llm(str(folder), torch.float32, quantize=quantize)
    twin = share_frozen(llm)
    unpacked = copy.deepcopy(llm).dequantize()
    models = []
    for one in (llm, twin, unpacked):
        torch.manual_seed(5)
        models.append(with_adapter(one))
    assert engine.refusal(models[0]) == "its linear layers are quantised"
    assert type(models[0].decoder.layers[0].mlp.up_proj) is not nn.Linear
    found, second, wanted = (logits_of(one) for one in models)
    torch.testing.assert_close(second, found)
    assert (found - wanted).norm() / wanted.norm() < 0.05


@packed
@pytest.mark.parametrize("quantize", QUANTIZE)
def test_an_adapter_is_trained_on_packed_weights_which_stay_as_they_are(folder, tmp_path, quantize, monkeypatch):
    """And is then read on them: its norms, biases and scales have moved."""
    loaded = []
    monkeypatch.setattr(run, "load_llm", lambda *given: loaded.append(load_llm(*given)) or loaded[-1])
    rows = [{"instruction": f"w{3 + i} w{9 + i}", "output": f"w{20 + i}"} for i in range(8)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    preset = Preset("tiny", "", str(folder), None, None, None, replace(LATE, lora_rank=2), template="alpaca")
    settings = TrainConfig(stage="finetune", steps=30, batch=4, lr=1e-2)
    out = tmp_path / "run"
    run.run(preset, settings, [tmp_path / "rows.json"], out, RunConfig(quantize=quantize), lambda line: None)
    llm, words = loaded[0]
    assert "bitsandbytes" in type(llm.model.layers[0].mlp.up_proj).__module__
    fresh, _ = load_llm(str(folder), torch.float32, quantize=quantize)
    packed = {key: value for key, value in fresh.state_dict().items() if "proj.weight" in key}
    assert packed and all(torch.equal(llm.state_dict()[key], value) for key, value in packed.items())
    losses = [float(line.split(",")[2]) for line in (out / "log.csv").read_text().splitlines()[1:]]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    reported = []
    model = checkpoint.load(out, fresh, words, reported.append)
    assert not reported
    assert all(p.any() for name, p in model.adapter_parameters().items() if name.endswith(("adapter_bias", "lora_b")))


def test_a_spread_model_is_trained_by_one_process(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "process_count", lambda: 2)
    preset = Preset("tiny", "", str(folder), None, None, None, LATE, template="alpaca")
    with pytest.raises(LAV2Error, match="Leave --device-map away"):
        run.run(preset, TrainConfig(stage="finetune"), [], tmp_path / "run", RunConfig(device_map="auto"))


@torch.inference_mode()
def logits_of(model):
    return model(token_ids(), model.prompt_kv(model.visual_prompt(clip_tokens()))).logits
