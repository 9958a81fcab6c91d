"""Files of the released code that are imported (base model, image encoder, tokenizer, adapter), or refused with a
reason."""

import json
import os
import pickle
import random

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from tiny import llama
from transformers import AutoTokenizer

from lav2.convert import released
from lav2.convert.adapters import read_adapter
from lav2.convert.llama import convert_llama
from lav2.convert.tokenizer import convert_tokenizer
from lav2.errors import LAV2Error
from lav2.inference import streaming
from lav2.model.llm import load_llm
from lav2.model.vision import VisionTower

pytest_plugins = ["released_files"]

TEXTS = [
    "Tell me about alpacas.", "two  spaces", "\n\n### Instruction:\na\n", " lead and trail  ", "", " ", "tab\tx\r\ny",
    "a</s>b <s> <unk> <0x0A>", "naïve café ﬁ ½ Ａ", "한국어 질문", "日本\u3000語", "🐶🏽 dog 👨‍👩‍👧",
    "zero\u200bwidth\ufeff",
    "▁under▁", "\x01a", "1234567890 12.5e-3",
]  # fmt: skip


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
    source, reason = folder, ""
    if damage == "no params":
        (folder / "params.json").unlink()
        reason = "has no params.json"
    elif damage == "two sizes":
        (tmp_path / "llama" / "13B").mkdir()
        (tmp_path / "llama" / "13B" / "params.json").write_text("{}")
        source, reason = folder.parent, "13B, 7B"
    elif damage == "no weights":
        (folder / "consolidated.00.pth").unlink()
        reason = "no consolidated"
    elif damage == "no tokenizer":
        (folder / "tokenizer.model").unlink()
        reason = "no tokenizer.model"
    elif damage == "tensor missing":
        file = folder / "consolidated.00.pth"
        state = torch.load(file, weights_only=True)
        del state["layers.2.attention.wk.weight"]
        reason = r"tensors 1 missing \(layers.2.attention.wk.weight\)"
        torch.save(state, file)
    elif damage == "shard missing":
        (folder / "consolidated.01.pth").unlink()
        reason = "1 of the 2 files consolidated"
    else:
        (folder / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")  # LLaMA 3's kind of file
        reason = "no sentencepiece model"
    with pytest.raises(LAV2Error, match=reason):
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
