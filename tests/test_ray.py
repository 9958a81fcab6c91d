"""Replicas and batches on a real Ray cluster of two cores on this machine: nothing is lost or mixed, also where a
process is killed."""

import json
import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tiny_cluster import TinyLoader, photo

from lav2.assistant import batch
from lav2.assistant.admission import Busy
from lav2.cluster import batches, deployment, engine
from lav2.cluster.door import RemoteAssistant
from lav2.errors import LAV2Error
from lav2.events import Done, EvidenceFound, Queued, Request, Sampling, Token

pytest.importorskip("ray", reason="needs Ray: pip install -r requirements-cluster.txt")
pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
LOADER = TinyLoader(seconds=0.05)
PATIENCE = 240  # seconds, on a busy machine
USERS, TURNS, PHOTOS = 20, 3, 10


@pytest.fixture(scope="module")
def ray():
    paths = os.pathsep.join((str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", paths)  # of the workers
        with engine.connected(num_cpus=2, object_store_memory=200_000_000) as started:
            yield started


# batches come before the replicas, which take all cores that the cluster has
def test_a_thousand_photos_have_a_thousand_lines_when_a_worker_of_each_stage_is_killed(ray, tmp_path):
    count, folder, out = 1000, tmp_path / "photos", tmp_path / "answers.jsonl"
    folder.mkdir()
    for number in range(count):
        photo(number % 256).save(folder / f"{number:03}.png")
    (folder / "007.png").write_bytes(b"\x89PNG damaged")
    common, stages = batches.Asked(("caption",), Sampling(max_new_tokens=6)), batches.Stages(ray=True)
    killed = []

    def kill(rows):
        for number, one in enumerate(rows):
            if stage := {0: "ExpertStage", count // 4: "ModelStage"}.get(number):
                (pid,) = workers(stage)
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            yield one

    counts = batch.write(folder, out, batches.answers(TinyLoader(seconds=0.01), common, stages, kill), "w5 w6")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(killed) == 2 and counts == (count - 1, 1)
    assert sorted(line["id"] for line in lines) == sorted(f"{number:03}.png" for number in range(count))
    assert [line["id"] for line in lines if "error" in line] == ["007.png"]


def test_a_batch_whose_worker_cannot_load_ends_with_the_cause(ray, tmp_path):
    photo(1).save(tmp_path / "1.png")
    common, stages = batches.Asked(("caption",), Sampling(max_new_tokens=6)), batches.Stages(ray=True)
    with pytest.raises(LAV2Error, match="No weights of caption"):
        batch.write(tmp_path, tmp_path / "a.jsonl", batches.answers(TinyLoader(broken=True), common, stages), "w5")


def workers(name: str) -> list[int]:
    """Process ids of Ray's actors that run a stage."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if title.startswith("ray::") and name in title:
                found.append(int(folder.name))
    return found


@pytest.fixture(scope="module")
def door(ray):
    """An assistant whose answers come from two replicas of the model; captions from one process of their own."""
    serve = engine.required("ray.serve")
    yield RemoteAssistant(deployment.deploy(LOADER, deployment.Cluster("2"), ("caption",)))
    serve.shutdown()


@pytest.fixture(scope="module")
def local():
    return TinyLoader().assistant({})


def asked(user: int, turn: int, **changes) -> Request:
    facts = {"question": f"w{5 + user} w{30 + turn}", "image": photo(user % PHOTOS), "experts": ("caption",)}
    facts |= {"sampling": Sampling(max_new_tokens=24), "client": str(user)}
    return Request(**facts | changes)


def processes(door) -> dict[int, int]:
    """Process ids of the replicas that answer, with how many of the photos each one sees."""
    return Counter(door._on(photo(n)).about.remote().result(timeout_s=PATIENCE)["pid"] for n in range(PHOTOS))


def test_a_photo_goes_to_the_replica_that_knows_it_and_others_share_the_load(door):
    first, again = processes(door), processes(door)
    assert first == again and len(first) == 2
    for _ in range(2):
        events = list(door.answer(asked(1, 0)))
    (found,) = [event for event in events if isinstance(event, EvidenceFound)]
    assert found.remembered


def test_a_stopped_answer_ends_with_what_was_said_and_frees_its_replica(door):
    cancel = threading.Event()
    seen = []
    for event in door.answer(asked(2, 0, sampling=Sampling(max_new_tokens=1500)), cancel):
        seen.append(event)
        if isinstance(event, Token):
            cancel.set()
    assert isinstance(seen[-1], Done) and seen[-1].stopped and seen[-1].answer
    running = door.answer(asked(2, 1, sampling=Sampling(max_new_tokens=1500)))
    next(running)
    running.close()  # a page that is closed
    assert list(door.answer(asked(2, 2)))[-1].answer


def test_a_full_replica_tells_positions_and_then_that_it_is_busy(door):
    running, kinds = [], Counter()
    long = Sampling(max_new_tokens=1800)
    try:
        for number in range(4 * 24):  # of two replicas: 8 at once and 16 who wait, and some end meanwhile
            running.append(door.answer(asked(3, 0, client=None, sampling=long, question=f"w{3 + number % 60}")))
            kinds[type(next(running[-1]))] += 1
        pytest.fail(f"nobody was told that the replicas are busy: {kinds}")
    except Busy as busy:
        assert busy.position == 17 and kinds[Queued] > 0
    finally:
        for one in running:
            one.close()


def test_no_answer_is_lost_or_mixed_when_a_replica_is_killed_in_the_middle(door, local):
    expected = {
        (user, turn): list(local.answer(asked(user, turn)))[-1].answer for user in range(USERS) for turn in range(TURNS)
    }
    victim = processes(door).most_common(1)[0][0]
    done, killed = threading.Semaphore(0), threading.Event()

    def kill():
        for _ in range(USERS * TURNS // 4):
            assert done.acquire(timeout=PATIENCE)
        os.kill(victim, signal.SIGKILL)
        killed.set()

    def user(number: int) -> dict:
        found = {}
        for turn in range(TURNS):
            events = list(door.answer(asked(number, turn)))
            said = "".join(event.text for event in events if isinstance(event, Token)).strip()
            assert said == events[-1].answer
            found[number, turn] = events[-1].answer
            done.release()
        return found

    threading.Thread(target=kill, daemon=True).start()
    found = {}
    with ThreadPoolExecutor(USERS) as pool:
        for answers in pool.map(user, range(USERS)):
            found |= answers
    assert killed.is_set() and found == expected
    end = time.monotonic() + PATIENCE
    while len(now := processes(door)) < 2 and time.monotonic() < end:
        time.sleep(1)
    assert len(now) == 2 and victim not in now, "Ray brings up another replica"


def test_what_is_wrong_with_a_question_is_told_by_a_replica_as_by_the_local_app(door, local):
    for request in (asked(1, 0, question=" "), asked(1, 0, question="w" * 5000), asked(1, 0, experts=("nose",))):
        told = []
        for assistant in (door, local):
            with pytest.raises(LAV2Error) as error:
                list(assistant.answer(request))
            told.append((str(error.value), error.value.cause.key))
        assert told[0] == told[1]
