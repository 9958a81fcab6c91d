"""The scores agree with their official programs, and read the benchmarks' own files.

Measured once with the Java tools on 2026-11-24: `coco_tokens` equals Stanford's PTBTokenizer 3.4.1 (as
pycocoevalcap 1.2 calls it) on 48,072 of the 48,072 human captions of the shared captions.jsonl, and all
scores that pycocoevalcap has equal ours to 1e-15 on 1,000 of its photos. The frozen fixtures hold sentences
of our own, tokens and scores from those tools.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lav2.errors import LAV2Error
from lav2.metrics import bootstrap, captions, docvqa, mme, pope, tokens, vqa

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def with_photos(tmp_path):
    """Copy a fixture and put photos of these names beside it (their content is not looked at)."""

    def copy(name: str, *photos: str) -> Path:
        source = FIXTURES / name
        target = tmp_path / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        folder = target if target.is_dir() else tmp_path
        for photo in photos:
            (folder / photo).parent.mkdir(parents=True, exist_ok=True)
            (folder / photo).touch()
        return target

    return copy


def test_tokens_are_those_of_the_java_tokeniser():
    for line in (FIXTURES / "coco_tokens.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert " ".join(tokens.coco_tokens(row["caption"])) == row["tokens"]


def test_caption_scores_are_those_of_pycocoevalcap():
    row = json.loads((FIXTURES / "caption_scores.json").read_text(encoding="utf-8"))
    scores = captions.caption_scores(row["candidates"], row["references"])
    for name, value in row["scores"].items():
        assert scores[name] == pytest.approx(value, abs=1e-5), name


def test_an_empty_caption_scores_zero_and_a_reference_repeated_scores_one():
    references = {1: ["a dog runs on the grass", "a dog"], 2: ["two cats sleep in a box", "cats in a box"]}
    nothing = captions.caption_scores({1: "", 2: ""}, references)
    assert set(nothing.values()) == {0.0}
    same = captions.caption_scores({i: texts[0] for i, texts in references.items()}, references)
    for name in ("BLEU-1", "BLEU-4", "ROUGE-L"):
        assert same[name] == pytest.approx(1.0, abs=1e-6)
    assert same["METEOR-lite"] == pytest.approx(1 - 0.5 / 6**3)  # one chunk of six words


def test_meteor_lite_counts_stems_and_punishes_scattered_words():
    def score(text):
        return captions.caption_scores({1: text}, {1: ["a dog jumps over the fence"]})["METEOR-lite"]

    assert score("a dog jumping over the fence") == score("a dog jumps over the fence")
    assert score("the fence over jumps dog a") < score("a dog jumps over the fence")
    assert score("a cat sleeps") < score("a dog sleeps")


def test_captions_without_references_name_the_photo():
    with pytest.raises(LAV2Error, match="'b'"):
        captions.caption_scores({"a": "x", "b": "y"}, {"a": ["x"]})
    with pytest.raises(LAV2Error, match="no captions"):
        captions.caption_scores({}, {"a": ["x"]})


def test_results_are_written_as_coco_reads_them(tmp_path):
    written = {42: "a dog runs", 7: "ein Café “Größe”"}
    captions.write_coco_results(tmp_path / "results.json", written)
    rows = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert rows[0] == {"image_id": 42, "caption": "a dog runs"}
    assert {row["image_id"]: row["caption"] for row in rows} == written


def test_references_come_from_coco_json_and_from_our_jsonl(tmp_path):
    coco = captions.read_references(FIXTURES / "coco_captions.json")
    assert coco == {42: ["A dog runs.", "The dog is running."], 7: ["A cat sleeps."]}
    assert captions.read_references(FIXTURES / "captions.jsonl", split="val") == {"photos/2.webp": ["A cat sleeps."]}
    assert len(captions.read_references(FIXTURES / "captions.jsonl")) == 2
    for name in ("photo.jpg", "other.webp"):
        (tmp_path / name).touch()
    images = captions.read_coco_images(FIXTURES / "coco_captions.json", tmp_path)
    assert images == {42: tmp_path / "photo.jpg", 7: tmp_path / "other.webp"}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{", "not JSON"),
        ("{}", "annotations"),
        ('{"annotations": [{"image_id": 1}]}', "row 1 has no caption"),
    ],
)
def test_a_damaged_file_is_named_with_its_fault(tmp_path, content, word):
    file = tmp_path / "bad.json"
    file.write_text(content)
    with pytest.raises(LAV2Error, match=word) as caught:
        captions.read_references(file)
    assert str(file) in caught.value.cause


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("The dog.", "dog"),
        ("Two", "2"),
        ("none", "0"),
        ("an apple, and a pear", "apple and pear"),
        ("dont know", "don't know"),
        ("shouldnt've", "shouldn't've"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("t-shirt", "t shirt"),
        ("not\tin town\n", "not in town"),
    ],
)
def test_vqa_answers_are_normalised_as_the_official_script_does(answer, normal):
    assert vqa.vqa_normalise(answer) == normal


def test_vqa_accuracy_leaves_each_person_out_in_turn():
    people = ["running"] * 3 + ["playing fetch"] * 2 + ["jumping"] * 5
    assert vqa.vqa_accuracy("Running.", people) == pytest.approx((3 * 2 / 3 + 7 * 1) / 10)
    assert vqa.vqa_accuracy("playing fetch", people) == pytest.approx((2 * 1 / 3 + 8 * 2 / 3) / 10)
    assert vqa.vqa_accuracy("jumping", people) == 1.0
    assert vqa.vqa_accuracy("sleeping", people) == 0.0


def test_vqav2_files_are_read_and_scored_per_answer_type(with_photos):
    folder = with_photos("vqav2", "val2014/COCO_val2014_000000000042.jpg", "val2014/COCO_val2014_000000000007.jpg")
    questions = vqa.read_vqav2(folder)
    assert [q.id for q in questions] == [420, 421, 70]
    assert questions[0].image == folder / "val2014/COCO_val2014_000000000042.jpg"
    scores = vqa.vqa_scores(questions, {420: "two", 421: "the running", 70: "yes"})
    assert scores == pytest.approx({"all": (1 + 0.9 + 0.3) / 3, "number": 1.0, "other": 0.9, "yes/no": 0.9 / 3})


def test_a_question_without_an_answer_is_an_error_and_not_a_zero(with_photos):
    folder = with_photos("vqav2", "COCO_val2014_000000000042.jpg", "COCO_val2014_000000000007.jpg")
    with pytest.raises(LAV2Error, match="1 of 3 questions have no answer, the first is 70"):
        vqa.vqa_scores(vqa.read_vqav2(folder), {420: "2", 421: "running"})


def test_missing_photos_are_counted_and_named(with_photos):
    with pytest.raises(LAV2Error, match=r"1 of 3 photos .* COCO_val2014_000000000007.jpg"):
        vqa.read_vqav2(with_photos("vqav2", "COCO_val2014_000000000042.jpg"))


def test_pope_files_are_read_and_scored(with_photos):
    questions = pope.read_pope(with_photos("pope", "a.jpg", "b.webp"))
    assert [q.id for q in questions] == [f"adversarial/{i}" for i in (1, 2, 3)] + ["random/1", "random/2"]
    answers = {
        "random/1": "Yes, there is a dog.",
        "random/2": "Yes, there is one",
        "adversarial/1": "I do not see one.",
        "adversarial/2": "Yes. It is not on the dog.",  # only the first sentence counts
        "adversarial/3": "There is a bench.",
    }
    scores = pope.pope_scores(questions, answers)
    expected = {"accuracy": 1 / 2, "precision": 1 / 2, "recall": 1, "F1": 2 / 3, "yes-ratio": 1}
    assert scores["random"] == pytest.approx(expected)
    expected = {"accuracy": 1 / 3, "precision": 1 / 2, "recall": 1 / 2, "F1": 1 / 2, "yes-ratio": 2 / 3}
    assert scores["adversarial"] == pytest.approx(expected)
    expected = {"accuracy": 2 / 5, "precision": 1 / 2, "recall": 2 / 3, "F1": 4 / 7, "yes-ratio": 4 / 5}
    assert scores["all"] == pytest.approx(expected)


def test_mme_folders_are_read_and_scored(with_photos):
    photos = ("existence/images/one.jpg", "existence/images/two.jpg", "code_reasoning/0001.png")
    folder = with_photos("mme", *photos)
    questions = mme.read_mme(folder)
    assert len(questions) == 6
    assert {q.image for q in questions} == {folder / photo for photo in photos}
    answers = {q.id: "Yes." for q in questions}
    answers |= {"existence/one/2": "No, there is none", "code_reasoning/0001/2": "maybe"}
    scores = mme.mme_scores(questions, answers)
    assert scores["existence"] == {"accuracy": 75, "accuracy+": 50, "score": 125}
    assert scores["code_reasoning"] == {"accuracy": 50, "accuracy+": 0, "score": 50}
    assert scores["perception"]["score"] == 125
    assert scores["cognition"]["score"] == 50


def test_anls_forgives_small_slips_and_nothing_from_half_on():
    assert docvqa.anls("MAY 4,  1999", ["may 4, 1999"]) == 1.0
    assert docvqa.anls("helo", ["hello"]) == pytest.approx(0.8)
    assert docvqa.anls("ab", ["abcd"]) == 0.0  # a distance of exactly one half
    assert docvqa.anls("", ["x"]) == 0.0


def test_docvqa_files_are_read_and_scored(with_photos):
    questions = docvqa.read_docvqa(with_photos("docvqa.json", "pages/form.png"))
    assert questions[0].answers == ("May 4, 1999", "4 May 1999")
    assert docvqa.anls_scores(questions, {1: "4 may 1999", 2: "nobody"}) == {"all": 0.5}


def test_bootstrap_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(200):
        low, high = bootstrap.bootstrap_interval(rng.random(60) < 0.7, resamples=500, seed=seed)[1:]
        covered += low <= 0.7 <= high
    assert 180 <= covered <= 199


def test_bootstrap_of_pairs_is_narrower_than_its_parts_and_repeatable():
    rng = np.random.default_rng(2)
    a = rng.random(300)
    b = a - 0.1 + 0.01 * rng.standard_normal(300)  # b is nearly a, moved by 0.1
    paired = bootstrap.bootstrap_interval(a, b)
    assert paired == bootstrap.bootstrap_interval(a, b)
    assert paired.low < 0.1 < paired.high
    assert paired.high - paired.low < 0.1 * np.diff(bootstrap.bootstrap_interval(a)[1:])
    with pytest.raises(LAV2Error, match="pairs"):
        bootstrap.bootstrap_interval(a, b[:-1])
