"""The method's claims about the adapter (arXiv 2304.15010, 2303.16199), on a tiny LLaMA with open gates."""

import pytest
import torch
from tiny import EARLY, LATE, VISION, adapted, clip_tokens, llama, open_gates, token_ids, tokenizer

from lav2.config import AdapterConfig, ProjectorConfig
from lav2.errors import LAV2Error
from lav2.inference.engine import Engine
from lav2.model import adapter, checkpoint
from lav2.model.adapted import IGNORED, AdaptedLlama
from lav2.model.adapter import STAGES, group, trainable
from lav2.model.llm import base_identity

BOTH = AdapterConfig("both", prompt_length=3, adapter_layers=3)
FUSIONS = pytest.mark.parametrize("config", [EARLY, LATE, BOTH], ids=["early", "late", "both"])


def logits(model, ids, visual=True, **kwargs):
    with torch.no_grad():
        prompt = model.visual_prompt(clip_tokens(len(ids))) if visual else None
        return model(ids, model.prompt_kv(prompt), **kwargs).logits


@FUSIONS
def test_at_initialisation_logits_are_bit_equal_to_the_frozen_model(config):
    ids = token_ids(2)
    with torch.no_grad():
        base = llama()(ids).logits
    model = adapted(config)
    torch.testing.assert_close(logits(model, ids), base, rtol=0, atol=0)
    torch.testing.assert_close(logits(model, ids, visual=False), base, rtol=0, atol=0)


@FUSIONS
def test_with_open_gates_the_photo_changes_the_logits(config):
    model = open_gates(adapted(config))
    ids = token_ids()
    other = model(ids, model.prompt_kv(model.visual_prompt(clip_tokens(seed=9)))).logits
    assert (logits(model, ids) - other).abs().max() > 1e-3
    assert (logits(model, ids) - logits(model, ids, visual=False)).abs().max() > 1e-2


def test_zero_init_attention_adds_a_gated_softmax_of_its_own():
    """The layer's output against the formula of arXiv 2303.16199 Sec. 3.2, written out with explicit heads."""
    model = open_gates(adapted(LATE))
    layer = model.decoder.layers[2].self_attn
    entry = model.prompt_kv(model.visual_prompt(clip_tokens()))[2]
    seen = {}
    layer.o_proj.register_forward_pre_hook(lambda _, args: seen.update(with_prompt=args[0]))
    hidden = torch.randn(1, 5, 32)
    position = model.decoder.rotary_emb(hidden, torch.arange(5)[None])
    kv = [None] * 4
    layer(hidden, position_embeddings=position, prompt_kv=tuple(kv))
    without = seen["with_prompt"]
    kv[2] = entry
    layer(hidden, position_embeddings=position, prompt_kv=tuple(kv))
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    query = layer.q_proj(hidden).view(1, 5, 4, 8).transpose(1, 2)
    query, _ = apply_rotary_pos_emb(query, query, *position)
    key, value, gate = entry
    expected = torch.zeros(1, 5, 32)
    for head in range(4):
        scores = torch.softmax(query[0, head] @ key[0, head // 2].T / 8**0.5, dim=-1)
        expected[0, :, head * 8 : head * 8 + 8] = gate[0, head] * (scores @ value[0, head // 2])
    torch.testing.assert_close(seen["with_prompt"] - without, expected, atol=1e-6, rtol=1e-5)


def test_linear_layers_compute_s_times_Wx_plus_b():
    model = open_gates(adapted(EARLY))
    for linear in (model.decoder.layers[0].self_attn.q_proj, model.decoder.layers[3].mlp.down_proj):
        x = torch.randn(2, linear.in_features)
        expected = linear.adapter_scale * (x @ linear.weight.T + linear.adapter_bias)
        torch.testing.assert_close(linear(x), expected)


def test_scale_on_the_input_computes_W_of_s_times_x_plus_b():
    model = open_gates(adapted(AdapterConfig("late", 3, 3, scale_on_input=True)))
    linear = model.decoder.layers[1].mlp.up_proj
    x = torch.randn(2, linear.in_features)
    torch.testing.assert_close(linear(x), (linear.adapter_scale * x) @ linear.weight.T + linear.adapter_bias)


def test_every_linear_layer_of_the_transformer_is_tuned_and_the_vocabulary_projection_is_not():
    model = adapted(EARLY)
    tuned = {name for name, module in model.llm.named_modules() if hasattr(module, "adapter_scale")}
    linear = {name for name, module in model.llm.named_modules() if isinstance(module, torch.nn.Linear)}
    assert tuned == linear - {"lm_head"}


@FUSIONS
def test_early_and_late_prompts_go_into_the_layers_of_the_paper(config):
    model = adapted(config)
    with_photo = model.prompt_kv(model.visual_prompt(clip_tokens()))
    text_only = model.prompt_kv()
    assert [entry is not None for entry in with_photo] == [config is not LATE, True, True, True]
    assert [entry is not None for entry in text_only] == [False, True, True, True]


@pytest.mark.parametrize("fusion", ["early", "both"])
def test_early_fusion_refuses_prompts_that_meet_in_one_layer(fusion):
    with pytest.raises(LAV2Error, match=f"{fusion.capitalize()} fusion: .* overlap"):
        adapted(AdapterConfig(fusion, 3, adapter_layers=3, visual_layers=2))


def test_both_fusions_put_the_photo_where_each_of_them_puts_it():
    models = {config.fusion: open_gates(adapted(config)) for config in (EARLY, LATE, BOTH)}
    both = models["both"]
    photo = both.visual_prompt(clip_tokens())
    for fusion, layers in (("early", (0,)), ("late", (1, 2, 3))):
        own = dict(both.adapter.named_parameters())
        with torch.no_grad():
            for name, parameter in models[fusion].adapter.named_parameters():
                parameter.copy_(own[name])
            for norm, same in zip(models[fusion].decoder.layers, both.decoder.layers, strict=True):
                norm.load_state_dict(same.state_dict(), strict=False)
        expected = models[fusion].prompt_kv(photo)
        for layer in layers:
            for got, wanted in zip(both.prompt_kv(photo)[layer], expected[layer], strict=True):
                torch.testing.assert_close(got, wanted)
    fast = Engine(both)
    ids = token_ids()
    torch.testing.assert_close(fast(ids, fast.prompt_kv(photo))[0], logits(both, ids)[:, -1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("config", [EARLY, LATE], ids=["early", "late"])
def test_gates_that_start_open_let_the_prompts_in_from_the_first_step(config):
    model = adapted(config)
    with torch.no_grad():
        frozen = llama()(token_ids()).logits
        rest = [p.clone() for name, p in model.adapter.named_parameters() if "gate" not in name]
    model.adapter.start_gates(1.0)
    gates = [entry[2] for entry in model.prompt_kv(model.visual_prompt(clip_tokens())) if entry is not None]
    assert len(gates) == (4 if config is EARLY else 3)
    assert all(torch.equal(gate, torch.full_like(gate, torch.tanh(torch.tensor(1.0)))) for gate in gates)
    assert (logits(model, token_ids()) - frozen).abs().max() > 1e-3
    others = [p for name, p in model.adapter.named_parameters() if "gate" not in name]
    assert all(torch.equal(one, other) for one, other in zip(rest, others, strict=True))
    model.adapter.start_gates(0.0)
    torch.testing.assert_close(logits(model, token_ids()), frozen, rtol=0, atol=0)


@FUSIONS
def test_rows_without_a_photo_in_a_batch_are_as_text_only(config):
    model = open_gates(adapted(config))
    ids = token_ids(2)
    prompt = model.visual_prompt(clip_tokens(2))
    mixed = model(ids, model.prompt_kv(prompt, torch.tensor([True, False]))).logits
    torch.testing.assert_close(mixed[:1], model(ids[:1], model.prompt_kv(prompt[:1])).logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mixed[1:], model(ids[1:], model.prompt_kv()).logits, atol=1e-5, rtol=1e-5)


@FUSIONS
def test_left_padding_changes_nothing(config):
    model = open_gates(adapted(config))
    ids = token_ids(1, 7)
    padded = torch.cat([torch.full((1, 4), 2), ids], dim=1)
    mask = torch.tensor([[0] * 4 + [1] * 7])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    got = logits(model, padded, attention_mask=mask, position_ids=positions)[:, 4:]
    torch.testing.assert_close(got, logits(model, ids), atol=1e-5, rtol=1e-5)


def training_step(model, stage, kind):
    trained = model.set_stage(stage)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trainable(name, model.config, stage, kind))
    optim = torch.optim.SGD(trained.values(), lr=1.0)
    ids = token_ids(2)
    labels = ids.clone()
    labels[:, 0] = IGNORED
    model.loss(ids, torch.ones_like(ids), labels, clip_tokens(2)).backward()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optim.step()
    return {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}


@FUSIONS
@pytest.mark.parametrize(("stage", "kind"), [(stage, kind) for stage, kinds in STAGES.items() for kind in kinds])
def test_one_step_changes_every_trainable_and_no_frozen_tensor(config, stage, kind):
    model = open_gates(adapted(config))
    changed = training_step(model, stage, kind)
    wanted = {name for name, _ in model.named_parameters() if group(name, config) in STAGES[stage][kind]}
    assert changed == wanted


@FUSIONS
def test_pretrain_and_finetune_train_disjoint_sets_that_together_are_the_adapter(config):
    model = adapted(config)
    pretrain, finetune = set(model.set_stage("pretrain")), set(model.set_stage("finetune"))
    assert not pretrain & finetune
    assert pretrain | finetune == set(model.adapter_parameters())


def test_a_model_of_another_family_is_refused_with_its_reason():
    from transformers import GPT2Config, GPT2LMHeadModel

    other = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=16))
    with pytest.raises(LAV2Error, match="GPT2LMHeadModel is not a LLaMA-family model"):
        AdaptedLlama(other, LATE)


def test_v1s_multimodal_form_adds_one_feature_of_the_photo_to_every_prompt_and_is_saved_and_loaded(tmp_path):
    """arXiv 2303.16199, Sec. 3.4; only prompts and gates beside it."""
    config = AdapterConfig(fusion="late", prompt_length=3, adapter_layers=3, norm=False, bias=False, scale=False)
    model = open_gates(AdaptedLlama(llama(), config, ProjectorConfig(width=16, pooled=True), VISION).eval())
    assert {name.split(".")[0] for name in model.adapter_parameters()} == {"adapter", "projector"}
    tokens = clip_tokens()
    feature = model.visual_prompt(tokens)
    assert feature.shape == (1, 1, 32)
    torch.testing.assert_close(feature, model.visual_prompt(tokens[:, [2, 0, 3, 1]]))  # of the whole photo
    project = model.decoder.layers[1].self_attn.k_proj
    key = model.prompt_kv(feature)[1][0]  # the first adapted layer's
    wanted = project(model.adapter.adapter_prompt[0] + feature[0, 0]).view(3, 2, 8).transpose(0, 1)
    torch.testing.assert_close(key[0], wanted)
    checkpoint.save(model, tmp_path, base_identity(llama(), tokenizer(), "tiny"))
    loaded = checkpoint.load(tmp_path, llama(), tokenizer())
    torch.testing.assert_close(logits(loaded, token_ids()), logits(model, token_ids()), rtol=0, atol=0)
    engine = Engine(model, int8=False, context=64)
    with torch.no_grad():
        fast, _ = engine(token_ids(), engine.prompt_kv(engine.visual_prompt(tokens)))
        exact = model(token_ids(), model.prompt_kv(feature)).logits
    torch.testing.assert_close(fast, exact[:, -1], atol=1e-4, rtol=1e-4)


def test_the_quick_gradients_of_tuned_layers_are_autograds_own(monkeypatch):
    ids = token_ids(2, 12)
    found = []
    for quick in (True, False):
        model = open_gates(adapted(LATE)).double()
        model.set_stage("finetune")
        if not quick:  # autograd's own steps: of a layer that is not on the CPU, say
            monkeypatch.setattr(adapter, "TUNING", (*adapter.TUNING, "not there"))
        loss = model.loss(ids, torch.ones_like(ids), ids)
        loss.backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert any("lora_a" in name for name in found[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-9)
