"""The server's process: its port is looked at first, photos are private and go, it ends with a word."""

import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import gradio
import httpx
import pytest
from live import ROOT
from starlette.testclient import TestClient

import app
from lav2.errors import LAV2Error
from lav2.server import serving

HOLD = """
import sys, time
from lav2.server import serving
print(serving.private_folder(), flush=True)
{then}
"""


def process(folder, then="time.sleep(600)"):
    """A process with a folder of its own below `folder`; (process, its folder)."""
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLD.format(then=then)]
    found = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    return found, Path(found.stdout.readline().strip())


def test_temporary_files_are_private_and_go_with_the_process_or_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (tmp_path / "of-others").mkdir()
    killed, dead = process(tmp_path)
    living, alive = process(tmp_path)
    ending, ended = process(tmp_path, "pass")
    terminated, stopped = process(tmp_path, "serving.exit_on_sigterm(); print('x', flush=True); time.sleep(600)")
    try:
        assert stat.S_IMODE(dead.stat().st_mode) == 0o700
        (dead / "photo.png").write_bytes(b"1")
        killed.kill()
        killed.wait(60)
        ending.wait(60)
        terminated.stdout.readline()
        terminated.send_signal(signal.SIGTERM)
        assert terminated.wait(60) == 0
        assert dead.exists() and not ended.exists() and not stopped.exists()
        own = serving.private_folder()
        assert not dead.exists() and alive.exists() and own.exists() and (tmp_path / "of-others").exists()
    finally:
        for one in (killed, living, ending, terminated):
            one.kill()
            one.wait(60)


def test_a_port_in_use_is_told_before_anything_is_loaded():
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = used.getsockname()[1]
        command = [sys.executable, "app.py", "--port", str(port)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1
    assert f"port {port}" in done.stderr and "--port" in done.stderr
    assert "Traceback" not in done.stderr and "language model" not in done.stdout


@pytest.mark.parametrize("port", ["http", "99999999999999999999", "-1"])
def test_a_port_that_is_none_is_told(monkeypatch, port):
    monkeypatch.setenv("GRADIO_SERVER_PORT", port)
    with pytest.raises(LAV2Error, match="cannot listen"):
        serving.check_port(None, None)


def test_without_a_port_gradio_looks_for_a_free_one(monkeypatch):
    monkeypatch.delenv("GRADIO_SERVER_PORT", raising=False)
    serving.check_port(None, None)


def test_answers_end_with_what_was_said_and_none_begins_while_the_app_ends(monkeypatch):
    monkeypatch.setattr(serving, "_ending", threading.Event())
    said, begun = [], threading.Event()

    @serving.stoppable
    def answer(request, run):
        yield "first"
        begun.set()
        run.wait(60)
        yield "stopped"

    writer = threading.Thread(target=lambda: said.extend(answer(None, threading.Event())))
    writer.start()
    assert begun.wait(60)
    serving.stop_answers(60)
    writer.join(60)
    assert said == ["first", "stopped"] and not serving._answers
    with pytest.raises(LAV2Error, match="shutting down"):
        next(answer(None, threading.Event()))


def test_an_upload_on_a_full_disk_is_told(monkeypatch):
    monkeypatch.setattr(app.demo, "max_file_size", None, raising=False)  # as launch() sets it
    kwargs = {"exception_handlers": {OSError: serving.disk_full}}
    client = TestClient(gradio.routes.App.create_app(app.demo, app_kwargs=kwargs))

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gradio.route_utils.NamedTemporaryFile", full)
    reply = client.post("/gradio_api/upload", files={"files": ("a.png", b"1" * 9)})
    assert reply.status_code == 507 and "no room left" in reply.text


SCRIPTED = """
import os, sys
from lav2.server import serving
os.environ["GRADIO_TEMP_DIR"] = str(serving.private_folder())
print(os.environ["GRADIO_TEMP_DIR"], flush=True)
import app
from lav2.events import Done, PromptReady, Token

class Endless:
    preset = "scripted"
    def count_tokens(self, text):
        return len(text.split())
    def answer(self, request, cancel):
        yield PromptReady("p", 1, 2, 0)
        while not cancel.wait(0.05):
            yield Token("word ")
        yield Done("word", {}, "p", {}, 0, "scripted", {}, True, {})

from lav2.ui import answering

app.load = lambda *_, **__: setattr(answering, "ASSISTANT", Endless())
app.warm = lambda: None
app.main(["--port", sys.argv[1]])
"""


@pytest.mark.slow
def test_a_server_that_is_told_to_end_ends_its_answers_and_leaves_no_photo(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen([sys.executable, "-u", "-c", SCRIPTED, str(port)], cwd=ROOT, env=environment,
                              stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        folder = Path(server.stdout.readline().strip())
        assert "ready" in server.stdout.readline()
        body = {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": "Count."}]}
        with httpx.stream("POST", f"http://127.0.0.1:{port}/v1/chat/completions", json=body, timeout=60) as reply:
            lines = []
            for line in reply.iter_lines():
                lines.append(line)
                if len(lines) == 6:
                    assert folder.exists()
                    server.send_signal(signal.SIGTERM)
        said = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
        assert said[-1]["choices"][0]["finish_reason"] == "stop" and "data: [DONE]" in lines
        assert server.wait(120) == 0
        assert not folder.exists()
    finally:
        server.kill()
        server.wait(60)


def test_what_a_full_disk_cut_off_makes_room_for_the_next_upload(monkeypatch, tmp_path):
    own = tmp_path / f"{serving.PREFIX}x"
    for folder in (own, tmp_path / "others"):
        (folder / "hash").mkdir(parents=True)
        for name in ("tmpcut", "tmpgoing", "hash/tmpphoto"):
            (folder / name).write_bytes(b"x")
            if name != "tmpgoing":
                os.utime(folder / name, (0, 0))
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
        assert serving.disk_full(None, OSError(errno.ENOSPC, "full")).status_code == 507
    assert sorted(path.name for path in own.rglob("tmp*")) == ["tmpgoing", "tmpphoto"]
    assert len(list((tmp_path / "others").rglob("tmp*"))) == 3
