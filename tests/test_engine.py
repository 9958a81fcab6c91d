"""The engine computes what the adapted LLaMA computes: open gates, every family of shapes, padded batches, int8, C."""

import platform

import pytest
import torch
from engines import GREEDY, ON_INPUT, compiled, in_pieces, of_family, photo_prompts
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
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen3Config

from lav2.config import AdapterConfig
from lav2.errors import LAV2Error
from lav2.inference import native, search
from lav2.inference.engine import NATIVE_ROWS, Engine, refusal
from lav2.inference.folding import Arena, Folded, quantised, unmap
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import ATTENTION
from lav2.model.llm import share_frozen


@pytest.mark.parametrize("config", [LATE, EARLY, ON_INPUT])
def test_logits_of_a_llama_are_those_of_transformers_forward(config):
    model = open_gates(adapted(config))
    prompt_kv, ids = photo_prompts(model), token_ids(2, 10)
    torch.testing.assert_close(
        in_pieces(Engine(model), ids, prompt_kv), in_pieces(model, ids, prompt_kv), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("config", [Qwen2Config, Qwen3Config])
def test_logits_of_other_families_are_those_of_transformers_forward(config):
    model = of_family(config)
    prompt_kv, ids = photo_prompts(model), token_ids(2, 10)
    torch.testing.assert_close(
        in_pieces(Engine(model), ids, prompt_kv), in_pieces(model, ids, prompt_kv), atol=1e-4, rtol=1e-4
    )


def test_logits_with_llama_3s_scaled_rotation_are_those_of_transformers_forward():
    scaled = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 16}  # fmt: skip
    models = [AdaptedLlama(llm, LATE, PROJECTOR, VISION).eval() for llm in (llama(rope_parameters=scaled), llama())]
    prompt_kv, ids = photo_prompts(open_gates(models[0])), token_ids(2, 10)
    found, wanted, plain = (in_pieces(one, ids, prompt_kv) for one in (Engine(models[0]), models[0], models[1]))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert (wanted - plain).abs().max() > 0.01


@pytest.mark.parametrize("rows_with_image", [None, [True, False, True]])
def test_a_batch_of_unequal_prompts_answers_as_transformers_forward(rows_with_image):
    model = open_gates(adapted(EARLY))
    has_image = None if rows_with_image is None else torch.tensor(rows_with_image)
    with torch.no_grad():
        prompt_kv = model.prompt_kv(model.visual_prompt(clip_tokens(3)), has_image)
    prompts = ["w5 w9 w33", "w7 w8 w40 w41 w42 w11", "w12"]
    answers = [search.batch(one, tokenizer(), prompts, prompt_kv, GREEDY) for one in (model, Engine(model))]
    assert answers[0] == answers[1]
    assert len(set(answers[0])) == 3


@compiled
@pytest.mark.parametrize("rows", [1, 2, 3, 5])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_compiled_step_is_the_forward_in_torch(rows, threads):
    """Of the same bfloat16 weights, there in float32: torch's own bfloat16 differs from processor to processor."""
    model = wide()
    ids, mask = token_ids(rows, 10), torch.ones(rows, 7, dtype=torch.long)
    mask[0, :3] = 0
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found, engines = [], [Engine(model, int8=False), Engine(in_float32(model), compiled=False)]
        assert engines[0].library is not None
        for engine in engines:
            prompt_kv = photo_prompts(engine, rows)
            _, cache = engine(ids[:, :7], prompt_kv, mask)
            found.append(torch.stack([engine(ids[:, i : i + 1], prompt_kv, cache=cache)[0] for i in range(7, 10)], 1))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found[0].float(), found[1], atol=0.05, rtol=0.05)


@compiled
@pytest.mark.parametrize("threads", [1, 3])
def test_the_compiled_step_takes_widths_that_fill_neither_tiles_nor_blocks_of_factors(threads):
    """17 and 35 blocks in a row, a vocabulary of 67, as many rows as it takes; against its int8 weights expanded."""
    model = wide(hidden_size=544, intermediate_size=1120, vocab_size=67, initializer_range=0.03)
    prompt_kv, ids = photo_prompts(model, NATIVE_ROWS), token_ids(NATIVE_ROWS, 5)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        engine = Engine(model, int8=True)
        engine.matmul_dtype, engine.reads = torch.float32, False
        whole, _ = engine(ids, prompt_kv)
        engine.reads = True
        _, cache = engine(ids[:, :4], prompt_kv)
        last, _ = engine(ids[:, 4:], prompt_kv, cache=cache)
        at_once, _ = engine(ids, prompt_kv)  # 160 tokens: more than a call takes
    finally:
        torch.set_num_threads(before)
    assert whole.shape == last.shape == (NATIVE_ROWS, 67)
    assert float((whole - last).norm() / whole.norm()) < 0.01
    assert torch.equal(at_once, last)


@compiled
@pytest.mark.parametrize("length", [3, 70, 300])
def test_a_prompt_read_by_the_compiled_step_is_that_read_by_torch_whatever_its_pieces(length):
    """With padding, and for each text to the last bit as alone."""
    model = wide()
    engine, prompt_kv = Engine(model, int8=True), photo_prompts(model, 2)
    ids, mask = token_ids(2, length), torch.ones(2, length, dtype=torch.long)
    mask[1, : length // 3] = 0
    engine.matmul_dtype = torch.float32
    found = []
    for engine.reads in (False, True):
        found.append(engine(ids, prompt_kv, mask)[0])
    cut = 2 * length // 3
    _, cache = engine(ids[:, :cut], prompt_kv, mask[:, :cut])
    pieces, _ = engine(ids[:, cut:], prompt_kv, cache=cache)
    own = tuple(prompt and tuple(part[-1:] for part in prompt) for prompt in prompt_kv)
    alone, _ = engine(ids[1:, length // 3 :], own)
    assert float((found[0] - found[1]).norm() / found[0].norm()) < 0.01
    assert torch.equal(pieces, found[1]) and torch.equal(alone[0], found[1][1])


@compiled
@pytest.mark.parametrize("rows", [3, 32, 129])
def test_texts_that_begin_in_a_later_piece_are_read_as_by_torch(rows):
    """More rows than decode.c takes are torch's."""
    model = wide()
    engine, ids = Engine(model, int8=True), token_ids(rows, 300)
    mask = torch.ones(rows, 300, dtype=torch.long)
    mask[1:, :150] = 0
    engine.matmul_dtype = torch.float32
    found = []
    for engine.reads in (False, True):
        found.append(engine(ids, model.prompt_kv(), mask)[0])
    assert float((found[0] - found[1]).norm() / found[0].norm()) < 0.01


@compiled
def test_an_empty_text_and_a_token_that_the_model_does_not_know_are_refused():
    engine = Engine(wide(), int8=True)
    with pytest.raises(LAV2Error, match="empty"):
        engine(token_ids(2, 3), (None,) * 4, torch.tensor([[1, 1, 1], [0, 0, 0]]))
    _, cache = engine(token_ids(1, 3), (None,) * 4)
    for strange in (-1, 64):
        with pytest.raises(LAV2Error, match="none of the model's 64"):
            engine.decode_step([strange], [cache])
    assert cache.length == 3


@compiled
@pytest.mark.parametrize(("texts", "prompt"), [((15, 17), 3), ((130, 1), 20), ((700, 513), 150)])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_compiled_step_attends_to_texts_and_prompts_in_splits(texts, prompt, threads):
    """As the forward in torch does, and for each text to the last bit as alone."""
    model = wide(AdapterConfig(fusion="late", prompt_length=prompt, adapter_layers=3))
    token, before = torch.tensor([[20]]), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        engine, prompt_kv = Engine(model, int8=False), photo_prompts(model)
        exact = Engine(in_float32(model), compiled=False)
        asked = [token_ids(1, length, seed=length) for length in texts]
        caches = [engine(ids, prompt_kv)[1] for ids in asked]
        together = engine.decode_step([20, 20], caches)
        alone = [engine(token, (), cache=engine(ids, prompt_kv)[1])[0] for ids in asked]
        found = [exact(torch.cat([ids, token], 1), prompt_kv)[0] for ids in asked]
    finally:
        torch.set_num_threads(before)
    assert torch.equal(together, torch.cat(alone))
    torch.testing.assert_close(together, torch.cat(found), atol=0.05, rtol=0.05)


@compiled
@pytest.mark.parametrize(("int8", "bound"), [(False, 0.02), (True, 0.03)])
def test_bfloat16_and_int8_stay_within_their_bound_of_float32(int8, bound):
    """The bound is the root mean square of the difference over that of the logits."""
    model = wide()
    ids = token_ids(2, 10)
    fast = in_pieces(Engine(model, int8=int8), ids, photo_prompts(model, 2))
    model.llm.float()
    exact = in_pieces(model, ids, photo_prompts(model, 2))
    assert float((fast - exact).pow(2).mean().sqrt() / exact.pow(2).mean().sqrt()) < bound


def test_an_engine_that_released_the_frozen_matrices_answers_the_same():
    model = open_gates(adapted())
    ids = token_ids(1, 10)
    before = in_pieces(Engine(model), ids, photo_prompts(model))
    engine = Engine(model, release=True)
    assert torch.equal(in_pieces(engine, ids, photo_prompts(engine)), before)
    assert model.decoder.layers[0].mlp.up_proj.weight.numel() == 0


@compiled
def test_int8_weights_are_within_half_a_step_of_the_weights():
    weight = torch.randn(6, 96, generator=torch.Generator().manual_seed(0))
    weight[0, :32] = 0
    matrix = quantised([Folded(weight)], None, Arena())
    kept = matrix(torch.eye(96)).T  # rows of zeros fill up a tile
    step = matrix.factor[0].float().T.repeat_interleave(32, 1)  # of one tile [blocks, rows]
    assert kept.shape == (16, 96) and not kept[6:].any()
    assert ((kept[:6] - weight).abs() <= 0.505 * step[:6] + 0.005 * weight.abs()).all()
    whole = kept / step.clamp(min=1e-30)
    torch.testing.assert_close(whole, whole.round(), atol=1e-3, rtol=0)


def tuned_parts(dtype=torch.bfloat16):
    generator = torch.Generator().manual_seed(2)
    return [
        Folded(
            torch.randn(rows, 96, generator=generator).to(dtype),
            added=0.1 * torch.randn(rows, 96, generator=generator),
            scale=torch.randn(rows, generator=generator),
        )
        for rows in (32, 16, 6)
    ]


@compiled
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_weights_that_are_folded_as_they_are_quantised_are_those_of_the_folded_matrix(dtype):
    parts = tuned_parts(dtype)
    found = quantised(parts, None, Arena())
    expected = quantised([Folded(torch.cat([part.float_weight() for part in parts]))], None, Arena())
    assert torch.equal(found.weight, expected.weight) and torch.equal(found.factor, expected.factor)


def test_what_the_engine_does_not_take_is_told():
    model = adapted()
    assert refusal(model) == ""
    model.llm.config.sliding_window = 16
    assert "sliding window" in refusal(model)
    with pytest.raises(LAV2Error, match="int8 weights need"):
        Engine(adapted(), int8=True)  # float32 and a width of 48
    with pytest.raises(LAV2Error, match="do not fit"):
        Engine(adapted(), context=8)(token_ids(1, 9), adapted().prompt_kv())


@compiled
def test_int8_products_in_bfloat16_and_float32_agree_within_bfloat16s_step():
    weight = torch.randn(16, 96, generator=torch.Generator().manual_seed(0))
    matrix = quantised([Folded(weight)], torch.ones(16), Arena())
    x = torch.randn(5, 96, generator=torch.Generator().manual_seed(1))
    exact, fast = matrix(x), matrix(x, torch.empty(16 * 96, dtype=torch.bfloat16))
    assert exact.dtype == fast.dtype == torch.float32
    assert float((exact - fast).norm() / exact.norm()) < 2**-7
    exact, fast = torch.empty(16 * 96), torch.empty(16 * 96, dtype=torch.bfloat16)
    matrix(x, exact), matrix(x, fast)
    assert torch.equal(fast, exact.bfloat16())


@compiled
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("many", [6, 16, 35])
def test_the_compiled_product_of_int8_weights_is_that_of_the_expanded_ones(rows, many):
    """Vectors are rounded to int16, which is nearly exact, whatever the numbers of rows and blocks."""
    generator = torch.Generator().manual_seed(rows)
    matrix = quantised([Folded(torch.randn(many, 19 * 32, generator=generator))], None, Arena())
    x = torch.randn(rows, 19 * 32, generator=generator)
    x[:, 7] = 3000  # massive activations, as Llamas have them, cost 31 others of their block half a step of 0.09
    found = linear(native.library(), matrix, x, many)
    torch.testing.assert_close(found, matrix(x)[:, :many], atol=1, rtol=1e-4)
    for row in range(rows):
        assert torch.equal(linear(native.library(), matrix, x[row:][:1], many, 1)[0], found[row])
    x[:, 7] = 0
    torch.testing.assert_close(linear(native.library(), matrix, x, many), matrix(x)[:, :many], atol=2e-3, rtol=1e-4)


def linear(library, matrix, x, many, threads=2):
    found, scratch = torch.empty(len(x), many), torch.empty(x.numel() + 16)
    library.lav2_linear(
        matrix.weight.data_ptr(), matrix.factor.data_ptr(), x.data_ptr(), len(x), x.shape[1], many,
        scratch.data_ptr(), found.data_ptr(), threads,
    )  # fmt: skip
    return found


@compiled
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of x86-64")
@pytest.mark.parametrize("march", ["x86-64", "x86-64-v3"])
def test_processors_without_wide_vectors_get_the_same_products(march, monkeypatch, tmp_path):
    """The branches of decode.c for AVX2, and for none of it, which other processors take."""
    matrix = quantised([Folded(torch.randn(16, 19 * 32, generator=torch.Generator().manual_seed(0)))], None, Arena())
    x = torch.randn(5, 19 * 32, generator=torch.Generator().manual_seed(1))
    here = native.library()
    if march == "x86-64-v3" and not torch.cpu.get_capabilities().get("avx2"):
        pytest.skip("this processor has no AVX2")
    monkeypatch.setattr(native, "FLAGS", tuple(f"-march={march}" if "march" in flag else flag for flag in native.FLAGS))
    monkeypatch.setenv("LAV2_CACHE", str(tmp_path))
    monkeypatch.setattr(native, "SECONDS", None)  # on a busy machine the compiler takes minutes
    other = native.library.__wrapped__()
    made = quantised(tuned_parts(), None, Arena())
    monkeypatch.setattr(native, "library", lambda: other)
    found = quantised(tuned_parts(), None, Arena())
    assert torch.equal(found.weight, made.weight) and torch.equal(found.factor, made.factor)
    torch.testing.assert_close(linear(other, matrix, x, 16), linear(here, matrix, x, 16), atol=1e-4, rtol=1e-5)


@compiled
def test_weights_left_behind_are_copied_out_of_the_file_and_stay_shared(tmp_path):
    sizes = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 32}
    llama(**sizes).bfloat16().save_pretrained(tmp_path)
    llm = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation=ATTENTION, dtype=torch.bfloat16).eval()
    both = [AdaptedLlama(one, LATE, PROJECTOR, VISION).eval() for one in (llm, share_frozen(llm))]
    second = Engine(both[1], int8=True)
    first = Engine(both[0], int8=True, head=second.head, release=True)
    ids, kv = token_ids(1, 6), both[0].prompt_kv()
    before = [engine(ids, kv)[0] for engine in (first, second)]
    held = [p.data for m in both for p in m.llm.parameters() if p.numel()]  # so that no place is used again
    places = {p.untyped_storage().data_ptr() for p in held}
    unmap(both)
    assert not places & {p.untyped_storage().data_ptr() for m in both for p in m.llm.parameters() if p.numel()}
    assert all(torch.equal(engine(ids, kv)[0], was) for engine, was in zip((first, second), before, strict=True))
    keys = [m.decoder.layers[1].self_attn.k_proj.weight.data_ptr() for m in both]
    assert keys[0] == keys[1]
    assert first.embedding.data_ptr() == llm.get_input_embeddings().weight.data_ptr()


def test_one_model_in_both_places_keeps_every_weight_its_own():
    """A copy at the address of a weight that was freed before was taken for it: norms moved on by a layer."""
    model = adapted()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.llm.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    before = {name: parameter.clone() for name, parameter in model.llm.named_parameters()}
    unmap([model, model])
    assert all(torch.equal(before[name], parameter) for name, parameter in model.llm.named_parameters())
