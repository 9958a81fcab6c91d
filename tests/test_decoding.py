"""Decoding on the engine: prefixes that are read once, beams, and answers that share their steps."""

import dataclasses
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from engines import GREEDY, compiled, photo_prompts
from tiny import (
    EARLY,
    LATE,
    PROJECTOR,
    VISION,
    adapted,
    clip_tokens,
    llama,
    open_gates,
    token_ids,
    tokenizer,
    wide,
)

from lav2.events import Sampling
from lav2.inference import prefix_cache, sampler, scheduler, search, streaming
from lav2.inference.engine import Engine
from lav2.model.adapted import AdaptedLlama


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


def test_what_prompts_begin_with_is_prefill_prefix_and_the_answer_is_to_the_last_bit_the_same(monkeypatch):
    monkeypatch.setattr("lav2.inference.cache.PREFILL_CHUNK", 4)
    model = open_gates(adapted())
    engine, words, turns, photo = Engine(model), tokenizer(), scheduler.Scheduler(), object()
    prompt_kv = photo_prompts(model)
    done = pieces_of(engine, monkeypatch)

    def ask(kept, prefilled=None):
        done.clear()
        asked = streaming.stream(engine, words, prompt, prompt_kv, GREEDY, kept, photo, turns, prefilled=prefilled)
        return "".join(t for t, _ in asked), list(done)

    def ahead(kept, beginning, cancel=None):
        done.clear()
        read = streaming.prefill_prefix(engine, words, beginning, prompt_kv, kept, photo, turns, cancel)
        return read, [step[:2] for step in done]

    prompt = "w5 w9 w33 w7 w8 w9 w10 w11 w12 w13"
    alone, all_steps = ask(prefix_cache.PrefixCache(shared_prefix=3))
    assert [step[:2] for step in all_steps[:4]] == [(0, 3), (3, 1), (4, 4), (8, 2)]
    for beginning, wanted in ((prompt[:9], [(0, 3)]), (prompt[:15], [(0, 3), (3, 1)])):
        kept = prefix_cache.PrefixCache(shared_prefix=3)
        read, steps = ahead(kept, beginning)
        assert steps == wanted
        text, steps = ask(kept, read)
        assert text == alone and len(steps) == len(all_steps) - len(wanted)
        assert all(torch.equal(a[2], b[2]) for a, b in zip(steps, all_steps[len(wanted) :], strict=True))
        assert ahead(kept, beginning) == (None, [])  # another question: the answer's own cache holds it and more
        assert ask(kept)[1][0][:2] == (8, 2)
        read, steps = ahead(kept, prompt + " w14 w15 w16")  # a later question, whose history has grown
        assert steps == [(8, 4)] and len(read[0]) == 12
    assert ahead(prefix_cache.PrefixCache(shared_prefix=3), "w5 w9") == (
        None,
        [],
    )  # shorter than what all prompts share
    cancel, kept = threading.Event(), prefix_cache.PrefixCache(shared_prefix=3)
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
    assert turns._active == []


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
            while (
                not turns._waiting_for_step() and time.monotonic() < end
            ):  # until the first answer wants its next token
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
    assert turns._prompts == [] and turns._active == []
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
    wait_until(lambda: cache.length == 5 + 2 + turns.BUFFERED)
    time.sleep(0.05)
    assert cache.length == 5 + 2 + turns.BUFFERED  # one token is chosen from the prompt
    answer.close()
    assert turns._active == turns._in_step == []
    wait_until(lambda: turns._worker is None)
    assert cache.length == 5 + 2 + turns.BUFFERED


def wait_until(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)
