"""How far the engine's logits are from transformers' own."""

from __future__ import annotations

import torch
import transformers
from transformers.utils import is_bitsandbytes_available

from lav2 import config, weights
from lav2.bench.harness import ROOT, Options, photo, show
from lav2.events import Sampling
from lav2.inference import backend, native, streaming
from lav2.inference.engine import Engine
from lav2.model import checkpoint
from lav2.model.adapted import AdaptedLlama
from lav2.model.llm import Quantize, load_llm
from lav2.model.vision import VisionTower
from lav2.text.prompts import build


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
    reference_ids = [
        torch.stack(list(streaming.tokens(reference, ids, kv, greedy, [-1], mask)), 1) for ids, mask in groups
    ]

    def same(one: backend.DecoderBackend, kv: tuple) -> tuple[float, float]:
        """Shares of positions, and of whole answers, that are the reference's."""
        equal = []
        for (ids, mask), answer in zip(groups, reference_ids, strict=True):
            logits, cache = backend.prefill(one, ids, kv, mask)
            hits = []
            for position in range(answer.shape[1]):
                hits.append(logits.argmax(-1) == answer[:, position])
                if position + 1 < answer.shape[1]:
                    mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
                    logits, cache = backend.prefill(one, answer[:, position : position + 1], kv, mask, cache)
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
