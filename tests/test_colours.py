"""The colour of what a detector boxed."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from experts import colours, detection
from experts.evidence import Detections, from_json, to_json
from experts.prompt_block import prompt_block
from lav2.config import EMBEDDED
from lav2.weights import find

PLAIN = {
    "red": (200, 20, 30),
    "orange": (240, 130, 20),
    "yellow": (240, 215, 30),
    "green": (30, 140, 50),
    "blue": (30, 60, 180),
    "black": (12, 12, 12),
    "white": (245, 245, 245),
    "pink": (245, 150, 185),
    "brown": (105, 65, 35),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_surface_has_its_colour(name):
    photo = Image.new("RGB", (100, 100), (128, 128, 120))
    ImageDraw.Draw(photo).rectangle((20, 20, 80, 80), fill=PLAIN[name])
    assert colours.colour_of(photo, (20, 20, 80, 80), "bus") == name


def test_of_a_person_the_clothes_above_the_waist_count():
    photo = Image.new("RGB", (60, 120), PLAIN["green"])
    ImageDraw.Draw(photo).rectangle((10, 20, 50, 65), fill=PLAIN["red"])
    ImageDraw.Draw(photo).rectangle((10, 66, 50, 120), fill=PLAIN["blue"])
    assert colours.colour_of(photo, (10, 5, 50, 120), "person") == "red"


def test_a_tiny_box_and_one_beside_the_photo_have_no_colour_and_do_not_fail():
    photo = Image.new("RGB", (50, 50), PLAIN["red"])
    assert colours.colour_of(photo, (10, 10, 14, 40), "bus") == ""
    assert isinstance(colours.colour_of(photo, (40, 40, 90, 90), "bus"), str)


def test_the_chances_sum_to_one():
    chance = colours.chances(Image.new("RGB", (30, 30), PLAIN["blue"]), (0, 0, 30, 30))
    assert chance.shape == (len(colours.NAMES),) and chance.sum() == pytest.approx(1.0, abs=1e-5)


def test_colours_stand_in_the_prompt_stay_in_json_and_follow_their_boxes():
    found = Detections(np.array([[0, 0, 20, 20], [70, 70, 99, 99]]), np.array([0.9, 0.8]), ("bus", "person"), 0.0, "d",
                       ("bus", "person"), (100, 100), colours=("blue", "red or pink"))  # fmt: skip
    block = prompt_block({"detection": found}, len, 500).text
    assert "one bus (top left: blue), one person (bottom right: in red or pink)" in block
    assert from_json("detection", to_json(found)).colours == found.colours
    assert found.only(np.array([False, True])).colours == ("red or pink",)
    with pytest.raises(ValueError, match="colours"):
        Detections(found.xyxy, found.confidence, found.labels, 0.0, "d", found.classes, found.size, colours=("blue",))


def test_the_shipped_detector_tells_the_colour_of_each_box(bus):
    found = detection.build(str(find(EMBEDDED.detector)))(bus)
    assert len(found.colours) == len(found.labels) and "blue" in found.colours[found.labels.index("bus")]
