"""Answers: time to the first token, what each expert costs, both sides of a comparison, several users."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import torch
from PIL import Image

from lav2 import config
from lav2.bench import harness
from lav2.bench.harness import QUESTIONS, Options, Spread, in_turns, loaded, opened, photo, seconds, show, target
from lav2.events import Request, Sampling, Turn
from lav2.inference import scheduler, streaming
from lav2.inference.engine import Engine


def first_token(options: Options) -> list[dict]:
    """Seconds from a question to its first token: a new photo, a follow-up, the same question again."""
    assistant = loaded(options)
    found: dict[str, list[float]] = {"first question": [], "follow-up": [], "first question again": []}
    for number in range(1, options.repeats + 1):
        image, history = photo(number), ()
        for name, question in (("first question", 0), ("follow-up", 1), ("first question again", 0)):
            turns = history if name == "follow-up" else ()
            sampling = Sampling(max_new_tokens=options.tokens)
            *_, done = assistant.answer(Request(QUESTIONS[question], image, turns, sampling=sampling))
            found[name].append(done.timings["first_token"])
            history = (Turn(QUESTIONS[question], done.answer),)
    spreads = {name: Spread(tuple(values)) for name, values in found.items()}
    base = spreads["first question"].median
    rows = [{"first token": name, "seconds": spread, "of the first %": 100 * spread.median / base,
             "target %": target(100 * spread.median / base, 40) if name == "follow-up" else None}
            for name, spread in spreads.items()]  # fmt: skip
    show("first token: all experts on", rows)
    return rows


def experts(options: Options) -> list[dict]:
    """Seconds of each expert alone and of all together, against the larger of the slowest and CPU time / cores."""
    assistant = loaded(options)
    numbers = iter(range(1, 10**6))
    cpu: dict[str, list[float]] = {}

    def look(name: str, names: tuple[str, ...]) -> float:
        begin = time.process_time()
        elapsed = seconds(lambda: assistant.examine(photo(next(numbers)), names))
        cpu.setdefault(name, []).append(time.process_time() - begin)
        return elapsed

    runs = {name: (lambda name=name: look(name, (name,))) for name in assistant.experts}
    runs["all together"] = lambda: look("all together", assistant.experts)
    found = in_turns(runs, options.repeats)
    used = {name: Spread(tuple(values[1:])).median for name, values in cpu.items()}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    alone = {name: spread.median for name, spread in found.items() if name != "all together"}
    bound = max(max(alone.values()), sum(used[name] for name in alone) / cores)
    wanted = max(1.3 * max(alone.values()), bound)
    rows = [{"experts": name, "seconds": spread, "CPU seconds": used[name],
             "x bound": spread.median / bound if name == "all together" else None,
             "target s": target(spread.median, wanted) if name == "all together" else None}
            for name, spread in found.items()]  # fmt: skip
    show(f"experts: bound {bound:.3g} s, the slowest alone or the sum of CPU time over {cores} cores", rows)
    return rows


def compare(options: Options) -> list[dict]:
    """Experts off and on for one question: one after the other, and both streams in turns."""
    assistant = loaded(options)
    numbers = iter(range(1, 10**6))
    sampling = Sampling(max_new_tokens=options.tokens)

    def sides(image: Image.Image) -> list[Iterator]:
        return [assistant.answer(Request(QUESTIONS[0], image, experts=names, sampling=sampling))
                for names in ((), assistant.experts)]  # fmt: skip

    def both() -> float:
        def run() -> None:
            threads = [threading.Thread(target=lambda side=side: [None for _ in side])
                       for side in sides(photo(next(numbers)))]  # fmt: skip
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        return seconds(run)

    def after() -> float:
        return seconds(lambda: [None for side in sides(photo(next(numbers))) for _ in side])

    found = in_turns({"one after the other": after, "side by side": both}, options.repeats)
    base = found["one after the other"].median
    rows = [{"compare": name, "seconds": spread, "of one after the other %": 100 * spread.median / base}
            for name, spread in found.items()]  # fmt: skip
    show("compare: both answers complete", rows)
    return rows


def concurrency(options: Options) -> list[dict]:
    """Tokens per second of all users together, each with a prompt of PROMPT tokens and as long an answer."""
    adapted, tokenizer = opened(config.preset(options.preset))
    engine, turns = Engine(adapted, release=True), scheduler.Scheduler()
    vision = adapted.vision_config
    sampling = Sampling(max_new_tokens=options.tokens)

    def users(count: int) -> tuple[float, float]:
        """Tokens/s with prompts, and from the moment on when all prompts are done."""
        ready = threading.Barrier(count + 1, timeout=300)  # s: one that failed never comes

        def ask(number: int) -> None:
            rng = torch.Generator().manual_seed(number)
            ids = torch.randint(3, len(tokenizer), (1, harness.PROMPT), generator=rng)
            with torch.inference_mode():
                kv = engine.prompt_kv(engine.visual_prompt(torch.randn(1, vision.tokens, vision.width, generator=rng)))
            answer = streaming.tokens(engine, ids, kv, sampling, [-1], scheduler=turns)
            next(answer)
            ready.wait()
            for _ in answer:
                pass

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        ready.wait()
        prompted = time.perf_counter()
        for thread in threads:
            thread.join()
        end = time.perf_counter()
        return count * options.tokens / (end - start), count * (options.tokens - 1) / (end - prompted)

    found: dict[int, list[tuple[float, float]]] = {count: [] for count in (1, 2, 4, 8)}
    for turn in range(options.repeats + 1):
        for count, rates in found.items():
            rate = users(count)
            if turn:
                rates.append(rate)
    whole, after = ({count: Spread(tuple(rate[i] for rate in rates)) for count, rates in found.items()} for i in (0, 1))
    rows = [{"users at once": count, "tokens/s": after[count], "x one": after[count].median / after[1].median,
             "with prompts": whole[count], "x one with prompts": whole[count].median / whole[1].median,
             "target x": target(after[count].median / after[1].median, 2, True) if count == 4 else None}
            for count in found]  # fmt: skip
    show("concurrency: answers of all users together, once their prompts are read and from the start", rows)
    return rows
