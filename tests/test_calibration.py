"""What a detector's scores are worth: fitted per kind, read with the weights, asked as visitors ask."""

import json
import shutil

import numpy as np
import pytest

from experts import calibration, detection
from experts.calibration import Calibration, KindCalibration
from experts.evidence import Detections, ExpertError
from experts.train_detector import calibrate, evaluate, questions
from experts.train_detector.data import Box, Photo
from lav2 import config, weights

SIZE = (100, 100)
KINDS = ("cat", "dog", "owl")


def found_by(*boxes):
    """(label, score, xyxy) each -> what a detector says."""
    labels, scores, xyxy = zip(*boxes, strict=True) if boxes else ((), (), ())
    return Detections(np.reshape(xyxy, (-1, 4)), np.array(scores), labels, 0.1, "x", KINDS, SIZE)


def photo_of(*boxes, complete=None):
    return Photo("p.png", *SIZE, tuple(Box(*box) for box in boxes), complete=complete)


def test_a_kind_scored_too_high_gets_a_lower_chance_and_a_rare_one_keeps_to_the_others():
    random = np.random.default_rng(0)
    n = 4000
    score, kind = random.uniform(0.05, 0.95, n), random.integers(0, 2, n)
    truth = np.where(kind == 0, score, score**2)  # cats: right as often as the score says; dogs: less often
    examples = calibrate.Examples(score, kind, random.uniform(size=n) < truth, np.ones(n))
    slope, offset = calibrate.fit(examples, 3)
    fitted = Calibration(dict(zip(KINDS, map(KindCalibration, slope, offset, [0.1] * 3), strict=True)), 0.5, 0.5, "")
    for label, power in (("cat", 1), ("dog", 2)):
        for p in (0.3, 0.6, 0.85):
            assert fitted.chances([label], np.array([p]))[0] == pytest.approx(p**power, abs=0.06)
    cat, dog, owl = fitted.chances(KINDS, np.array([0.6] * 3))
    assert dog < owl < cat  # no owl was seen: as all kinds together


def test_chances_rise_with_scores_even_where_the_examples_say_otherwise():
    score = np.array([0.1, 0.2, 0.8, 0.9])
    slope, _ = calibrate.fit(calibrate.Examples(score, np.zeros(4), np.array([1, 1, 0, 0.0]), np.ones(4)), 1)
    assert slope[0] > 0


def test_a_box_in_a_crowd_or_of_a_kind_that_nobody_drew_says_nothing_about_the_score():
    whole, left = (0, 0, 100, 100), (0, 0, 40, 100)
    photos = [photo_of(("cat", whole, True), ("dog", left), complete=frozenset({"cat", "dog"}))]
    found = [found_by(("cat", 0.9, left), ("dog", 0.8, left), ("dog", 0.3, (50, 0, 90, 90)), ("owl", 0.7, left))]
    examples = calibrate.box_examples(photos, found)
    assert sorted(zip(examples.score.round(1), examples.right, strict=True)) == [(0.3, 0), (0.8, 1)]


def test_every_kind_has_a_threshold_of_its_own_where_yes_and_no_are_as_likely():
    box = (0, 0, 40, 40)
    photos, found = [], []
    for i in range(60):  # cats are scored 0.6 where there are some and 0.3 where not; dogs 0.2 and 0.05
        shown = ("cat", "dog") if i % 4 == 0 else (("cat",), ("dog",), ("owl",))[i % 3]
        photos.append(photo_of(*((label, box) for label in shown)))
        scores = {"cat": (0.3, 0.6), "dog": (0.05, 0.2), "owl": (0.1, 0.1)}
        found.append(found_by(*((k, scores[k][k in shown], box) for k in KINDS)))
    file = weights.find(config.EMBEDDED.detector)
    made = calibrate.calibrate(file, photos, [calibrate.separated(one) for one in found])
    cat, dog = (calibration.sigmoid(made.kinds[kind].needed) for kind in ("cat", "dog"))
    assert 0.3 < cat < 0.6 and 0.05 < dog < 0.2 and made.presence == 0
    scores = np.array([0.25, 0.25, 0.03])
    assert made.answering(["cat", "dog", "dog"], scores, np.array([0.9] * 3)).tolist() == [False, True, False]
    assert made.weights == calibration.digest(file)


def test_what_the_whole_photo_tells_of_a_kind_answers_beside_its_surest_box():
    box, whole = (0, 0, 40, 40), (50, 50, 50, 50)
    photos, found = [], []
    for i in range(60):  # every kind has the same box everywhere; the whole photo knows
        shown = ("cat", "dog") if i % 4 == 0 else (("cat",), ("dog",), ("owl",))[i % 3]
        photos.append(photo_of(*((label, box) for label in shown)))
        boxes = [(kind, 0.1, box) for kind in KINDS[:2]] + [(kind, (0.1, 0.4)[kind in shown], whole) for kind in KINDS]
        found.append(calibrate.separated(found_by(*boxes)))
    assert found[0].boxes.labels == KINDS[:2]
    assert found[0].shown == pytest.approx({"cat": 0.4, "dog": 0.4, "owl": 0.1})
    made = calibrate.calibrate(weights.find(config.EMBEDDED.detector), photos, found)
    answers = made.answering(["cat", "cat", "owl"], np.array([0.1, 0.1, calibration.NO_BOX]), np.array([0.1, 0.4, 0.4]))
    assert made.presence > 0.5 and answers.tolist() == [False, True, True]
    assert made.least(0.5, True) <= calibration.NO_BOX < made.least(0.5, False)


def test_presence_is_asked_half_yes_and_no_about_what_goes_together():
    photos = [photo_of(("cat", (0, 0, 9, 9)), ("dog", (0, 0, 9, 9))) for _ in range(5)]
    photos += [photo_of(("cat", (0, 0, 9, 9))), photo_of(("owl", (0, 0, 9, 9)))]
    asked = questions.presence(photos)
    assert [q for q in asked if q.photo == 5] == [(5, "cat", 1), (5, "dog", 0)]  # no owl was ever with a cat
    assert asked == questions.presence(photos)
    partial = [photo_of(("cat", (0, 0, 9, 9)), complete=frozenset({"owl"}))]  # no dog drawn: no proof
    assert (7, "dog", 0) not in questions.presence(photos + partial)
    herd = photo_of(*(("cat", (i, 0, i + 9, 9)) for i in range(6)), ("dog", (0, 0, 9, 9)), ("owl", (0, 0, 9, 9), True))
    assert questions.counting([herd]) == [(0, "dog", 1)]


def test_counts_are_of_sure_boxes_and_one_where_all_are_faint():
    box = (0, 0, 9, 9)
    found = found_by(("cat", 0.9, box), ("cat", 0.6, box), ("cat", 0.2, box), ("dog", 0.2, box), ("dog", 0.1, box))
    d = Detections(found.xyxy, found.confidence, found.labels, 0.1, "x", KINDS, SIZE, sure=0.5)
    assert [evaluate.counted(d, kind) for kind in KINDS] == [2, 1, 0]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A copy of the embedded detector's weights, to lay calibrations beside."""
    file = tmp_path_factory.mktemp("detector") / "own.onnx"
    shutil.copy(weights.find(config.EMBEDDED.detector), file)
    return file


@pytest.mark.parametrize(
    "broken", [lambda c: c | {"weights": "0" * 64}, lambda c: c | {"kinds": {}}, lambda c: {"sure": 1}, lambda c: []]
)
def test_a_calibration_of_other_weights_or_a_broken_one_is_refused_with_what_to_do(own, broken):
    content = json.loads(calibration.beside(weights.find(config.EMBEDDED.detector)).read_text())
    calibration.beside(own).write_text(json.dumps(broken(content)))
    with pytest.raises(ExpertError, match=r"own\.json .*calibrate"):
        detection.build(str(own)).load()
    detection.build(str(own), calibrated=False).load()


def test_the_expert_says_chances_and_keeps_for_each_kind_what_answers_a_question(own, bus):
    calibration.beside(own).unlink(missing_ok=True)
    plain = detection.build(str(own), 0.01, overlap=0.5)(bus)
    assert len(plain.labels) < len(detection.build(str(own), 0.01)(bus).labels)  # fewer doubles
    people = plain.confidence[[label == "person" for label in plain.labels]]
    kinds = {name: KindCalibration(1.0, -50.0, 7.0) for name in plain.classes}  # never
    kinds["person"] = KindCalibration(2.0, 1.0, float(calibration.logit(np.median(people))))
    Calibration(kinds, 0.8, 0.5, calibration.digest(own)).write(calibration.beside(own))
    found = detection.build(str(own), least=detection.FAINT)(bus)
    expected = calibration.sigmoid(2 * calibration.logit(people) + 1)
    assert set(found.labels) == {"person"} and found.sure == 0.8
    np.testing.assert_allclose(found.confidence, expected[expected >= 0.8], atol=1e-3)
    assert len(found.labels) > 1
    alone = detection.build(str(own), 0.9999, least=detection.FAINT)(bus)  # none is sure: the surest one answers
    np.testing.assert_allclose(alone.confidence, expected.max(keepdims=True), atol=1e-3)
    assert detection.build(str(own), 0.9999)(bus).labels == ()


def test_a_kind_that_only_the_whole_photo_shows_is_a_faint_box_around_it(own, bus):
    raw = calibrate.separated(detection.build(str(own), calibration.NO_BOX, calibrated=False)(bus))
    boxless = max(raw.shown.keys() - set(raw.boxes.labels), key=raw.shown.get)
    kinds = {name: KindCalibration(1.0, -50.0, 99.0) for name in raw.boxes.classes}  # never
    kinds[boxless] = KindCalibration(1.0, -50.0, -99.0)
    Calibration(kinds, 0.5, 0.7, calibration.digest(own), 1.0).write(calibration.beside(own))
    found = detection.build(str(own), least=detection.FAINT)(bus)
    assert found.labels == (boxless,) and found.xyxy.tolist() == [[0, 0, *bus.size]]
    assert found.confidence[0] == pytest.approx(min(raw.shown[boxless], 0.45), abs=1e-3)
    assert detection.build(str(own))(bus).labels == ()


def test_the_shipped_calibration_fits_its_weights_and_says_less_than_certain():
    file = weights.find(config.EMBEDDED.detector)
    found = calibration.read(file, ())
    assert found.sure < 0.6 and len(found.kinds) >= 45
    for kind in found.kinds.values():
        assert kind.needed < 0 and 0.05 < found.chances([*found.kinds][:1], np.array([0.5]))[0] < 0.95
