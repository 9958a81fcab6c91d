"""Every LLaMA-family model of transformers takes the adapter and computes the right thing; others are refused."""

import argparse
import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tiny import EARLY, LATE, PROJECTOR, VISION, clip_tokens, open_gates, token_ids, tokenizer
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, MistralConfig, Phi3Config, Qwen2Config

from transformers import LlamaConfig, OPTConfig, Qwen3Config  # isort: skip

from lav2.cli.main import main
from lav2.cli.options import CAPTION_QUESTION, chosen_preset
from lav2.config import EMBEDDED
from lav2.errors import LAV2Error
from lav2.events import Turn
from lav2.inference import backend, streaming
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import ATTENTION
from lav2.model.llm import preset_on
from lav2.text import prompts
from lav2.text.prompts import SYSTEM

SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.3, "bos_token_id": 1,
    "eos_token_id": 2, "pad_token_id": 2,
}  # fmt: skip
FAMILIES = {
    "llama": LlamaConfig(**SIZES),
    "mistral": MistralConfig(**SIZES, sliding_window=6),  # shorter than the prompts of the tests
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=16),  # not hidden_size / heads
}
OTHERS = {
    "gpt2": (GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=16), "not a LLaMA-family model"),
    "phi3": (Phi3Config(**SIZES), "have no q_proj, k_proj, v_proj"),
    "gemma2": (Gemma2Config(**SIZES, head_dim=8), "caps the scores"),
    "opt": (OPTConfig(vocab_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, ffn_dim=8),
            "not a LLaMA-family model"),
}  # fmt: skip


def frozen(config):
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(config, attn_implementation=ATTENTION).eval()
    with torch.no_grad():  # biases and norms start as zeros and ones, which would hide mistakes
        for parameter in llm.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return llm


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


@pytest.mark.parametrize("config", [EARLY, LATE], ids=["early", "late"])
@torch.inference_mode()
def test_with_closed_gates_logits_are_bit_equal_to_the_frozen_model(family, config):
    ids = token_ids(2, 12)
    base = frozen(family)(ids).logits
    model = AdaptedLlama(frozen(family), config, PROJECTOR, VISION).eval()
    torch.testing.assert_close(
        model(ids, model.prompt_kv(model.visual_prompt(clip_tokens(2)))).logits, base, rtol=0, atol=0
    )


@pytest.fixture
def opened(family):
    return open_gates(AdaptedLlama(frozen(family), LATE, PROJECTOR, VISION).eval())


@torch.inference_mode()
def test_with_open_gates_cached_logits_are_the_uncached_ones(opened):
    kv = opened.prompt_kv(opened.visual_prompt(clip_tokens()))
    ids = token_ids(1, 12)
    full = opened(ids, kv).logits[0]
    assert (full - opened(ids, opened.prompt_kv()).logits[0]).abs().max() > 1e-2
    last, cache = backend.prefill(opened, ids[:, :7], kv)
    torch.testing.assert_close(last[0], full[6], atol=1e-4, rtol=1e-4)
    for place in range(7, 12):
        last, cache = backend.prefill(opened, ids[:, place : place + 1], kv, cache=cache)
        torch.testing.assert_close(last[0], full[place], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_with_open_gates_left_padding_changes_nothing(opened):
    kv = opened.prompt_kv(opened.visual_prompt(clip_tokens()))
    ids = token_ids(1, 9)
    padded = torch.cat([torch.full((1, 4), 2), ids], dim=1)
    mask = torch.tensor([[0] * 4 + [1] * 9])
    alone, _ = backend.prefill(opened, ids, kv)
    last, cache = backend.prefill(opened, padded, kv, mask)
    torch.testing.assert_close(last, alone, atol=1e-4, rtol=1e-4)
    step = torch.tensor([[5]])
    longer = torch.cat([mask, torch.ones(1, 1, dtype=mask.dtype)], dim=1)
    last, _ = backend.prefill(opened, step, kv, longer, cache)
    alone, _ = backend.prefill(opened, torch.cat([ids, step], dim=1), kv)
    torch.testing.assert_close(last, alone, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_prompt_keys_and_values_are_the_frozen_layers_with_its_biases_and_norms():
    for name, config in FAMILIES.items():
        model = open_gates(AdaptedLlama(frozen(config), LATE, PROJECTOR, VISION).eval())
        attention = model.decoder.layers[3].self_attn
        key, value, _ = model.prompt_kv()[3]
        prompt = model.adapter.adapter_prompt[2]
        assert (attention.k_proj.bias is not None) == (name == "qwen2")
        wanted_key, wanted_value = (
            F.linear(prompt, part.weight, part.bias).view(3, 2, -1).transpose(0, 1)
            for part in (attention.k_proj, attention.v_proj)
        )
        if name == "qwen3":
            size = wanted_key.pow(2).mean(-1, keepdim=True)
            wanted_key = wanted_key * torch.rsqrt(size + config.rms_norm_eps) * attention.k_norm.weight
        torch.testing.assert_close(key[0], wanted_key, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(value[0], wanted_value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_other_architectures_are_refused_with_their_reason(name):
    config, reason = OTHERS[name]
    with pytest.raises(LAV2Error, match=reason):
        AdaptedLlama(AutoModelForCausalLM.from_config(config, attn_implementation="eager"), LATE)


# --- --llm NAME ---


def folder(path, config, template=None):
    words = tokenizer()
    words.chat_template = template
    words.save_pretrained(path)
    frozen(config).save_pretrained(path)
    return str(path)


def test_a_preset_on_another_model_leaves_its_first_layer_without_prompts_and_takes_its_template(tmp_path):
    said = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
    source = folder(tmp_path, FAMILIES["qwen2"], "{{ bos_token }}" + said)
    preset = preset_on(EMBEDDED, source)
    assert preset.adapter_config.adapter_layers == 3
    assert EMBEDDED.caption_drafts and not preset.caption_drafts
    wanted = f"<s><system>{SYSTEM}</s><user>q1</s><assistant>a1</s><user>found\nq2</s>"
    assert prompts.build(preset.template, "q2", "found", (Turn("q1", "a1"),)) == wanted


def test_a_model_without_a_chat_template_gets_alpacas(tmp_path):
    assert preset_on(EMBEDDED, folder(tmp_path, FAMILIES["llama"])).template == "alpaca"


def test_a_begin_token_that_the_tokenizer_puts_itself_is_not_put_twice(tmp_path):
    from tokenizers.processors import TemplateProcessing

    words = tokenizer()
    words.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    words.chat_template = "{{ bos_token }} {% for m in messages %}{{ m.content }}{% endfor %}"
    words.save_pretrained(tmp_path)
    FAMILIES["llama"].save_pretrained(tmp_path)
    preset = preset_on(EMBEDDED, str(tmp_path))
    assert streaming.encode(words, prompts.build(preset.template, "w5")).count(1) == 1


def test_a_template_that_refuses_a_system_turn_gets_its_text_before_the_first_question():
    template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    built = prompts.build(template, "q2", history=(Turn("q1", "a1"),))
    assert built == f"[user]{SYSTEM}\n\nq1[assistant]a1[user]q2"


def test_the_tokenizers_template_of_smollm2_is_the_project_s_chat_template():
    """ChatML as SmolLM2's tokenizer_config has it (its default system text aside)."""
    template = (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' "
        "+ '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    arguments = ("q2", "found", (Turn("q1", "a1"),))
    assert prompts.build(template, *arguments) == prompts.build("chat", *arguments)


def test_a_refused_model_is_told_before_its_weights_load(tmp_path, capsys):
    tokenizer().save_pretrained(tmp_path)
    OTHERS["gemma2"][0].save_pretrained(tmp_path)  # a config without weights
    with pytest.raises(LAV2Error, match="caps the scores"):
        preset_on(EMBEDDED, str(tmp_path))


@pytest.mark.parametrize(("stage", "llm", "chat", "captions", "question"), [
    ("joint", False, True, False, ""),
    ("caption", False, False, True, ""),
    ("caption", True, True, True, ""),
    (None, True, True, True, CAPTION_QUESTION),
])  # fmt: skip
def test_an_adapter_takes_the_place_of_its_kind_and_on_another_model_of_both(
    tmp_path, stage, llm, chat, captions, question
):
    facts = {"format": 1, "base": {}, "adapter": {}, "projector": None, "vision": None, "notes": {"stage": stage}}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    source = folder(tmp_path / "llm", FAMILIES["llama"]) if llm else None
    preset = chosen_preset(argparse.Namespace(command="ask", preset="embedded", llm=source), str(tmp_path))
    assert (preset.adapter == str(tmp_path), preset.caption_adapter == str(tmp_path)) == (chat, captions)
    assert preset.caption_question == question


@pytest.mark.parametrize(("stage", "question"), [("finetune", CAPTION_QUESTION), ("joint", CAPTION_QUESTION),
                                                 ("caption", "")])  # fmt: skip
def test_the_caption_command_writes_with_the_adapter_that_is_given(tmp_path, stage, question):
    facts = {"format": 1, "base": {}, "adapter": {}, "projector": None, "vision": None, "notes": {"stage": stage}}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    preset = chosen_preset(argparse.Namespace(command="caption", preset="embedded", llm=None), str(tmp_path))
    assert preset.caption_adapter == str(tmp_path) and preset.caption_question == question


@pytest.mark.slow
def test_the_command_trains_and_asks_on_another_model_and_refuses_an_adapter_of_another(tmp_path, bus, capsys):
    source = folder(tmp_path / "llm", LlamaConfig(**SIZES | {"num_hidden_layers": 3}))
    other = folder(tmp_path / "other", FAMILIES["qwen3"])
    bus.resize((96, 128)).save(tmp_path / "a.png")
    row = {"image": "a.png", "captions": ["w5 w6 w7"], "split": "train"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    run = ["train", "--stage", "caption", "--llm", source, "--data", tmp_path / "rows.jsonl", "--out", tmp_path / "run",
           "--steps", 2, "--batch", 1, "--cache", tmp_path / "features"]  # fmt: skip
    assert main([str(word) for word in run]) == 0
    ask = ["ask", tmp_path / "a.png", "w5?", "--llm", source, "--adapter", tmp_path / "run", "--experts", "none",
           "--max-new-tokens", 3, "--json"]  # fmt: skip
    capsys.readouterr()
    assert main([str(word) for word in ask]) == 0
    assert "### Instruction:\nw5?" in json.loads(capsys.readouterr().out)["prompt"]
    ask[ask.index(source)] = other
    assert main([str(word) for word in ask]) == 1
    assert "its architecture differs" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_trains_an_adapter_that_fuses_early_and_asks_it(tmp_path, bus, capsys):
    source = folder(tmp_path / "llm", FAMILIES["llama"])
    bus.resize((96, 128)).save(tmp_path / "a.png")
    row = {"image": "a.png", "captions": ["w5 w6 w7"], "split": "train"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    run = ["train", "--stage", "pretrain", "--llm", source, "--data", tmp_path / "rows.jsonl", "--steps", 2, "--batch",
           1, "--cache", tmp_path / "features", "--fusion", "early", "--visual-layers", 2, "--out"]  # fmt: skip
    assert main([*map(str, run), str(tmp_path / "overlap")]) == 1  # all layers but the first get adaptation prompts
    assert "overlap in a model of 4 layers" in capsys.readouterr().err
    assert main([*map(str, run), str(tmp_path / "run"), "--adapter-layers", "1"]) == 0
    made = json.loads((tmp_path / "run" / "config.json").read_text())["adapter"]
    assert (made["fusion"], made["visual_layers"], made["adapter_layers"]) == ("early", 2, 1)
    gates = load_file(tmp_path / "run" / "adapter.safetensors")
    assert gates["adapter.visual_gate"].abs().min() > 0 and gates["adapter.gate"].abs().max() == 0
    ask = ["ask", tmp_path / "a.png", "w5?", "--llm", source, "--adapter", tmp_path / "run", "--experts", "none",
           "--max-new-tokens", 3, "--json"]  # fmt: skip
    capsys.readouterr()
    assert main([str(word) for word in ask]) == 0
    assert json.loads(capsys.readouterr().out)["answer"]


JINJA = "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}"


@pytest.mark.parametrize("template", ["chat", "alpaca", JINJA])
@pytest.mark.parametrize("history", [(), (Turn("q1", "a1"), Turn("q2", "a2"))])
def test_every_prompt_begins_with_its_beginning_and_ends_it_where_the_findings_come(template, history):
    begin = prompts.beginning(template, history)
    for first, asked in (("q3", ("q3",)), ("Findings: none", ("q3", "Findings: none"))):
        prompt = prompts.build(template, *asked, history=history)
        assert prompt.startswith(begin) and prompt[len(begin) :].startswith(first)
