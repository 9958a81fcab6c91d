"""Released checkpoints and Meta's LLaMA files compute what the released code computed (../shared/golden)."""

import json
import math
import os
import pickle
import random

import pytest
import sentencepiece
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tiny import LATE, VISION, adapted, clip_tokens, llama, open_gates, token_ids
from transformers import AutoTokenizer

from lav2.cli.main import main
from lav2.config import CLIP_VIT_L_14_BGR, PRESETS, RELEASED, AdapterConfig
from lav2.convert import released
from lav2.convert.adapters import read_adapter
from lav2.convert.llama import LINEARS, convert_llama
from lav2.convert.tokenizer import convert_tokenizer
from lav2.errors import LAV2Error
from lav2.events import Sampling
from lav2.inference import backend, streaming
from lav2.inference.engine import Engine
from lav2.model import checkpoint
from lav2.model.adapted import AdaptedLlama
from lav2.model.llm import load_llm
from lav2.model.vision import VisionTower, clip_settings
from lav2.text import prompts

DEVICE = os.environ.get("LAV2_TEST_DEVICE", "cpu")  # of the tests marked so
on_device = pytest.mark.device
VARIANTS = ("BIAS", "LORA-BIAS")
GREEDY = Sampling(max_new_tokens=24, repetition_penalty=1.0)
BFLOAT16_BOUND = 0.25  # of logits up to 4.3; measured 0.11 and 0.17; the base model alone differs by 0.13
TEXTS = [
    "Tell me about alpacas.", "two  spaces", "\n\n### Instruction:\na\n", " lead and trail  ", "", " ", "tab\tx\r\ny",
    "a</s>b <s> <unk> <0x0A>", "naïve café ﬁ ½ Ａ", "한국어 질문", "日本\u3000語", "🐶🏽 dog 👨‍👩‍👧",
    "zero\u200bwidth\ufeff",
    "▁under▁", "\x01a", "1234567890 12.5e-3",
]  # fmt: skip


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


# --- the base model ---


def sharded(golden, folder, count=2):
    """The golden base model cut into shards as Meta cuts larger ones."""
    source = golden / "llama" / "tiny"
    state = torch.load(source / "consolidated.00.pth", weights_only=True)
    for number in range(count):
        shard = {}
        for name, tensor in state.items():
            cut = None if "norm" in name else int(any(part in name for part in ("wo.", "w2.", "tok_embeddings.")))
            shard[name] = tensor if cut is None else tensor.chunk(count, dim=cut)[number].clone()
        torch.save(shard | {"rope.freqs": torch.zeros(8)}, folder / f"consolidated.{number:02d}.pth")
    for name in (source / "params.json", golden / "llama" / "tokenizer.model"):
        (folder / name.name).write_bytes(name.read_bytes())
    return folder


def weights_of(folder):
    return {name: t for file in folder.glob("*.safetensors") for name, t in load_file(file).items()}


def test_shards_are_joined_to_the_same_model(golden, imports, tmp_path, monkeypatch):
    monkeypatch.setattr("lav2.convert.llama.SHARD_BYTES", 100_000)  # so that the result has several files
    (tmp_path / "meta").mkdir()
    convert_llama(sharded(golden, tmp_path / "meta"), tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 2
    one, other = weights_of(imports / "base"), weights_of(tmp_path / "out")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    llm, _ = load_llm(str(tmp_path / "out"))
    assert torch.equal(llm.model.norm.weight, one["model.norm.weight"].float())


def test_a_folder_of_transformers_is_taken_as_it_is(golden, vision, imports, tmp_path):
    released.import_released(
        imports / "base", golden / "BIAS-tiny.pth", tmp_path / "out", vision=vision, projector_heads=4
    )
    assert (tmp_path / "out" / "llm").resolve() == (imports / "base").resolve()
    same = (load_file(folder / "adapter.safetensors") for folder in (tmp_path / "out", imports / "BIAS"))
    one, other = same
    assert all(torch.equal(one[name], other[name]) for name in one | other)


def test_an_interrupted_conversion_leaves_nothing_behind(golden, tmp_path, monkeypatch):
    def full_disk(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr("lav2.convert.llama.save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        convert_llama(golden / "llama", tmp_path / "out")
    assert not list(tmp_path.iterdir())


DAMAGES = ["no params", "two sizes", "no weights", "no tokenizer", "tensor missing", "shard missing", "tiktoken"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_base_folder_that_is_not_complete_is_refused_with_its_reason(golden, tmp_path, damage):
    folder = tmp_path / "llama" / "7B"
    folder.mkdir(parents=True)
    sharded(golden, folder, 2 if damage == "shard missing" else 1)
    source, told = folder, ""
    if damage == "no params":
        (folder / "params.json").unlink()
        told = "has no params.json"
    elif damage == "two sizes":
        (tmp_path / "llama" / "13B").mkdir()
        (tmp_path / "llama" / "13B" / "params.json").write_text("{}")
        source, told = folder.parent, "13B, 7B"
    elif damage == "no weights":
        (folder / "consolidated.00.pth").unlink()
        told = "no consolidated"
    elif damage == "no tokenizer":
        (folder / "tokenizer.model").unlink()
        told = "no tokenizer.model"
    elif damage == "tensor missing":
        file = folder / "consolidated.00.pth"
        state = torch.load(file, weights_only=True)
        del state["layers.2.attention.wk.weight"]
        told = r"tensors 1 missing \(layers.2.attention.wk.weight\)"
        torch.save(state, file)
    elif damage == "shard missing":
        (folder / "consolidated.01.pth").unlink()
        told = "1 of the 2 files consolidated"
    else:
        (folder / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")  # LLaMA 3's kind of file
        told = "no sentencepiece model"
    with pytest.raises(LAV2Error, match=told):
        convert_llama(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_whose_tensors_have_other_shapes_than_its_config_is_told(imports, tmp_path):
    for file in (imports / "base").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | {"intermediate_size": 48}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(LAV2Error, match="cannot load a language model"):
        load_llm(str(tmp_path))


# --- the image encoder's file ---


@pytest.mark.parametrize("form", ["TorchScript", "state dict", "safetensors", "checkpoint"])
def test_a_file_of_the_whole_clip_model_gives_the_image_encoder_in_every_form_that_is_published(vision, tmp_path, form):
    """OpenAI's is a TorchScript archive in float16 with the towers as its modules."""
    from dataclasses import replace

    tower = VisionTower(vision)
    file = tmp_path / ("clip.safetensors" if form == "safetensors" else "clip.pt")
    wanted = {name: tensor.half().float() for name, tensor in tower.net.state_dict().items()}
    state = {f"visual.{name}": tensor.half() for name, tensor in wanted.items()} | {"logit_scale": torch.zeros(())}
    if form == "TorchScript":
        clip = torch.nn.Module()
        clip.visual, clip.forward = tower.net, tower.net.forward
        clip.register_buffer("input_resolution", torch.tensor(224))
        with torch.no_grad():
            script = torch.jit.trace(clip, torch.zeros(1, 3, vision.image_size, vision.image_size))
        script.half().save(file)
    elif form == "safetensors":
        save_file(state, file)
    elif form == "state dict":
        torch.save(state, file)
    else:
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, file)
    found = VisionTower(replace(vision, weights=str(file))).net.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_an_import_that_the_memory_is_too_small_for_is_told_before_anything_loads(
    golden, imports, vision, tmp_path, monkeypatch
):
    monkeypatch.setattr(released.preflight, "free", lambda device: 1e6)
    monkeypatch.setattr(released.preflight, "BIG_BYTES", 0)
    monkeypatch.setattr(released, "load_llm", lambda *args: pytest.fail("loaded"))
    with pytest.raises(LAV2Error, match="GB free"):
        released.import_released(imports / "base", golden / "BIAS-tiny.pth", tmp_path / "out", vision=vision)


def test_a_wrong_file_of_the_image_encoder_is_told_by_the_import(golden, imports, vision, tmp_path):
    from dataclasses import replace

    wrong = replace(vision, weights=str(golden / "BIAS-tiny.pth"))
    with pytest.raises(LAV2Error, match="not the state dict of the vision tower"):
        released.import_released(imports / "base", golden / "BIAS-tiny.pth", tmp_path / "out", vision=wrong)
    assert not (tmp_path / "out").exists()


# --- the tokenizer ---


def same_ids(file, folder, texts):
    convert_tokenizer(file).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    original = sentencepiece.SentencePieceProcessor(model_file=str(file))
    for text in texts:
        ids = streaming.encode(tokenizer, text)
        assert ids == [original.bos_id(), *original.encode(text)], text
        assert tokenizer.decode(ids, skip_special_tokens=True) == original.decode(ids)


def random_texts(alphabet, count=200):
    generator = random.Random(0)
    return ["".join(generator.choices(alphabet, k=generator.randrange(40))) for _ in range(count)]


def test_the_golden_tokenizer_gives_sentencepieces_own_ids(golden, tmp_path):
    facts = json.loads((golden / "BIAS-golden.json").read_text())
    texts = [*TEXTS, *facts["prompts"], *random_texts("abc DE\n\t .,é한字🐶\u3000\u00a0ﬁ<s>/")]
    same_ids(golden / "llama" / "tokenizer.model", tmp_path, texts)


def test_a_tokenizer_with_llamas_settings_gives_sentencepieces_own_ids(tmp_path):
    """LLaMA's: no normalisation, every space kept, digits split, bytes for unknown characters."""
    corpus = "the photo shows a dog  and\ta cat near the sign that says stop 123 45 naïve café " * 20
    with (tmp_path / "spm.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus.split("  ")), model_writer=file, vocab_size=360, model_type="bpe",
            normalization_rule_name="identity", remove_extra_whitespaces=False, byte_fallback=True, split_digits=True,
            allow_whitespace_only_pieces=True, character_coverage=0.99, minloglevel=2,
        )  # fmt: skip
    same_ids(
        tmp_path / "spm.model",
        tmp_path / "out",
        [*TEXTS, *random_texts("the dog12 \n\té한🐶<s>/"), "e\u0301a\u030a\u0327"],
    )


# --- adapter files: strict both ways ---


@pytest.mark.parametrize("name", ["llama.layers.1.attention.new_gate", "llama.norm.weight", "visual_proj.bias"])
@pytest.mark.parametrize("damage", ["missing", "unknown", "shape"])
def test_a_tensor_missing_unknown_or_of_another_shape_is_refused(golden, imports, vision, tmp_path, name, damage):
    stored = torch.load(golden / "LORA-BIAS-tiny.pth", weights_only=True)
    if damage == "missing":
        del stored["model"][name]
    elif damage == "unknown":
        stored["model"][name + ".extra"] = torch.zeros(1)
    else:
        stored["model"][name] = torch.zeros(7)
    torch.save(stored, tmp_path / "x.pth")
    named = name.replace("visual_proj.", "projector.output.")
    with pytest.raises(LAV2Error, match=f"does not fit.*{named}"):
        released.import_released(
            imports / "base", tmp_path / "x.pth", tmp_path / "out", vision=vision, projector_heads=4
        )


@pytest.mark.parametrize("options", [{"w_bias": True, "w_lora": True, "lora_rank": 4}, None])
def test_a_config_that_contradicts_the_tensors_is_refused(golden, imports, tmp_path, options):
    stored = torch.load(golden / "BIAS-tiny.pth", weights_only=True)
    torch.save({"model": stored["model"], "config": options}, tmp_path / "x.pth")
    with pytest.raises(LAV2Error, match=r"lora_w|does not say its config"):
        released.import_released(imports / "base", tmp_path / "x.pth", tmp_path / "out")


def test_an_adapter_of_a_base_with_other_layers_is_refused(golden, imports):
    shape = load_llm(str(imports / "base"))[0].config
    shape.num_hidden_layers = 6
    with pytest.raises(LAV2Error, match="The base model given has 6 layers"):
        read_adapter(golden / "BIAS-tiny.pth", shape)


def test_a_file_that_would_run_code_is_refused_and_does_not_run_it(imports, tmp_path):
    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"model": {"adapter_query.weight": torch.zeros(1)}, "x": Malice()}, tmp_path / "x.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Malice()))
    for file in ("x.pth", "raw.pth", "absent.pth"):
        with pytest.raises(LAV2Error, match="cannot be read"):
            read_adapter(tmp_path / file, llama().config)
    assert not (tmp_path / "harm").exists()


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
        with pytest.raises(LAV2Error) as told:
            load_llm(PRESETS[name].llm)
        command = (
            f"python -m lav2 import --llama-dir LLAMA_FOLDER --adapter {file} --out cache:{name} --base cache:llama-7b"
        )
        assert command in str(told.value)
        assert "ai.meta.com" in str(told.value)
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
    told = []
    spread = Assistant.load("llama-7b-bias", dtype="float32", device_map="auto", report=told.append)
    assert spread.caption(photo) == said
    assert any("on auto, float32" in line for line in told)
    assert told[0].startswith("         memory: llama-7b-bias needs about ")
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


# --- files of the wrong content ---


@pytest.mark.parametrize(
    "content", [[1, 2], torch.zeros(2), None, {}, {"model": 5}, {"model": {}}, {"model": {"a": 1}}, {1: torch.zeros(1)}]
)
def test_a_file_that_holds_no_tensors_by_name_is_told(tmp_path, content):
    torch.save(content, tmp_path / "BIAS-7B.pth")
    with pytest.raises(LAV2Error, match=r"BIAS-7B\.pth holds"):
        read_adapter(tmp_path / "BIAS-7B.pth", None)


def test_a_git_lfs_pointer_in_place_of_an_adapter_is_told(tmp_path):
    (tmp_path / "BIAS-7B.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(LAV2Error, match="git lfs pull"):
        read_adapter(tmp_path / "BIAS-7B.pth", None)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", "[" * 100_000, "{}", '{"dim": "x", "n_layers": 1, "n_heads": 1, "norm_eps": 1}',
             '{"dim": 8, "n_layers": 0, "n_heads": 1, "norm_eps": 1}', "version https://git-lfs.github.com/spec/v1"],
)  # fmt: skip
def test_a_broken_params_json_is_told(tmp_path, text):
    (tmp_path / "params.json").write_text(text)
    with pytest.raises(LAV2Error, match=r"params\.json"):
        convert_llama(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
