"""Votes on disk: private, whole lines whatever happens, and one bad line loses no other."""

import errno
import json
import os
import stat

import pytest
from PIL import Image

from lav2.assistant import receipt, votes
from lav2.errors import LAV2Error
from lav2.events import Done, Request


def side(text, stopped=False):
    photo = Image.new("RGB", (9, 9))
    return receipt.receipt(Request("What?", photo), Done(text, {}, "prompt", {}, 0, "embedded", {}, stopped, {}))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LAV2_VOTES", str(tmp_path / "votes"))
    return tmp_path / "votes"


def vote(photo=None):
    votes.store("left", side("A cat."), side("A dog."), photo)


def test_nobody_else_can_read_votes_and_their_photos(folder):
    folder.mkdir()
    (folder / votes.FILE).touch(0o644)
    vote(Image.new("RGB", (9, 9)))
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_full_disk_ruins_no_vote(folder, monkeypatch):
    vote()
    real = os.write

    def full(handle, data):
        if len(data) > 50:
            return real(handle, bytes(data[:50]))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(LAV2Error, match="No space left"):
        vote()
    monkeypatch.undo()
    monkeypatch.setenv("LAV2_VOTES", str(folder))
    vote()
    assert len(list(votes.pairs(report=pytest.fail))) == 2


def test_a_photo_that_found_no_room_is_stored_with_the_next_vote(folder, monkeypatch):
    photo = Image.new("RGB", (9, 9))
    save = Image.Image.save

    def full(self, target, *arguments, **more):
        save(self, target, *arguments, **more)
        os.truncate(target, 5)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(LAV2Error):
        vote(photo)
    monkeypatch.setattr(Image.Image, "save", save)
    vote(photo)
    (kept,) = (folder / "photos").iterdir()
    assert Image.open(kept).convert("RGB").tobytes() == photo.tobytes()


@pytest.mark.parametrize("line", [b"{", b'{"vote": "left"}', b"7", b"[" * 100_000, b"\xff\xfe"])
def test_a_bad_line_is_skipped_with_a_notice_at_export(folder, line):
    vote()
    with (folder / votes.FILE).open("ab") as file:
        file.write(line + b"\n")
    vote()
    reported = []
    assert len(list(votes.pairs(report=reported.append))) == 2
    assert len(reported) == 1 and f"{votes.FILE}:2: skipped" in reported[0]


def test_votes_of_a_crash_do_not_swallow_the_next(folder):
    vote()
    with (folder / votes.FILE).open("a") as file:
        file.write(json.dumps({"vote": "left"})[:-3])
    vote()
    assert len(list(votes.pairs(report=lambda line: None))) == 2


def test_no_pair_is_made_of_ties_and_of_answers_that_are_equal_or_were_stopped(folder):
    cat, dog = side("A cat."), side("A dog.")
    for choice in votes.CHOICES[2:]:
        votes.store(choice, cat, dog, None)
    votes.store("left", cat, cat, None)
    votes.store("left", side("A ca", stopped=True), dog, None)
    votes.store("left", cat, side("A d", stopped=True), None)
    votes.store("right", cat, dog, None)
    assert list(votes.pairs(report=pytest.fail)) == [{"prompt": "prompt", "chosen": "A dog.", "rejected": "A cat."}]
