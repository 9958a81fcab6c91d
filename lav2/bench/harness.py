"""What all sections share: repeats in turns, medians, the conditions of a run, models."""

from __future__ import annotations

import multiprocessing
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers
from PIL import Image

from lav2 import config
from lav2.events import Request, Sampling
from lav2.inference import backend, native
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import transformer_linears
from lav2.model.llm import load_llm

ROOT = Path(__file__).parents[2]
NO_ADAPTER = ", no adapter"  # behind the name of a model that is measured beside the adapted one

PROMPT = 300  # tokens: a question with its findings

BARE = config.AdapterConfig("late", 1, 1, norm=False, bias=False, scale=False)  # an adapter that changes nothing
QUESTIONS = ("What is in this photo?", "How many people are there?", "What does the sign say?", "Where is the bus?")


@dataclass(frozen=True)
class Options:
    """What is measured, and how often."""

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
        """The quantile at `share` (0..1), interpolated between the two nearest values."""
        ordered = sorted(self.values)
        position = share * (len(ordered) - 1)
        low = int(position)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (position - low) * (ordered[high] - ordered[low])

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
    """Print a section's rows as a table, columns named by the first row's keys."""
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
    """What a measurement depends on: commit, machine, threads, versions, preset."""
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
        "commit": commit(),
    }


def commit() -> str:
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


def peak_memory(process: int | str = "self") -> float:
    """GB of memory that a process has had at most."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e6


def apart(function: Callable, *args):
    """The function's result, from a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)
