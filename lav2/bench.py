"""How fast it is, with what it could be at best or what it replaces beside it, measured in the same run.

    python -m lav2.bench [--section decode ...] [--quick] [--preset embedded] [--detector FILE]

Every section prints its table; the last line is one JSON object with everything. What is compared is measured in
turns, so that a busy machine hurts all alike; a value is the median, with the quartiles beside it.
"""

from __future__ import annotations

import argparse
import base64
import gc
import io
import json
import multiprocessing
import os
import platform
import resource
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import lav2  # noqa: F401  (sets OpenMP's waiting before torch is loaded)

import torch  # isort: skip
import torch.nn.functional as F
import transformers
from PIL import Image
from transformers.utils import is_bitsandbytes_available

from lav2 import config, weights
from lav2.errors import LAV2Error
from lav2.events import Request, Sampling, Turn
from lav2.inference import backend, native, scheduler, streaming
from lav2.inference.engine import Engine
from lav2.model import checkpoint
from lav2.model.adapted import IGNORED, AdaptedLlama
from lav2.model.adapter import ATTENTION, transformer_linears
from lav2.model.llm import Quantize, load_llm
from lav2.model.vision import VisionTower
from lav2.text.prompts import build

ROOT = Path(__file__).parent.parent
NO_ADAPTER = ", no adapter"  # behind the name of a model that is measured beside the adapted one
PAIRS = 5  # for each repeat, of short runs with and without adapter
PROMPT = 300  # tokens: a question with its findings
BATCH, LENGTH = 8, 60  # rows and tokens of a training step
BARE = config.AdapterConfig("late", 1, 1, norm=False, bias=False, scale=False)  # an adapter that changes nothing
QUESTIONS = ("What is in this photo?", "How many people are there?", "What does the sign say?", "Where is the bus?")


@dataclass(frozen=True)
class Options:
    preset: str
    detector: str | None
    repeats: int
    tokens: int  # of an answer
    prompts: int  # whose answers are compared


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of some measurements."""

    values: tuple[float, ...]

    def at(self, share: float) -> float:
        ordered = sorted(self.values)
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    @property
    def median(self) -> float:
        return self.at(0.5)

    def json(self) -> dict[str, float]:
        return {"median": self.median, "low": self.at(0.25), "high": self.at(0.75)}

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.at(0.25):.3g}-{self.at(0.75):.3g})"


def in_turns(functions: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, Spread]:
    """What each function returns, `repeats` times in turns after one round that does not count."""
    found: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            value = function()
            if turn:
                found[name].append(value)
    return {name: Spread(tuple(values)) for name, values in found.items()}


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def target(value: float, bound: float, least: bool = False) -> str:
    """What an issue asked for, and whether it is so: `value` of at most `bound`, or at least."""
    met = value >= bound if least else value <= bound
    return f"{'>=' if least else '<='} {bound:g}: {'met' if met else 'MISSED'}"


def show(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    print(f"\n{title}")
    names = list(rows[0])
    cells = [names] + [["" if row[n] is None else f"{row[n]:.3g}" if isinstance(row[n], float) else str(row[n])
                        for n in names] for row in rows]  # fmt: skip
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    for line in cells:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def bandwidth() -> Callable[[], float]:
    """What measures the GB/s at which all threads together read memory: the sum of 512 MB in large pages, the best of
    three. On a shared machine it changes within seconds, so it is measured before and after what it bounds."""
    numbers = native.memory(2**29).view(torch.float32).fill_(1)
    return lambda: max(numbers.nbytes / seconds(numbers.sum) / 1e9 for _ in range(3))


def conditions(options: Options) -> dict[str, object]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor()
    answers = native.library() is not None and not torch.cuda.is_available()
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load before": round(os.getloadavg()[0], 2),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "preset": options.preset,
        "memory GB": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "python": platform.python_version(),
        "dtype": "bfloat16" + (", answers by int8 weights" if answers else ""),
        "prompt tokens": PROMPT,
        "answer tokens": options.tokens,
        "repeats": options.repeats,
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
    }


def _commit() -> str:
    """What git says; $LAV2_COMMIT where there is no git, as on a machine that got a copy of the files."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()
    except OSError:
        said = ""
    return said or os.environ.get("LAV2_COMMIT", "unknown")


def opened(
    settings: config.Preset, dtype: torch.dtype = torch.bfloat16
) -> tuple[AdaptedLlama, transformers.PreTrainedTokenizerBase]:
    """The preset's language model with a new adapter that is as fast as a trained one."""
    llm, tokenizer = load_llm(settings.llm, dtype)
    return opening(AdaptedLlama(llm, settings.adapter_config, settings.projector, settings.vision)), tokenizer


@torch.no_grad()
def opening(adapted: AdaptedLlama) -> AdaptedLlama:
    """The model with its gates open and noise in all else that is trained: a new adapter is the identity, and what is
    zero (biases) the engine leaves out."""
    for name, parameter in adapted.adapter_parameters().items():
        if "gate" in name:
            parameter.fill_(0.1)
        else:
            parameter.add_(0.01 * torch.randn_like(parameter))
    return adapted.eval()


def weight_bytes(one: backend.DecoderBackend) -> int:
    """Bytes that one token reads: every matrix once."""
    if isinstance(one, AdaptedLlama):
        linears = [linear.weight for _, linear in transformer_linears(one.decoder)]
        return sum(weight.nbytes for weight in (*linears, one.llm.get_output_embeddings().weight))
    matrices = [part for layer in one.layers for part in (layer.qkv, layer.out, layer.gate_up, layer.down)]
    parts = [part for matrix in [*matrices, one.head] for part in (matrix.weight, matrix.factor) if part is not None]
    return sum(part.nbytes for part in parts)


@torch.inference_mode()
def decode(options: Options) -> list[dict]:
    """Tokens per second of one answer: transformers' generate(), our slow path, the engines; share of the ceiling."""
    adapted, tokenizer = opened(config.preset(options.preset))
    vision = adapted.vision_config
    kv = adapted.prompt_kv(adapted.visual_prompt(torch.randn(1, vision.tokens, vision.width)))
    closed = (None,) * len(kv)
    ids = torch.randint(3, len(tokenizer), (1, PROMPT), generator=torch.Generator().manual_seed(0))
    plain = load_llm(config.preset(options.preset).llm, torch.bfloat16)[0]
    bare = AdaptedLlama(plain, BARE).eval()
    kinds = {"engine, torch only": {"int8": False, "compiled": False}}
    if Engine(adapted, int8=False).library is not None:
        kinds |= {"engine, bf16": {"int8": False}, "engine, int8": {"int8": True}}
    engines = {}
    for name, kind in kinds.items():
        engines[name], engines[name + NO_ADAPTER] = Engine(adapted, **kind), Engine(bare, **kind)

    def generated(count: int) -> float:
        settings = {"do_sample": False, "max_new_tokens": count, "min_new_tokens": count}
        return seconds(lambda: plain.generate(ids, attention_mask=torch.ones_like(ids), **settings))

    def per_token(one: backend.DecoderBackend, prompts) -> Callable[[], float]:
        last, cache = backend.prefill(one, ids, prompts)
        token = last.argmax(-1, keepdim=True)

        def rate(tokens: int = options.tokens) -> float:
            def run() -> None:
                held = cache
                for _ in range(tokens):
                    _, held = backend.prefill(one, token, prompts, cache=held)

            taken = seconds(run)
            if isinstance(one, Engine):
                cache.length = PROMPT
            else:
                cache.crop(-tokens)
            return tokens / taken

        return rate

    def cost(adapted: Callable[[int], float], bare: Callable[[int], float]) -> Spread:
        """Percent of time that the adapter adds: of pairs of short runs, one right after the other and either first in
        turns, since a shared machine's speed changes within seconds by more than what is looked for."""
        found = []
        for turn in range(PAIRS * options.repeats):
            rates = [run(options.tokens // 3) for run in ((adapted, bare) if turn % 2 else (bare, adapted))]
            found.append(100 * (rates[turn % 2] / rates[1 - turn % 2] - 1))
        return Spread(tuple(found))

    def baseline() -> float:  # without its prefill
        return options.tokens / (generated(options.tokens + 1) - generated(1))

    memory = bandwidth()
    ceilings: dict[str, list[float]] = {}  # GB/s around each measurement

    def beside(name: str, run: Callable[[], float]) -> Callable[[], float]:
        def rate() -> float:
            before, found = memory(), run()
            ceilings.setdefault(name, []).append((before + memory()) / 2)
            return found

        return rate

    runs = {"transformers generate()": baseline, "transformers' forward with adapter": per_token(adapted, kv)}
    for name, one in engines.items():
        runs[name] = per_token(one, closed if name.endswith(NO_ADAPTER) else kv)
    costs = {name: cost(runs[name], runs[name + NO_ADAPTER]) for name in kinds}
    found = in_turns({name: beside(name, run) for name, run in runs.items()}, options.repeats)
    base = found["transformers generate()"].median
    size = sum(p.nbytes for p in plain.parameters())
    rows = []
    for name, rate in found.items():
        engine = engines.get(name)
        read = weight_bytes(engine) if engine else size
        bounds = ceilings[name][1:]  # without the round that does not count
        of_ceiling = Spread(tuple(r * read / 1e7 / most for r, most in zip(rate.values, bounds, strict=True)))
        times, share = rate.median / base, of_ceiling.median
        chosen = name == list(kinds)[-1]  # what answers use
        rows.append({
            "decode": name, "tokens/s": rate, "x generate()": times, "MB/token": read / 1e6,
            "GB/s": rate.median * read / 1e9, "of the ceiling %": of_ceiling, "adapter overhead %": costs.get(name),
            "target x": target(times, 2.5, True) if chosen else None,
            "target %": target(share, 60, True) if chosen else None,
            "target overhead %": target(costs[name].median, 5) if chosen else None,
        })  # fmt: skip
    ceiling = Spread(tuple(one for around in ceilings.values() for one in around))
    show(f"decode: one answer after {PROMPT} tokens; memory reads {ceiling} GB/s", rows)
    return rows


def photo(number: int) -> Image.Image:
    """A photo of a street that no cache has seen: the package's bus, cropped a little differently each time."""
    package = Path(find_spec("ultralytics").origin).parent
    whole = Image.open(package / "assets" / "bus.jpg").convert("RGB")
    return whole.crop((number, number, whole.width, whole.height))


def loaded(options: Options):
    """The preset's assistant with its experts, warmed by one question."""
    from lav2.assistant.service import Assistant

    assistant = Assistant.load(options.preset, detector=options.detector, report=lambda line: None)
    assistant.load_experts(report=lambda line: None)
    *_, _ = assistant.answer(Request(QUESTIONS[0], photo(0), sampling=Sampling(max_new_tokens=4)))
    return assistant


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
        taken = seconds(lambda: assistant.examine(photo(next(numbers)), names))
        cpu.setdefault(name, []).append(time.process_time() - begin)
        return taken

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
    """Tokens per second of all users together, each with a prompt of PROMPT tokens and an answer of the same length."""
    adapted, tokenizer = opened(config.preset(options.preset))
    engine, turns = Engine(adapted, release=True), scheduler.Scheduler()
    vision = adapted.vision_config
    sampling = Sampling(max_new_tokens=options.tokens)

    def users(count: int) -> tuple[float, float]:
        """Tokens/s with prompts, and from the moment on when all prompts are done."""
        ready = threading.Barrier(count + 1, timeout=300)  # s: one that failed never comes

        def ask(number: int) -> None:
            rng = torch.Generator().manual_seed(number)
            ids = torch.randint(3, len(tokenizer), (1, PROMPT), generator=rng)
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


def _training_step(preset: str, naive: bool, repeats: int) -> dict[str, float]:
    """In a process of its own, since peak memory is the process's."""
    adapted, tokenizer = opened(config.preset(preset), torch.float32)  # as `lav2 train` on a CPU
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(3, len(tokenizer), (BATCH, LENGTH), generator=rng)
    labels = torch.where(torch.arange(LENGTH) < LENGTH * 3 // 4, IGNORED, ids)
    vision = adapted.vision_config
    photos = torch.randn(BATCH, vision.tokens, vision.width, generator=rng)
    mask = torch.ones_like(ids)
    chosen = list(adapted.set_stage("finetune").values())
    if naive:  # every weight gets a gradient and every position goes through the vocabulary
        adapted.requires_grad_(True)
    optim = torch.optim.AdamW(chosen)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def step() -> float:
        def run() -> None:
            if naive:
                logits = adapted(ids, adapted.prompt_kv(adapted.visual_prompt(photos)), attention_mask=mask).logits
                loss = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten())
            else:
                loss = adapted.loss(ids, mask, labels, photos)
            optim.zero_grad(set_to_none=True)
            loss.backward()
            optim.step()

        return BATCH / seconds(run)

    rate = in_turns({"step": step}, repeats)["step"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    over = (peak - before) / 1e6
    return {"samples/s": rate, "median": rate.median, "peak GB": peak / 1e6, "GB over the model": over}


def training(options: Options) -> list[dict]:
    """One step of the instruction stage, against a loop that gives every weight a gradient."""
    rows = []
    for name, naive in (("naive loop", True), ("lav2", False)):
        rows.append({"training": name, **apart(_training_step, options.preset, naive, options.repeats)})
    base = rows[0]["median"]
    rows = [{**row, "x naive": row["median"] / base} for row in rows]
    show(f"training: {BATCH} rows of {LENGTH} tokens in float32, a quarter of them learned", rows)
    return rows


STARTED = {"ready": "ready at", "warm": "warm-up:"}  # what the app says then: it takes questions; experts are loaded
# What an app that uses these packages as they come takes at least.
IMPORTS = "import gradio, torch, transformers, timm, ultralytics, easyocr"


def _peak(process: int | str = "self") -> float:
    """GB of memory that a process has had at most."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e6


def _imports() -> dict[str, float]:
    code = f"{IMPORTS}; print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])"
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {"seconds": time.perf_counter() - begin, "peak GB": int(done.stdout.split()[-1]) / 1e6}


def _start(preset: str, detector: str | None) -> dict[str, float]:
    """The app itself in a process of its own: to ready, to the end of its warm-up, then to answers over HTTP, and its
    peak after questions about three photos, one of them of 24 megapixels."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-u", "app.py", "--host", "127.0.0.1", "--port", str(port), "--preset", preset]
    begin = time.perf_counter()
    app = subprocess.Popen([*command, *(["--detector", detector] if detector else [])], cwd=ROOT, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip

    def ask(image: Image.Image, question: str) -> float:
        file = io.BytesIO()
        image.save(file, "jpeg")
        url = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
        parts = [{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": url}}]
        body = json.dumps({"messages": [{"role": "user", "content": parts}], "max_tokens": 32}).encode()
        to = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body,
                                    {"Content-Type": "application/json"})  # fmt: skip
        return seconds(lambda: urllib.request.urlopen(to, timeout=300).read())

    try:
        found = {}
        for line in app.stdout:
            found |= {name: time.perf_counter() - begin for name, told in STARTED.items() if told in line}
            if len(found) == len(STARTED):
                break
        else:
            raise LAV2Error(f"The app ended while starting ({app.wait()}).", "Run `python app.py` and read its error.")
        found["peak GB, warm"] = _peak(app.pid)
        found["first answer"] = ask(photo(0), QUESTIONS[0])
        found["same photo"] = ask(photo(0), QUESTIONS[1])
        found["next photo"] = ask(photo(1), QUESTIONS[0])
        found["24 megapixels"] = ask(photo(2).resize((4000, 6000)), QUESTIONS[0])
        return {**found, "peak GB": _peak(app.pid), **_paint(f"http://127.0.0.1:{port}")}
    finally:
        app.terminate()
        app.wait(30)


def _paint(address: str) -> dict[str, float]:
    """A browser's first visit: to the first paint and to a box that takes a question; {} without Chromium."""
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if find_spec("playwright") is None or not Path(chromium).exists():
        return {}
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play, play.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("textarea:visible", timeout=60_000)
        usable = page.evaluate("performance.now()")
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    return {"first paint": paint / 1000, "page takes a question": usable / 1000}


def start_up(options: Options) -> list[dict]:
    """Seconds of the app to ready and to answers, and its peak memory; the packages alone beside it."""
    count = min(options.repeats, 3)
    starts, bare = [], []
    for turn in range(count + 1):  # the first reads every file from the disk, and does not count
        found = _imports(), _start(options.preset, options.detector)
        if turn:
            bare.append(found[0])
            starts.append(found[1])
    spreads = {name: Spread(tuple(start[name] for start in starts)) for name in starts[0]}
    floor = {"ready": Spread(tuple(one["seconds"] for one in bare)),
             "peak GB": Spread(tuple(one["peak GB"] for one in bare))}  # fmt: skip
    bounds = {"ready": 12, "peak GB": 2.5, "first paint": 2}
    rows = [{"start-up": name, "value": spread, "packages alone": floor.get(name),
             "target": target(spread.median, bounds[name]) if name in bounds else None}
            for name, spread in spreads.items()]  # fmt: skip
    show("start-up: the app in a process of its own, files in memory; seconds, and its peak in GB", rows)
    return rows


@torch.inference_mode()
def agreement(options: Options) -> list[dict]:
    """Whether fast answers are the answers: greedy tokens on prompts about a photo, each position judged after the same
    tokens of transformers' own forward in bfloat16; what float32 and packed weights change stands beside it."""
    settings = config.preset(options.preset)
    asked = (ROOT / "assets" / "plain_prompts.txt").read_text(encoding="utf-8").splitlines()[: options.prompts]
    image = photo(0)

    def adapted(
        dtype: torch.dtype, quantize: Quantize | None = None
    ) -> tuple[AdaptedLlama, transformers.PreTrainedTokenizerBase]:
        llm, tokenizer = load_llm(settings.llm, dtype, quantize=quantize)
        return checkpoint.load(weights.find(settings.adapter), llm, tokenizer, lambda line: None).eval(), tokenizer

    reference, tokenizer = adapted(torch.bfloat16)
    tower = VisionTower(reference.vision_config) if reference.vision_config else None
    features = tower.encode([image]) if tower else None
    stop = streaming.stop_ids(tokenizer)
    texts = [streaming.encode(tokenizer, build(settings.template, text)) for text in asked]
    groups = []
    for begin in range(0, len(texts), 20):  # as many as a step takes well
        rows = texts[begin : begin + 20]
        length = max(map(len, rows))
        ids = torch.tensor([[stop[0]] * (length - len(row)) + row for row in rows])
        groups.append((ids, torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])))
    greedy = Sampling(max_new_tokens=options.tokens, repetition_penalty=1.0)

    def prompts_of(one: AdaptedLlama) -> tuple:
        return one.prompt_kv(one.visual_prompt(features) if features is not None else None)

    kv = prompts_of(reference)
    said = [torch.stack(list(streaming.tokens(reference, ids, kv, greedy, [-1], mask)), 1) for ids, mask in groups]

    def same(one: backend.DecoderBackend, kv: tuple) -> tuple[float, float]:
        """Shares of positions, and of whole answers, that are the reference's."""
        equal = []
        for (ids, mask), answer in zip(groups, said, strict=True):
            logits, cache = backend.prefill(one, ids, kv, mask)
            hits = []
            for place in range(answer.shape[1]):
                hits.append(logits.argmax(-1) == answer[:, place])
                if place + 1 < answer.shape[1]:
                    mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
                    logits, cache = backend.prefill(one, answer[:, place : place + 1], kv, mask, cache)
            equal.append(torch.stack(hits, 1))
        found = torch.cat(equal).float()
        return 100 * float(found.mean()), 100 * float(found.all(1).float().mean())

    found = {"engine, bf16": same(Engine(reference, int8=False), kv)}
    if native.library() is not None:
        found["engine, int8"] = same(Engine(reference, int8=True), kv)
    for kind in ("8bit", "4bit") if is_bitsandbytes_available() else ():
        packed, _ = adapted(torch.bfloat16, kind)
        found[f"transformers' forward, {kind} by bitsandbytes"] = same(packed, prompts_of(packed))
        del packed
    del reference
    exact, _ = adapted(torch.float32)
    found = {"transformers' forward, float32": same(exact, prompts_of(exact)), **found}
    rows = [{"agreement": name, "prompts": len(texts), "tokens": len(texts) * options.tokens, "same token %": tokens,
             "whole answer %": whole} for name, (tokens, whole) in found.items()]  # fmt: skip
    show("agreement: greedy tokens that are those of transformers' forward in bfloat16", rows)
    return rows


def apart(function: Callable, *args):
    """The function's result, from a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


GPU_BATCHES = (1, 8, 32)
GPU_USERS = (1, 2, 4, 8)
SHAPES = {  # sizes of a LLaMA with random weights; the tiny one shows that the section runs, where no GPU is
    "7b": {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
           "num_attention_heads": 32},
    "tiny": {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
             "num_attention_heads": 2},
}  # fmt: skip


def gpu(options: Options) -> list[dict]:
    """Prefill, decode and a training step of a LLaMA of 7B's shape in bfloat16, with and without adapter; on a machine
    without CUDA of a tiny shape, whose numbers say nothing."""
    cuda = torch.cuda.is_available()
    device, shape = torch.device("cuda" if cuda else "cpu"), "7b" if cuda else "tiny"
    settings = transformers.LlamaConfig(**SHAPES[shape], max_position_embeddings=2048)
    layers = settings.num_hidden_layers - 1

    def shaped(adapter: config.AdapterConfig) -> AdaptedLlama:
        torch.manual_seed(0)
        with device:
            llm = transformers.AutoModelForCausalLM.from_config(
                settings, dtype=torch.bfloat16, attn_implementation=ATTENTION
            )
        return opening(AdaptedLlama(llm.eval(), adapter))

    def timed(function: Callable[[], object]) -> float:
        """Seconds; what was launched before is not counted."""

        def run() -> None:
            function()
            if cuda:
                torch.cuda.synchronize()

        if cuda:
            torch.cuda.synchronize()
        return seconds(run)

    def peak(begin: bool = False) -> float | None:
        if not cuda:
            return None
        if begin:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated() / 1e9

    ceiling = _copy_bandwidth(device, timed)
    rows = []
    # One model at a time, made anew after the engine took the last one's matrices, so that each has its own peak.
    for label, adapter in ((NO_ADAPTER, BARE), ("", config.AdapterConfig("late", 10, layers, lora_rank=16))):
        adapted = shaped(adapter)
        if not label:
            rows += _gpu_training(adapted, settings.vocab_size, options.repeats, timed, peak)
        adapted.requires_grad_(False)
        kv = (None,) * settings.num_hidden_layers if label else _prompts(adapted)
        how = (kv, settings.vocab_size, options, timed, peak, ceiling)
        rows += _gpu_decode(f"transformers' forward{label}", adapted, *how)
        engine = Engine(adapted, int8=False, context=PROMPT + options.tokens, release=True)
        rows += _gpu_decode(f"engine{label}", engine, *how)
        if not label:
            rows += _gpu_users(engine, *how[:-1])
        del adapted, engine, kv
        gc.collect()
    rows = _gpu_targets(rows)
    where = torch.cuda.get_device_name() if cuda else "NO GPU: tiny shape on the CPU, only to see that it runs"
    rows = [{"machine": where, "shape": shape, "copy GB/s": ceiling, **row} for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    rows = [{name: row.get(name) for name in names} for row in rows]
    show(f"gpu: {where}, {shape}, prompt of {PROMPT} tokens, copies at {ceiling:.0f} GB/s",
         [{name: row[name] for name in names[3:]} for row in rows])  # fmt: skip
    return rows


@torch.inference_mode()
def _prompts(adapted: AdaptedLlama) -> tuple:
    return adapted.prompt_kv()


def _copy_bandwidth(device: torch.device, timed) -> float:
    """GB/s, read and written ones together, of a copy of 1 GB (64 MB without CUDA), the best of five."""
    source = torch.ones(2**28 if device.type == "cuda" else 2**24, device=device)
    target = torch.empty_like(source)
    return max(2 * source.nbytes / timed(lambda: target.copy_(source)) / 1e9 for _ in range(5))


@torch.inference_mode()
def _gpu_decode(
    name: str, one: backend.DecoderBackend, kv: tuple, vocabulary: int, options: Options, timed, peak, ceiling: float
) -> list[dict]:
    """Rows of one model; a batch that does not fit is a row that says so, and ends them."""
    rows, read = [], weight_bytes(one)
    for batch in GPU_BATCHES:
        ids = torch.randint(3, vocabulary, (batch, PROMPT), device=one.device)
        peaks = []

        def decode_rate(ids=ids, batch=batch, peaks=peaks) -> float:
            peak(begin=True)
            last, cache = backend.prefill(one, ids, kv)
            token = last.argmax(-1, keepdim=True)
            taken = timed(lambda: [backend.prefill(one, token, kv, cache=cache) for _ in range(options.tokens)])
            peaks.append(peak())
            return batch * options.tokens / taken

        def prefill_rate(ids=ids, batch=batch) -> float:
            return batch * PROMPT / timed(lambda: backend.prefill(one, ids, kv))

        row = {"gpu": name, "batch": batch}
        try:
            spreads = in_turns({"decode": decode_rate, "prefill": prefill_rate}, options.repeats)
        except torch.OutOfMemoryError:
            return [*rows, {**row, "note": "out of memory"}]
        rate = spreads["decode"]
        speed = rate.median / batch * read / 1e9
        rows.append({**row, "prefill tokens/s": spreads["prefill"], "decode tokens/s": rate, "weights GB/s": speed,
                     "of copy %": 100 * speed / ceiling, "peak GB": peaks[-1]})  # fmt: skip
    return rows


@torch.inference_mode()
def _gpu_users(engine: Engine, kv: tuple, vocabulary: int, options: Options, timed, peak) -> list[dict]:
    """Tokens per second of users who have a cache each, all of them together."""

    def rate(caches: list, tokens: list[int]) -> float:
        length = caches[0].length
        taken = timed(lambda: [engine.together(tokens, caches) for _ in range(options.tokens)])
        for cache in caches:
            cache.length = length
        return len(caches) * options.tokens / taken

    peak(begin=True)
    ids = torch.randint(3, vocabulary, (1, PROMPT), device=engine.device)
    try:
        caches = [engine(ids, kv)[1] for _ in range(max(GPU_USERS))]
    except torch.OutOfMemoryError:
        return [{"gpu": "engine, users with a cache each", "batch": max(GPU_USERS), "note": "out of memory"}]
    tokens = ids[0, : len(caches)].tolist()
    runs = {count: (lambda count=count: rate(caches[:count], tokens[:count])) for count in GPU_USERS}
    spreads = in_turns(runs, options.repeats)
    times = {count: spread.median / spreads[1].median for count, spread in spreads.items()}
    return [{"gpu": "engine, users with a cache each", "batch": count, "decode tokens/s": spread, "peak GB": peak(),
             "x one": times[count], "target x": target(times[count], 2, True) if count == 4 else None}
            for count, spread in spreads.items()]  # fmt: skip


def _gpu_targets(rows: list[dict]) -> list[dict]:
    """The rows with the adapter's overhead against the same model without one, and what issue 5 asked of the engine's
    answer to one user."""
    rates = {(row["gpu"], row["batch"]): row["decode tokens/s"].median for row in rows if "decode tokens/s" in row}
    found = []
    for row in rows:
        own, bare = (rates.get((row["gpu"] + label, row["batch"])) for label in ("", NO_ADAPTER))
        row = {**row, "adapter overhead %": 100 * (bare / own - 1) if own and bare else None}
        if row["gpu"] == "engine" and row["batch"] == 1 and own:
            row["target of copy %"] = target(row["of copy %"], 70, True)
            row["target overhead %"] = target(row["adapter overhead %"], 5) if bare else None
        found.append(row)
    return found


def _gpu_training(adapted: AdaptedLlama, vocabulary: int, repeats: int, timed, peak) -> list[dict]:
    chosen = list(adapted.set_stage("finetune").values())
    optim = torch.optim.AdamW(chosen, lr=1e-5)
    ids = torch.randint(3, vocabulary, (BATCH, LENGTH), device=adapted.device)
    mask = torch.ones_like(ids)
    rows = []
    for checkpointing in (False, True):
        if checkpointing:
            adapted.llm.gradient_checkpointing_enable({"use_reentrant": False})
            adapted.train()  # transformers checkpoints in training only
        peak(begin=True)

        def step() -> None:
            optim.zero_grad(set_to_none=True)
            adapted.loss(ids, mask, ids).backward()
            optim.step()

        name = "with" if checkpointing else "without"
        row = {"gpu": f"training step {name} gradient checkpointing", "batch": BATCH}
        try:
            rate = in_turns({"step": lambda step=step: BATCH / timed(step)}, repeats)["step"]
            rows.append({**row, "samples/s": rate, "peak GB": peak()})
        except torch.OutOfMemoryError:
            rows.append({**row, "note": "out of memory"})
    adapted.llm.gradient_checkpointing_disable()
    adapted.eval()
    optim.zero_grad(set_to_none=True)  # what is measured next must not hold the gradients
    return rows


SECTIONS: dict[str, Callable[[Options], list[dict]]] = {
    "decode": decode,
    "first-token": first_token,
    "experts": experts,
    "compare": compare,
    "concurrency": concurrency,
    "training": training,
    "start-up": start_up,
    "agreement": agreement,
    "gpu": gpu,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the sections; the exit code is 1 if one of them could not run."""
    parser = argparse.ArgumentParser(prog="python -m lav2.bench", description=__doc__.split("\n")[0])
    parser.add_argument("--section", nargs="+", choices=tuple(SECTIONS), default=[n for n in SECTIONS if n != "gpu"])
    parser.add_argument("--quick", action="store_true", help="few and short repeats, to see that it runs")
    parser.add_argument("--preset", default="embedded")
    parser.add_argument("--detector", default=os.environ.get("LAV2_DETECTOR"))
    chosen = parser.parse_args(arguments)
    quick = chosen.quick
    options = Options(chosen.preset, chosen.detector, 2 if quick else 7, 16 if quick else 48, 20 if quick else 100)
    told = conditions(options)
    print("\n".join(f"{name}: {value}" for name, value in told.items()))
    result: dict[str, object] = {"conditions": told}
    failed = False
    for name in chosen.section:
        try:
            result[name] = SECTIONS[name](options)
        except (LAV2Error, torch.OutOfMemoryError) as error:
            failed = True
            result[name] = {"error": str(error)}
            print(f"\n{name}: could not run. {error}", file=sys.stderr)
        gc.collect()
    print(json.dumps(result, ensure_ascii=False, default=Spread.json))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
