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

PAIRS = 5  # for each repeat, of short runs of two engines
EARLY = ", early fusion"  # behind the name of the engine that is measured beside one that fuses late


@torch.inference_mode()
def decode(options: Options) -> list[dict]:
    """Tokens per second of one answer: transformers' generate(), our slow path, the engines; share of the ceiling."""
    adapted, tokenizer = opened(config.preset(options.preset))
    vision = adapted.vision_config
    photo = torch.randn(1, vision.tokens, vision.width)
    kv = adapted.prompt_kv(adapted.visual_prompt(photo))
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
    best, late = list(kinds)[-1], adapted.config.fusion == "late"  # best: what answers use
    if late:
        early, _ = opened(config.with_prompts(config.preset(options.preset), config.Prompts("early")))
        engines[best + EARLY] = Engine(early, **kinds[best])

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

            elapsed = seconds(run)
            if one.continuous:
                cache.length = harness.PROMPT
            else:
                cache.crop(-tokens)
            return tokens / elapsed

        return rate

    def times(one: Callable[[int], float], other: Callable[[int], float]) -> tuple[float, ...]:
        """How many times as fast as the other one is: of pairs of short runs, one right after the other and either
        first in turns, since a shared machine's speed changes within seconds by more than what is looked for."""
        found = []
        for turn in range(PAIRS * options.repeats):
            rates = [run(options.tokens // 3) for run in ((other, one) if turn % 2 else (one, other))]
            found.append(rates[turn % 2] / rates[1 - turn % 2])
        return tuple(found)

    def cost(name: str) -> Spread:
        """Percent of time that the adapter adds."""
        return Spread(tuple(100 * (factor - 1) for factor in times(runs[name + NO_ADAPTER], runs[name])))

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
        own = one.prompt_kv(one.visual_prompt(photo)) if name.endswith(EARLY) else kv
        runs[name] = per_token(one, closed if name.endswith(NO_ADAPTER) else own)
    costs = {name: cost(name) for name in kinds}
    of_late = Spread(times(runs[best + EARLY], runs[best])) if late else None
    found = in_turns({name: beside(name, run) for name, run in runs.items()}, options.repeats)
    base = found["transformers generate()"].median
    size = sum(p.nbytes for p in plain.parameters())
    rows = []
    for name, rate in found.items():
        engine = engines.get(name)
        read = weight_bytes(engine) if engine else size
        bounds = ceilings[name][1:]  # without the round that does not count
        of_ceiling = Spread(tuple(r * read / 1e7 / most for r, most in zip(rate.values, bounds, strict=True)))
        factor, share = rate.median / base, of_ceiling.median
        chosen, fused = name == best, name.endswith(EARLY)
        rows.append({
            "decode": name, "tokens/s": rate, "x generate()": factor, "MB/token": read / 1e6,
            "GB/s": rate.median * read / 1e9, "of the ceiling %": of_ceiling, "adapter overhead %": costs.get(name),
            "x late fusion": of_late if fused else None,
            "target x": target(factor, 2.5, True) if chosen else None,
            "target %": target(share, 60, True) if chosen else None,
            "target overhead %": target(costs[name].median, 5) if chosen else None,
            "target x late": target(of_late.median, 0.95, True) if fused else None,
        })  # fmt: skip
    ceiling = Spread(tuple(one for around in ceilings.values() for one in around))
    show(f"decode: one answer after {harness.PROMPT} tokens; memory reads {ceiling} GB/s", rows)
    return rows
