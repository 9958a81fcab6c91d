"""A start on ZeroGPU, rehearsed with the package `spaces` itself and a stand-in for the host that lends the GPUs. There
is no GPU here: the worker computes in the emulation of CUDA that the package runs in the main process
(tests/zerogpu_app.py)."""

import base64
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

import gradio
import pytest
import torch
import zerogpu_host
from gradio_client.exceptions import AppError
from live import ROOT, serve, visitor
from PIL import Image
from test_space import PACKAGES, python_for

from lav2.errors import LAV2Error, Unavailable
from lav2.events import Request
from lav2.hub import space
from lav2.model import preflight
from lav2.ui import answering
from lav2.ui.state import Cancellation

SIGN = ROOT / "assets/examples/street-sign.webp"
QUOTA = "h." + base64.urlsafe_b64encode(b"{}").decode().rstrip("=") + ".s"  # the Hub's proxy sends one a visitor


@pytest.fixture
def lent(monkeypatch):
    """As on ZeroGPU, where the GPU is lent to this very process."""
    monkeypatch.setattr(answering, "ON_ZERO_GPU", True)


def test_the_device_is_the_gpu_of_the_host_and_experts_stay_on_the_processor(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight, "DEV", tmp_path)  # no /dev/nvidia0
    monkeypatch.setattr(preflight, "find_spec", lambda name: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # as `spaces` has it
    assert (preflight.device(), preflight.experts_device("cuda")) == ("cpu", "cuda")
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert (preflight.device(), preflight.experts_device("cuda")) == ("cuda", "cpu")
    assert preflight.device("cpu") == "cpu"


def test_an_error_of_the_lent_process_comes_back_whole(lent, monkeypatch):
    """Of an exception that is raised there, `spaces` hands on the kind alone."""

    class Fails:
        def answer(self, request):
            raise LAV2Error("There is no question.", "Type one.")

        def examine(self, photo, experts, client):
            raise LAV2Error("There is no expert {name}.", "Choose.", name="x")

    monkeypatch.setattr(answering, "ASSISTANT", Fails())
    (error,) = answering.zerogpu_answer(Request(""))
    assert str(error) == "There is no question. Type one."
    with pytest.raises(LAV2Error, match="There is no question"):
        list(answering.answer(Request(""), Cancellation()))
    with pytest.raises(LAV2Error, match="no expert x"):
        answering.examine(Image.new("RGB", (2, 2)), ("x",), None, Cancellation())


def test_a_gpu_that_is_not_lent_is_told_with_the_reason_of_the_host(lent, monkeypatch):
    def refused(*_):
        raise gradio.Error("You have exceeded your free ZeroGPU quota.")
        yield

    monkeypatch.setattr(answering, "zerogpu_answer", refused)
    monkeypatch.setattr(answering, "zerogpu_examine", lambda *_: next(refused()))
    with pytest.raises(Unavailable, match=r"no GPU for this question \(You have exceeded your free ZeroGPU quota.\)"):
        list(answering.answer(Request("Q"), Cancellation()))
    with pytest.raises(Unavailable, match="no GPU for this question"):
        answering.examine(Image.new("RGB", (2, 2)), (), None, Cancellation())


def test_several_requests_keep_the_context_by_which_the_host_knows_the_visitor(monkeypatch):
    from gradio.context import LocalContext

    seen = []

    def answer(*_):
        seen.append(LocalContext.request.get(None))
        yield from ()

    monkeypatch.setattr(answering, "answer", answer)
    token = LocalContext.request.set("the visitor's")
    try:
        assert list(answering.stream({"a": Request("Q"), "b": Request("Q")}, Cancellation())) == []
    finally:
        LocalContext.request.reset(token)
    assert seen == ["the visitor's"] * 2


@pytest.mark.slow
@pytest.mark.skipif(find_spec("spaces") is None, reason="the package `spaces` is not installed (pip install spaces)")
@pytest.mark.skipif(torch.version.cuda is None, reason="`spaces` needs a torch that is built for CUDA")
def test_on_zero_gpu_answers_come_from_a_forked_worker_and_a_refusal_is_told():
    from gradio_client import handle_file

    with tempfile.TemporaryDirectory(prefix="lav2-zerogpu-") as folder, zerogpu_host.serving() as host:
        place = Path(folder)  # that every user may reach, unlike pytest's
        os.chmod(place, 0o755)
        fresh, run, home = place / "app", place / "run", place / "home"
        space.plan().stage(fresh, link=False)
        run.mkdir()
        home.mkdir(mode=0o555)
        python = python_for(1000) if os.getuid() == 0 else None
        who = {"user": 1000, "python": python} if python else {}
        if who:
            os.chown(run, 1000, 1000)
        start = {
            "HOME": str(home), "SPACE_ID": "someone/lav2", "SPACES_ZERO_GPU": "true", "TMPDIR": str(run),
            "SPACES_ZERO_DEVICE_API_URL": host.address, "ZEROGPU_OFFLOAD_DIR": str(run / "tensors"),
            "PYTHONPATH": os.pathsep.join([str(Path(find_spec("spaces").origin).parents[1]), str(PACKAGES)]),
        }  # fmt: skip
        with serve(run, root=fresh, runner=ROOT / "tests/zerogpu_app.py", **who, **start) as server:
            assert "engine: folded weights, torch" in server.printed, "no CUDA before the fork"
            client = visitor(server.address, download_files=folder, headers={"X-IP-Token": QUOTA})
            sign, few = handle_file(str(SIGN)), {"max_new_tokens": 4}

            def ask(question, *experts):
                return client.predict(sign, question=question, experts=experts, **few, api_name="/ask")

            # without the captioner: it writes dozens of drafts, which take minutes in the emulation
            first, second = ask("What does the sign say?", "ocr"), ask("What is it?", "detection")
            assert first["answer"] and "STOP" in [item["text"] for item in first["evidence"]["ocr"]["items"]]
            assert [item["label"] for item in second["evidence"]["detection"]["items"]] == ["stop sign"]
            looked = client.predict(sign, ["ocr"], api_name="/experts")
            assert "STOP" in [item["text"] for item in looked["ocr"]["items"]]
            with pytest.raises(AppError, match=r"The question needs [\d,]+ tokens"):
                ask("7 " * 1900)  # it passes the page, and is refused in the worker
            host.grants = False
            with pytest.raises(AppError, match=r"ZeroGPU lends no GPU for this question \(No GPU was available\)"):
                ask("What does the sign say?")
            assert server.attempts == []
        asked = host.called("schedule")
        assert len(asked) == 5 and all(one["token"] == QUOTA for one in asked), "the visitor's own quota"
        # one worker for answers, one for looks, each used again; every GPU went back
        assert len(host.called("allow")) == 2
        assert [one["fail"] for one in host.called("release")] == ["false"] * 4
