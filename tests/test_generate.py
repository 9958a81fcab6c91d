"""Generation: cached, batched and streamed tokens are those of the plain forward pass, with open gates."""

from itertools import pairwise

import pytest
import torch
from tiny import EARLY, LATE, adapted, clip_tokens, open_gates, token_ids, tokenizer

from lav2.errors import LAV2Error
from lav2.events import Sampling
from lav2.inference import backend, sampler, search, streaming
from lav2.inference.engine import Engine

GREEDY = Sampling(max_new_tokens=8, repetition_penalty=1.0)


def greedy_by_plain_forward(model, ids, prompt_kv, steps):
    for _ in range(steps):
        ids = torch.cat([ids, model(ids, prompt_kv).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    return ids[0, -steps:].tolist()


def test_cached_logits_are_the_uncached_ones():
    for config in (EARLY, LATE):
        model = open_gates(adapted(config))
        prompt_kv = model.prompt_kv(model.visual_prompt(clip_tokens()))
        ids = token_ids(1, 10)
        with torch.no_grad():
            full = model(ids, prompt_kv).logits[0]
            last, cache = backend.prefill(model, ids[:, :6], prompt_kv)
            torch.testing.assert_close(last[0], full[5], atol=1e-5, rtol=1e-5)
            for place in range(6, 10):
                last, cache = backend.prefill(model, ids[:, place : place + 1], prompt_kv, cache=cache)
                torch.testing.assert_close(last[0], full[place], atol=1e-5, rtol=1e-5)


def test_the_engine_and_transformers_own_forward_have_what_decoding_asks_of_either():
    asked = {
        name for name in (*vars(backend.DecoderBackend), *backend.DecoderBackend.__annotations__) if name[0] != "_"
    }
    for model in (adapted(LATE), Engine(adapted(LATE), compiled=False)):
        assert {name for name in asked if not hasattr(model, name)} == set()
        prompt_kv, ids = model.prompt_kv(model.visual_prompt(clip_tokens())), token_ids(1, 6)
        begun = model.begin(1, prompt_kv, capacity=8)
        with torch.no_grad():
            fresh, _ = backend.prefill(model, ids, prompt_kv)
            given, cache = backend.prefill(model, ids, prompt_kv, None, begun)
        assert torch.equal(fresh, given) and cache is begun


def test_greedy_tokens_are_those_of_the_plain_forward_pass():
    model = open_gates(adapted())
    prompt_kv = model.prompt_kv(model.visual_prompt(clip_tokens()))
    ids = token_ids()
    steps = list(streaming.tokens(model, ids, prompt_kv, GREEDY, stop=[-1]))
    with torch.no_grad():
        assert [int(step) for step in steps] == greedy_by_plain_forward(model, ids, prompt_kv, 8)


def test_a_batch_of_unequal_prompts_answers_as_one_by_one():
    model = open_gates(adapted())
    words = tokenizer()
    prompts = ["w5 w9 w33", "w7 w8 w40 w41 w42 w11", "w12"]
    visual = model.visual_prompt(clip_tokens(3))
    together = search.batch(model, words, prompts, model.prompt_kv(visual), GREEDY)
    alone = [
        "".join(text for text, _ in streaming.stream(model, words, prompt, model.prompt_kv(visual[i : i + 1]), GREEDY))
        for i, prompt in enumerate(prompts)
    ]
    assert together == [text.strip() for text in alone]
    assert len(set(together)) == 3


def test_what_goes_round_in_circles_is_told_and_what_only_repeats_is_not():
    assert sampler.looping([5, 1, 2, 1, 2, 1, 2, 1, 2]) == 1
    assert sampler.looping([1, 2, 3, 4, 5] * 3) == 1
    assert sampler.looping([7] * 8) == 7
    for fine in ([], [7] * 7, [1, 2] * 3, [1, 2, 3, 4, 5] * 2, [1, 2, 1, 2, 1, 2, 1, 3], list(range(40)) * 3):
        assert sampler.looping(fine) is None


def test_an_answer_made_of_the_prompts_own_words_does_not_go_round_in_circles():
    """Which get no penalty: a sign with opening hours was read as MONDAY MONDAY MONDAY until the tokens were out."""

    def said(penalty):
        choice = sampler.SequenceSampler(Sampling(max_new_tokens=40, repetition_penalty=penalty), [0], [[3, 4, 5]])
        return [choice(torch.tensor([[0.0, 0.0, 0.0, 3.0, 2.0, 1.0]]))[0] for _ in range(40)]

    assert said(1.0) == [3] * 40
    assert said(1.1)[:12] == [3] * 8 + [4] + [3] * 3


def test_the_same_seed_gives_the_same_answer_and_another_seed_another():
    model = open_gates(adapted())
    prompt_kv = model.prompt_kv(model.visual_prompt(clip_tokens()))

    def answer(seed):
        sampling = Sampling(temperature=1.5, top_p=1.0, max_new_tokens=12, seed=seed)
        return [int(t) for t in streaming.tokens(model, token_ids(), prompt_kv, sampling, stop=[-1])]

    assert answer(1) == answer(1)
    assert answer(1) != answer(2)


def test_a_tiny_nucleus_is_greedy():
    logits = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    sampling = Sampling(temperature=1.0, top_p=1e-6)
    chosen = sampler.sample(logits, sampling, torch.Generator().manual_seed(0))
    assert chosen == logits.argmax(-1).tolist()


@pytest.mark.parametrize(("top_p", "expected"), [(1.0, [0.5, 0.0, 0.2, 0.3]), (0.75, [0.625, 0.0, 0.0, 0.375])])
def test_tokens_are_drawn_as_often_as_their_chances_say(top_p, expected):
    logits = torch.tensor([0.5, 0.0, 0.2, 0.3]).log().repeat(20_000, 1)
    sampling = Sampling(temperature=1.0, top_p=top_p)
    drawn = sampler.sample(logits, sampling, torch.Generator().manual_seed(0))
    shares = torch.bincount(torch.tensor(drawn), minlength=4) / 20_000
    torch.testing.assert_close(shares, torch.tensor(expected), atol=0.015, rtol=0)  # four standard deviations
    assert not shares[[i for i, share in enumerate(expected) if not share]].any()


@pytest.mark.parametrize("top_p", [0.9, 1.0])
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_logits_that_give_no_chances_are_an_error_and_no_token(top_p, broken):
    logits = torch.zeros(2, 1000)
    logits[1, 5] = broken
    with pytest.raises(LAV2Error, match="--dtype"):
        sampler.sample(logits, Sampling(temperature=1.0, top_p=top_p), torch.Generator())


def test_a_nucleus_wider_than_what_is_looked_at_first_is_drawn_from_whole(monkeypatch):
    monkeypatch.setattr(sampler, "NUCLEUS", 2)
    logits = torch.tensor([[0.3, 0.25, 0.2, 0.15, 0.1], [0.9, 0.1, 0.0, 0.0, 0.0]]).log().repeat(5_000, 1)
    sampling = Sampling(temperature=1.0, top_p=0.89)
    drawn = sampler.sample(logits, sampling, torch.Generator().manual_seed(0))
    assert sorted(set(drawn[::2])) == [0, 1, 2, 3] and set(drawn[1::2]) == {0}


@pytest.mark.parametrize(("height", "expected"), [(0.0, 1), (1 - 2**-24, 2)])
def test_the_ends_of_what_is_drawn_do_not_choose_what_has_no_chance(height, expected, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.full(shape, height))
    assert sampler.multinomial(torch.tensor([[0.0, 0.3, 0.7, 0.0]]), torch.Generator()).tolist() == [expected]


def test_generation_stops_at_the_stop_token_and_finished_rows_wait():
    model = open_gates(adapted())
    prompt_kv = model.prompt_kv()
    ids = token_ids(2)
    free = torch.stack(list(streaming.tokens(model, ids, prompt_kv, GREEDY, stop=[-1])), dim=1)
    stop = int(free[0, 2])
    stopped = torch.stack(list(streaming.tokens(model, ids, prompt_kv, GREEDY, stop=[stop])), dim=1)
    first = free[0].tolist().index(stop)
    assert (stopped[0, first:] == stop).all()
    assert stopped[0, :first].tolist() == free[0, :first].tolist()


def test_the_repetition_penalty_counts_the_answer_not_the_prompt():
    logits = torch.tensor([[1.0, 2.0, 1.9]])
    plain = Sampling(repetition_penalty=1.5)
    generator = torch.Generator()
    assert sampler.sample(logits.clone(), plain, generator, [[]]) == [1]
    assert sampler.sample(logits.clone(), plain, generator, [[1]]) == [2]
    negative = torch.tensor([[-2.0, -1.0, -1.4]])
    assert sampler.sample(negative.clone(), plain, generator, [[1]]) == [2]
    both = sampler.sample(torch.cat([logits, negative]), plain, generator, [[], [1, 2]])
    assert both == [1, 1]  # -1.5 and -2.1


def test_what_stands_in_the_prompt_may_be_said_again_without_a_penalty():
    """Also where a kept cache leaves only the prompt's end to be read."""
    model = open_gates(adapted())
    prompt_kv, ids = model.prompt_kv(), token_ids()

    def answer(penalty, prompt=None):
        sampling = Sampling(max_new_tokens=16, repetition_penalty=penalty)
        return [int(t) for t in streaming.tokens(model, ids, prompt_kv, sampling, stop=[-1], prompt=prompt)]

    free, strict = answer(1.0), answer(5.0)
    repeated = {token for token in free if free.count(token) > 1}
    assert repeated and strict != free
    assert answer(5.0, torch.tensor([[*ids[0].tolist(), *set(free)]])) == free
    assert answer(5.0, ids) == strict


def test_a_beam_that_may_not_repeat_says_no_run_of_tokens_twice():
    model = open_gates(adapted())
    prompt_kv = model.prompt_kv(model.visual_prompt(clip_tokens()))
    free = search.beam(model, token_ids(), prompt_kv, [-1], width=2, max_new_tokens=24)
    strict = search.beam(model, token_ids(), prompt_kv, [-1], width=2, max_new_tokens=24, no_repeat=2)

    def twice(ids):
        pairs = list(pairwise(ids))
        return len(pairs) > len(set(pairs))

    assert twice(free)  # the tiny model loops: there is something to forbid
    assert not twice(strict)
    assert len(strict) == 24
