"""A LLaMA small enough for every test, with grouped-query attention, and an adapter whose gates are open."""

from __future__ import annotations

import copy

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from lav2.config import AdapterConfig, ProjectorConfig, VisionConfig
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import ATTENTION

VISION = VisionConfig("timm", "tf_efficientnet_lite0", None, image_size=64, width=1280, tokens=4)
PROJECTOR = ProjectorConfig(width=16, depth=1, heads=2, position=True)
LATE = AdapterConfig(fusion="late", prompt_length=3, adapter_layers=3, lora_rank=2)
EARLY = AdapterConfig(fusion="early", prompt_length=3, adapter_layers=3, visual_layers=1)


def llama(seed: int = 0, **changes):
    torch.manual_seed(seed)
    config = LlamaConfig(
        **{
            "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
            "initializer_range": 0.3, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, **changes,
        }
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation=ATTENTION).eval()


def adapted(config: AdapterConfig = LATE, seed: int = 0) -> AdaptedLlama:
    return AdaptedLlama(llama(seed), config, PROJECTOR, VISION).eval()


def open_gates(model: AdaptedLlama, seed: int = 1) -> AdaptedLlama:
    """Random values in every trained tensor: a closed gate would hide every mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.adapter_parameters().values():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def wide(config: AdapterConfig = LATE, **sizes) -> AdaptedLlama:
    """A model whose widths decode.c takes, in bfloat16, with gates that are open but not chaotic."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 32, "initializer_range": 0.1} | sizes
    model = AdaptedLlama(llama(**sizes), config, PROJECTOR, VISION).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.adapter_parameters().items():
            size = 0.5 if "gate" in name else 0.1
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    model.llm.bfloat16()
    return model


def in_float32(model: AdaptedLlama) -> AdaptedLlama:
    """The same numbers in the longer type."""
    other = copy.deepcopy(model)
    other.llm.float()
    return other


def clip_tokens(rows: int = 1, seed: int = 2) -> torch.Tensor:
    return torch.randn(rows, VISION.tokens, VISION.width, generator=torch.Generator().manual_seed(seed))


def token_ids(rows: int = 1, length: int = 9, seed: int = 3) -> torch.Tensor:
    return torch.randint(3, 64, (rows, length), generator=torch.Generator().manual_seed(seed))


def tokenizer(vocabulary: int = 64) -> PreTrainedTokenizerFast:
    """Words w3, w4 ... with the ids of their numbers."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i for i in range(3, vocabulary)}}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
