"""How long questions wait on a cluster of a given size: a discrete-event simulation, from front end to replica.

    python -m lav2.cluster.simulation --rate 4.6 --replicas 3 --expert-replicas 2

A question comes at random (Poisson), goes to the replica of its photo, waits for one of the replica's slots, has its
experts look where the photo is new to it, and is decoded beside the others of its replica (processor sharing: the
replica's tokens/s depend on how many are answered at once). docs/scale.md tells what was put in, and what came out.
"""

from __future__ import annotations

import argparse
import bisect
import heapq
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from lav2.options import Help, add_options, chosen, setting


@dataclass(frozen=True)
class Site:
    """What answers. Defaults: one replica on two cores as measured on 2026-11-25 (docs/performance.md)."""

    replicas: int = setting(1, "of the language model")
    expert_replicas: int = setting(1, "sets of the experts; each looks at one photo at a time")
    slots: int = setting(8, "questions that a replica answers at once")
    look_seconds: float = setting(2.28, "of all experts at a new photo, side by side")
    prefill_seconds: float = setting(0.2, "to read a prompt whose photo is known, until the first token")
    speeds: tuple[float, ...] = setting(
        (161, 329), "tokens/s of a replica that answers as many as in `at`, all together"
    )
    at: tuple[int, ...] = setting((1, 4), "at once, of the speeds; between them it is linear, above the last constant")

    def speed(self, at_once: int) -> float:
        """Tokens/s of one replica that decodes so many answers."""
        place = bisect.bisect_left(self.at, at_once)
        if place == len(self.at):
            return self.speeds[-1]
        if self.at[place] == at_once or place == 0:
            return self.speeds[place]
        low, high = self.at[place - 1], self.at[place]
        share = (at_once - low) / (high - low)
        return self.speeds[place - 1] * (1 - share) + self.speeds[place] * share


@dataclass(frozen=True)
class Load:
    """What is asked."""

    rate: float = setting(0.1, "questions a second, of all users")
    tokens: float = setting(64.0, "of an answer, mean (exponential)")
    new_photos: float = setting(0.33, "share of the questions whose photo their replica has not seen")
    questions: int = setting(5000, "that are simulated")
    seed: int = setting(0, "of what is drawn")


@dataclass
class Outcome:
    """Seconds of each question: `wait` for a slot, until the `first` token, in `total`; and how busy both kinds of
    process were, 0..1."""

    wait: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    model_busy: float = 0.0
    experts_busy: float = 0.0

    def quantile(self, name: str, share: float) -> float:
        values = sorted(getattr(self, name))
        return values[min(len(values) - 1, int(share * len(values)))]


@dataclass
class _Question:
    came: float
    replica: int
    new: bool
    tokens: float  # that are left to decode
    first: float = 0.0


class _Replica:
    """Answers in processor sharing: `decoding` share the speed that their number gives."""

    def __init__(self, site: Site):
        self._site = site
        self.used, self.waiting = 0, deque[_Question]()
        self.decoding: list[_Question] = []
        self.then, self.busy = 0.0, 0.0  # up to when `decoding` is counted; seconds with somebody in it

    def advance(self, now: float) -> None:
        if self.decoding:
            said = (now - self.then) * self._site.speed(len(self.decoding)) / len(self.decoding)
            for question in self.decoding:
                question.tokens -= said
            self.busy += now - self.then
        self.then = now

    def next_end(self) -> float:
        if not self.decoding:
            return float("inf")
        least = min(question.tokens for question in self.decoding)
        return self.then + max(0.0, least) * len(self.decoding) / self._site.speed(len(self.decoding))


def simulate(site: Site, load: Load) -> Outcome:
    """The questions of one run, the first tenth left out of the result (the cluster is empty then)."""
    draw = random.Random(load.seed)
    replicas = [_Replica(site) for _ in range(site.replicas)]
    free, looking = site.expert_replicas, deque[_Question]()
    steps: list[tuple[float, int, str, _Question]] = []  # a heap of what ends at a known time
    found, ended, number, looked = Outcome(), 0, 0, 0.0
    now, comes, left = 0.0, draw.expovariate(load.rate), load.questions

    def later(seconds: float, kind: str, question: _Question) -> None:
        nonlocal number
        number += 1
        heapq.heappush(steps, (now + seconds, number, kind, question))

    def admit(replica: _Replica) -> None:
        while replica.used < site.slots and replica.waiting:
            question = replica.waiting.popleft()
            replica.used += 1
            if question.came >= 0 and ended >= load.questions // 10:
                found.wait.append(now - question.came)
            if question.new and site.look_seconds:
                looking.append(question)
            else:
                later(site.prefill_seconds, "read", question)
        look()

    def look() -> None:
        nonlocal free, looked
        while free and looking:
            free -= 1
            looked += site.look_seconds
            later(site.look_seconds, "look", looking.popleft())

    while ended < load.questions:
        ends = min(replicas, key=_Replica.next_end)
        step = steps[0][0] if steps else float("inf")
        now = min(comes, step, ends.next_end())
        if now == comes:
            which, new = draw.randrange(site.replicas), draw.random() < load.new_photos
            replicas[which].waiting.append(_Question(now, which, new, draw.expovariate(1 / load.tokens)))
            admit(replicas[which])
            left -= 1
            comes = now + draw.expovariate(load.rate) if left else float("inf")
        elif now == step:
            _, _, kind, question = heapq.heappop(steps)
            replica = replicas[question.replica]
            if kind == "look":
                free += 1
                later(site.prefill_seconds, "read", question)
                look()
            else:
                replica.advance(now)
                replica.decoding.append(question)
                question.first = now - question.came
        else:
            ends.advance(now)
            done = min(ends.decoding, key=lambda question: question.tokens)
            ends.decoding.remove(done)
            ends.used -= 1
            ended += 1
            if ended > load.questions // 10:
                found.first.append(done.first)
                found.total.append(now - done.came)
            admit(ends)
    found.model_busy = sum(replica.busy for replica in replicas) / site.replicas / now
    found.experts_busy = looked / site.expert_replicas / now
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], formatter_class=Help)
    add_options(parser, Site)
    add_options(parser, Load)
    options = parser.parse_args(arguments)
    found = simulate(chosen(Site, options), chosen(Load, options))
    print("seconds: median, 95 %, 99 %")
    for part in fields(Outcome)[:3]:
        print(f"  {part.name:6}" + "".join(f"{found.quantile(part.name, share):10.2f}" for share in (0.5, 0.95, 0.99)))
    print(f"busy: models {found.model_busy:.0%}, experts {found.experts_busy:.0%}")


if __name__ == "__main__":
    main()
