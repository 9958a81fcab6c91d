"""`batch`: every row has its answer or its failure, which is asked again; nothing is lost or answered for another."""

import errno
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from lav2.assistant import batch
from lav2.assistant.addresses import Address, photo, place
from lav2.errors import LAV2Error


@pytest.fixture
def ask(tmp_path):
    """Run over the given lines; returns (asked questions, rows of the answers' file)."""

    def run(lines, start=b""):
        (tmp_path / "q.jsonl").write_bytes(start + "\n".join(
            line if isinstance(line, str) else json.dumps(line) for line in lines).encode())  # fmt: skip
        asked = []

        def answer(photo, question):
            asked.append(question)
            if not os.path.isfile(photo):
                raise LAV2Error("There is no file.", "Check the path.")
            return {"answer": f"to {question}"}

        counts = batch.run(tmp_path / "q.jsonl", tmp_path / "a.jsonl", lambda: answer)
        rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
        failed = [row for row in rows if "error" in row]
        assert counts == (len(rows) - len(failed), len(failed))
        return asked, rows

    (tmp_path / "1.png").write_bytes(b"1")
    return run


def row(identity, image="1.png", question=None):
    return {"id": identity, "image": image, "question": question or f"q{identity}"}


def test_a_row_whose_photo_was_missing_is_answered_when_it_is_there(ask, tmp_path):
    lines = [row("a"), row("b", "2.png")]
    asked, rows = ask(lines)
    assert asked == ["qa", "qb"] and "error" in rows[1]
    (tmp_path / "2.png").write_bytes(b"2")
    asked, rows = ask(lines)
    assert asked == ["qb"]
    assert rows == [{"id": "a", "answer": "to qa"}, {"id": "b", "answer": "to qb"}]
    assert ask(lines)[0] == []


def test_a_broken_line_takes_the_id_of_no_row(ask):
    lines = ["{broken", row(1), row("1"), row(1.5)]
    for asked in (["q1", "q1", "q1.5"], []):
        found, rows = ask(lines)
        assert found == asked
        assert [one["id"] for one in rows if "answer" in one] == [1, "1", 1.5]
        (bad,) = [one for one in rows if "error" in one]
        assert bad["id"] is None and bad["line"] == 1 and "Line 1" in bad["error"]


@pytest.mark.parametrize(
    "line",
    [row(["x"]), row({"a": 1}), row(None), row(True), {"image": "1.png", "question": "q"}, "[" * 100_000, "7",
     {"id": 1, "image": 5, "question": "q"}, {"id": 1, "image": "1.png"}, row(1, "x" * 300), row(1, "a\0b"),
     '{"id": 1, "image": "1.png", "question": "\\ud800"}', row(2, question="again")],
)  # fmt: skip
def test_a_bad_row_is_refused_by_its_line_and_the_others_are_answered(ask, line):
    for _ in range(2):
        _, rows = ask([row(2), line, row(3)])
        assert [one["id"] for one in rows if "answer" in one] == [2, 3]
        (bad,) = [one for one in rows if "error" in one]
        assert bad["line"] == 2


def test_a_byte_order_mark_costs_no_row(ask):
    assert ask([row("a"), row("b")], b"\xef\xbb\xbf")[0] == ["qa", "qb"]


@pytest.mark.parametrize("cut", ['{"id": "b", "ans', '{"id": "b", "answer": "caf\u00e9'])
def test_an_answer_that_was_cut_off_is_asked_again(ask, tmp_path, cut):
    kept = json.dumps({"id": "a", "answer": "kept"}) + "\n"
    (tmp_path / "a.jsonl").write_bytes(kept.encode() + cut.encode()[:-1])
    asked, rows = ask([row("a"), row("b")])
    assert asked == ["qb"] and rows == [{"id": "a", "answer": "kept"}, {"id": "b", "answer": "to qb"}]


def test_the_file_of_answers_may_not_be_another_file(ask, tmp_path):
    text = json.dumps(row("a"))
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(LAV2Error, match="no answer"):
        ask([row("a")])
    assert (tmp_path / "a.jsonl").read_text() == text
    with pytest.raises(LAV2Error, match="file of the questions"):
        batch.run(tmp_path / "q.jsonl", tmp_path / "q.jsonl", dict)


def test_a_full_disk_loses_no_answer_that_was_given(ask, monkeypatch, tmp_path):
    real = os.write

    def full(handle, data):
        if b"qb" in bytes(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(LAV2Error, match="No space left"):
        ask([row("a"), row("b")])
    monkeypatch.undo()
    assert ask([row("a"), row("b")])[0] == ["qb"]


def test_a_model_that_cannot_be_loaded_ends_the_run_and_fails_no_row(tmp_path):
    (tmp_path / "q.jsonl").write_text(json.dumps(row("a")))

    def load():
        raise LAV2Error("There is no preset.", "Choose one.")

    with pytest.raises(LAV2Error, match="no preset"):
        batch.run(tmp_path / "q.jsonl", tmp_path / "a.jsonl", load)
    assert not (tmp_path / "a.jsonl").exists()


def test_questions_and_photos_behind_an_address_are_read_as_files_are(tmp_path):
    """file:// goes through the same file systems of pyarrow as s3:// and gs://."""
    pytest.importorskip("pyarrow", reason="needs Ray's extra: pip install -r requirements-cluster.txt")
    (tmp_path / "in").mkdir()
    for name in ("a.png", "in/b.png"):
        Image.new("RGB", (9, 9), "red").save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "q.jsonl").write_text(json.dumps(row("1", "in/b.png")) + "\n" + json.dumps(row("2", "no.png")))
    there = place(f"file://{tmp_path}")
    assert isinstance(there, Address) and isinstance(place(str(tmp_path)), Path)
    for name in ("q.jsonl", ""):
        assert batch.read(there / name, "Q") == batch.read(tmp_path / name, "Q")

    def load():
        return lambda image, question: {"answer": f"{question} {photo(image).size}"}

    assert batch.run(there / "q.jsonl", tmp_path / "a.jsonl", load) == (1, 1)
    answers = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert answers[0]["answer"] == "q1 (9, 9)" and "There is no file" in answers[1]["error"]


@pytest.mark.parametrize("address", ["nowhere://x/y.jsonl", "file:///no/such/folder/q.jsonl"])
def test_an_address_that_cannot_be_read_is_told_before_anything_loads(address, tmp_path):
    pytest.importorskip("pyarrow", reason="needs Ray's extra: pip install -r requirements-cluster.txt")
    with pytest.raises(LAV2Error, match=address.rpartition("/")[0]):
        batch.run(place(address), tmp_path / "a.jsonl", lambda: pytest.fail("it loads"))
