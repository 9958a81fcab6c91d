"""Replicas and batches on a real Ray cluster of two cores on this machine: nothing is lost or mixed, also where a
process is killed."""

import importlib
import itertools
import json
import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from PIL import Image
from tiny_cluster import MeasuredLoader, TinyLoader, photo

from experts.evidence import BUILT_IN
from lav2.assistant import batch
from lav2.assistant.addresses import place
from lav2.assistant.admission import Busy
from lav2.assistant.service import Assistant
from lav2.cli.main import main
from lav2.cluster import batches, deployment, engine, parts, shards, throughput
from lav2.cluster.remote import RemoteAssistant
from lav2.errors import LAV2Error
from lav2.evaluation.settings import ShardsConfig
from lav2.events import Done, EvidenceFound, Queued, Request, Sampling, Token, Turn

pytest.importorskip("ray", reason="needs Ray: pip install -r requirements-cluster.txt")
pytestmark = [pytest.mark.slow, pytest.mark.flaky(reruns=1)]

HERE = Path(__file__).parent
PATIENCE = 240  # seconds, on a busy machine
USERS, TURNS = 20, 10


@pytest.fixture(scope="module")
def ray():
    paths = os.pathsep.join((str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", paths)  # of the workers
        # of two busy cores: a replica that is slow to tell its queue keeps its photos
        patch.setenv("RAY_SERVE_QUEUE_LENGTH_RESPONSE_DEADLINE_S", "5")
        patch.setenv("RAY_SERVE_MAX_QUEUE_LENGTH_RESPONSE_DEADLINE_S", "20")
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

    there = place(f"file://{folder}")
    counts = batch.write(there, out, batches.answers(TinyLoader(seconds=0.01), common, stages, kill), "w5 w6")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(killed) == 2 and counts == (count - 1, 1)
    assert sorted(line["id"] for line in lines) == sorted(f"{number:03}.png" for number in range(count))
    assert [line["id"] for line in lines if "error" in line] == ["007.png"]


def test_a_batch_whose_worker_cannot_load_ends_with_the_cause(ray, tmp_path):
    photo(1).save(tmp_path / "1.png")
    common, stages = batches.Asked(("caption",), Sampling(max_new_tokens=6)), batches.Stages(ray=True)
    with pytest.raises(LAV2Error, match="No weights of caption"):
        batch.write(tmp_path, tmp_path / "a.jsonl", batches.answers(TinyLoader(broken=True), common, stages), "w5")


def test_a_measurement_in_shards_writes_the_report_of_one_process_though_a_worker_is_killed(ray, tmp_path, monkeypatch):
    for number in range(12):
        Image.new("RGB", (20, 20), (20 * number, 0, 0)).save(tmp_path / f"{number}.png")
    asked = [
        {"id": n, "kind": ("yesno", "photo")[n % 2], "image": f"{n}.png", "question": f"What is {n}?", "truth": ["a"]}
        for n in range(12)
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    monkeypatch.setattr(parts, "Loader", lambda *given: MeasuredLoader())
    monkeypatch.setattr(Assistant, "load", lambda *given, **named: MeasuredLoader().assistant({}))
    killed = []

    def kill(done, method, *given, **named):
        """In the place of the progress bar: the pieces are under way."""
        if method == "answered" and not killed:
            killed.extend(workers("ray::Worker"))
            os.kill(killed[0], signal.SIGKILL)
        return done

    monkeypatch.setattr(shards, "tqdm", kill)
    reports = []
    for name, more in (("local", []), ("ray", ["--ray", "--workers", "2"])):
        out = tmp_path / f"{name}.json"
        command = ["evaluate", "everyday", str(tmp_path), "--out", str(out), "--cache", str(tmp_path / name)]
        how = ["--arms", "all but ocr,none", "--max-new-tokens", "5", "--batch", "4"]
        assert main([*command, *how, *more]) == 0
        reports.append(json.loads(out.read_text()))
        assert reports[-1].pop("command").endswith(" ".join(more))
    assert len(killed) == 2 and len(reports[0]["rows"]) == 12 and reports[0] == reports[1]


def test_a_measurement_whose_worker_cannot_load_ends_with_the_cause(ray, tmp_path):
    made = shards.runner(TinyLoader(broken=True), tmp_path, ShardsConfig(ray=True, workers=1))
    with pytest.raises(LAV2Error, match="No weights of everything"), made:
        pytest.fail("it loaded")


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


def brought_up(folder: Path, least: int, most: int, **changes) -> RemoteAssistant:
    """A front end of what `serve run` makes of the shipped file on tiny models, with so many replicas of the language
    model."""
    written = yaml.safe_load((HERE.parent / "lav2/cluster/serve.yaml").read_text())
    (application,) = written["applications"]
    application |= {"import_path": "tiny_cluster:build", "args": {"seconds": 0.05, **changes}}
    (model,) = (part for part in application["deployments"] if part["name"] == "model")
    model["ray_actor_options"] = {"num_cpus": 0.1}  # so that one more has room
    model["autoscaling_config"] |= {"min_replicas": least, "max_replicas": most, "upscale_delay_s": 1}
    (folder / "serve.yaml").write_text(yaml.safe_dump(written))
    scripts = importlib.import_module("ray.serve.scripts")
    scripts.run.main(["--non-blocking", str(folder / "serve.yaml")], standalone_mode=False)
    return RemoteAssistant(until(deployment.running))


def until(found):
    """What `found` gives once it gives something; LAV2Error is nothing yet."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if value := found():
                return value
        except LAV2Error:
            if time.monotonic() > end:
                raise
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def front_end(ray, folder):
    """An assistant whose answers come from two replicas of the model and one of each expert, all in own processes."""
    serve = engine.required("ray.serve")
    ready = brought_up(folder, 2, 2)
    until(lambda: len(processes(ready)) == 2)
    yield ready
    serve.shutdown()


@pytest.fixture(scope="module")
def local():
    return TinyLoader().assistant({})


def asked(user: int, turn: int, **changes) -> Request:
    facts = {"question": f"w{5 + user} w{30 + turn}", "image": photo(user), "experts": BUILT_IN}
    facts |= {"sampling": Sampling(max_new_tokens=24), "client": str(user)}
    return Request(**facts | changes)


def talk(assistant, user: int, turns: int):
    """A user's conversation on his photo: the events of each turn."""
    history = ()
    for turn in range(turns):
        request = asked(user, turn, history=history)
        events = list(assistant.answer(request))
        history += (Turn(request.question, events[-1].answer),)
        yield events


def processes(front_end) -> set[int]:
    """Process ids of the replicas that photos lead to."""
    return set(where(front_end, range(40)).values())


def where(front_end, photos) -> dict[int, int]:
    """The process that each photo leads to."""
    return {n: front_end._on(photo(n)).about.remote().result(timeout_s=PATIENCE)["pid"] for n in photos}


def test_a_door_without_replicas_tells_how_to_bring_them_up(ray):
    with pytest.raises(LAV2Error, match=r"No replicas run.*serve\.yaml"):
        deployment.running()


def test_a_second_replica_comes_up_when_questions_pile_up(ray, folder):
    serve, front_end = engine.required("ray.serve"), brought_up(folder, 1, 2)
    assert len(processes(front_end)) == 1
    enough, shown = threading.Event(), itertools.count()

    def ask(user: int) -> None:
        while not enough.is_set():  # of new photos: they wait for experts, and leave the cores to others
            list(front_end.answer(asked(user, 0, image=photo(next(shown) % 256), sampling=Sampling(max_new_tokens=6))))

    def ordered() -> bool:
        states = serve.status().applications[deployment.NAME].deployments["model"].replica_states
        return sum(states.values()) == 2

    with ThreadPoolExecutor(USERS) as pool:
        asking = [pool.submit(ask, user) for user in range(USERS)]
        try:
            until(ordered)
        finally:
            enough.set()
        for one in asking:
            one.result()
    until(lambda: len(processes(front_end)) == 2)


def test_a_photo_goes_to_the_replica_that_knows_it_and_follow_ups_find_their_caches(front_end):
    first, again = where(front_end, range(USERS)), where(front_end, range(USERS))
    assert first == again and len(set(first.values())) == 2
    with ThreadPoolExecutor(4) as pool:  # fewer than a replica answers at once: none has to give way
        for conversation in pool.map(lambda user: list(talk(front_end, user, 3)), range(USERS)):
            for events in conversation[1:]:
                found = [event for event in events if isinstance(event, EvidenceFound)]
                assert len(found) == len(BUILT_IN) and all(one.remembered for one in found)


def test_a_stopped_answer_ends_with_what_was_said(front_end):
    cancel = threading.Event()
    seen = []
    for event in front_end.answer(asked(2, 0, sampling=Sampling(max_new_tokens=1500)), cancel):
        seen.append(event)
        if isinstance(event, Token):
            cancel.set()
    assert isinstance(seen[-1], Done) and seen[-1].stopped and seen[-1].answer


def test_who_leaves_frees_the_replica_so_that_nobody_behind_him_waits(front_end):
    kinds = Counter()
    for _ in range(30):  # of one photo, so of one replica: more than answer and wait there
        with closing(front_end.answer(asked(2, 1, client=None, sampling=Sampling(max_new_tokens=1500)))) as events:
            for event in events:
                kinds[type(event)] += 1
                if isinstance(event, Token):
                    break
    assert kinds[Token] == 30 and not kinds[Queued]


def test_a_full_replica_tells_positions_and_then_that_it_is_busy(front_end):
    seen, enough = [], threading.Event()

    def ask(number: int) -> None:
        facts = {"client": None, "sampling": Sampling(max_new_tokens=1800), "question": f"w{3 + number % 60}"}
        try:
            for event in front_end.answer(asked(3, 0, **facts), enough):
                seen.append(type(event))
        except Busy as busy:
            seen.append(busy.position)
            enough.set()

    users = 4 * 24  # of two replicas: 8 at once and 16 who wait
    with ThreadPoolExecutor(users) as pool:
        list(pool.map(ask, range(users)))
    assert Queued in seen and {one for one in seen if isinstance(one, int)} == {17}


def test_200_answers_of_20_users_are_neither_lost_nor_mixed_while_a_replica_is_killed_and_one_is_added(
    front_end, local, folder
):
    expected = [[events[-1].answer for events in talk(local, user, TURNS)] for user in range(USERS)]
    victim, survivor = until(lambda: len(now := processes(front_end)) == 2 and now)
    done = threading.Semaphore(0)

    def disturb():
        for _ in range(USERS * TURNS // 4):
            assert done.acquire(timeout=PATIENCE)
        os.kill(victim, signal.SIGKILL)
        for _ in range(USERS * TURNS // 4):
            assert done.acquire(timeout=PATIENCE)
        brought_up(folder, 3, 3)

    def user(number: int) -> list[str]:
        answers = []
        for events in talk(front_end, number, TURNS):
            said = "".join(event.text for event in events if isinstance(event, Token)).strip()
            assert said == events[-1].answer
            answers.append(said)
            done.release()
        return answers

    with ThreadPoolExecutor(USERS + 1) as pool:
        disturbed = pool.submit(disturb)
        assert list(pool.map(user, range(USERS))) == expected
        disturbed.result()
    until(lambda: len(now := processes(front_end)) == 3 and victim not in now and survivor in now)


def test_replicas_are_measured_beside_one_process(front_end, local, capsys):
    throughput.throughput(local, front_end, throughput.Trial(users=4, rounds=1, tokens=6))
    assert "the same answer: 12 of 12" in capsys.readouterr().out


def test_what_is_wrong_with_a_question_is_told_by_a_replica_as_by_the_local_app(front_end, local):
    for request in (asked(1, 0, question=" "), asked(1, 0, question="w" * 5000), asked(1, 0, experts=("nose",))):
        reported = []
        for assistant in (front_end, local):
            with pytest.raises(LAV2Error) as error:
                list(assistant.answer(request))
            reported.append((str(error.value), error.value.cause.key))
        assert reported[0] == reported[1]


def test_a_roll_over_to_other_settings_lets_answers_end_and_loses_none(front_end, local, folder):
    expected = [next(talk(local, user, 1))[-1].answer for user in range(4)]
    before, rolled = processes(front_end), threading.Event()

    def user(number: int) -> None:
        while not rolled.wait(0.2):  # they leave the cores to the replicas that come up
            assert next(talk(front_end, number, 1))[-1].answer == expected[number]

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(user, number) for number in range(4)]
        try:
            brought_up(folder, 2, 2, seconds=0.01)
            until(lambda: len(now := processes(front_end)) == 2 and not now & before)
        finally:
            rolled.set()
        for one in asking:
            one.result()


def test_a_batch_beside_replicas_that_leave_too_few_cores_says_so(ray, front_end, tmp_path, monkeypatch):
    photo(1).save(tmp_path / "1.png")
    stages = batches.Stages(ray=True, expert_workers=8)
    assert batches.divided(0, 2, stages) is not None  # the whole cluster would do
    answers = batches.answers(TinyLoader(), batches.Asked((), Sampling()), stages)
    monkeypatch.setattr(engine, "FREE_SECONDS", 0.0)
    with pytest.raises(LAV2Error, match="free cores, too few for 9 workers"):
        batch.write(tmp_path, tmp_path / "a.jsonl", answers, "w5")
