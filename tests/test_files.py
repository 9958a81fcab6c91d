"""Users' files: one way to read them, whole files and lines on disk whatever happens, caches that heal."""

import errno
import json
import os

import pytest

from lav2 import files, weights
from lav2.errors import LAV2Error
from lav2.image import open_image
from lav2.instruct.photos import read_evidence, read_photos
from lav2.metrics.captions import read_references

BOM = b"\xef\xbb\xbf"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def written(file, data):
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    return file


def test_every_reader_of_benchmarks_and_evidence_takes_a_byte_order_mark(tmp_path):
    row = json.dumps({"image": "1.jpg", "captions": ["A dog"], "evidence": {"ocr": 1}}).encode()
    lines = written(tmp_path / "a.jsonl", BOM + row + b"\n")
    assert read_references(lines) == {"1.jpg": ["A dog"]}
    assert read_photos([lines], tmp_path)[0].captions == ("A dog",)
    assert read_evidence(lines)(str(tmp_path / "1.jpg")) == {"ocr": 1}
    coco = written(tmp_path / "a.json", BOM + b'{"annotations": [{"image_id": 1, "caption": "A dog"}]}')
    assert read_references(coco) == {1: ["A dog"]}


@pytest.mark.parametrize(
    "line", ["{", "[" * 100_000, "5", '{"image": ["x"]}', "9" * 5000, '{"image": "a", "captions": ["\\ud800"]}',
             '{"image": "a", "captions": ["b"], "boxes": [{"label": "dog"}], "width": 1, "height": 1}',
             '{"image": "a", "boxes": 7}'],
)  # fmt: skip
def test_a_bad_line_is_told_with_file_and_line(tmp_path, line):
    file = written(tmp_path / "a.jsonl", '{"image": "b", "captions": ["A dog"]}\n' + line)
    with pytest.raises(LAV2Error, match=r"a\.jsonl, line 2"):
        read_photos([file], tmp_path)


def test_a_text_of_another_encoding_is_told_with_its_line(tmp_path):
    file = written(tmp_path / "a.json", "{\n\n'é'".encode("latin-1"))
    with pytest.raises(LAV2Error, match="line 3 is not UTF-8"):
        files.read_json(file)


def test_a_file_that_is_replaced_is_whole_or_as_before(tmp_path):
    file = written(tmp_path / "a.txt", "before")
    with pytest.raises(OSError), files.replacing(file) as part:
        part.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert file.read_text() == "before" and list(tmp_path.iterdir()) == [file]


def test_a_full_disk_cuts_no_line(tmp_path, monkeypatch):
    file = written(tmp_path / "a.jsonl", "one\n")
    real = os.write

    def full(handle, data):
        if len(data) > 3:
            return real(handle, bytes(data[:3]))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError):
        files.append_line(file, "second")
    monkeypatch.undo()
    assert file.read_text() == "one\n"
    files.append_line(file, "third")
    assert file.read_text() == "one\nthird\n"


def test_what_a_crash_cut_off_does_not_swallow_the_next_line(tmp_path):
    file = written(tmp_path / "a.jsonl", '{"a": 1}\n{"b')
    files.append_line(file, '{"c": 3}')
    assert [value for _, value in files.json_lines(file) if not isinstance(value, ValueError)] == [{"a": 1}, {"c": 3}]


@pytest.mark.parametrize("damage", ["cut", "empty", "changed", "missing", "no manifest"])
def test_a_damaged_cache_is_made_again_once(tmp_path, damage):
    made, reported = [], []
    target = tmp_path / "cache"

    def make():
        made.append(1)
        target.mkdir()
        (target / "weights").write_bytes(b"0123456789")
        files.write_manifest(target)

    def get():
        return files.mended(target, make, files.is_whole, reported.append)

    assert get() == get() == target and len(made) == 1
    match damage:
        case "cut":
            os.truncate(target / "weights", 5)
        case "empty":
            os.truncate(target / "weights", 0)
        case "changed":
            (target / "weights").write_bytes(b"0123456780")
        case "missing":
            (target / "weights").unlink()
        case _:
            (target / files.MANIFEST).unlink()
    get()
    get()
    assert len(made) == 2 and len(reported) == 1 and "damaged" in reported[0]
    assert (target / "weights").read_bytes() == b"0123456789"


def test_a_cache_that_comes_out_damaged_twice_is_told_and_not_kept(tmp_path):
    target = tmp_path / "cache"
    with pytest.raises(LAV2Error, match="came out damaged"):
        files.mended(target, target.mkdir, files.is_whole, print)
    assert not target.exists()


def test_a_git_lfs_pointer_is_named_wherever_weights_are_found(tmp_path):
    written(tmp_path / "adapter.safetensors", POINTER)
    for source in (tmp_path, tmp_path / "adapter.safetensors"):
        with pytest.raises(LAV2Error, match="git lfs pull"):
            weights.find(str(source))
    with pytest.raises(LAV2Error, match="git lfs pull"):
        files.read_json(tmp_path / "adapter.safetensors")


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(errno.ENOMEM, "x"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_too_little_memory_is_not_told_as_damage(tmp_path, error):
    result = files.unreadable(tmp_path / "a.safetensors", error, "Copy it again.")
    assert "not enough free memory" in result.cause and "Copy" not in result.next_step


def test_a_photo_that_does_not_fit_into_memory_is_not_told_as_damaged(monkeypatch):
    from PIL import Image

    def full(self, *_, **__):
        raise MemoryError

    photo = Image.new("RGBA", (8, 8))
    monkeypatch.setattr(Image.Image, "convert", full)
    with pytest.raises(LAV2Error, match="not enough free memory"):
        open_image(photo)


def test_a_photo_with_a_name_that_is_too_long_is_told(tmp_path):
    with pytest.raises(LAV2Error, match="There is no file"):
        open_image(tmp_path / ("x" * 300 + ".png"))
