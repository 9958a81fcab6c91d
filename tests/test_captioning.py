"""Captions: drafts that are sampled side by side, and the one that photo and drafts agree with."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import LATE, PROJECTOR, VISION, adapted, clip_tokens, llama, open_gates, token_ids, tokenizer

from lav2.assistant.features import encoded_views
from lav2.captioning import writer
from lav2.captioning.reranker import Expected
from lav2.captioning.writer import Captioning, consensus
from lav2.errors import LAV2Error
from lav2.events import Sampling
from lav2.inference import sampler, search, streaming
from lav2.inference.engine import Engine
from lav2.model.adapted import AdaptedLlama
from lav2.model.vision import VisionTower

STOP = [2, 9, 17, 30]  # several, so that answers of a model without training end at all


def photo_prompts(model, seed=0):
    with torch.no_grad():
        return model.prompt_kv(model.visual_prompt(clip_tokens(seed=seed)))


def sampled(model, temperature=1.0, seed=3, count=6, length=12):
    sampling = Sampling(temperature, 1.0, length, seed, repetition_penalty=1.0)
    return search.drafts(model, token_ids(1, 4), photo_prompts(model), sampling, STOP, count)


def test_the_text_that_most_agree_with_is_told():
    said = ["a cat on a mat", "a dog runs on the grass", "a dog runs in the grass", "a brown dog runs on the grass"]
    assert consensus(said) == 1
    assert consensus(["a cat on a mat", *["two men play football"] * 2, "a cat on a bed"]) == 1
    assert consensus(["A dog.", "a dog"]) == 0  # alike but for their writing: the first
    assert consensus([""]) == 0


def test_what_the_photo_makes_likely_outweighs_what_most_drafts_say():
    said = ["a cat on a mat", "a dog runs on the grass", "a dog runs in the grass", "a dog runs on some grass"]
    assert consensus(said, photo(cat=0.9, mat=0.9)) == 0
    # among those alike, the drafts decide
    assert consensus(said, photo(dog=0.9, runs=0.5)) == consensus(said, photo()) == 1


def photo(**chances):
    names = {(word,): i for i, word in enumerate(("cat", "mat", "dog", "runs"))}
    return Expected(names, np.ones(4), np.array([chances.get(word, 0.0) for (word,) in names]), np.full(4, 4.0), 6.0)


def test_drafts_differ_end_where_they_stop_and_are_the_same_again():
    model = open_gates(adapted())
    found = sampled(model)
    assert len(found) == 6 and len(set(map(tuple, found))) == 6
    assert not {token for answer in found for token in answer} & set(STOP)
    assert min(map(len, found)) < max(map(len, found)) <= 12
    assert sampled(model) == found != sampled(model, seed=4)


def test_the_engines_drafts_are_those_of_the_forward_of_transformers():
    """Rows of ended answers leave both kinds of cache on the way."""
    model = open_gates(AdaptedLlama(llama(seed=2), LATE, PROJECTOR, VISION).eval())
    engine = Engine(model)
    for seed in range(3):
        assert sampled(engine, seed=seed) == sampled(model, seed=seed)


@pytest.mark.parametrize("kind", [lambda model: model, Engine])
def test_every_draft_goes_on_from_what_it_has_said_itself(kind, monkeypatch):
    """Although those that have said the same share a row: the logits are those of prompt and draft read anew."""
    model = open_gates(adapted())
    prompt_kv, original, seen = photo_prompts(model), sampler.sample, []

    def watched(logits, sampling, generator, said):
        seen.append((logits, torch.tensor(said)))
        return original(logits, sampling, generator, said)

    monkeypatch.setattr(search, "sample", watched)
    sampled(kind(model), temperature=0.3, count=8)
    assert len({tuple(answer) for _, answers in seen for answer in answers.tolist()}) > 8
    for logits, answers in seen:
        for row, answer in zip(logits, answers, strict=True):
            with torch.no_grad():
                whole = model(torch.cat([token_ids(1, 4), answer[None].long()], 1), prompt_kv).logits[0, -1]
            torch.testing.assert_close(row.float(), whole, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", [lambda model: model, Engine])
def test_cold_drafts_are_the_greedy_answer(kind):
    model = kind(open_gates(adapted()))
    sampling = Sampling(max_new_tokens=12, repetition_penalty=1.0)
    greedy = [int(t) for t in streaming.tokens(model, token_ids(1, 4), photo_prompts(model), sampling, STOP)]
    assert sampled(model, temperature=0.0, count=2) == [[t for t in greedy if t not in STOP]] * 2


def test_a_cache_that_was_given_less_room_refuses_what_does_not_fit():
    engine = Engine(open_gates(adapted()))
    cache = engine.begin(1, photo_prompts(engine), capacity=5)
    assert cache.capacity == 5
    engine(token_ids(1, 5), (), cache=cache)
    with pytest.raises(LAV2Error, match="6 tokens do not fit into 5"):
        engine(token_ids(1, 1), (), cache=cache)


def test_a_photo_is_scaled_once_and_its_mirror_image_is_seen_as_the_photos_features_are():
    class Tower(VisionTower):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.config, self.scaled = VISION, []

        def resized(self, photo):
            self.scaled.append(photo.size)
            return photo.resize((4, 4))

        def encode(self, photos):
            return torch.stack([torch.tensor(list(photo.getchannel(0).tobytes())) for photo in photos])

    picture = Image.new("RGB", (40, 20))
    picture.paste((200, 0, 0), (0, 0, 20, 20))
    tower = Tower()
    with ThreadPoolExecutor(1) as encoder:
        plain, mirrored = (view() for view in encoded_views(tower, picture, encoder))
    assert plain.view(4, 4)[0, 0] > 150 > 50 > plain.view(4, 4)[0, -1]
    assert torch.equal(mirrored.view(4, 4), plain.view(4, 4).flip(-1))
    assert tower.scaled == [(40, 20)]


def test_the_photo_judges_its_drafts_and_those_of_its_mirror_image_that_name_no_side(monkeypatch):
    model, words, judged, pool = open_gates(adapted()), tokenizer(), [], []
    original = writer.consensus
    said = [["a dog", "a dog", "dog left", "dogs"], ["a cat on the left", "a cat"]]

    class Reranker:
        def expect(self, clip_tokens):
            judged.append(clip_tokens)
            return photo(cat=1.0)

    def drafts(model, input_ids, prompt_kv, sampling, stop, count, scheduler=None):
        assert sampling.temperature == 0.7
        return said[sampling.seed][:count]

    monkeypatch.setattr(search, "drafts", drafts)
    monkeypatch.setattr(search, "beam", lambda *given, **more: " w3 w4")
    monkeypatch.setattr(writer, "consensus", lambda texts, *given: pool.append(texts) or original(texts, *given))
    monkeypatch.setattr(type(words), "decode", lambda self, ids, **more: ids)
    seen, how = clip_tokens(2), Captioning(drafts=4, temperature=0.7)
    assert writer.write(model, words, "w1", seen, how, Reranker()) == "a cat"
    assert pool == [["a dog", "a dog", "dog left", "dogs", "a cat"]] and torch.equal(judged[0], seen[:1])
    assert writer.write(model, words, "w1", seen, how) == "a dog"
    assert writer.write(model, words, "w1", seen[:1], Captioning(), Reranker()) == "w3 w4" and len(judged) == 1
