"""A Hugging Face Space's start, imitated: `python -m pytest tests/test_space.py`. What it checks: front matter and pins
agree; from a fresh copy of the repository, with a home that cannot be written and the port from the environment, the
app starts and answers. What it cannot check: the build on their machines, and a real ZeroGPU."""

import re
import shutil
import subprocess

import pytest
from live import ROOT, serve

FRONT = dict(
    line.split(": ", 1) for line in (ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1].splitlines()
)
PINS = (ROOT / "requirements.txt").read_text(encoding="utf-8")


def test_the_front_matter_agrees_with_the_pins_and_files():
    assert FRONT["sdk"] == "gradio" and f"gradio=={FRONT['sdk_version']}\n" in PINS
    assert (ROOT / FRONT["app_file"]).exists()
    assert FRONT["python_version"].strip('"') in ("3.10", "3.12"), "what ZeroGPU offers"
    assert len(FRONT["short_description"]) <= 60


def test_the_container_runs_as_a_normal_user_on_the_same_files():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert text.index("USER user") < text.index("pip install") < text.index("CMD")
    for file in re.findall(r"\S+\.(?:txt|py)\b", text):
        assert (ROOT / file.strip('"[],')).exists()


@pytest.mark.slow
def test_a_fresh_copy_starts_with_a_read_only_home_and_the_port_of_the_environment(tmp_path):
    from gradio_client import Client, handle_file

    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    else:
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file()]
    fresh = tmp_path / "app"
    for name in filter(None, names):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, fresh / name)
    home = "/dev/null/home"  # cannot be made, not even by root
    start = {"HOME": home, "XDG_CACHE_HOME": f"{home}/.cache", "SPACE_ID": "someone/lav2", "TMPDIR": str(tmp_path)}
    with serve(tmp_path / "run", root=fresh, **start) as server:
        sign = handle_file(str(ROOT / "assets/examples/street-sign.webp"))
        asked = {"question": "What does the sign say?", "experts": ["ocr"], "max_new_tokens": 4}
        answer = Client(server.address, verbose=False, download_files=str(tmp_path)).predict(
            sign, **asked, api_name="/ask"
        )
        assert "STOP" in [item["text"] for item in answer["evidence"]["ocr"]["items"]], answer["evidence"]
        assert server.attempts == []
