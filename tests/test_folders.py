"""What is loaded as code comes from folders that nobody else can write to."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from experts import detection, folders, ocr
from lav2 import weights
from lav2.inference import native


@pytest.fixture
def places(tmp_path, monkeypatch):
    """(the user's cache folder, the one for temporary files)"""
    for name in ("cache", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.delenv("LAV2_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    folders._fresh.cache_clear()
    yield tmp_path / "cache/lav2", tmp_path / "tmp" / f"lav2-{os.getuid()}"
    folders._fresh.cache_clear()


def mode(folder: Path) -> int:
    return folder.stat().st_mode & 0o777


def test_the_cache_folder_is_the_users_own_and_one_that_others_could_read_is_closed(places):
    own, _ = places
    assert folders.cache_dir() == own and mode(own) == 0o700
    own.chmod(0o755)  # as earlier versions made it
    (own / "converted").write_text("kept")
    assert folders.cache_dir() == own and mode(own) == 0o700 and (own / "converted").read_text() == "kept"
    assert weights.cache_dir is native.cache_dir is detection.cache_dir is folders.cache_dir


@pytest.mark.parametrize("trap", ["another user's", "open to all", "a link", "a file"])
def test_a_folder_that_somebody_else_could_have_filled_is_not_used(places, trap, tmp_path, monkeypatch):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for planted in places:
        if trap == "a link":
            planted.symlink_to(theirs)
        elif trap == "a file":
            planted.touch()
        else:
            planted.mkdir()
            planted.chmod(0o777 if trap == "open to all" else 0o700)
    if trap == "another user's":
        other = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: other)
        places[1].rename(places[1].with_name(f"lav2-{os.getuid()}"))
    found = folders.cache_dir()
    assert found not in places and found.parent == tmp_path / "tmp" and found.name != f"lav2-{os.getuid()}"
    assert mode(found) == 0o700 and not any(found.iterdir())
    assert folders.cache_dir() == found  # the same one for the whole run


def test_a_home_that_cannot_be_written_gives_way_to_a_private_folder_for_temporary_files(places, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    assert folders.cache_dir() == places[1] and mode(places[1]) == 0o700


def test_a_folder_that_is_named_is_used_as_it_is(places, monkeypatch, tmp_path):
    monkeypatch.setenv("LAV2_CACHE", str(tmp_path / "named"))
    assert folders.cache_dir() == tmp_path / "named"


@pytest.mark.slow
def test_the_reader_leaves_no_folder_on_the_path_of_modules(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ocr.build(device="cpu").load()
    assert not [path for path in sys.path if path.startswith(str(tmp_path))]
    assert not list(tmp_path.glob("lav2-*"))
