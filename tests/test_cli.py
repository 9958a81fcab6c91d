"""The command line as scripts use it: JSON on standard output, messages on standard error, honest exit codes."""

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from lav2.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
SIGN = ROOT / "assets" / "examples" / "street-sign.webp"


def run(*arguments, cwd=ROOT):
    command = [sys.executable, "-m", "lav2", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_ask_prints_one_json_object_with_answer_evidence_and_all_that_it_depends_on():
    done = run("ask", SIGN, "What does the sign say?", "--json", "--experts", "caption,ocr", "--max-new-tokens", "20")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {"answer", "evidence", "prompt", "timings", "seed", "preset", "versions"} <= set(result)
    assert list(result["evidence"]) == ["caption", "ocr"]
    assert result["evidence"]["caption"]["text"]
    assert result["evidence"]["ocr"]["items"][0]["text"].upper() == "STOP"
    assert len(result["evidence"]["ocr"]["items"][0]["quad"]) == 4
    assert result["preset"] == "embedded"
    assert "Text:" in result["prompt"] and "Objects:" not in result["prompt"]  # an expert that is off has no line


@pytest.mark.slow
def test_ask_tells_which_expert_could_not_run_and_which_page_was_looked_at(tmp_path, capsys):
    pages, noise = Image.new("RGB", (64, 48), "white"), Image.effect_noise((64, 48), 90).convert("RGB")
    pages.save(tmp_path / "pages.tiff", save_all=True, append_images=[noise])
    (tmp_path / "lfs.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    photo, detector = str(tmp_path / "pages.tiff"), str(tmp_path / "lfs.pt")
    asked = ["ask", photo, "Hi", "--experts", "detection", "--detector", detector, "--max-new-tokens", "2"]
    assert main(asked) == 0
    printed = capsys.readouterr()
    assert f"{photo}: page 2 of the file was looked at" in printed.err
    assert f"{photo}: detection could not run: " in printed.err and "git lfs pull" in printed.err
    assert "could not run" not in printed.out


@pytest.mark.slow
def test_batch_answers_every_line_reports_bad_ones_and_resumes(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.open(SIGN).save(tmp_path / "photos" / "sign.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    lines = [
        {"id": "a", "image": "photos/sign.png", "question": "What is this?"},
        {"id": "b", "image": "bad.png", "question": "What is this?"},
        {"id": "c", "image": "photos/none.png", "question": "What is this?"},
        {"id": "d", "image": "photos/sign.png"},
        {"id": "e", "image": "photos/sign.png", "question": " "},
        {"id": "f", "image": "photos/sign.png", "question": "Is there a sign?"},
    ]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\nnot json\n")
    out = tmp_path / "a.jsonl"
    kept = {"id": "a", "answer": "kept from an earlier run"}
    out.write_text(json.dumps(kept) + "\n" + '{"id": "b", "ans')  # the earlier run was killed while it wrote
    arguments = ["batch", "q.jsonl", "--out", "a.jsonl", "--experts", "none", "--max-new-tokens", "8"]
    done = subprocess.run(
        [sys.executable, "-m", "lav2", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr  # some failed
    assert "2 answered, 5 failed" in done.stderr
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert [answer["id"] for answer in answers] == ["a", "b", "c", "d", "e", "f", None]
    assert answers[0] == kept
    assert "not a picture" in answers[1]["error"]
    assert "There is no file" in answers[2]["error"]
    assert "'question'" in answers[3]["error"]
    assert "There is no question" in answers[4]["error"]
    assert answers[5]["answer"]
    assert "Line 7" in answers[6]["error"]


@pytest.mark.slow
def test_caption_prints_a_line_per_photo_in_order(tmp_path):
    (tmp_path / "cut.jpg").write_bytes(b"")
    done = run("caption", SIGN, tmp_path / "cut.jpg", SIGN, "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["image"] for row in rows] == [str(SIGN), str(tmp_path / "cut.jpg"), str(SIGN)]
    assert rows[0]["caption"] == rows[2]["caption"] != ""
    assert "empty" in rows[1]["error"]
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["ask", "none.png", "Hi"], "There is no file none.png"),
        (["ask", str(SIGN), "Hi", "--preset", "gpt-9"], "There is no preset 'gpt-9'"),
        (["batch", "none.jsonl", "--out", "x.jsonl"], "none.jsonl cannot be read"),
        (["train", "--stage", "pretrain", "--data", "none.jsonl", "--out", "x", "--preset", "gpt-9"], "no preset"),
        (["train", "--stage", "pretrain", "--data", "x.jsonl", "--out", "x", "--device", "cuda:99"], "torch"),
        (["ask", str(SIGN), "Hi", "--device", "cuda:99"], "torch"),
        (["presets", "--device", "tpu"], "There is no device 'tpu'"),
    ],
)
def test_a_mistake_is_told_in_two_lines_without_a_trace(arguments, cause, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    printed = capsys.readouterr().err.splitlines()
    assert cause in printed[0]
    assert printed[1].startswith("  next: ")
    assert len(printed) == 2


def test_training_over_a_run_is_refused_with_all_ways_out(tmp_path, capsys):
    (tmp_path / "adapter.safetensors").touch()
    (tmp_path / "data.jsonl").touch()
    arguments = ["train", "--stage", "caption", "--data", str(tmp_path / "data.jsonl"), "--out", str(tmp_path)]
    assert main(arguments) == 1
    printed = capsys.readouterr().err
    assert all(word in printed for word in ("already holds", "--resume", "--init", "another --out"))
    assert main([*arguments, "--resume"]) == 1
    assert "no run that could go on" in capsys.readouterr().err


@pytest.mark.parametrize(
    "package, code",
    [("torch", "from lav2.cli.main import main; sys.exit(main(['distil', 'x.txt', '--out', 'x.json']))"),
     ("gradio", "import runpy; runpy.run_path('app.py', run_name='__main__')")],
)  # fmt: skip
def test_a_missing_package_is_told_with_how_to_install_it(package, code):
    blocked = f"import sys; sys.modules['{package}'] = None; {code}"  # as where it is not installed
    done = subprocess.run([sys.executable, "-c", blocked], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"package {package} is not installed" in done.stderr and "requirements.txt" in done.stderr


def test_the_console_script_is_the_command_line():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    module, name = scripts["lav2"].split(":")
    assert getattr(importlib.import_module(module), name) is main


def test_an_earlier_name_of_an_option_is_taken_with_a_notice(capsys, tmp_path):
    arguments = ["train", "--stage", "caption", "--data", "none.jsonl", "--out", str(tmp_path), "--together", "8"]
    assert main([*arguments, "--preset", "gpt-9"]) == 1
    printed = capsys.readouterr().err
    assert "--together is now called --pack" in printed and "no preset" in printed


def test_presets_are_listed_without_loading_anything():
    code = (
        "import sys; from lav2.cli.main import main; main(['presets']);"
        "assert not {'transformers', 'gradio', 'ultralytics'} & set(sys.modules), 'loaded too much'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "embedded" in done.stdout
