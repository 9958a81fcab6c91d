"""What the tests of engines share: prompts of photos, prompts read in pieces, models of other families."""

import os

import pytest
import torch
from tiny import (
    LATE,
    PROJECTOR,
    VISION,
    adapted,
    clip_tokens,
    open_gates,
)
from transformers import AutoModelForCausalLM, Qwen3Config

from lav2.config import AdapterConfig
from lav2.events import Sampling
from lav2.inference import backend, native
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import ATTENTION

DEVICE = os.environ.get("LAV2_TEST_DEVICE", "cpu")  # of the tests marked so
GREEDY = Sampling(max_new_tokens=8, repetition_penalty=1.0)
ON_INPUT = AdapterConfig("late", 3, 3, lora_rank=2, scale_on_input=True, gate_scale=True, tuned_prompts=True)
compiled = pytest.mark.skipif(native.library() is None, reason="needs a C compiler (cc, gcc or clang)")


def photo_prompts(model, rows=1):
    with torch.no_grad():
        return model.prompt_kv(model.visual_prompt(clip_tokens(rows)))


def in_pieces(model, ids, prompt_kv):
    """Logits after 6 tokens at once, 2 at once and 1 + 1."""
    logits, cache = [], None
    for begin, end in ((0, 6), (6, 8), (8, 9), (9, 10)):
        last, cache = backend.prefill(model, ids[:, begin:end], prompt_kv, cache=cache)
        logits.append(last.float())
    return torch.stack(logits, 1)


def of_family(config):
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4,
             "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.3}  # fmt: skip
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(config(**sizes), attn_implementation=ATTENTION).eval()
    with torch.no_grad():
        for name, parameter in llm.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return open_gates(AdaptedLlama(llm, LATE, PROJECTOR, VISION).eval())


def family(config):
    return of_family(config) if config is Qwen3Config else open_gates(adapted(config))
