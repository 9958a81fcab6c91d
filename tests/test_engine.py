"""The engine computes what the adapted LLaMA computes: open gates, every family of shapes, padded batches, int8, C."""

import dataclasses
import itertools
import json
import os
import platform
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen3Config

from lav2.config import AdapterConfig
from lav2.errors import LAV2Error
from lav2.events import Sampling
from lav2.inference import backend, native, prefix_cache, sampler, scheduler, search, streaming
from lav2.inference.engine import NATIVE_ROWS, Engine, refusal
from lav2.inference.folding import Arena, Folded, quantised, unmap
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import ATTENTION
from lav2.model.llm import share_frozen

DEVICE = os.environ.get("LAV2_TEST_DEVICE", "cpu")  # of the tests marked so
GREEDY = Sampling(max_new_tokens=8, repetition_penalty=1.0)
ON_INPUT = AdapterConfig("late", 3, 3, lora_rank=2, scale_on_input=True, gate_scale=True, tuned_prompts=True)
compiled = pytest.mark.skipif(native.library() is None, reason="needs a C compiler (cc, gcc or clang)")


def photo_prompts(model, rows=1):
    with torch.no_grad():
        return model.prompt_kv(model.visual_prompt(clip_tokens(rows)))


def in_pieces(model, ids, prompt_kv):
    """Logits after 6 tokens at once, 2 at once and 1 + 1."""
    logits, cache = [], None
    for begin, end in ((0, 6), (6, 8), (8, 9), (9, 10)):
        last, cache = backend.prefill(model, ids[:, begin:end], prompt_kv, cache=cache)
        logits.append(last.float())
    return torch.stack(logits, 1)


def of_family(config):
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4,
             "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.3}  # fmt: skip
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(config(**sizes), attn_implementation=ATTENTION).eval()
    with torch.no_grad():
        for name, parameter in llm.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return open_gates(AdaptedLlama(llm, LATE, PROJECTOR, VISION).eval())


@pytest.mark.parametrize("config", [LATE, EARLY, ON_INPUT])
def test_logits_of_a_llama_are_those_of_transformers_forward(config):
    model = open_gates(adapted(config))
    prompt_kv, ids = photo_prompts(model), token_ids(2, 10)
    torch.testing.assert_close(
        in_pieces(Engine(model), ids, prompt_kv), in_pieces(model, ids, prompt_kv), atol=1e-4, rtol=1e-4
    )


class Launched:
    """Recorded without a graph, which needs a GPU: what would be recorded is computed at each call."""

    def __init__(self, engine, rows):
        self._engine, self._rows = engine, rows

    def __call__(self, tokens, *more):
        assert len(tokens) <= self._rows < 2 * len(tokens)
        return self._engine.fused_step(tokens, *more)


@pytest.fixture
def fused(monkeypatch):
    """An engine whose steps are those of kernels.py: on a GPU as they are, else by Triton's interpreter."""
    pytest.importorskip("triton")

    def make(model):
        if DEVICE == "cpu":
            monkeypatch.setattr("lav2.inference.engine.CudaGraphStep", Launched)
        engine = Engine(model)
        engine.library, engine.fused = None, True
        return engine

    return make


def family(config):
    return of_family(config) if config is Qwen3Config else open_gates(adapted(config))


@pytest.mark.device
@pytest.mark.parametrize("config", [LATE, EARLY, Qwen3Config])
@torch.inference_mode()
def test_the_fused_step_is_the_forward(config, fused):
    model = family(config).to(DEVICE)
    prompt_kv = model.prompt_kv(model.visual_prompt(clip_tokens(2).to(DEVICE)))
    padding = torch.ones(2, 140, dtype=torch.int64, device=DEVICE)  # more than the kernel looks at in one go
    padding[0, :3] = 0
    results = []
    for make in (lambda model: Engine(model, compiled=False), fused):
        engine = make(model)
        logits, cache = engine(token_ids(2, 140).to(DEVICE), prompt_kv, padding)
        found = [logits]
        for step in range(2):
            cache.kv[:, :, cache.length :] = float("nan")  # what lies there must not be looked at
            found.append(engine(token_ids(2, 9)[:, step : step + 1].to(DEVICE), prompt_kv, cache=cache)[0])
        cache.batch_select_indices(torch.tensor([1, 0, 1], device=DEVICE))
        cache.kv[:, :, cache.length :] = float("nan")
        found.append(engine(token_ids(3, 1).to(DEVICE), prompt_kv, cache=cache)[0])
        assert engine.fused == (make is fused)
        results.append(torch.cat(found).cpu())
    torch.testing.assert_close(*results, atol=2e-4, rtol=2e-4)


@pytest.mark.device
@torch.inference_mode()
def test_texts_that_share_fused_steps_get_what_each_gets_alone(fused):
    model = open_gates(adapted(LATE)).to(DEVICE)
    engine = fused(model)
    found = []
    for together in (False, True):
        caches = []
        for length in (5, 131):
            prompt_kv = model.prompt_kv(model.visual_prompt(clip_tokens(1, seed=length).to(DEVICE)))
            caches.append(engine(token_ids(1, length).to(DEVICE), prompt_kv)[1])
        steps = token_ids(2, 2).to(DEVICE)
        if together:
            found.append(torch.stack([engine.decode_step(steps[:, i].tolist(), caches) for i in range(2)]))
        else:
            each = [[engine.decode_step([row[i]], [cache]) for row, cache in zip(steps.tolist(), caches, strict=True)]
                    for i in range(2)]  # fmt: skip
            found.append(torch.stack([torch.cat(rows) for rows in each]))
    assert engine.fused
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)


@pytest.mark.device
def test_steps_are_recorded_ahead_for_as_many_rows_as_are_asked_for(fused):
    engine = fused(open_gates(adapted(LATE)).to(DEVICE))
    engine.record(5)
    assert set(engine._steps) == {1, 2, 4} and engine.fused


@pytest.mark.parametrize(("error", "given_up"), [(ZeroDivisionError, True), (torch.OutOfMemoryError, False)])
@torch.inference_mode()
def test_where_fused_steps_fail_torch_takes_over(error, given_up, fused, monkeypatch, caplog):
    def broken(engine, rows):
        raise error("too bad")

    model = open_gates(adapted(LATE))
    engine, plain = fused(model), Engine(model, compiled=False)
    monkeypatch.setattr("lav2.inference.engine.CudaGraphStep", broken)
    ids, prompt_kv = token_ids(2, 4), photo_prompts(model)
    results = []
    for one in (engine, plain):
        cache = one(ids, prompt_kv)[1]
        results.append(one(token_ids(2, 1), prompt_kv, cache=cache)[0])
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)
    assert engine.fused != given_up and "too bad" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_fused_kernels_compile_for_a_gpu_where_there_is_none(dtype):
    """And read a cache 16 bytes at once, or they take several times as long. Apart, as here they are interpreted."""
    pytest.importorskip("triton")
    script = Path(__file__).parent / "compile_kernels.py"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, script, dtype], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert set(made) == {"_add_norm", "_silu_times", "_attend_split", "_merge_partials"}
    assert made["_attend_split"].count("ld.global.v4") > 8


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
def test_the_compiled_step_attends_to_texts_and_prompts_in_stretches(texts, prompt, threads):
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
    expected = quantised([Folded(torch.cat([part.whole() for part in parts]))], None, Arena())
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


def pieces_of(engine, monkeypatch) -> list:
    """What the engine reads from now on: where each piece begins, its tokens, its logits."""
    done, original = [], engine._read

    def forward(ids, cache):
        logits = original(ids, cache)
        done.append((cache.length, ids.shape[1], logits))
        return logits

    monkeypatch.setattr(engine, "_read", forward)
    return done


def test_a_second_question_takes_up_the_pieces_it_shares_and_answers_to_the_last_bit_the_same(monkeypatch):
    monkeypatch.setattr("lav2.inference.cache.PREFILL_CHUNK", 4)
    model = open_gates(adapted())
    engine, words, kept, photo = Engine(model), tokenizer(), prefix_cache.PrefixCache(), object()
    prompt_kv = photo_prompts(model)
    done = pieces_of(engine, monkeypatch)

    def ask(prompt, photo, kept=kept):
        done.clear()
        text = "".join(t for t, _ in streaming.stream(engine, words, prompt, prompt_kv, GREEDY, kept, photo))
        return text, list(done)

    first, all_steps = ask("w5 w9 w33 w7 w8 w9 w10 w11 w12 w13", photo)
    assert [step[:2] for step in all_steps[:3]] == [(0, 4), (4, 4), (8, 2)]
    again, steps = ask("w5 w9 w33 w7 w8 w9 w10 w11 w12 w13", photo)
    assert [step[:2] for step in steps] == [step[:2] for step in all_steps[2:]]
    assert all(torch.equal(a[2], b[2]) for a, b in zip(steps, all_steps[2:], strict=True))
    assert again == first
    second, steps = ask("w5 w9 w33 w7 w8 w40", photo)
    assert steps[0][:2] == (4, 2)
    assert second == ask("w5 w9 w33 w7 w8 w40", photo, None)[0]
    assert ask("w5 w9 w33 w7 w8 w40", object())[1][0][:2] == (0, 4)


def test_what_prompts_begin_with_is_read_ahead_and_the_answer_is_to_the_last_bit_the_same(monkeypatch):
    monkeypatch.setattr("lav2.inference.cache.PREFILL_CHUNK", 4)
    model = open_gates(adapted())
    engine, words, turns, photo = Engine(model), tokenizer(), scheduler.Scheduler(), object()
    prompt_kv = photo_prompts(model)
    done = pieces_of(engine, monkeypatch)

    def ask(kept, ahead=None):
        done.clear()
        asked = streaming.stream(engine, words, prompt, prompt_kv, GREEDY, kept, photo, turns, ahead=ahead)
        return "".join(t for t, _ in asked), list(done)

    def ahead(kept, beginning, cancel=None):
        done.clear()
        read = streaming.read_ahead(engine, words, beginning, prompt_kv, kept, photo, turns, cancel)
        return read, [step[:2] for step in done]

    prompt = "w5 w9 w33 w7 w8 w9 w10 w11 w12 w13"
    alone, all_steps = ask(prefix_cache.PrefixCache(lead=3))
    assert [step[:2] for step in all_steps[:4]] == [(0, 3), (3, 1), (4, 4), (8, 2)]
    for beginning, wanted in ((prompt[:9], [(0, 3)]), (prompt[:15], [(0, 3), (3, 1)])):
        kept = prefix_cache.PrefixCache(lead=3)
        read, steps = ahead(kept, beginning)
        assert steps == wanted
        text, steps = ask(kept, read)
        assert text == alone and len(steps) == len(all_steps) - len(wanted)
        assert all(torch.equal(a[2], b[2]) for a, b in zip(steps, all_steps[len(wanted) :], strict=True))
        assert ahead(kept, beginning) == (None, [])  # another question: the answer's own cache holds it and more
        assert ask(kept)[1][0][:2] == (8, 2)
        read, steps = ahead(kept, prompt + " w14 w15 w16")  # a later question, whose history has grown
        assert steps == [(8, 4)] and len(read[0]) == 12
    assert ahead(prefix_cache.PrefixCache(lead=3), "w5 w9") == (None, [])  # shorter than what all prompts share
    cancel, kept = threading.Event(), prefix_cache.PrefixCache(lead=3)
    cancel.set()
    read, steps = ahead(kept, prompt, cancel)
    assert steps == [] and ask(kept, read)[0] == alone


def test_a_wide_beam_finds_what_brute_force_finds():
    model = open_gates(AdaptedLlama(llama(vocab_size=8), LATE, PROJECTOR, VISION).eval())
    prompt_kv = photo_prompts(model)
    ids, stop, steps = torch.tensor([[3, 5, 6]]), 2, 3
    answers = torch.tensor(list(itertools.product(range(8), repeat=steps)))
    with torch.no_grad():
        logits = model(torch.cat([ids.expand(len(answers), -1), answers], 1), prompt_kv).logits[:, 2:-1]
    chances = torch.log_softmax(logits, -1).gather(2, answers[..., None])[..., 0]  # [answers, steps]
    for power in (0.0, 1.0):
        scores = {}
        for answer, chance in zip(answers.tolist(), chances, strict=True):
            length = answer.index(stop) + 1 if stop in answer else steps
            scores[tuple(t for t in answer[:length] if t != stop)] = float(chance[:length].sum()) / length**power
        best = max(scores, key=scores.get)
        for one in (model, Engine(model)):
            assert tuple(search.beam(one, ids, prompt_kv, [stop], 64, steps, power)) == best


def test_a_beam_of_one_is_greedy():
    model = open_gates(adapted())
    prompt_kv = photo_prompts(model)
    for one in (model, Engine(model)):
        greedy = [int(t) for t in streaming.tokens(one, token_ids(), prompt_kv, GREEDY, [2])]
        assert search.beam(one, token_ids(), prompt_kv, [2], 1, 8) == [t for t in greedy if t != 2]


@compiled
def test_answers_that_share_their_steps_are_to_the_last_bit_those_given_alone():
    model = wide()
    engine, words = Engine(model), tokenizer()
    with torch.no_grad():
        photos = [model.prompt_kv(model.visual_prompt(clip_tokens(seed=seed))) for seed in range(5)]
    prompts = ["w5 w9 w33", "w7 w8 w40 w41 w42 w11", "w12", "w13 w14", "w5 w6 w7 w8"]
    caches = [engine(torch.tensor([streaming.encode(words, p)]), kv)[1] for p, kv in zip(prompts, photos, strict=True)]
    alone = [engine(torch.tensor([streaming.encode(words, p)]), kv)[1] for p, kv in zip(prompts, photos, strict=True)]
    for token in (20, 21, 22):
        together = engine.decode_step([token] * 5, caches)
        single = [engine(torch.tensor([[token]]), (), cache=cache)[0] for cache in alone]
        assert torch.equal(together, torch.cat(single))


@pytest.mark.parametrize("config", [LATE, EARLY])
def test_without_the_compiled_step_answers_that_share_their_steps_are_those_given_alone(config):
    """As on a GPU; one of the texts is padded."""
    model = open_gates(adapted(config))
    engine = Engine(model)
    assert engine.library is None
    with torch.no_grad():
        photos = [model.prompt_kv(model.visual_prompt(clip_tokens(seed=seed))) for seed in range(3)]
    texts = [token_ids(1, length, seed=length) for length in (3, 9, 5)]
    masks = [None, None, torch.tensor([[0, 0, 1, 1, 1]])]
    caches = [[engine(*given)[1] for given in zip(texts, photos, masks, strict=True)] for _ in range(2)]
    for token in (20, 21, 22):
        together = engine.decode_step([token] * 3, caches[0])
        single = [engine(torch.tensor([[token]]), (), cache=cache)[0] for cache in caches[1]]
        torch.testing.assert_close(together, torch.cat(single), atol=1e-4, rtol=1e-4)


@compiled
def test_threads_share_steps_and_get_their_own_answers(monkeypatch):
    model = wide()
    engine, words, turns = Engine(model), tokenizer(), scheduler.Scheduler()
    prompt_kv = photo_prompts(model)
    prompts = [f"w{3 + i} w{9 + i}" for i in range(6)]
    sampling = Sampling(max_new_tokens=20, repetition_penalty=1.0)
    alone = ["".join(t for t, _ in streaming.stream(engine, words, p, prompt_kv, sampling)) for p in prompts]
    sizes = []
    original = engine.decode_step
    monkeypatch.setattr(engine, "decode_step", lambda ids, caches: sizes.append(len(ids)) or original(ids, caches))

    def answer(prompt):
        return "".join(t for t, _ in streaming.stream(engine, words, prompt, prompt_kv, sampling, scheduler=turns))

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(answer, prompts)) == alone
    assert max(sizes) > 1
    assert turns._going == []


@compiled
def test_an_answer_goes_on_while_another_prompt_is_read_and_both_are_as_alone(monkeypatch):
    """The order of work is recorded: between two pieces of the second prompt there is a step of the first answer."""
    monkeypatch.setattr("lav2.inference.cache.PREFILL_CHUNK", 4)
    model = wide()
    engine, words, turns, prompt_kv = Engine(model), tokenizer(), scheduler.Scheduler(), photo_prompts(model)
    sampling = Sampling(max_new_tokens=40, repetition_penalty=1.0)
    prompts = ["w5 w9", " ".join(f"w{3 + i}" for i in range(40))]
    alone = ["".join(t for t, _ in streaming.stream(engine, words, p, prompt_kv, sampling)) for p in prompts]
    work, first_is_decoding, second_is_read = [], threading.Event(), threading.Event()
    pieces, steps = engine._read, engine.decode_step

    def forward(ids, cache):
        work.append("piece")
        if work.count("piece") == 2:  # the first of the second prompt
            second_is_read.set()
            end = time.monotonic() + 60
            while not turns._able() and time.monotonic() < end:  # until the first answer wants its next token
                time.sleep(0.001)
        return pieces(ids, cache)

    def together(ids, caches):
        work.append("step")
        return steps(ids, caches)

    monkeypatch.setattr(engine, "_read", forward)
    monkeypatch.setattr(engine, "decode_step", together)

    def first():
        said = ""
        for text, count in streaming.stream(engine, words, prompts[0], prompt_kv, sampling, scheduler=turns):
            said += text
            if count == 2:
                first_is_decoding.set()
                second_is_read.wait(60)
        return said

    def second():
        first_is_decoding.wait(60)
        return "".join(t for t, _ in streaming.stream(engine, words, prompts[1], prompt_kv, sampling, scheduler=turns))

    with ThreadPoolExecutor(2) as pool:
        assert [one.result() for one in [pool.submit(first), pool.submit(second)]] == alone
    read = [i for i, kind in enumerate(work) if kind == "piece"]
    assert len(read) == 1 + 10
    assert "step" in work[read[1] : read[-1]]


@compiled
def test_a_prompt_that_is_cancelled_is_read_no_further_and_makes_room_at_once(monkeypatch):
    monkeypatch.setattr("lav2.inference.cache.PREFILL_CHUNK", 4)
    model = wide()
    engine, words, turns, photo = Engine(model), tokenizer(), scheduler.Scheduler(), object()
    kept = prefix_cache.PrefixCache()
    prompt_kv, cancel, done = photo_prompts(model), threading.Event(), []
    original = engine._read

    def forward(ids, cache):
        done.append(ids.shape[1])
        if len(done) == 2:
            cancel.set()
        return original(ids, cache)

    monkeypatch.setattr(engine, "_read", forward)
    prompt = " ".join(f"w{3 + i}" for i in range(40))
    asked = streaming.stream(engine, words, prompt, prompt_kv, GREEDY, kept, photo, turns, cancel)
    assert list(asked) == [] and done == [4, 4]
    assert turns._prompts == [] and turns._going == []
    again = streaming.stream(engine, words, prompt, prompt_kv, GREEDY, kept, photo, turns, threading.Event())
    assert list(again) == list(streaming.stream(engine, words, prompt, prompt_kv, GREEDY))
    assert done[2] == 4 and len(done) == 2 + 8 + 10  # the two pieces were kept: eight were left to read


@compiled
def test_a_step_that_fails_is_told_to_every_answer_in_it(monkeypatch):
    model = wide()
    engine, words, turns, prompt_kv = Engine(model), tokenizer(), scheduler.Scheduler(), photo_prompts(model)

    def broken(ids, caches):
        raise MemoryError("no room")

    monkeypatch.setattr(engine, "decode_step", broken)

    def answer(prompt):
        return list(streaming.stream(engine, words, prompt, prompt_kv, GREEDY, scheduler=turns))

    with ThreadPoolExecutor(3) as pool:
        failed = [pool.submit(answer, f"w{3 + i}").exception(60) for i in range(3)]
    assert [type(error) for error in failed] == [MemoryError] * 3


@compiled
def test_what_one_answer_cannot_choose_fails_that_answer_alone(monkeypatch):
    model = wide()
    engine, words, turns, prompt_kv = Engine(model), tokenizer(), scheduler.Scheduler(), photo_prompts(model)
    whole = list(streaming.stream(engine, words, "w5 w9", prompt_kv, GREEDY))
    original = sampler.sample

    def sample(logits, sampling, *rest):
        if sampling.seed == 13 and threading.current_thread() is turns._worker:
            raise ZeroDivisionError
        return original(logits, sampling, *rest)

    monkeypatch.setattr(sampler, "sample", sample)

    def answer(seed):
        sampling = dataclasses.replace(GREEDY, seed=seed)
        return list(streaming.stream(engine, words, "w5 w9", prompt_kv, sampling, scheduler=turns))

    with ThreadPoolExecutor(2) as pool:
        bad, good = pool.submit(answer, 13), pool.submit(answer, 0)
        assert isinstance(bad.exception(60), ZeroDivisionError) and good.result(60) == whole


@compiled
def test_an_answer_is_computed_a_little_ahead_and_not_after_it_is_closed():
    model = wide()
    engine, turns, prompt_kv = Engine(model), scheduler.Scheduler(), photo_prompts(model)
    cache, sampling = engine.begin(1, prompt_kv), Sampling(max_new_tokens=100)
    answer = streaming.tokens(engine, token_ids(1, 5), prompt_kv, sampling, [-1], cache=cache, scheduler=turns)
    for _ in range(3):
        next(answer)
    wait_until(lambda: cache.length == 5 + 2 + turns.AHEAD)
    time.sleep(0.05)
    assert cache.length == 5 + 2 + turns.AHEAD  # one token is chosen from the prompt
    answer.close()
    assert turns._going == turns._stepping == []
    wait_until(lambda: turns._worker is None)
    assert cache.length == 5 + 2 + turns.AHEAD


def wait_until(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


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
    monkeypatch.setattr(native, "SECONDS", 300)  # the compiler is slow on a busy machine
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
