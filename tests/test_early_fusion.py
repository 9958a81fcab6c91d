"""Early fusion (arXiv 2304.15010, Sec. 4.3) is decoded as late fusion is: equal to the model's own forward, by the same
compiled step, with the same caches. The visual prompt goes into the first layers, so all that a text leaves in the
layers behind them depends on its photo."""

import pytest
import torch
from tiny import (
    EARLY,
    LATE,
    PROJECTOR,
    VISION,
    adapted,
    clip_tokens,
    in_float32,
    llama,
    open_gates,
    token_ids,
    tokenizer,
    wide,
)

from lav2.cli.main import main
from lav2.config import EMBEDDED, AdapterConfig, Prompts, with_prompts
from lav2.events import Sampling
from lav2.inference import backend, native, prefix_cache, scheduler, search, streaming
from lav2.inference.engine import Engine
from lav2.model import adapter
from lav2.model.adapted import AdaptedLlama

GREEDY = Sampling(max_new_tokens=8, repetition_penalty=1.0)
DEEP = AdapterConfig("early", 3, adapter_layers=2, visual_layers=2, lora_rank=2)
GAP = AdapterConfig("early", 5, adapter_layers=1, visual_layers=2, gate_scale=True)  # a layer without any prompt
RELEASED = AdapterConfig(
    "early", 3, adapter_layers=2, visual_layers=2, lora_rank=2, scale_on_input=True, tuned_prompts=True
)
WAYS = pytest.mark.parametrize("config", [EARLY, DEEP, GAP, RELEASED], ids=["1", "2", "gap", "as released"])
SHOWN = pytest.mark.parametrize("shown", [None, (True, True, True), (True, False, True)],
                                ids=["no photo", "three photos", "one without"])  # fmt: skip
compiled = pytest.mark.skipif(native.library() is None, reason="needs a C compiler (cc, gcc or clang)")


def prompts_of(model, shown):
    """Prompts of three rows, each with a photo of its own, of which some do not count; None: of no photo."""
    if shown is None:
        return model.prompt_kv()
    return model.prompt_kv(model.visual_prompt(clip_tokens(3)), None if all(shown) else torch.tensor(shown))


@torch.inference_mode()
def logits_of(model, shown):
    """After a padded prompt of three rows, after a token of each, and after another when rows were dropped and
    doubled. The prompts are the model's own."""
    ids, mask = token_ids(3, 12), torch.ones(3, 9, dtype=torch.long)
    mask[1, :4] = 0
    prompt_kv = prompts_of(model, shown)
    found, cache = backend.prefill(model, ids[:, :9], prompt_kv, mask)
    steps = [found]
    if isinstance(model, AdaptedLlama):  # the whole texts at once, without a cache
        for length, rows in ((10, [0, 1, 2]), (11, [2, 0, 0, 1])):
            own = tuple(prompt and tuple(p if len(p) == 1 else p[rows] for p in prompt) for prompt in prompt_kv)
            text, ones = ids[rows, :length], mask.new_ones(len(rows), length - 9)
            steps.append(backend.prefill(model, text, own, torch.cat([mask[rows], ones], 1))[0])
    else:
        steps.append(model(ids[:, 9:10], prompt_kv, cache=cache)[0])
        cache.batch_select_indices(torch.tensor([2, 0, 0, 1]))
        steps.append(model(ids[[2, 0, 0, 1], 10:11], prompt_kv, cache=cache)[0])
    return torch.cat([step.float() for step in steps])


@WAYS
@SHOWN
def test_an_engine_computes_what_the_model_computes_in_float32(config, shown):
    model = open_gates(adapted(config))
    torch.testing.assert_close(logits_of(Engine(model), shown), logits_of(model, shown), atol=1e-4, rtol=1e-4)


@compiled
@pytest.mark.parametrize(("int8", "bound"), [(False, 0.02), (True, 0.03)], ids=["bfloat16", "int8"])
@WAYS
@SHOWN
def test_the_compiled_step_and_prefill_stay_within_the_bound_of_late_fusion(config, shown, int8, bound, monkeypatch):
    """Of float32, in the root mean square (as late fusion in test_engine.py); nothing but decode.c computes."""
    model = wide(config)
    engine = Engine(model, int8=int8)
    if int8:
        engine.reads = True
        monkeypatch.setattr(engine, "_forward", None)
    monkeypatch.setattr(engine, "_shared", None)
    fast, exact = logits_of(engine, shown), logits_of(in_float32(model), shown)
    assert float((fast - exact).pow(2).mean().sqrt() / exact.pow(2).mean().sqrt()) < bound


@compiled
@torch.inference_mode()
def test_answers_about_several_photos_and_about_none_share_steps_and_are_to_the_last_bit_those_given_alone():
    model = wide(DEEP)
    engine = Engine(model)
    assert engine.int8
    given = [engine.prompt_kv(engine.visual_prompt(clip_tokens(seed=seed))) for seed in range(3)] + [engine.prompt_kv()]
    texts = [token_ids(1, length, seed=length) for length in (9, 9, 140, 9)]  # only their photos differ
    caches = [[engine(*text)[1] for text in zip(texts, given, strict=True)] for _ in range(2)]
    for token in (20, 21, 22):
        together = engine.decode_step([token] * 4, caches[0])
        single = [engine(torch.tensor([[token]]), (), cache=cache)[0] for cache in caches[1]]
        assert torch.equal(together, torch.cat(single))
    assert len({tuple(row) for row in together.tolist()}) == 4


@torch.inference_mode()
def test_a_photo_s_prompts_are_projected_in_its_own_layers_alone(monkeypatch):
    """And the others are packed once for all answers; late fusion has the photo in every one of them."""
    projected, original = [], adapter._project

    def counted(layer, *given):
        projected.append(layer.self_attn.layer_idx)
        return original(layer, *given)

    monkeypatch.setattr(adapter, "_project", counted)
    for config, wanted in ((EARLY, [0]), (DEEP, [0, 1]), (LATE, [1, 2, 3])):
        engine = Engine(open_gates(adapted(config)))
        projected.clear()
        given = [engine.prompt_kv(engine.visual_prompt(clip_tokens(seed=seed))) for seed in (1, 2)]
        assert projected == 2 * wanted
        text_only = engine.prompt_kv()
        assert projected == 2 * wanted
        first, second, none = (engine.begin(1, prompt_kv).prompts for prompt_kv in (*given, text_only))
        own = [layer for layer, (a, b) in enumerate(zip(first, second, strict=True)) if a is not b]
        assert own == wanted
        assert [layer for layer, (a, b) in enumerate(zip(first, none, strict=True)) if a is not b] == wanted


@torch.inference_mode()
def test_what_a_text_leaves_behind_the_first_layer_depends_on_its_photo():
    """So no beginning of a text can be taken up for another photo."""
    engine, ids = Engine(open_gates(adapted(EARLY))), token_ids(1, 6)
    kept = [engine(ids, engine.prompt_kv(engine.visual_prompt(clip_tokens(seed=seed))))[1].kv[:, 0, :6]
            for seed in (1, 2)]  # fmt: skip
    apart = [float((a - b).abs().max()) for a, b in zip(*kept, strict=True)]
    assert apart[0] == 0 and min(apart[1:]) > 1e-3


def test_a_beginning_is_taken_up_for_its_own_photo_alone_and_answers_stay_the_same_to_the_last_bit(monkeypatch):
    """Photos and questions without one in turns, with what was read ahead and without."""
    monkeypatch.setattr("lav2.inference.cache.PREFILL_CHUNK", 4)
    model = open_gates(adapted(DEEP))
    engine, words, turns = Engine(model), tokenizer(), scheduler.Scheduler()
    begun, original = [], engine._read

    def read(ids, cache):
        begun.append(cache.length)
        return original(ids, cache)

    monkeypatch.setattr(engine, "_read", read)
    shared = prefix_cache.PrefixCache(shared_prefix=3)
    photos = {name: object() for name in ("dog", "cat")} | {"none": None}
    with torch.inference_mode():
        given = {name: engine.prompt_kv(engine.visual_prompt(clip_tokens(seed=seed)))
                 for seed, name in enumerate(("dog", "cat"))} | {"none": engine.prompt_kv()}  # fmt: skip

    def ask(name, prompt, kept, prefilled=None):
        begun.clear()
        asked = streaming.stream(
            engine, words, prompt, given[name], GREEDY, kept, photos[name], turns, prefilled=prefilled
        )
        return "".join(text for text, _ in asked), list(begun)

    prompt, other = "w5 w9 w33 w7 w8 w9 w10 w11 w12 w13", "w5 w9 w33 w7 w8 w40"
    alone = {(name, text): ask(name, text, prefix_cache.PrefixCache(shared_prefix=3))[0] for name in photos
             for text in (prompt, other)}  # fmt: skip
    assert len({alone[name, prompt] for name in photos}) == 3
    for name in photos:
        answer, steps = ask(name, prompt, shared)
        assert answer == alone[name, prompt] and steps[0] == 0
    for name in ("none", "dog", "cat"):
        answer, steps = ask(name, other, shared)
        assert answer == alone[name, other] and steps[0] == 4
    read = streaming.prefill_prefix(
        engine, words, prompt, given["dog"], prefix_cache.PrefixCache(shared_prefix=3), photos["dog"], turns
    )
    answer, steps = ask("dog", prompt, prefix_cache.PrefixCache(shared_prefix=3), read)
    assert answer == alone["dog", prompt] and steps[0] == 8
    with torch.inference_mode():
        reference = ["".join(text for text, _ in streaming.stream(model, words, prompt, prompt_kv, GREEDY))
                     for prompt_kv in given.values()]  # fmt: skip
    assert reference == [alone[name, prompt] for name in given]


def test_beam_and_drafts_of_a_photo_are_those_of_the_model():
    model = open_gates(AdaptedLlama(llama(), DEEP, PROJECTOR, VISION).eval())
    engine, ids = Engine(model), token_ids()
    with torch.inference_mode():
        prompt_kv = engine.prompt_kv(engine.visual_prompt(clip_tokens()))
    sampling = Sampling(0.9, 1.0, 8, seed=3)
    for search_by in (
        lambda one: search.beam(one, ids, prompt_kv, [2], 4, 8),
        lambda one: search.drafts(one, ids, prompt_kv, sampling, [2], 5),
    ):
        assert search_by(engine) == search_by(model)


def test_a_preset_takes_other_prompts_for_a_new_adapter():
    early = with_prompts(EMBEDDED, Prompts("early", 2, 28)).adapter_config
    assert (early.fusion, early.visual_layers, early.adapter_layers) == ("early", 2, 28)
    assert with_prompts(EMBEDDED, Prompts()) == EMBEDDED


@pytest.mark.parametrize(("more", "message"), [
    (("--visual-layers", "2"), "Add --fusion early"),
    (("--init", "/nowhere", "--fusion", "early"), "The adapter of --init has its own prompts"),
])  # fmt: skip
def test_prompts_that_cannot_be_are_told_before_anything_loads(more, message, tmp_path, capsys):
    arguments = ["train", "--stage", "pretrain", "--data", "none.jsonl", "--out", str(tmp_path / "run"), *more]
    assert main(arguments) == 1
    assert message in capsys.readouterr().err
