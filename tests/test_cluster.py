"""Replicas and batches without a cluster: what they answer is what the local app answers."""

import asyncio
import json
import pickle
import subprocess
import sys
import threading
import time
from contextlib import aclosing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tiny_cluster import TinyLoader, photo

from experts.evidence import BUILT_IN, ExpertError, ExpertFailure
from experts.messages import Message
from lav2.assistant import batch
from lav2.assistant.admission import Busy, Crowding
from lav2.cluster import batches, deployment, engine, parts, replicas, throughput
from lav2.errors import LAV2Error
from lav2.events import Done, EvidenceFound, PromptReady, Request, Sampling, Token

ROOT = Path(__file__).parent.parent
SHORT = Sampling(max_new_tokens=6)
PATIENCE = 60  # seconds, on a busy machine


def asked(number: int, **changes) -> Request:
    facts = {"question": f"w{5 + number} w6", "image": photo(number), "experts": ("caption",), "sampling": SHORT}
    return Request(**facts | changes)


class Direct:
    """The handle of an expert's deployment, in this process."""

    class Method:
        def __init__(self, call):
            self.call = call

        def remote(self, *given):
            self.given = given
            return self

        def result(self, **_):
            return asyncio.run(found) if asyncio.iscoroutine(found := self.call(*self.given)) else found

    def __init__(self, replica):
        self.look, self.hashes = self.Method(replica.look), self.Method(replica.hashes)


@pytest.fixture(scope="module")
def replica():
    captioner = replicas.ExpertReplica(TinyLoader(), "caption")
    return replicas.ModelReplica(TinyLoader(), caption=Direct(captioner))


@pytest.fixture(scope="module")
def local():
    return TinyLoader().assistant({})


async def events(replica, request):
    return [event async for event in replica.answer(request)]


def test_a_replica_answers_as_the_local_assistant_with_an_expert_elsewhere(replica, local):
    pytest.importorskip("ray", reason="needs Ray's extra: pip install -r requirements-cluster.txt")
    for number in range(3):
        ours, its = list(local.answer(asked(number))), asyncio.run(events(replica, asked(number)))
        assert [type(event) for event in its] == [type(event) for event in ours]
        assert (its[-1].answer, its[-1].prompt) == (ours[-1].answer, ours[-1].prompt) and its[-1].answer
    assert its[-1].weights == {"adapter": "a", "caption_weights": "tiny"}


def test_everything_that_goes_between_door_and_replica_can_be_sent(replica):
    found = asyncio.run(events(replica, pickle.loads(pickle.dumps(asked(4)))))
    assert {EvidenceFound, PromptReady, Token, Done} <= {type(event) for event in found}
    assert [type(event) for event in pickle.loads(pickle.dumps(found))] == [type(event) for event in found]
    assert set(pickle.loads(pickle.dumps(replica.about()))) >= {"preset", "hashes", "experts", "tokenizer"}
    for error in (Busy(17), Crowding(12), LAV2Error("A {name}.", "Next.", name="x")):
        again = pickle.loads(pickle.dumps(replicas.Failed(error))).error
        assert (type(again), str(again), again.cause.key) == (type(error), str(error), error.cause.key)


def test_what_cannot_be_answered_comes_as_a_value_with_its_cause(replica):
    (failed,) = asyncio.run(events(replica, asked(1, question=" ")))
    assert isinstance(failed, replicas.Failed) and "no question" in failed.error.cause
    unknown = asyncio.run(replica.examine(photo(1), ("nose",), None))
    assert isinstance(unknown, replicas.Failed) and "nose" in str(unknown.error)
    assert list(asyncio.run(replica.examine(photo(1), ("caption",), None))) == ["caption"]


def test_who_hangs_up_on_a_replica_frees_its_place(replica):
    async def hang_up():
        async with aclosing(replica.answer(asked(7, sampling=Sampling(max_new_tokens=1500)))) as found:
            async for event in found:
                if isinstance(event, Token):
                    return

    asyncio.run(hang_up())
    end = time.monotonic() + PATIENCE
    while replica._running and time.monotonic() < end:
        time.sleep(0.01)
    assert not replica._running and not replica._assistant._admission._slots


def test_a_replica_whose_answers_stand_still_is_unhealthy(replica, monkeypatch):
    replica.check_health()
    monkeypatch.setattr(replicas, "STALL_SECONDS", 0.01)
    replica.check_health()  # nobody asks: it may be idle
    monkeypatch.setattr(replica, "_running", {threading.Event()})
    time.sleep(0.02)
    with pytest.raises(RuntimeError, match="stood still"):
        replica.check_health()


def test_an_expert_that_knows_why_it_fails_tells_it_as_a_value():
    class Failing:
        name = "ocr"

        def __call__(self, image):
            raise ExpertError("No {thing}.", "Get one.", thing="weights")

    (found,) = parts.look_at_all(Failing(), [photo(1)])
    assert isinstance(found, ExpertFailure) and found.cause == "No weights." and isinstance(found.cause, Message)


class Together:
    """An expert that looks at up to three photos in one step; one at `breaking` breaks the step."""

    name, together = "detection", 3

    def __init__(self):
        self.steps, self.begun, self.go = [], threading.Event(), threading.Event()

    def load(self):
        pass

    def __call__(self, image):
        self.steps.append(1)
        self.begun.set()
        self.go.wait(PATIENCE)
        if image == photo(9):
            raise ValueError("nine")
        return image.getpixel((0, 0))

    def several(self, images):
        self.steps.append(len(images))
        if photo(9) in images:
            raise ValueError("nine")
        return [image.getpixel((0, 0)) for image in images]


def look_together(expert, numbers):
    """What a replica finds on photos of which the others come while it looks at the first."""
    held = replicas.ExpertReplica(type("Loader", (), {"expert": lambda self, name: (expert, {})})(), "detection")

    async def ask():
        asking = [asyncio.ensure_future(held.look(photo(numbers[0])))]
        await asyncio.to_thread(expert.begun.wait, PATIENCE)
        asking += [asyncio.ensure_future(held.look(photo(number))) for number in numbers[1:]]
        await asyncio.sleep(0)  # they are in line
        expert.go.set()
        return await asyncio.gather(*asking, return_exceptions=True)

    return asyncio.run(ask())


def test_photos_that_come_while_an_expert_looks_at_others_are_looked_at_in_one_step():
    expert = Together()
    assert look_together(expert, range(6)) == [photo(number).getpixel((0, 0)) for number in range(6)]
    assert expert.steps == [1, 3, 2]


def test_a_photo_that_breaks_a_step_spoils_its_own_findings_only():
    first, second, broken = look_together(Together(), (1, 2, 9))
    assert (first, second) == (photo(1).getpixel((0, 0)), photo(2).getpixel((0, 0))) and str(broken) == "nine"


def used(parts, sets=1):
    """(GPUs, cores) of all replicas."""
    each = [(parts.model, parts.most), *((expert, sets) for expert in parts.experts.values())]
    return tuple(sum(one.get(kind, 0) * count for one, count in each) for kind in ("num_gpus", "num_cpus"))


def test_gpus_or_cores_are_divided_among_replicas_and_each_expert_has_its_own():
    cluster = deployment.Cluster
    two = deployment.share({"CPU": 2.0}, cluster("2"))
    assert two.most == 2 and used(two)[1] <= 2 and set(two.experts) == set(BUILT_IN)
    assert two.experts["ocr"]["num_cpus"] > two.experts["caption"]["num_cpus"] > two.experts["detection"]["num_cpus"]
    many = deployment.share({"CPU": 16.0}, cluster("auto", expert_replicas=2))
    assert used(many, 2)[1] <= 16 and many.most == 8 and many.experts["ocr"]["num_cpus"] == 2
    one = deployment.share({"CPU": 16.0, "GPU": 1.0}, cluster("1"))
    assert used(one)[0] <= 1
    assert deployment.share({"CPU": 16.0, "GPU": 4.0}, cluster("3")).model["num_gpus"] == 1


@pytest.mark.parametrize(("gpus", "cores"), [(0, 2), (0, 16), (0, 0.4), (1, 16), (4, 16)])
def test_a_batch_takes_no_more_than_is_free(gpus, cores):
    stages = batches.Stages(expert_workers=2, model_workers=2)
    parts = batches.divided(gpus, cores, stages)
    for kind, free in (("num_gpus", gpus), ("num_cpus", cores)):
        assert sum(2 * part.get(kind, 0) for part in parts) <= free


@pytest.mark.parametrize(("gpus", "cores"), [(0, 2), (0, 16), (0, 0.6), (1, 16), (8, 16)])
def test_a_measurement_takes_no_more_than_is_free(gpus, cores):
    from lav2.cluster import shards

    each = shards.divided(gpus, cores, 4)
    for kind, free in (("num_gpus", gpus), ("num_cpus", cores)):
        assert 4 * each.get(kind, 0) <= free
    assert shards.divided(0, 0.3, 4) is None


def test_a_batch_on_a_cluster_without_free_cores_says_so_and_does_not_wait_for_ever(monkeypatch):
    divide = partial(batches.divided, stages=batches.Stages())
    monkeypatch.setattr(engine, "FREE_SECONDS", 0.0)
    with pytest.raises(LAV2Error, match=r"0\.1 free cores, too few for 2 workers"):
        engine.room(lambda: {"CPU": 0.1}, divide, 2)
    free = iter(({}, {"CPU": 2.0}))
    monkeypatch.setattr(engine, "FREE_SECONDS", 60.0)
    assert engine.room(lambda: next(free), divide, 2) == ({"num_cpus": 1}, {"num_cpus": 0.4})


@pytest.mark.parametrize("given", ["0", "-1", "two", ""])
def test_a_number_of_replicas_that_makes_no_sense_is_told(given):
    with pytest.raises(LAV2Error, match="--replicas"):
        deployment.Cluster(given)


@pytest.mark.parametrize("command", [
    ["serve", "--replicas", "2"],
    ["batch", "q.jsonl", "--out", "a.jsonl", "--ray"],
    ["evaluate", "everyday", "q.jsonl", "--out", "a.jsonl", "--ray"],
])  # fmt: skip
def test_without_ray_a_command_says_what_to_install(command, tmp_path):
    (tmp_path / "q.jsonl").write_text('{"id": 1, "image": "1.png", "question": "Q"}\n')
    hidden = "import sys; sys.modules['ray'] = None; from lav2.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", hidden, *command], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "requirements-cluster.txt" in done.stderr, done.stderr
    assert not (tmp_path / "a.jsonl").exists()


def test_the_measurement_asks_both_sides_the_same_and_tells_what_the_simulation_expects(capsys):
    one, many = TinyLoader().assistant({}), TinyLoader(seconds=0.02).assistant({})
    trial = throughput.Trial(replicas=1, users=3, rounds=2, tokens=6, rate=50.0, asked=9)
    throughput.throughput(one, many, trial)
    throughput.against_simulation(many, trial)
    printed = capsys.readouterr().out
    assert "the same answer: 18 of 18" in printed and "overhead" in printed
    lines = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.startswith("  ")}
    assert len(lines["measured"]) == len(lines["simulated"]) == 4


# ---------------------------------------------------------------- batches


def staged(rows, folder, experts=("caption",)):
    """What both stages make of rows, one after the other, as Ray Data calls them."""
    common = batches.Asked(experts, SHORT)
    looks, answers = batches.ExpertStage(TinyLoader(), common), batches.ModelStage(TinyLoader(), common)
    columns = {
        "line": np.array([row.line for row in rows]),
        "image": np.array([str(folder / row.image) for row in rows], object),
        "question": np.array([row.question for row in rows], object),
        "error": np.array(["" for row in rows], object),
    }
    done = answers(looks(columns))
    by_line = {row.line: row for row in rows}
    yield from ((by_line[int(n)], json.loads(text)) for n, text in zip(done["line"], done["result"], strict=True))


@pytest.fixture
def folder(tmp_path):
    """12 photos, one of them damaged, in a folder."""
    made = tmp_path / "photos"
    made.mkdir()
    for number in range(12):
        photo(number).save(made / f"{number:02}.png")
    (made / "05.png").write_bytes((made / "05.png").read_bytes()[:40])
    return made


def lines_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_two_stages_answer_a_folder_as_the_local_path_does_with_a_line_an_input(folder, tmp_path, local):
    counts = batch.write(folder, tmp_path / "staged.jsonl", staged, "w5 w6")
    common = batches.Asked(("caption",), SHORT)

    def answer(image, question):
        from lav2.assistant import receipt
        from lav2.image import open_image

        picture = open_image(image)
        *_, done = local.answer(common.request(question, picture))
        return receipt.answer(done, picture)

    assert counts == batch.run(folder, tmp_path / "local.jsonl", lambda: answer, question="w5 w6") == (11, 1)
    ours, its = ({line["id"]: line for line in lines_of(tmp_path / f"{name}.jsonl")} for name in ("local", "staged"))
    assert sorted(its) == sorted(ours) and len(its) == 12
    assert its["05.png"] == ours["05.png"] and "not a picture" in its["05.png"]["error"]
    for name in set(its) - {"05.png"}:
        assert its[name]["prompt"] == ours[name]["prompt"] and its[name]["answer"] == ours[name]["answer"] != ""


def test_a_batch_on_stages_goes_on_where_it_was_interrupted(folder, tmp_path):
    def interrupted(rows, where):
        for number, one in enumerate(staged(rows, where)):
            if number == 4:
                raise KeyboardInterrupt
            yield one

    out = tmp_path / "a.jsonl"
    with pytest.raises(KeyboardInterrupt):
        batch.write(folder, out, interrupted, "w5")
    asked_again = []

    def rest(rows, where):
        asked_again.extend(row.image for row in rows)
        return staged(rows, where)

    assert batch.write(folder, out, rest, "w5") == (11, 1)
    assert len(asked_again) == 8 and sorted(line["id"] for line in lines_of(out)) == [f"{n:02}.png" for n in range(12)]


def test_a_row_that_comes_twice_has_one_line_and_one_that_is_lost_is_told(folder, tmp_path):
    def odd(rows, where):
        yield rows[0], {"answer": "first"}
        yield rows[0], {"answer": "second"}

    assert batch.write(folder, tmp_path / "a.jsonl", odd, "w5") == (1, 11)
    found = lines_of(tmp_path / "a.jsonl")
    assert len(found) == 12 and found[0]["answer"] == "first"
    assert all("lost" in line["error"] for line in found[1:])


def test_a_folder_needs_a_question_and_photos(folder, tmp_path):
    with pytest.raises(LAV2Error, match="--question"):
        batch.read(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LAV2Error, match="no photos"):
        batch.read(tmp_path / "empty", "Q")


def test_a_parquet_file_has_the_rows_of_its_json_lines(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="needs Ray's extra: pip install -r requirements-cluster.txt")
    from pyarrow import parquet

    rows = [{"id": "a", "image": "1.png", "question": "Q"}, {"id": "b", "image": "2.png", "question": None}]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "q.parquet")
    assert batch.read(tmp_path / "q.parquet") == batch.read(tmp_path / "q.jsonl")
    assert batch.read(tmp_path / "q.parquet", "What?")[1].question == "What?"
    (tmp_path / "bad.parquet").write_bytes(b"x")
    with pytest.raises(LAV2Error, match="cannot be read"):
        batch.read(tmp_path / "bad.parquet")


def test_every_expert_that_auto_may_choose_looks_in_the_stage_before():
    stage = batches.ExpertStage(TinyLoader(), batches.Asked(("auto",), SHORT))
    assert tuple(stage._orchestrator._experts) == BUILT_IN


@pytest.mark.slow
def test_a_worker_on_this_machine_is_as_urgent_as_the_app_itself():
    """Ray's own niceness of 15 let builds and replicas wait for minutes beside other programs."""
    pytest.importorskip("ray", reason="needs Ray's extra: pip install -r requirements-cluster.txt")
    code = (
        "import os; from lav2.cluster import engine\n"
        "with engine.connected(num_cpus=1, object_store_memory=100_000_000) as ray:\n"
        "    print(ray.get(ray.remote(lambda: os.nice(0)).remote()) - os.nice(0))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split()[-1:] == ["0"], done.stderr


@pytest.mark.slow
def test_a_cluster_that_does_not_come_up_in_time_is_started_again(monkeypatch):
    ray = pytest.importorskip("ray", reason="needs Ray's extra: pip install -r requirements-cluster.txt")
    start, starts = ray.init, []

    def late(**options):
        starts.append(options)
        if len(starts) == 1:
            raise RuntimeError("The current node timed out during startup.")
        return start(**options)

    monkeypatch.setattr(ray, "init", late)
    with engine.connected(num_cpus=1, object_store_memory=100_000_000):
        assert len(starts) == 2
    assert not ray.is_initialized()
