"""Decoding: tokens a second with and without the adapter, against the memory bandwidth."""

from __future__ import annotations

from collections.abc import Callable

import torch

from lav2 import config
from lav2.bench import harness
from lav2.bench.harness import (
    BARE,
    NO_ADAPTER,
    Options,
    Spread,
    bandwidth,
    in_turns,
    opened,
    seconds,
    show,
    target,
    weight_bytes,
)
from lav2.inference import backend
from lav2.inference.engine import Engine
from lav2.model.adapted import AdaptedLlama
from lav2.model.llm import load_llm

PAIRS = 5  # for each repeat, of short runs with and without adapter


@torch.inference_mode()
def decode(options: Options) -> list[dict]:
    """Tokens per second of one answer: transformers' generate(), our slow path, the engines; share of the ceiling."""
    adapted, tokenizer = opened(config.preset(options.preset))
    vision = adapted.vision_config
    kv = adapted.prompt_kv(adapted.visual_prompt(torch.randn(1, vision.tokens, vision.width)))
    closed = (None,) * len(kv)
    ids = torch.randint(3, len(tokenizer), (1, harness.PROMPT), generator=torch.Generator().manual_seed(0))
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
            if one.continuous:
                cache.length = harness.PROMPT
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
    show(f"decode: one answer after {harness.PROMPT} tokens; memory reads {ceiling} GB/s", rows)
    return rows
