"""Answers of replicas on this machine beside those of one process on the same cores, and beside the simulation.

    python -m lav2.cluster.throughput --replicas 2 --users 8 --rounds 3 --rate 0.1

First both answer the same conversations in turns, a photo each that neither has seen: what Ray costs is what the
replicas answer less in the same time, or compute more for the same answers (a busy machine hurts the first more). Then
the replicas alone are measured idle, and asked at random; lav2.cluster.simulation, given the idle figures, tells beside
it what it expects. docs/scale.md has the tables.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lav2 import config
from lav2.cluster import engine
from lav2.cluster.deployment import Cluster, deploy
from lav2.cluster.parts import Loader
from lav2.cluster.remote import RemoteAssistant
from lav2.cluster.simulation import Load, Site, simulate
from lav2.errors import LAV2Error
from lav2.events import Done, Request, Sampling, Token, Turn
from lav2.image import open_image
from lav2.options import Help, add_options, chosen, setting

if TYPE_CHECKING:
    from lav2.assistant.service import Assistant

EXAMPLES = Path(__file__).parents[2] / "assets/examples"
QUESTIONS = ("What does it say?", "What is in this photo?", "How many people are there?")
STORE = 500_000_000  # bytes of Ray's object store: a photo on its way takes a few megabytes


@dataclass(frozen=True)
class Trial:
    """What is asked."""

    preset: str = setting(config.DEFAULT_PRESET, "whose models answer", metavar="NAME")
    replicas: int = setting(2, "of the language model; one of each expert")
    users: int = setting(8, "who ask at once, each about a photo of his own")
    rounds: int = setting(3, "of both, in turns, after one that does not count")
    tokens: int = setting(32, "of an answer at most")
    rate: float = setting(0.1, "questions a second for the comparison with the simulation")
    asked: int = setting(60, "questions of that comparison")


@dataclass
class Measured:
    """Of one side: questions/s and processor seconds a question of each round; seconds to the first token of all."""

    rate: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


def photos() -> Iterator[Image.Image]:
    """The examples over and over, cropped a little more each time: no cache has seen them."""
    files = sorted(EXAMPLES.glob("*.webp"))
    for number, file in zip(itertools.count(), itertools.cycle(files)):
        whole = open_image(file)
        yield whole.crop((number // len(files), 0, whole.width, whole.height))


def ask(assistant: Assistant | RemoteAssistant, request: Request) -> tuple[float, Done]:
    """(seconds to the first token, the end)"""
    begun, first = time.perf_counter(), None
    for event in assistant.answer(request):
        if isinstance(event, Token) and first is None:
            first = time.perf_counter() - begun
    return first if first is not None else time.perf_counter() - begun, event


def conversation(assistant: Any, photo: Image.Image, tokens: int) -> list[tuple[float, Done]]:
    """QUESTIONS about one photo, each with the turns before it."""
    found, history = [], ()
    for question in QUESTIONS:
        request = Request(question, photo, history, sampling=Sampling(max_new_tokens=tokens), client=str(id(photo)))
        found.append(ask(assistant, request))
        history += (Turn(question, found[-1][1].answer),)
    return found


def processor_seconds() -> float:
    """That this process and all below it have computed so far."""
    parents, used = {}, {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        process = int(status.parent.name)
        parents[process], used[process] = int(fields[1]), int(fields[11]) + int(fields[12])
    below, found = {os.getpid()}, True
    while found:
        found = {process for process, parent in parents.items() if parent in below} - below
        below |= found
    return sum(used[process] for process in below) / os.sysconf("SC_CLK_TCK")


def compare(sides: dict[str, Any], trial: Trial) -> dict[str, Measured]:
    """What each side does with the same conversations, in turns."""
    unseen, found = iter(photos()), {name: Measured() for name in sides}
    for turn in range(trial.rounds + 1):
        shown = [next(unseen) for _ in range(trial.users)]
        for name, assistant in sides.items():
            begun, before = time.perf_counter(), processor_seconds()
            with ThreadPoolExecutor(trial.users) as pool:
                said = list(pool.map(lambda photo, who=assistant: conversation(who, photo, trial.tokens), shown))
            count, measured = trial.users * len(QUESTIONS), found[name]
            if turn:
                measured.rate.append(count / (time.perf_counter() - begun))
                measured.processor.append((processor_seconds() - before) / count)
                measured.first += [first for one in said for first, _ in one]
                measured.answers += [done.answer for one in said for _, done in one]
    return found


def idle(assistant: RemoteAssistant, unseen: Iterable[Image.Image], trial: Trial) -> Site:
    """The replicas as the simulation has them: seconds of the experts and of a known photo's prompt, tokens/s."""
    look, prefill, alone = [], [], []
    for photo in itertools.islice(unseen, 5):
        (_, new), *known = conversation(assistant, photo, trial.tokens)
        look.append(new.timings["experts"])
        prefill += [first for first, _ in known]
        alone += [done.tokens / max(1e-3, done.timings["answer"]) for _, done in known if done.tokens > 4]
        last = photo
    together: list[Done] = []

    def again(_: int) -> None:
        together.append(ask(assistant, Request(QUESTIONS[1], last, sampling=Sampling(max_new_tokens=trial.tokens)))[1])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(again, range(12)))
    four = 4 * statistics.median(done.tokens / max(1e-3, done.timings["answer"]) for done in together)
    middle = statistics.median
    return Site(trial.replicas, 1, look_seconds=middle(look), prefill_seconds=middle(prefill),
                speeds=(middle(alone), max(four, middle(alone))))  # fmt: skip


def at_random(
    assistant: RemoteAssistant, unseen: Iterable[Image.Image], trial: Trial
) -> tuple[list[float], list[float], float, float]:
    """(seconds to the first token, to the end, mean tokens, share of new photos) of questions that come at random
    (Poisson), every third with a photo that nobody has seen."""
    draw, known, first, total, tokens = random.Random(0), [], [], [], []
    given = iter(unseen)

    def one(photo: Image.Image) -> None:
        begun = time.perf_counter()
        seconds, done = ask(assistant, Request(QUESTIONS[1], photo, sampling=Sampling(max_new_tokens=trial.tokens)))
        first.append(seconds)
        total.append(time.perf_counter() - begun)
        tokens.append(done.tokens)

    threads, new = [], 0
    for number in range(trial.asked):
        if number % 3 == 0:
            known.append(next(given))
            new += 1
        photo = known[-1] if number % 3 == 0 else draw.choice(known[:-1] or known)
        threads.append(threading.Thread(target=one, args=(photo,)))
        threads[-1].start()
        time.sleep(draw.expovariate(trial.rate))
    for thread in threads:
        thread.join()
    return first, total, statistics.mean(tokens), new / trial.asked


def quantile(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def show(title: str, rows: Sequence[Sequence[object]]) -> None:
    print(f"\n{title}", flush=True)
    for row in rows:
        cells = (f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row)
        print("  " + "  ".join(cell.ljust(18) for cell in cells).rstrip(), flush=True)


def throughput(local: Assistant, remote: RemoteAssistant, trial: Trial) -> None:
    """Print both sides, and what Ray costs of them."""
    names = "one process", f"{trial.replicas} replicas"
    one, many = compare(dict(zip(names, (local, remote), strict=True)), trial).values()
    rows = [("", "questions/s", "processor s each", "first token s", "95 %")]
    for name, found in zip(names, (one, many), strict=True):
        middle = statistics.median
        rows.append(
            (name, middle(found.rate), middle(found.processor), middle(found.first), quantile(found.first, 0.95))
        )
    show(f"{trial.users} users at once, {trial.rounds} rounds, medians; {trial.tokens} tokens at most", rows)
    slower = 1 - statistics.median(b / a for a, b in zip(one.rate, many.rate, strict=True))
    dearer = statistics.median(b / a for a, b in zip(one.processor, many.processor, strict=True)) - 1
    same = sum(a == b for a, b in zip(one.answers, many.answers, strict=True))
    print(f"  overhead, by pairs of rounds: {slower:+.0%} of the time, {dearer:+.0%} of the processor's seconds")
    print(f"  the same answer: {same} of {len(one.answers)}")


def against_simulation(remote: RemoteAssistant, trial: Trial) -> None:
    """Print what was measured at random arrivals, and what the simulation makes of the idle replicas' figures."""
    unseen = itertools.islice(photos(), (trial.rounds + 1) * trial.users, None)
    site = idle(remote, unseen, trial)
    first, total, tokens, new = at_random(remote, unseen, trial)
    expected = simulate(site, Load(rate=trial.rate, tokens=tokens, new_photos=new, questions=5000))
    speeds = ", ".join(f"{speed:.0f}" for speed in site.speeds)
    print(f"\nidle: experts {site.look_seconds:.2f} s, known photo's first token {site.prefill_seconds:.2f} s, "
          f"tokens/s alone and of four {speeds}; answers of {tokens:.0f} tokens, {new:.0%} new photos")  # fmt: skip
    rows: list[Sequence[object]] = [("seconds", "first, median", "first, 90 %", "whole, median", "whole, 90 %")]
    for name, one, whole in (("measured", first, total), ("simulated", expected.first, expected.total)):
        rows.append((name, *(quantile(values, part) for values in (one, whole) for part in (0.5, 0.9))))
    show(f"{trial.asked} questions at random, {trial.rate:g} a second", rows)


def run(trial: Trial, loader: Any) -> None:
    """Both measurements, on a cluster of this machine that ends with them. `loader`: as parts.Loader."""
    with engine.connected(object_store_memory=STORE):
        remote = RemoteAssistant(deploy(loader, Cluster(str(trial.replicas))))
        local = loader.assistant({})
        local.load_experts(lambda line: None)
        local.warm_up(lambda line: None)
        throughput(local, remote, trial)
        against_simulation(remote, trial)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], formatter_class=Help)
    add_options(parser, Trial)
    trial = chosen(Trial, parser.parse_args(arguments))
    try:
        run(trial, Loader(config.preset(trial.preset)))
    except LAV2Error as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
