"""Adapters on disk: exactly the trained tensors, strict both ways, and they know their base."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import EARLY, LATE, PROJECTOR, VISION, adapted, clip_tokens, llama, open_gates, token_ids, tokenizer

from lav2.errors import LAV2Error
from lav2.model import checkpoint
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import STAGES, trainable
from lav2.model.llm import base_identity, share_frozen


@pytest.fixture
def saved(tmp_path):
    base = base_identity(llama(), tokenizer(), "tiny")
    model = open_gates(adapted(LATE))
    checkpoint.save(model, tmp_path / "adapter", base, {"stage": "test"})
    return model, tmp_path / "adapter"


def logits(model):
    with torch.no_grad():
        return model(token_ids(), model.prompt_kv(model.visual_prompt(clip_tokens()))).logits


def test_saved_keys_are_the_trainable_keys(saved):
    model, folder = saved
    stages = {name for name, _ in model.named_parameters() for stage in STAGES if trainable(name, model.config, stage)}
    assert set(load_file(folder / "adapter.safetensors")) == stages


@pytest.mark.parametrize("config", [EARLY, LATE], ids=["early", "late"])
def test_a_loaded_adapter_gives_the_saved_models_logits(tmp_path, config):
    model = open_gates(adapted(config))
    checkpoint.save(model, tmp_path, base_identity(llama(), tokenizer(), "tiny"))
    reported = []
    loaded = checkpoint.load(tmp_path, llama(), tokenizer(), reported.append)
    torch.testing.assert_close(logits(loaded), logits(model), rtol=0, atol=0)
    assert not reported


def test_an_exported_adapter_is_half_as_large_and_answers_the_same_to_float16_rounding(saved, tmp_path):
    model, folder = saved
    checkpoint.export(folder, tmp_path / "half")
    sizes = [(place / "adapter.safetensors").stat().st_size for place in (tmp_path / "half", folder)]
    assert sizes[0] < 0.6 * sizes[1]  # half, and the header
    loaded = checkpoint.load(tmp_path / "half", llama(), tokenizer())
    torch.testing.assert_close(logits(loaded), logits(model), atol=2e-2, rtol=0)
    assert checkpoint.read_notes(tmp_path / "half") == {"stage": "test"}


def test_the_mean_of_two_states_lies_between_them_and_names_both(saved, tmp_path):
    model, folder = saved
    moved = {name: tensor + 0.5 for name, tensor in model.adapter_parameters().items()}
    shutil.copytree(folder, tmp_path / "later")
    save_file(
        {name: tensor.detach().contiguous() for name, tensor in moved.items()}, tmp_path / "later/adapter.safetensors"
    )
    checkpoint.export(folder, tmp_path / "mean", tmp_path / "later")
    mean = load_file(tmp_path / "mean/adapter.safetensors")
    for name, tensor in load_file(folder / "adapter.safetensors").items():
        torch.testing.assert_close(mean[name].float(), tensor + 0.25, atol=2e-3, rtol=1e-3)
    assert list(checkpoint.read_notes(tmp_path / "mean")["mean"]) == [str(folder), str(tmp_path / "later")]


def test_the_mean_of_adapters_of_another_make_is_refused(saved, tmp_path):
    other = adapted(replace(LATE, prompt_length=LATE.prompt_length + 1))
    checkpoint.save(other, tmp_path / "other", base_identity(llama(), tokenizer(), "tiny"))
    with pytest.raises(LAV2Error, match="of another make"):
        checkpoint.export(saved[1], tmp_path / "mean", tmp_path / "other")


def test_another_architecture_is_refused_by_name(saved):
    with pytest.raises(LAV2Error, match="belongs to tiny; its architecture differs"):
        checkpoint.load(saved[1], llama(num_hidden_layers=5), tokenizer())


def test_another_tokenizer_is_refused(saved):
    with pytest.raises(LAV2Error, match="its tokenizer differs"):
        checkpoint.load(saved[1], llama(), tokenizer(63))


def test_other_weights_of_the_same_model_load_with_a_notice(saved):
    reported = []
    checkpoint.load(saved[1], llama(seed=5), tokenizer(), reported.append)
    assert len(reported) == 1
    assert "other weights of the same model" in reported[0]


def test_the_weights_hash_is_the_same_in_bfloat16():
    low = llama().to(torch.bfloat16)
    high = llama().to(torch.bfloat16).to(torch.float32)
    assert base_identity(low, tokenizer(), "a")["weights"] == base_identity(high, tokenizer(), "a")["weights"]


@pytest.mark.parametrize("damage", ["missing", "unknown", "shape"])
def test_a_tensor_missing_unknown_or_of_another_shape_is_refused(saved, damage):
    file = saved[1] / "adapter.safetensors"
    tensors = load_file(file)
    if damage == "missing":
        tensors.pop("adapter.gate")
    elif damage == "unknown":
        tensors["adapter.extra"] = torch.zeros(1)
    else:
        tensors["adapter.gate"] = torch.zeros(1)
    save_file(tensors, file)
    with pytest.raises(LAV2Error, match="does not fit"):
        checkpoint.load(saved[1], llama(), tokenizer())


def test_a_folder_without_an_adapter_says_what_it_should_hold(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(LAV2Error, match="holds no adapter"):
        checkpoint.load(tmp_path, llama(), tokenizer())


def test_two_adapters_share_the_frozen_matrices_and_nothing_else(saved):
    llm = llama()
    twin = share_frozen(llm)
    first = checkpoint.load(saved[1], llm, tokenizer())
    alone = logits(first)
    second = open_gates(AdaptedLlama(twin, EARLY, PROJECTOR, VISION).eval(), seed=8)
    torch.testing.assert_close(logits(first), alone, rtol=0, atol=0)
    assert (logits(second) - alone).abs().max() > 1e-2
    weight = "model.layers.0.mlp.up_proj.weight"
    assert dict(llm.named_parameters())[weight] is dict(twin.named_parameters())[weight]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "5", "{", "[" * 100_000, '{"format": 1}',
     '{"format": 1, "base": {}, "adapter": [], "projector": null, "vision": null, "notes": {}}'],
)  # fmt: skip
def test_a_broken_config_is_told(saved, text):
    (saved[1] / "config.json").write_text(text)
    for read in (checkpoint.read_notes, checkpoint.read_vision, lambda folder: checkpoint.load(folder, llama(), None)):
        with pytest.raises(LAV2Error, match="holds no adapter"):
            read(saved[1])


def test_settings_of_another_version_are_told(saved):
    config = json.loads((saved[1] / "config.json").read_text())
    config["adapter"]["later"] = config["vision"]["later"] = 1
    (saved[1] / "config.json").write_text(json.dumps(config))
    with pytest.raises(LAV2Error, match="holds no adapter"):
        checkpoint.load(saved[1], llama(), tokenizer())
    with pytest.raises(LAV2Error, match="holds no adapter"):
        checkpoint.read_vision(saved[1])


@pytest.mark.parametrize(
    "data, message",
    [(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"), (b"", "cannot be read"),
     (b"\0" * 99, "cannot be read")],
)  # fmt: skip
def test_tensors_that_are_none_are_told(saved, data, message):
    (saved[1] / "adapter.safetensors").write_bytes(data)
    with pytest.raises(LAV2Error, match=message):
        checkpoint.load(saved[1], llama(), tokenizer())


def test_swapped_adapters_are_refused_and_a_wrong_one_is_told(tmp_path):
    base = base_identity(llama(), tokenizer(), "tiny")
    for stage in ("finetune", "caption", "joint"):
        checkpoint.save(adapted(LATE), tmp_path / stage, base, {"stage": stage})
    chat, captioner, both = (tmp_path / stage for stage in ("finetune", "caption", "joint"))
    reported = []
    for pair in ((chat, captioner), (both, both), (captioner, captioner), (both, captioner), (chat, both)):
        checkpoint.check_roles(*pair, reported.append)
    assert not reported
    checkpoint.check_roles(captioner, both, reported.append)
    checkpoint.check_roles(both, chat, reported.append)
    assert len(reported) == 2 and "stage caption" in reported[0] and "stage finetune" in reported[1]
    with pytest.raises(LAV2Error, match="swapped"):
        checkpoint.check_roles(captioner, chat, reported.append)
