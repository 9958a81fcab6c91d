"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest
from PIL import Image

if os.environ.get("LAV2_TEST_DEVICE", "cpu") == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before triton is imported: its kernels run on the CPU then

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data folder, which is not part of the repository."""
    folder = Path(os.environ.get("LAV2_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the shared data: no folder {folder}; set LAV2_SHARED to where it lies")
    return folder


@pytest.fixture(scope="session")
def bus() -> Image.Image:
    """The photo of a bus and people that the ultralytics package carries, RGB, 810 x 1080."""
    from importlib.util import find_spec

    package = Path(find_spec("ultralytics").origin).parent  # found without importing it
    return Image.open(package / "assets" / "bus.jpg").convert("RGB")
