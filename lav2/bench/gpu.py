"""A GPU: a 7B shape, decoding, several users, training."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch
import transformers

from lav2 import config
from lav2.bench import harness
from lav2.bench.harness import BARE, NO_ADAPTER, Options, in_turns, opening, seconds, show, target, weight_bytes
from lav2.bench.training import BATCH, LENGTH
from lav2.inference import backend
from lav2.inference.engine import Engine
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import ATTENTION

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
        engine = Engine(adapted, int8=False, context=harness.PROMPT + options.tokens, release=True)
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
    show(f"gpu: {where}, {shape}, prompt of {harness.PROMPT} tokens, copies at {ceiling:.0f} GB/s",
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
        ids = torch.randint(3, vocabulary, (batch, harness.PROMPT), device=one.device)
        peaks = []

        def decode_rate(ids=ids, batch=batch, peaks=peaks) -> float:
            peak(begin=True)
            last, cache = backend.prefill(one, ids, kv)
            token = last.argmax(-1, keepdim=True)
            elapsed = timed(lambda: [backend.prefill(one, token, kv, cache=cache) for _ in range(options.tokens)])
            peaks.append(peak())
            return batch * options.tokens / elapsed

        def prefill_rate(ids=ids, batch=batch) -> float:
            return batch * harness.PROMPT / timed(lambda: backend.prefill(one, ids, kv))

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
        elapsed = timed(lambda: [engine.decode_step(tokens, caches) for _ in range(options.tokens)])
        for cache in caches:
            cache.length = length
        return len(caches) * options.tokens / elapsed

    peak(begin=True)
    ids = torch.randint(3, vocabulary, (1, harness.PROMPT), device=engine.device)
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
