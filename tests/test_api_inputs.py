"""Gradio's endpoints name the input that is wrong, before any model is asked."""

import asyncio

import gradio as gr
import pytest

import app
from experts import evidence
from lav2.ui import api

ENDPOINTS = (api.ask, api.compare, api.examine)
FUNCTIONS = {block.api_name: block for block in app.demo.fns.values() if block.fn in ENDPOINTS}
DEFAULTS = [list(evidence.BUILT_IN), 0.0, 0.9, 128, 0]


def given(name, *inputs):
    """What an endpoint's function gets for these inputs."""
    return asyncio.run(app.demo.preprocess_data(FUNCTIONS[name], list(inputs), None, True))


@pytest.mark.parametrize(
    ("inputs", "name"),
    [
        (("/etc/passwd", "Q", *DEFAULTS), "image"),
        (("aGVsbG8=", "Q", *DEFAULTS), "image"),
        ((7, "Q", *DEFAULTS), "image"),
        (({"path": "a.png"}, "Q", *DEFAULTS), "image"),
        ((None, 7, *DEFAULTS), "question"),
        ((None,), "question"),
        ((None, "Q", "caption", *DEFAULTS[1:]), "experts"),
        ((None, "Q", ["smell"], *DEFAULTS[1:]), "experts"),
        ((None, "Q", [["caption"]], *DEFAULTS[1:]), "experts"),
        ((None, "Q", [], "hot", *DEFAULTS[2:]), "temperature"),
        ((None, "Q", [], 0, float("nan"), 2, 0), "top_p"),
        ((None, "Q", [], 0, 0.9, True, 0), "max_new_tokens"),
        ((None, "Q", [], 0, 0.9, 2, {}), "seed"),
        ((None, "Q", [], 300, 0.9, 2, 0), "temperature"),
        ((None, "Q", [], 0, 0, 2, 0), "top_p"),
        ((None, "Q", [], 0, 0.9, 0, 0), "max_new_tokens"),
        ((None, "Q", [], 0, 0.9, 2, -1), "seed"),
    ],
)
def test_a_wrong_input_of_an_endpoint_is_named(inputs, name):
    for endpoint in ("ask", "compare"):
        with pytest.raises(gr.Error, match=f"`{name}`"):
            given(endpoint, *inputs)


def test_inputs_that_an_endpoint_does_not_have_are_refused():
    with pytest.raises(gr.Error, match="There are 8 inputs; the endpoint takes image, question"):
        given("ask", None, "Q", *DEFAULTS, "x")


def test_null_options_are_the_usual_ones():
    assert given("ask", None, "Q", *[None] * 5) == [None, "Q", *DEFAULTS]
    assert given("ask", None, "Q") == [None, "Q", *DEFAULTS]


def test_experts_without_a_photo_are_told_so():
    assert given("experts", None, ["caption"]) == [None, ["caption"]]
    with pytest.raises(gr.Error, match="no photo"):
        api.examine(None, ["caption"])


def test_a_question_without_a_photo_fits_the_schema_for_programs():
    info = app.demo.get_api_info()["named_endpoints"]
    optional = {
        name: [p["parameter_name"] for p in found["parameters"] if p["parameter_has_default"]]
        for name, found in info.items()
    }
    assert "image" in optional["/ask"] and "question" not in optional["/ask"]
    assert "image" not in optional["/compare"] and "image" not in optional["/experts"]
