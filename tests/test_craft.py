"""OCR's text search (CRAFT) finds what EasyOCR's own finds, on weights of int8 and without them."""

import copy
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from pictures import sign

from experts import craft, ocr

VECTORS = torch.backends.cpu.get_cpu_capability()


@pytest.mark.slow
def test_loading_the_detector_leaves_program_home_and_network_alone(shared, tmp_path):
    code = f"""
import os, socket, sys
import numpy as np
def refuse(*a, **k): print("NETWORK", a); raise OSError("refused")
socket.getaddrinfo = socket.socket.connect = refuse
import torch
torch.set_num_threads(3)
before = dict(os.environ), torch.get_num_threads(), np.get_printoptions()
from PIL import Image
from experts import detection, ocr
for expert in (detection.build({str(shared / "data/models/yolov8n_int8.tflite")!r}), ocr.build()):
    expert(Image.new("RGB", (64, 64)))
after = dict(os.environ), torch.get_num_threads(), np.get_printoptions()
changed = {{k for k in before[0].keys() | after[0].keys() if before[0].get(k) != after[0].get(k)}}
print("ENV", sorted(k for k in changed if k.startswith(("YOLO", "OMP"))))
print("SAME", before[1:] == after[1:])
"""
    home = tmp_path / "home"
    home.mkdir()
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO", "XDG", "LAV2", "OMP"))}
    environment |= {"HOME": str(home), "LAV2_CACHE": str(tmp_path / "cache"), "PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "NETWORK" not in done.stdout
    assert "ENV []" in done.stdout and "SAME True" in done.stdout
    assert not [p for p in home.rglob("*") if "ltralytics" in p.name or "EasyOCR" in p.name]
    assert {p.name for p in tmp_path.iterdir()} == {"home", "cache"}  # nothing in the working folder


@pytest.fixture(scope="module")
def search():
    """EasyOCR's own text search, and the numbers [1, 3, H, W] that it gets of a sign."""
    import easyocr

    reader = easyocr.Reader(["en"], gpu=False, model_storage_directory=str(ocr._packaged()), download_enabled=False,
                            verbose=False)  # fmt: skip
    seen = []
    hook = reader.detector.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    reader.readtext(np.asarray(sign("MILL ROAD 27", size=(320, 224))))
    hook.remove()
    return reader.detector, seen[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "most"),
    [(craft.Int8Craft, 0.06), (craft.FloatCraft, 1e-3), (partial(craft.FloatCraft, bfloat16=True), 0.03)],
    ids=["Whole", "Plain", "bfloat16"],
)
def test_the_quicker_text_search_finds_what_easyocr_alone_finds(search, way, most):
    if way is craft.Int8Craft and VECTORS not in ("AVX2", "AVX512"):
        pytest.skip("oneDNN's convolutions of whole numbers need AVX2")
    detector, pixels = search
    with torch.no_grad():
        plain, plain_features = detector(pixels)
        quick, features = way(craft.folded(copy.deepcopy(detector)))(pixels)
    assert plain.dtype == quick.dtype == torch.float32 and features.shape == plain_features.shape
    assert plain.max() > 0.7  # there is text to find
    assert (plain - quick).abs().max() < most  # the thresholds are 0.4 and 0.7
    assert ((plain > 0.4) != (quick > 0.4)).sum() < 0.05 * (plain > 0.4).sum()


@pytest.mark.slow
@pytest.mark.skipif(VECTORS not in ("AVX2", "AVX512"), reason="oneDNN's convolutions of whole numbers need AVX2")
def test_no_activation_of_the_text_search_goes_beyond_what_can_be_added_without_overflow(search, monkeypatch):
    """Also where a photo drives them further than any photo did that was seen."""
    monkeypatch.setattr(craft, "SEEN", tuple(0.2 * seen for seen in craft.SEEN))
    whole, most = craft.Int8Craft(craft.folded(copy.deepcopy(search[0]))), []
    at = whole._convolve

    def watched(i, x):
        found = at(i, x)
        most.extend([int(found.max())] if found.dtype == torch.uint8 else [])
        return found

    monkeypatch.setattr(whole, "_convolve", watched)
    with torch.no_grad():
        whole(search[1])
    assert len(most) == 21 and max(most) in (127, 128)


@pytest.mark.slow
def test_the_text_search_takes_the_way_that_the_processor_is_quick_at(search, monkeypatch):
    def chosen(capability, **has):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
        return craft.quantise(copy.deepcopy(search[0]))

    assert chosen("DEFAULT", bf16=True)._bfloat16
    plain = chosen("DEFAULT")
    assert isinstance(plain, craft.FloatCraft) and not plain._bfloat16
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in plain.modules())
    if VECTORS in ("AVX2", "AVX512"):
        assert isinstance(chosen(VECTORS, avx512_bf16=True), craft.Int8Craft)

    def changed(*args):
        raise RuntimeError("qconv2d_pointwise() is missing value for argument 'haste'")

    monkeypatch.setattr(torch.ops.onednn, "qconv2d_pointwise", changed)
    assert isinstance(chosen("AVX2"), craft.FloatCraft)
