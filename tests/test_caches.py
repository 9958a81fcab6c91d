"""The converted language model and the compiled library in the cache heal, whatever happened to them."""

import gc
import os
import shutil
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from lav2 import files, weights
from lav2.assistant.features import submit
from lav2.config import PRESETS
from lav2.errors import LAV2Error, Unavailable
from lav2.inference import native, scheduler
from lav2.model import llm
from lav2.model.gguf import dequantised

compiler = pytest.mark.skipif(native.library() is None, reason="needs a C compiler (cc, gcc or clang)")


@compiler
@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "missing"])
def test_a_damaged_compiled_library_is_compiled_again(monkeypatch, tmp_path, damage):
    monkeypatch.setenv("LAV2_CACHE", str(tmp_path))
    monkeypatch.setattr(native, "SECONDS", 300)
    monkeypatch.setattr(native, "FLAGS", ("-O0", "-fopenmp", "-shared", "-fPIC"))  # compiled in no time
    assert native.library.__wrapped__() is not None
    (folder,) = tmp_path.iterdir()
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    file = folder / native.LIBRARY
    size = file.stat().st_size
    file.unlink()  # a process that has it loaded keeps it
    if damage != "missing":
        file.write_bytes({"cut": (whole / native.LIBRARY).read_bytes()[: size // 2], "empty": b"",
                          "garbage": os.urandom(size)}[damage])  # fmt: skip
    assert native.library.__wrapped__() is not None
    assert files.is_whole(folder) and file.stat().st_size == size


def test_a_damaged_library_is_not_loaded_where_there_is_no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("LAV2_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", "/no/compiler")
    assert native.library.__wrapped__() is None
    monkeypatch.delenv("CC")
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    assert native.library.__wrapped__() is None


@pytest.mark.slow
def test_a_language_model_that_was_cut_off_in_the_cache_is_converted_again(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LAV2_CACHE", str(tmp_path))
    gguf = weights.find(PRESETS["embedded"].llm)
    folder = dequantised(gguf)
    os.truncate(folder / "model.safetensors", 1_000_000)
    llm.load_llm(PRESETS["embedded"].llm, torch.bfloat16)
    printed = capsys.readouterr()
    assert "made again" in printed.err and not printed.out and files.is_whole(folder)


def test_a_damaged_gguf_file_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("LAV2_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + bytes(99))
    with pytest.raises(LAV2Error, match=r"a\.gguf cannot be read"):
        llm.load_llm(str(tmp_path / "a.gguf"), torch.float32)


def test_an_answer_that_finds_no_thread_leaves_nothing_behind(monkeypatch):
    turns = scheduler.Scheduler()

    def refused(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(scheduler.threading.Thread, "start", refused)
        with pytest.raises(LAV2Error, match="no further thread"):
            next(turns.decode_stream(None, None, None, 5))
    assert not turns._active and turns._worker is None


def test_work_that_finds_no_thread_is_told_and_neither_done_later_nor_held(monkeypatch):
    class Photo:
        seen = 0

        def look(self):
            Photo.seen += 1

    def refused(thread):
        raise RuntimeError("can't start new thread")

    photo = Photo()
    held = weakref.ref(photo)
    with ThreadPoolExecutor(1) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            with pytest.raises(Unavailable, match="no further thread"):
                submit(pool, photo.look)
        del photo
        gc.collect()
        assert held() is None
        assert submit(pool, int, "7").result(60) == 7 and not Photo.seen


@pytest.mark.parametrize("compiler", ["/no/compiler", "false", "slow"])
def test_a_library_that_cannot_be_compiled_is_told_with_the_reason(monkeypatch, tmp_path, capsys, compiler):
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 20\n")
    slow.chmod(0o755)
    monkeypatch.setenv("LAV2_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CC", str(slow) if compiler == "slow" else compiler)
    monkeypatch.setattr(native, "SECONDS", 0.2)
    assert native.library.__wrapped__() is None
    printed = capsys.readouterr()
    assert "Answers will be slower" in printed.err and not printed.out
    assert {"/no/compiler": "No such file", "false": "gave no reason", "slow": "within 0.2 s"}[compiler] in printed.err
