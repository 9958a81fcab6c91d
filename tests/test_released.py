"""Released checkpoints and Meta's LLaMA files compute what the released code computed (../shared/golden)."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from released_files import DEVICE, GREEDY, VARIANTS, largest, loaded
from safetensors.torch import load_file
from tiny import LATE, VISION, adapted, clip_tokens, llama, open_gates, token_ids

from lav2.cli.main import main
from lav2.config import PRESETS, RELEASED, AdapterConfig
from lav2.convert import released
from lav2.convert.llama import LINEARS
from lav2.errors import LAV2Error
from lav2.events import Sampling
from lav2.inference import backend, streaming
from lav2.inference.engine import Engine
from lav2.model import checkpoint
from lav2.model.adapted import AdaptedLlama
from lav2.model.llm import load_llm
from lav2.model.vision import VisionTower
from lav2.text import prompts

pytest_plugins = ["released_files"]

on_device = pytest.mark.device
BFLOAT16_BOUND = 0.25  # of logits up to 4.3; measured 0.11 and 0.17; the base model alone differs by 0.13


# --- the proof against the released code ---


@on_device
def test_image_features_are_the_released_codes(case):
    model, _, golden, _ = case
    features = VisionTower(model.vision_config).to(DEVICE)(golden["images"])
    assert largest(features - golden["clip_features"]) < 1e-4
    with torch.no_grad():
        assert largest(model.visual_prompt(features) - golden["visual_query"]) < 1e-4


def prompt_kv(model, golden, index):
    return model.prompt_kv(golden["visual_query"][index : index + 1])


@on_device
@torch.inference_mode()
def test_logits_at_every_position_prefill_and_cached_steps_are_the_released_codes(case):
    model, _, golden, _ = case
    for index in range(2):
        ids, kv = golden[f"tokens_{index}"], prompt_kv(model, golden, index)
        assert largest(model(ids, kv).logits - golden[f"logits_{index}"]) < 1e-4
        last, _ = backend.prefill(model, ids, kv)
        assert largest(last - golden[f"last_logits_{index}"]) < 1e-4
        last, cache = backend.prefill(model, ids[:, :-4], kv)
        for step, wanted in enumerate(golden[f"tail_logits_{index}"][0]):
            assert largest(last[0] - wanted) < 1e-4
            if step < 4:
                place = ids.shape[1] - 4 + step
                last, cache = backend.prefill(model, ids[:, place : place + 1], kv, cache=cache)


@on_device
def test_greedy_tokens_are_the_released_codes(case):
    model, tokenizer, golden, facts = case
    for index, wanted in enumerate(facts["greedy_24_token_ids"]):
        ids = torch.tensor([streaming.encode(tokenizer, facts["prompts"][index])], device=DEVICE)
        assert torch.equal(ids, golden[f"tokens_{index}"])
        kv = prompt_kv(model, golden, index)
        assert [int(t) for t in streaming.tokens(model, ids, kv, GREEDY, streaming.stop_ids(tokenizer))] == wanted


@on_device
@torch.inference_mode()
def test_the_engine_gives_the_released_codes_logits_cached_steps_and_greedy_tokens(case):
    model, tokenizer, golden, facts = case
    engine, stop = Engine(model), streaming.stop_ids(tokenizer)
    for index, wanted in enumerate(facts["greedy_24_token_ids"]):
        ids, kv = golden[f"tokens_{index}"], prompt_kv(engine, golden, index)
        last, cache = engine(ids[:, :-4], kv)
        for step, logits in enumerate(golden[f"tail_logits_{index}"][0]):
            assert largest(last[0] - logits) < 1e-4
            if step < 4:
                place = ids.shape[1] - 4 + step
                last, cache = engine(ids[:, place : place + 1], kv, cache=cache)
        assert largest(engine(ids, kv)[0] - golden[f"last_logits_{index}"]) < 1e-4
        assert [int(t) for t in streaming.tokens(engine, ids, kv, GREEDY, stop)] == wanted


@on_device
@torch.inference_mode()
def test_saved_and_loaded_again_the_logits_are_bit_equal(case, imports, tmp_path):
    model, _, golden, _ = case
    base = json.loads((imports / "BIAS" / "config.json").read_text())["base"]
    checkpoint.save(model, tmp_path, base)
    llm, tokenizer = load_llm(str(imports / "base"), device=DEVICE)
    again = checkpoint.load(tmp_path, llm, tokenizer, pytest.fail).eval()
    first, second = (m(golden["tokens_0"], prompt_kv(m, golden, 0)).logits for m in (model, again))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@on_device
@torch.inference_mode()
@pytest.mark.parametrize("name", VARIANTS)
def test_in_bfloat16_the_logits_stay_within_the_bound(imports, golden, name):
    model, _ = loaded(imports / name, torch.bfloat16)
    wanted = load_file(golden / f"{name}-golden.safetensors", DEVICE)
    for index in range(2):
        logits = model(wanted[f"tokens_{index}"], prompt_kv(model, wanted, index)).logits.float()
        difference = largest(logits - wanted[f"logits_{index}"])
        print(f"{name}, prompt {index}: largest difference in bfloat16 {difference:.4f}")
        assert difference < BFLOAT16_BOUND


@on_device
@torch.inference_mode()
def test_a_batch_of_unequal_lengths_is_as_one_by_one(case):
    model, _, golden, facts = case
    rows = [golden[f"tokens_{index}"][0].tolist() for index in range(2)]
    assert len(rows[0]) != len(rows[1])
    length = max(map(len, rows))
    ids = torch.tensor([[2] * (length - len(row)) + row for row in rows], device=DEVICE)
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], device=DEVICE)
    kv = model.prompt_kv(golden["visual_query"])
    last, _ = backend.prefill(model, ids, kv, mask)
    for index in range(2):
        assert largest(last[index] - golden[f"last_logits_{index}"]) < 1e-4
    columns = list(streaming.tokens(model, ids, kv, GREEDY, [-1], mask))
    assert torch.stack(columns, dim=1).tolist() == facts["greedy_24_token_ids"]


def test_the_alpaca_template_is_the_released_prompt(case):
    _, tokenizer, _, facts = case
    assert prompts.build("alpaca", "Tell me about alpacas.") == facts["prompts"][0]
    ids = streaming.encode(tokenizer, facts["prompts"][0])
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.eos_token_id not in ids


def test_released_checkpoints_read_photos_in_bgr_order(case):
    from PIL import Image

    model, *_ = case
    tower = VisionTower(model.vision_config)
    red = tower.pixels([Image.new("RGB", (40, 40), (255, 0, 0))])[0] * tower.std[0] + tower.mean[0]
    torch.testing.assert_close(red[:, 0, 0], torch.tensor([0.0, 0.0, 1.0]), atol=1e-6, rtol=0)


# --- chat and V1 files, against the released equations written out in Meta's order of channels ---


def meta_logits(base, extra, ids, heads, prompt_length=0, tanh=True):
    """Meta's LLaMA with the released code's extras: scale on inputs, bias, gated prompts by the tuned layers."""
    state = {name: tensor.float() for name, tensor in base.items()} | {n: t.float() for n, t in extra.items()}
    layers = 1 + max(int(name.split(".")[1]) for name in base if name.startswith("layers."))

    def linear(name, x):
        if name + "_scale" in state:
            x = x * state[name + "_scale"]
        return x @ state[name + ".weight"].T + state.get(name + "_bias", 0)

    def norm(name, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * state[name + ".weight"]

    def split(x):  # [T, D] -> [H, T, A]
        return x.view(len(x), heads, -1).transpose(0, 1)

    def attend(q, k, v, mask=0):
        return torch.softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]) + mask, -1)[..., None, :] @ v[:, None]

    x = state["tok_embeddings.weight"][ids]  # [T, D]
    size = x.shape[1] // heads
    angle = torch.outer(torch.arange(len(ids)).float(), 10000.0 ** (-torch.arange(0, size, 2).float() / size))
    turn = torch.polar(torch.ones_like(angle), angle)
    causal = torch.full((len(ids), len(ids)), -math.inf).triu(1)
    adapters = state["adapter_query.weight"].view(-1, prompt_length, x.shape[1])
    for index in range(layers):
        room = f"layers.{index}.attention."
        hidden = norm(f"layers.{index}.attention_norm", x)
        q, k, v = (split(linear(room + w, hidden)) for w in ("wq", "wk", "wv"))
        q, k = (
            torch.view_as_real(torch.view_as_complex(t.reshape(*t.shape[:-1], -1, 2)) * turn).flatten(2) for t in (q, k)
        )
        out = attend(q, k, v, causal)[:, :, 0]
        if index >= layers - len(adapters):
            prompt = adapters[index - layers + len(adapters)]
            gate = state[room + "gate"][0]
            gate = torch.tanh(gate) if tanh else gate
            out = (
                out + gate * attend(q, split(linear(room + "wk", prompt)), split(linear(room + "wv", prompt)))[:, :, 0]
            )
        x = x + linear(room + "wo", out.transpose(0, 1).flatten(1))
        room = f"layers.{index}.feed_forward."
        hidden = norm(f"layers.{index}.ffn_norm", x)
        x = x + linear(room + "w2", F.silu(linear(room + "w1", hidden)) * linear(room + "w3", hidden))
    return norm("norm", x) @ state["output.weight"].T


def chat_file(base):
    generator = torch.Generator().manual_seed(0)

    def noise(*shape):
        return 0.3 * torch.randn(*shape, generator=generator)

    extra = {"adapter_query.weight": noise(2 * 5, 64), "norm.weight": 1 + noise(64)}
    for index in range(4):
        extra[f"layers.{index}.attention.gate"] = noise(1, 4, 1, 1)
        for name in ("attention_norm", "ffn_norm"):
            extra[f"layers.{index}.{name}.weight"] = 1 + noise(64)
        for name in LINEARS:
            out, into = base[f"layers.{index}.{name}.weight"].shape
            extra[f"layers.{index}.{name}_bias"] = noise(out)
            extra[f"layers.{index}.{name}_scale"] = 1 + noise(into)
    return extra


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["chat", "v1"])
def test_chat_and_v1_files_compute_the_released_equations(golden, imports, tmp_path, kind):
    base = torch.load(golden / "llama" / "tiny" / "consolidated.00.pth", weights_only=True)
    extra = chat_file(base)
    if kind == "v1":
        extra = {name: t for name, t in extra.items() if name == "adapter_query.weight" or name.endswith("gate")}
        extra["layers.3.attention.gate"] *= 6  # V1's gates have no tanh: they may be larger than 1
        assert extra["layers.3.attention.gate"].abs().max() > 1
    torch.save({"model": extra} if kind == "chat" else extra, tmp_path / "x.pth")
    released.import_released(imports / "base", tmp_path / "x.pth", tmp_path / "out", prompt_length=5)
    model, _ = loaded(tmp_path / "out")
    ids = token_ids(1, 12)
    wanted = meta_logits(base, extra, ids[0], heads=4, prompt_length=5, tanh=kind == "chat")
    assert largest(model(ids, model.prompt_kv()).logits[0] - wanted) < 1e-4
    assert model.projector is None


# --- what the adapter got for these files ---


def test_the_gate_scale_multiplies_the_gated_scores_and_belongs_to_the_gates_group():
    from dataclasses import replace

    from lav2.model.adapter import group

    config = replace(LATE, gate_scale=True)
    model = open_gates(adapted(config))
    with torch.no_grad():
        model.adapter.gate_scale.fill_(3.0)
    _, key, *_ = model.prompt_kv(model.visual_prompt(clip_tokens()))
    torch.testing.assert_close(key[2], 3 * torch.tanh(model.adapter.gate[0]))
    assert group("adapter.gate_scale", config) == group("adapter.gate", config)
    assert "adapter.gate_scale" in model.adapter_parameters()


def test_prompts_pass_the_frozen_projections_unless_the_config_says_the_tuned_ones():
    values = {}
    for tuned in (False, True):
        config = AdapterConfig("late", 3, 3, lora_rank=2, tuned_prompts=tuned)
        model = open_gates(AdaptedLlama(llama(), config, None, VISION).eval())
        layer = model.decoder.layers[2].self_attn
        prompt = model.adapter.adapter_prompt[1][None]
        values[tuned] = model.prompt_kv()[2][1]
        wanted = layer.v_proj(prompt) if tuned else F.linear(prompt, layer.v_proj.weight)
        torch.testing.assert_close(values[tuned].transpose(1, 2).reshape(1, 3, -1), wanted)
    assert largest(values[True] - values[False]) > 1e-2


# --- the commands ---


def test_the_command_imports_a_preset_and_a_missing_one_says_how_to_get_it(golden, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LAV2_CACHE", str(tmp_path))
    assert main(["caption", str(golden / "README.md"), "--preset", "llama-7b-bias"]) == 1
    for name, file in RELEASED.items():
        with pytest.raises(LAV2Error) as raised:
            load_llm(PRESETS[name].llm)
        command = (
            f"python -m lav2 import --llama-dir LLAMA_FOLDER --adapter {file} --out cache:{name} --base cache:llama-7b"
        )
        assert command in str(raised.value)
        assert "ai.meta.com" in str(raised.value)
    arguments = [
        "import", "--llama-dir", golden / "llama", "--adapter", golden / "BIAS-tiny.pth",
        "--out", "cache:llama-7b-bias", "--base", "cache:llama-7b",
        "--clip", golden / "clip_visual.pth", "--clip-config", golden / "clip_config.json",
        "--projector-heads", 4,
    ]  # fmt: skip
    assert main([str(argument) for argument in arguments]) == 0
    from lav2.assistant.service import Assistant

    assistant = Assistant.load("llama-7b-bias", dtype="float32", report=lambda line: None)
    from PIL import Image

    photo = Image.new("RGB", (50, 40), (9, 200, 30))
    said = assistant.caption(photo)
    assert isinstance(said, str)
    reported = []
    spread = Assistant.load("llama-7b-bias", dtype="float32", device_map="auto", report=reported.append)
    assert spread.caption(photo) == said
    assert any("on auto, float32" in line for line in reported)
    assert reported[0].startswith("         memory: llama-7b-bias needs about ")
    capsys.readouterr()


def test_a_v1_adapter_answers_questions_as_text_only_with_evidence_still_in_the_prompt(golden, tmp_path, monkeypatch):
    from PIL import Image

    from lav2.assistant.service import Assistant
    from lav2.events import Request

    monkeypatch.setenv("LAV2_CACHE", str(tmp_path))
    base = torch.load(golden / "llama" / "tiny" / "consolidated.00.pth", weights_only=True)
    extra = {n: t for n, t in chat_file(base).items() if n == "adapter_query.weight" or n.endswith("gate")}
    torch.save(extra, tmp_path / "v1.pth")
    arguments = ["import", "--llama-dir", golden / "llama", "--adapter", tmp_path / "v1.pth"]
    arguments += ["--out", "cache:llama-7b-v1", "--prompt-length", 5]
    assert main([str(argument) for argument in arguments]) == 0
    assistant = Assistant.load("llama-7b-v1", dtype="float32", report=lambda line: None)
    photo = Image.new("RGB", (50, 40), (9, 200, 30))
    with pytest.raises(LAV2Error, match="text only"):
        assistant.caption(photo)
    *_, done = assistant.answer(Request("What?", photo, experts=("caption",), sampling=Sampling(max_new_tokens=3)))
    assert "Caption: could not run" in done.prompt
    assert done.prompt.endswith("### Response:")
