"""Evidence: shapes are checked when made, JSON goes there and back."""

import json
import subprocess
import sys

import numpy as np
import pytest

from experts.evidence import Caption, Detections, ExpertError, ExpertFailure, OcrLines, from_json, to_json


def detections(**changes):
    fields = {
        "xyxy": [[1, 2, 30, 40], [5.5, 6, 7, 8]],
        "confidence": [0.9, 0.25],
        "labels": ("dog", "person"),
        "seconds": 0.1,
        "detector": "d.tflite",
        "classes": ("person", "dog"),
        "size": (100, 50),
    }
    return Detections(**(fields | changes))


def lines(**changes):
    fields = {
        "quads": [[[0, 0], [10, 1], [10, 5], [0, 4]]],
        "confidence": [0.5],
        "texts": ("STOP",),
        "seconds": 0.2,
        "size": (100, 50),
    }
    return OcrLines(**(fields | changes))


@pytest.mark.parametrize(
    "make, changes, message",
    [
        (detections, {"xyxy": [[1, 2, 3, 4]]}, "Detections.xyxy has shape"),
        (detections, {"xyxy": [[30, 2, 1, 40], [5, 6, 7, 8]]}, "left/top lies beyond"),
        (detections, {"xyxy": [[np.nan, 2, 3, 40], [5, 6, 7, 8]]}, "not finite"),
        (detections, {"confidence": [0.9]}, "Detections.confidence has shape"),
        (detections, {"confidence": [0.9, 1.5]}, "outside 0..1"),
        (detections, {"classes": ("person",)}, "does not list"),
        (detections, {"size": (0, 50)}, "at least 1 pixel"),
        (lines, {"quads": [[0, 0, 10, 5]]}, "OcrLines.quads has shape"),
        (lines, {"texts": ("a", "b")}, "OcrLines.quads has shape"),
        (lines, {"confidence": [-0.1]}, "outside 0..1"),
        (lines, {"size": (3, -1)}, "at least 1 pixel"),
        (lines, {"reliable": [True, False]}, "OcrLines.reliable is bool of shape"),
        (lines, {"reliable": [0.5]}, "OcrLines.reliable is float64"),
    ],
)
def test_a_wrong_shape_or_range_is_refused_when_made(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_arrays_are_float32_read_only_copies():
    mine = np.array([[1, 2, 30, 40], [5, 6, 7, 8]], np.float64)
    found = detections(xyxy=mine)
    mine[:] = 0
    assert found.xyxy.dtype == np.float32 and found.xyxy[0].tolist() == [1, 2, 30, 40]
    with pytest.raises(ValueError):
        found.xyxy[0] = 0
    with pytest.raises(ValueError):
        lines().quads[0] = 0


EMPTY = [
    detections(xyxy=np.zeros((0, 4)), confidence=[], labels=()),
    lines(quads=np.zeros((0, 4, 2)), confidence=[], texts=()),
]


@pytest.mark.parametrize(
    "name, evidence",
    [
        ("caption", Caption('a "dog"', 1.5, "tiny")),
        ("caption", Caption("a dog", 1.5, "tiny", (("dog", 0.75), ("grass", 0.25)))),
        ("detection", detections()),
        ("ocr", lines()),
        ("detection", EMPTY[0]),
        ("ocr", EMPTY[1]),
        ("ocr", ExpertFailure("ocr", "No weights.", "Install them.", 0.0)),
    ],
)
def test_json_goes_there_and_back(name, evidence):
    written = json.loads(json.dumps(to_json(evidence)))
    read = from_json(name, written)
    assert type(read) is type(evidence)
    assert to_json(read) == written
    for field in evidence.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(read, field), getattr(evidence, field))


def test_json_has_the_documented_keys():
    assert to_json(detections()) == {
        "items": [
            {"label": "dog", "confidence": 0.9, "xyxy": [1, 2, 30, 40]},
            {"label": "person", "confidence": 0.25, "xyxy": [5.5, 6, 7, 8]},
        ],
        "seconds": 0.1,
        "detector": "d.tflite",
        "classes": ["person", "dog"],
        "size": [100, 50],
        "sure": 0.0,
    }
    assert to_json(lines())["items"] == [
        {"text": "STOP", "confidence": 0.5, "quad": [[0, 0], [10, 1], [10, 5], [0, 4]], "reliable": True}
    ]
    assert to_json(ExpertFailure("ocr", "No weights.", "Install them.", 0.5)) == {
        "error": "No weights.",
        "next_step": "Install them.",
        "seconds": 0.5,
    }


def test_what_is_not_reliable_stays_so_and_old_records_are_taken_as_reliable():
    marked = lines(reliable=[False])
    assert lines().reliable.tolist() == [True] and not from_json("ocr", to_json(marked)).reliable.any()
    with pytest.raises(ValueError):
        marked.reliable[0] = True
    old = to_json(marked)
    del old["items"][0]["reliable"]
    assert from_json("ocr", old).reliable.all()


@pytest.mark.parametrize("name", ["", "Smell", "smell!", "9", "a+b", "smell\n", "x" * 31])
def test_evidence_under_what_is_no_name_of_an_expert_is_refused(name):
    with pytest.raises(ValueError, match="is no name of an expert"):
        from_json(name, {"items": [], "seconds": 0.0, "size": [9, 9]})


def test_an_expert_error_reads_as_cause_and_next_step():
    assert str(ExpertError("No weights.", "Install them.")) == "No weights. Install them."


def test_importing_the_experts_imports_no_heavy_library():
    modules = "evidence, render, orchestrator, caption, detection, ocr"
    heavy = ("torch", "cv2", "ultralytics", "easyocr", "transformers", "gradio")
    code = f"import sys; from experts import {modules}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
