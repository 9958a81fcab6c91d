"""The reranker of captions: what it learns people to say of photos, how it compares a caption with that, its file."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import LATE, VISION, adapted, llama, open_gates, tokenizer

from lav2 import config, weights
from lav2.captioning import reranker
from lav2.captioning.reranker import Expected, RerankerConfig, phrases_of, pooled
from lav2.errors import LAV2Error
from lav2.metrics.tokens import coco_tokens
from lav2.model import checkpoint
from lav2.model.llm import base_identity
from lav2.model.vision import VisionTower
from lav2.training.reranker import learn_phrases
from lav2.training.settings import PhrasesConfig

QUICK = RerankerConfig(least=4, hidden=8, epochs=60, batch=8, lr=3e-2, dropout=0.1)
NARROW = replace(VISION, width=4)
DOG, SEA = "A red dog runs", "The blue sea"


def world(photos=32, views=2):
    """Pooled photos [photos, views, 2C] of two kinds, and what is said of them."""
    generator = torch.Generator().manual_seed(0)
    kind = torch.arange(photos) % 2
    seen = torch.randn(photos, views, 2 * NARROW.width, generator=generator)
    for tells in (0, NARROW.width):  # one channel's mean and maximum, whose size and spread are not those of the others
        seen[:, :, tells] = 5 + 4 * kind[:, None]
    return seen, [(DOG, DOG, "A dog") if k else (SEA, SEA, SEA) for k in kind.tolist()]


@pytest.fixture(scope="module")
def learned():
    seen, said = world()
    lines = []
    model = reranker.learn(seen, said, NARROW, (seen[:4, 0], said[:4]), QUICK, report=lines.append)
    return model, lines


def tokens_of(first_channel: float) -> torch.Tensor:
    """clip_tokens [1, N, C] whose first channel is that everywhere."""
    tokens = torch.zeros(1, NARROW.tokens, NARROW.width)
    tokens[:, :, 0] = first_channel
    return tokens


def test_a_phrase_is_a_word_or_two_neighbours():
    assert phrases_of(["a", "red", "dog"]) == {("a",), ("red",), ("dog",), ("a", "red"), ("red", "dog")}
    assert phrases_of(["a", "a", "a"]) == {("a",), ("a", "a")} and phrases_of([]) == set()


def test_a_photo_is_the_mean_and_the_maximum_of_each_channel():
    tokens = torch.tensor([[[1.0, 5.0], [3.0, -7.0]]])
    assert pooled(tokens).tolist() == [[2.0, -1.0, 3.0, 5.0]]


def test_it_learns_what_is_said_of_which_photos_and_how_often(learned):
    model, lines = learned
    assert set(model.names) == phrases_of(DOG.lower().split()) | phrases_of(SEA.lower().split()) | {("a", "dog")}
    dog, sea = model.expect(tokens_of(9.0)), model.expect(tokens_of(5.0))
    assert dog.chance(("dog",)) > 0.9 > 0.1 > sea.chance(("dog",))
    assert sea.chance(("blue", "sea")) > 0.9 > 0.1 > dog.chance(("blue", "sea"))
    assert 0.5 < dog.chance(("red", "dog")) < 0.8  # two captions of three say it
    assert dog.chance(("cat",)) == 0.0
    trained, base = (float(lines[-1].split(part)[1].split()[0].strip("(:")) for part in ("photos:", "("))
    assert trained < 0.6 * base
    assert dog.like(["a", "red", "dog", "runs"]) > dog.like(["a", "dog"]) > dog.like(["the", "blue", "sea"])


def expected(chances, rarity, unknown=3.0):
    names = [tuple(name.split()) for name in chances]
    place = {name: i for i, name in enumerate(names)}
    words = np.array([len(name) for name in names])
    return Expected(place, words, np.array([*chances.values()]), np.array(rarity), unknown)


def test_a_caption_is_compared_as_cider_compares_by_rare_words_and_their_pairs():
    """Worked out by hand: cosines of weights chance x rarity with rarity, for words and for pairs."""
    what = expected({"a": 1.0, "dog": 0.5, "cat": 0.25, "a dog": 0.5}, [1.0, 2.0, 2.0, 4.0])
    whole = np.sqrt(1 + 1 + 0.25)  # of the words: 1, 0.5 x 2, 0.25 x 2
    words = (1 * 1 * 1 + 0.5 * 2 * 2) / (np.sqrt(1 + 4) * whole)
    assert what.like(["a", "dog"]) == pytest.approx(10 * (words + 1.0) / 2)
    stranger = (1 + 2) / (np.sqrt(1 + 4 + 9) * whole)  # a word that nobody says counts as a rare one
    assert what.like(["dog", "a", "zebra"]) == pytest.approx(10 * stranger / 2)
    assert what.like(["a", "dog", "a", "dog"]) < what.like(["a", "dog"])  # "dog a" is not expected
    assert what.like([]) == 0.0 and what.like(["zebra"]) == 0.0
    assert expected({"dog": 0.0}, [1.0]).like(["dog"]) == 0.0  # nothing is expected at all


def test_the_file_says_the_same_and_belongs_to_its_image_encoder(learned, tmp_path):
    model, _ = learned
    assert reranker.load(tmp_path, NARROW) is None and reranker.load(tmp_path, None) is None
    reranker.save(model, tmp_path)
    again = reranker.load(tmp_path, NARROW)
    assert again.names == model.names
    one, other = (loaded.expect(tokens_of(9.0)) for loaded in (model, again))
    assert other.like(["a", "red", "dog"]) == pytest.approx(one.like(["a", "red", "dog"]), rel=1e-2)
    for stranger in (replace(NARROW, weights="tuned.safetensors"), VISION):
        with pytest.raises(LAV2Error, match="learned on the image encoder tf_efficientnet_lite0"):
            reranker.load(tmp_path, stranger)
    (tmp_path / reranker.CAPTION_PHRASES).write_bytes(b"no tensors")
    with pytest.raises(LAV2Error, match="cannot be read"):
        reranker.load(tmp_path, NARROW)


def test_too_few_photos_are_told_with_what_is_wanted():
    seen, said = world(4)
    with pytest.raises(LAV2Error, match=r"4 photos with 0 phrases .* Give at least 8 photos"):
        reranker.learn(seen, said, NARROW, settings=replace(QUICK, least=9))


def test_a_captioners_folder_gets_a_reranker_which_its_export_keeps(tmp_path, monkeypatch, capsys):
    model = open_gates(adapted())
    folder, photos = tmp_path / "captioner", tmp_path / "photos"
    photos.mkdir()
    checkpoint.save(model, folder, base_identity(model.llm, tokenizer(), "tiny"))
    rows = []
    for n in range(24):
        Image.new("RGB", (64, 64), (250, n, 20) if n % 2 else (20, n, 250)).save(photos / f"{n}.png")
        split = "val" if n > 19 else "train"
        rows.append({"image": f"{n}.png", "captions": [DOG if n % 2 else SEA] * 2, "split": split})
    (photos / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr("lav2.training.reranker.RerankerConfig", lambda seed: replace(QUICK, seed=seed))
    learn_phrases(folder, [photos / "captions.jsonl"], PhrasesConfig(cache=tmp_path / "cache"))
    out = capsys.readouterr().out
    assert "of 20 photos" in out and "on 4 other photos" in out
    checkpoint.export(folder, tmp_path / "shipped")
    loaded = reranker.load(tmp_path / "shipped", VISION)
    assert ("red", "dog") in loaded.names and loaded.vision == VISION
    text_only = type(model)(llama(), LATE, None, None)
    checkpoint.save(text_only, tmp_path / "text", base_identity(text_only.llm, tokenizer(), "tiny"))
    with pytest.raises(LAV2Error, match="text only"):
        learn_phrases(tmp_path / "text", [photos / "captions.jsonl"])


def test_the_shipped_reranker_tells_what_is_in_a_photo(bus):
    """One that was not learned: of people in front of a bus."""
    vision = config.preset("embedded").vision
    loaded = reranker.load(weights.find("assets:caption"), vision)
    what = loaded.expect(VisionTower(vision).encode([bus]))
    assert min(what.chance(("bus",)), what.chance(("people",))) > 10 * what.chance(("dog",))
    said = ("People are walking on a city street", "Two dogs are running on the grass")
    street, dogs = (what.like(coco_tokens(text)) for text in said)
    assert street > 2 * dogs


def test_concepts_are_the_words_that_a_photo_makes_likelier_than_photos_have_them(learned):
    model, _ = learned
    dog, sea = model.concepts(torch.cat([tokens_of(9.0), tokens_of(5.0)]))
    assert {word for word, _ in dog} == {"dog", "red", "runs"}
    assert {word for word, _ in sea} == {"blue", "sea"}  # "the" tells nothing of a photo
    chances = [chance for _, chance in dog]
    assert chances == sorted(chances, reverse=True) and 0 <= chances[-1] <= chances[0] <= 1
