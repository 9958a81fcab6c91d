"""Self-critical training: sampled captions get the weight by which they beat their siblings, and become better."""

import pytest
import torch
from tiny import VISION, adapted, llama, open_gates, tokenizer

from lav2 import config
from lav2.data.features import FeatureCache
from lav2.data.formats import CaptionRow
from lav2.data.samples import caption_rows
from lav2.errors import LAV2Error
from lav2.metrics.captions import CiderD, cider_d
from lav2.model.adapter import GROUPS, group
from lav2.model.llm import base_identity
from lav2.training import loop, run
from lav2.training.scst import CiderReward
from lav2.training.settings import TrainConfig

PHOTOS = {"a": ("w5 w6 w7", "w5 w6 w8"), "b": ("w9 w10 w11", "w9 w12"), "c": ("w13 w14", "w15 w14")}


@pytest.fixture
def learner(tmp_path):
    """(words, caption rows, batches of them) of three photos whose features differ."""
    words = tokenizer()
    for number, name in enumerate(PHOTOS):
        (tmp_path / name).write_bytes(bytes([number]))
    found = [CaptionRow(str(tmp_path / name), captions) for name, captions in PHOTOS.items()]
    images = [row.image for row in found]
    features = FeatureCache(tmp_path / "cache", VISION, images)
    tokens = torch.randn(3, VISION.tokens, VISION.width, generator=torch.Generator().manual_seed(0))
    features._rows = {features._names[image]: one.numpy() for image, one in zip(images, tokens, strict=True)}
    return words, found, caption_rows(found, lambda text: words(text).input_ids, 1, 2, features)


def test_a_caption_is_scored_by_its_photos_own_and_must_end(learner):
    words, found, _ = learner
    critic = CiderReward(found, words, 2)

    def reward(text, image=0, ended=True):
        return critic.reward(found[image].image, words(text).input_ids, ended)

    assert reward("w5 w6 w7") > reward("w5 w6") > reward("w5 w9") > reward("w9 w10 w11") == 0
    assert reward("w9 w10 w11", image=1) > reward("w9 w10 w11", image=1, ended=False) > 0


def test_words_weigh_by_the_photos_that_the_scorer_was_made_with():
    truths = [[["a", "red", "dog"]], [["a", "cat"]], [["a", "cow"]]]
    scorer = CiderD(truths)
    assert [scorer(["a", "dog"], ts) for ts in truths] == list(cider_d([["a", "dog"]] * 3, truths))
    assert scorer(["a"], truths[0]) == 0 < scorer(["dog"], truths[0])  # every photo has "a"


def test_each_token_weighs_what_its_caption_wins_over_its_siblings(learner):
    words, found, rows = learner
    critic = CiderReward(found, words, 4)
    photos = rows.batches(3, 0).draw()
    batch, mean = critic.batch(adapted(), rows, photos, seed=1)
    rewards = []
    for row, photo in enumerate(photos):
        own = []
        for number in range(1, 5):
            branch = batch.branch[row] == number
            assert batch.input_ids[row][branch][0] == 1 and batch.labels[row][branch][0] == -100
            ids = batch.input_ids[row][branch][1:].tolist()
            assert 1 <= len(ids) <= 24 and ids.count(2) == (ids[-1] == 2)  # nothing is learned after the end
            assert batch.weight[row][branch].unique().numel() == 1
            own.append((critic.reward(photo.image, ids, ids[-1] == 2), float(batch.weight[row][branch][0])))
        scores, weights = zip(*own, strict=True)
        rewards += scores
        for score, weight in own:
            assert weight == pytest.approx(score - (sum(scores) - score) / 3, abs=1e-5)
        assert sum(weights) == pytest.approx(0, abs=1e-5)
    assert mean == pytest.approx(sum(rewards) / 12) and mean > 0


def test_captions_are_sampled_alike_where_layers_are_checkpointed(learner):
    words, found, rows = learner
    critic, photos = CiderReward(found, words, 4), rows.batches(3, 0).draw()
    sampled = []
    for checkpointing in (False, True):
        model = open_gates(adapted()).train()
        model.requires_grad_(True)
        if checkpointing:
            model.llm.gradient_checkpointing_enable({"use_reentrant": False})
        sampled.append(critic.batch(model, rows, photos, 5)[0])
        assert model.llm.training
    assert torch.equal(sampled[0].input_ids, sampled[1].input_ids)


def test_a_weighted_loss_is_the_weighted_mean(learner):
    _, _, rows = learner
    model, batch = adapted(), rows.fixed(3)[0]
    arguments = batch.to(model.device)
    plain = model.loss(**arguments)
    whole = arguments | {"weight": torch.full(batch.labels.shape, 2.0)}
    torch.testing.assert_close(model.loss(**whole), 2 * plain)
    first = torch.zeros(batch.labels.shape)
    first[0] = 1.0
    alone = arguments | {"labels": torch.where(first.bool(), batch.labels, -100)}
    learned = [int((labels[:, 1:] != -100).sum()) for labels in (alone["labels"], batch.labels)]
    torch.testing.assert_close(
        model.loss(**(arguments | {"weight": first})), model.loss(**alone) * learned[0] / learned[1]
    )


def test_sampled_captions_become_better(learner, tmp_path):
    words, found, rows = learner
    settings = TrainConfig(stage="scst", steps=60, batch=3, together=8, lr=2e-2)
    base = base_identity(llama(), words, "tiny")
    critic = CiderReward(found, words, 8)
    model = adapted()
    loop.train(model, {"caption": rows}, settings, tmp_path / "run", base, report=lambda line: None, critic=critic)
    lines = (tmp_path / "run" / "log.csv").read_text().splitlines()[1:]
    rewards = [-float(line.split(",")[2]) for line in lines]
    assert sum(rewards[-10:]) > 2 * sum(rewards[:10]) > 0
    assert {group(name, model.config) for name in model.set_stage("scst")} == set(GROUPS)


def test_one_sample_a_photo_is_refused_with_the_next_step(tmp_path):
    with pytest.raises(LAV2Error, match="cannot learn from 1 sample") as error:
        run.run(config.EMBEDDED, TrainConfig(stage="scst"), [], tmp_path)
    assert "--pack" in error.value.next_step
