"""Tuning the image encoder: what it learns from, that only its later stages learn, and that its file is used."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import VISION as LITE0

from lav2.config import EFFICIENTNET_LITE2
from lav2.errors import LAV2Error
from lav2.instruct.photos import Box, Photo
from lav2.model.vision import VisionTower
from lav2.training import encoder
from lav2.training.regions import Region, read_regions, shown, with_boxes
from lav2.training.settings import EncoderConfig
from lav2.training.visual_concepts import Names, words_of

SETTINGS = EncoderConfig(epochs=2, batch=4, least=3, save_every=2)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Sixteen photos, half red with a dog, half blue without; of four nobody wrote, of four nobody drew boxes."""
    folder = tmp_path_factory.mktemp("photos")
    made = []
    for n in range(16):
        red = n % 2 == 0
        colour = (250, 20 + n, 20) if red else (20, 20 + n, 250)
        Image.new("RGB", (80, 60), colour).save(folder / f"{n}.png")
        captions = () if n in (0, 1, 2, 3) else ("Two dogs are running", "A red dog") if red else ("The blue sea",) * 2
        boxes = None if n in (12, 13, 14, 15) else (Box("dog", (0, 0, 9, 9), 0.9),) if red else ()
        made.append(Photo(folder / f"{n}.png", captions, (80, 60), boxes))
    return made


def test_words_are_learned_without_their_endings_and_without_those_that_say_nothing():
    assert words_of("Two dogs are running on the grasses.") == {"two", "dog", "run", "grass"}
    assert words_of("A man dresses a baby in his boxes") == {"man", "dress", "baby", "box"}


def test_what_nobody_said_or_looked_for_is_not_learned(photos):
    names = Names.of(photos, 3)
    assert set(names.words) == {"dog", "red", "two", "run", "blue", "sea"} and names.kinds == ("dog",)
    labels, known = names.labels(photos)
    dog, box = names.words.index("dog"), len(names.words)
    assert not known[:4, dog].any() and known[4:, dog].all()
    assert known[:12, box].all() and not known[12:, box].any()
    assert labels[4, dog] == 1 and labels[4, names.words.index("two")] == 0.5
    assert labels[0, box] == 1 and labels[1, box] == 0
    faint = replace(photos[1], boxes=(Box("dog", (0, 0, 9, 9), 0.2),))
    assert names.labels([faint])[0][0, box] == 0
    logits = torch.randn(16, len(names.words) + 1, requires_grad=True)
    encoder._loss(logits, labels, known).backward()
    assert torch.equal(logits.grad != 0, known)


def test_the_later_stages_learn_and_the_file_is_the_encoder_that_was_learned(photos, tmp_path):
    before = VisionTower(EFFICIENTNET_LITE2)
    lines = []
    tuned = encoder.tune(EFFICIENTNET_LITE2, photos, photos, tmp_path, SETTINGS, dtype="float32", report=lines.append)
    after = VisionTower(tuned)
    assert tuned == replace(EFFICIENTNET_LITE2, weights=str(tmp_path / "encoder.safetensors"))
    old = before.net.state_dict()
    changed = {key for key, value in after.net.state_dict().items() if not torch.equal(value, old[key].half().float())}
    assert not [key for key in changed if key.startswith(("conv_stem", "blocks.0.", "blocks.1.", "blocks.2."))]
    assert {"blocks.3.0.conv_pw.weight", "blocks.6.0.conv_pwl.bias", "conv_head.weight"} <= changed
    record = json.loads((tmp_path / "encoder.json").read_text())
    assert record["validation"].keys() == {"mean AP of 6 words", "mean AP of 1 kinds", "loss"}
    assert before.identity != after.identity
    assert not (tmp_path / encoder.STATE).exists()


def test_a_few_steps_tell_red_dogs_from_the_blue_sea(photos, tmp_path):
    torch.manual_seed(0)
    lines = []
    encoder.tune(LITE0, photos, photos, tmp_path, replace(SETTINGS, epochs=6, head_lr=2e-2), dtype="float32",
                  report=lines.append)  # fmt: skip
    scores = json.loads((tmp_path / "encoder.json").read_text())["validation"]
    assert scores["mean AP of 1 kinds"] > 0.9


def test_an_interrupted_run_goes_on_to_the_same_weights(photos, tmp_path, monkeypatch):
    def run(name):
        torch.manual_seed(0)
        encoder.tune(LITE0, photos, (), tmp_path / name, SETTINGS, dtype="float32", report=lambda line: None)
        return (tmp_path / name / encoder.ENCODER).read_bytes()

    whole = run("whole")
    saved, read = encoder._save, encoder._read
    monkeypatch.setattr(encoder, "_save", lambda *args: (saved(*args), (_ for _ in ()).throw(KeyboardInterrupt)))
    with pytest.raises(KeyboardInterrupt):
        run("broken")
    monkeypatch.setattr(encoder, "_save", saved)
    seen = []
    monkeypatch.setattr(encoder, "_read", lambda photos, vision: seen.append(1) or read(photos, vision))
    assert run("broken") == whole
    assert len(seen) == 8 - 2


def test_crops_show_a_part_of_the_photo():
    ramp = torch.arange(40.0).repeat(3, 40, 1)[None] * 4  # brightness grows from left to right
    generator = torch.Generator().manual_seed(0)
    made = encoder.crops(ramp.expand(64, -1, -1, -1), 20, encoder.turns(generator, 64), generator)
    assert made.shape == (64, 3, 20, 20) and made.min() >= 0 and made.max() <= 255
    slope = made[:, 0, 10, -1] - made[:, 0, 10, 0]
    assert 16 < (slope < 0).sum() < 48  # half of them are mirrored
    assert slope.abs().max() < 1.25 * 156 and slope.abs().min() > 0.4 * 156


def test_a_part_of_a_photo_is_where_the_crop_shows_it():
    generator = torch.Generator().manual_seed(0)
    right = Region((0.5, 0.0, 1.0, 1.0), ("a red ball",))
    whole, mirrored = torch.tensor([[1.0, 0, 0], [0, 1, 0]]), torch.tensor([[-1.0, 0, 0], [0, 1, 0]])
    left_half = torch.tensor([[0.5, 0, -0.5], [0, 1, 0]])  # shows nothing of it
    top_right = torch.tensor([[0.5, 0, 0.5], [0, 0.5, -0.5]])
    found = shown([[right], [right], [right], [right], []], torch.stack([whole, mirrored, left_half, top_right, whole]),
                  4, generator)  # fmt: skip
    assert found.regions == [right, right, right] and found.photo.tolist() == [0, 1, 3]
    columns = found.weights.view(3, 4, 4).mean(1)
    assert columns[0].tolist() == pytest.approx([0, 0, 1, 1], abs=1e-4)
    assert columns[1].tolist() == pytest.approx([1, 1, 0, 0], abs=1e-4)
    assert columns[2].tolist() == pytest.approx([1, 1, 1, 1], abs=1e-4)
    assert len(shown([[right] * 9], whole[None], 4, generator).regions) == 6


def test_a_part_of_a_photo_is_told_from_the_tokens_of_its_place_alone():
    head = encoder.Head(8, torch.tensor([0.1, 0.2, 0.3]))
    clip_tokens = torch.randn(2, 4, 8)
    photo, weights = torch.tensor([0, 1]), torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 1]])
    part, whole = head.parts(*head.placed(clip_tokens), photo, weights)
    assert torch.allclose(whole, head(clip_tokens)[1], atol=1e-5)
    clip_tokens[0, 1:] = 9
    assert torch.equal(head.parts(*head.placed(clip_tokens), photo, weights)[0], part)


def test_of_parts_words_are_learned_where_people_named_them_and_kinds_where_somebody_said_one(photos):
    names = Names.of(photos, 3)
    labels, known = names.of_regions([Region((0, 0, 1, 1), ("a red dog", "dogs")), Region((0, 0, 1, 1), kind="dog"),
                                      Region((0, 0, 1, 1), kind="yak")])  # fmt: skip
    words = len(names.words)
    assert known[0, :words].all() and not known[0, words:].any()
    assert labels[0, names.words.index("dog")] == 1 and labels[0, names.words.index("red")] == 0.5
    assert not known[1, :words].any() and known[1, words] and labels[1, words] == 1
    assert not known[2].any()


def test_phrases_are_tied_to_places_by_their_entity(photos, tmp_path):
    captions = [{"text": "A dog on grass", "phrases": [[0, 5, "7", "animals"], [9, 14, "8", "scene"]]},
                {"text": "The pet", "phrases": [[0, 7, "7", "animals"]]}]  # fmt: skip
    row = {"image": "a.png", "width": 200, "height": 100, "captions": captions}
    row["boxes"] = {"7": [[20, 10, 100, 90]], "9": [[0, 0, 1, 1]]}
    file = tmp_path / "phrases.jsonl.gz"
    file.write_bytes(gzip.compress(json.dumps(row).encode()))
    assert read_regions(file, tmp_path) == {tmp_path / "a.png": [Region((0.1, 0.1, 0.5, 0.9), ("A dog", "The pet"))]}
    file.write_bytes(gzip.compress(b'{"image": "a.png"}'))
    with pytest.raises(LAV2Error, match="line 1"):
        read_regions(file, tmp_path)
    file.write_bytes(b"no gzip")
    with pytest.raises(LAV2Error, match="no photo with phrases"):
        read_regions(file, tmp_path)
    boxed = with_boxes([photos[4], photos[12]], {photos[12].image: [Region((0, 0, 1, 1), ("sea",))]})
    assert boxed == {photos[4].image: [Region((0.0, 0.0, 9 / 80, 9 / 60), kind="dog")],
                     photos[12].image: [Region((0, 0, 1, 1), ("sea",))]}  # fmt: skip


def test_what_people_call_parts_of_photos_changes_what_is_learned(photos, tmp_path):
    parts = {photo.image: [Region((0.0, 0.0, 0.5, 1.0), ("blue",))] for photo in photos}
    files = []
    for name, named in (("without", {}), ("with", parts)):
        torch.manual_seed(0)
        encoder.tune(LITE0, photos, (), tmp_path / name, SETTINGS, dtype="float32", report=lambda _: None, named=named)
        files.append((tmp_path / name / encoder.ENCODER).read_bytes())
    assert files[0] != files[1]


def test_average_precision_is_that_of_the_definition():
    scores, right = torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([True, False, True, False])
    assert encoder.average_precision(scores, right) == pytest.approx((1 + 2 / 3) / 2)


def test_what_cannot_be_tuned_is_told(photos, tmp_path):
    with pytest.raises(LAV2Error, match="too few"):
        encoder.tune(LITE0, photos[:3], (), tmp_path, SETTINGS)
    other = replace(LITE0, name="resnet18", width=512)
    with pytest.raises(LAV2Error, match="EfficientNets"):
        encoder.tune(other, photos, (), tmp_path, SETTINGS)
    (tmp_path / "other.safetensors").write_bytes(Path(__file__).read_bytes())
    torch.manual_seed(0)
    encoder.tune(LITE0, photos, (), tmp_path / "a", replace(SETTINGS, epochs=1), report=lambda line: None)
    wrong = replace(EFFICIENTNET_LITE2, weights=str(tmp_path / "a" / encoder.ENCODER))
    with pytest.raises(LAV2Error, match=r"is not of timm.*`python -m lav2 encoder` made"):
        VisionTower(wrong)
