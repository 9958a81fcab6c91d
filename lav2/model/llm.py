"""The frozen language model: loaded, packed, spread over devices, shared, identified."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import is_bitsandbytes_available

from lav2 import files, weights
from lav2.config import Preset
from lav2.errors import LAV2Error
from lav2.model.adapter import ATTENTION, device_of
from lav2.model.gguf import dequantised
from lav2.model.vision import weights_digest

Quantize = Literal["8bit", "4bit"]
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")  # model types whose attention is tested with the adapter


def check_architecture(llm: PreTrainedModel) -> None:
    """Refuse a model whose layers do not look like a LLaMA's or whose attention bypasses the attention interface."""
    name = type(llm).__name__
    layers = getattr(getattr(llm, "model", None), "layers", None)
    needed = ("q_proj", "k_proj", "v_proj", "o_proj")
    attention = getattr(layers[0], "self_attn", None) if layers is not None and len(layers) else None
    missing = [part for part in needed if not hasattr(attention, part)]
    if missing or not hasattr(layers[0], "input_layernorm"):
        raise LAV2Error(
            f"{name} is not a LLaMA-family model (its layers have no {', '.join(missing) or 'input_layernorm'}).",
            "Use LLaMA, SmolLM2, TinyLlama, Mistral, Qwen2 or Qwen3.",
        )
    check_family(llm.config)
    if llm.config._attn_implementation != ATTENTION:
        raise LAV2Error(
            f"{name} was loaded with the attention {llm.config._attn_implementation!r}.",
            f"Load it with attn_implementation={ATTENTION!r} (lav2.model.llm.load_llm does).",
        )


def check_family(config: PreTrainedConfig) -> None:
    """Refuse what the adapter's attention would compute wrongly, or what nothing has shown to be right."""
    reason = None
    if getattr(config, "attn_logit_softcapping", None):
        reason = "its attention caps the scores (softcap), which the adapter's does not"
    elif config.model_type not in FAMILIES:
        reason = "its attention has not been shown to be right with the adapter"
    if reason:
        raise LAV2Error(
            f"A model of the type {config.model_type} is not supported: {reason}.",
            "Use LLaMA, SmolLM2, TinyLlama, Mistral, Qwen2 or Qwen3.",
        )


def preset_on(preset: Preset, llm: str) -> Preset:
    """A preset on another language model: its chat template (Alpaca's without one), its number of layers.

    Args:
        llm: any source of lav2.weights.

    Raises:
        LAV2Error: the model is not there, or not of a family that takes the adapter.
    """
    path = _folder(llm)
    config, tokenizer = _described(path)
    check_family(config)
    settings = preset.adapter_config
    plain = settings.visual_layers if settings.fusion != "late" else 1  # the first layers get no adaptation prompt
    settings = replace(settings, adapter_layers=min(settings.adapter_layers, config.num_hidden_layers - plain))
    return replace(
        preset,
        name=f"{preset.name} on {llm}",
        llm=llm,
        adapter_config=settings,
        template=_template(tokenizer),
        question_rules=False,  # it may know what the preset's own does not
        caption_drafts=0,  # those of a big model take long, and nobody has measured their worth
    )


def _template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The tokenizer's chat template with its tokens filled in, for lav2.text.prompts; `alpaca` if it has none."""
    if not tokenizer.chat_template:
        return "alpaca"
    adds_begin = tokenizer.bos_token_id is not None and tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
    begin = "" if adds_begin else tokenizer.bos_token or ""  # streaming.encode would put a second one
    values = {"bos_token": begin, "eos_token": tokenizer.eos_token or ""}
    return (
        "".join(f"{{% set {name} = {json.dumps(text)} %}}" for name, text in values.items()) + tokenizer.chat_template
    )


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16 (without them they are slower than float32)."""
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # torch 2.8 cannot say
    return bool(known.get("avx512_bf16") or known.get("amx_bf16") or known.get("bf16"))


def load_llm(
    source: str,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    quantize: Quantize | None = None,
    device_map: str | dict[str, str | int] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The frozen model and its tokenizer, from any source of lav2.weights.

    A GGUF file is dequantised once into bfloat16 safetensors in the cache folder.

    Args:
        source: of lav2.weights.
        dtype: of the weights, or of the activations between packed ones.
        device: where the whole model goes, unless `device_map` says where each part goes.
        quantize: packs the linear layers by bitsandbytes (LLM.int8, arXiv 2208.07339; NF4, arXiv 2305.14314).
        device_map: of accelerate: `auto` fills GPU after GPU, then the CPU's memory, then the disk.

    Raises:
        LAV2Error: the source is not there, transformers cannot load it, or bitsandbytes is not there.
    """
    options: dict = {}
    if quantize:
        options = {"quantization_config": packing(quantize, dtype), "device_map": {"": device}}
    if device_map:
        options["device_map"] = device_map
    path = _folder(source)
    config, tokenizer = _described(path)
    check_family(config)
    try:
        llm = AutoModelForCausalLM.from_pretrained(
            path, config=config, dtype=dtype, attn_implementation=ATTENTION, **options
        )
    except Exception as error:  # transformers and safetensors raise a dozen types, also on files that are cut off
        raise unreadable(path, error) from error
    if options:
        _dispatched(llm)
    else:
        llm = llm.to(device)
    return llm.eval(), tokenizer


def keep_norms_exact(llm: PreTrainedModel) -> None:
    """Norms in float32, for training on 16-bit matrices: steps smaller than bfloat16's would be lost."""
    for module in llm.modules():
        if "norm" in type(module).__name__.lower():
            module.float()


def packing(quantize: Quantize, dtype: torch.dtype) -> BitsAndBytesConfig:
    """How bitsandbytes packs linear layers; `dtype` of the products of 4-bit weights.

    Raises:
        LAV2Error: bitsandbytes is not installed.
    """
    if not is_bitsandbytes_available():
        raise LAV2Error(
            f"{quantize} weights need bitsandbytes, which is not installed (or too old).",
            "Install it (pip install bitsandbytes), or leave --quantize away.",
        )
    if quantize == "8bit":
        # It tells each product of bfloat16 that its activations become float16.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _dispatched(llm: PreTrainedModel) -> None:
    """Fit accelerate's hooks to the adapter: norms, which it may train or replace, are never offloaded, and prompts,
    which lie on their layers' devices already, are not carried from layer to layer."""
    for module in llm.modules():
        hook = getattr(module, "_hf_hook", None)
        if hook is None:
            continue
        skipped = getattr(hook, "skip_keys", None) or []
        hook.skip_keys = [*([skipped] if isinstance(skipped, str) else skipped), "prompt_kv"]
        if getattr(hook, "offload", False) and "norm" in type(module).__name__.lower():
            module.weight = nn.Parameter(hook.weights_map["weight"].to(device_of(module)), requires_grad=False)
            hook.offload = False


def _folder(source: str) -> Path:
    path = weights.find(source)
    return dequantised(path) if path.suffix == ".gguf" else path


def _described(path: Path) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    """Config and tokenizer of a folder, without its weights."""
    try:
        return AutoConfig.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> LAV2Error:
    """The error to raise where transformers cannot load a model from `path`."""
    if files.is_out_of_memory(error) or isinstance(error, ModuleNotFoundError):
        return files.unreadable(path, error, "")
    return LAV2Error(
        f"transformers cannot load a language model from {path} ({error}).",
        "Give a folder with config.json, tokenizer and safetensors of a LLaMA-family model.",
    )


def share_frozen(llm: PreTrainedModel) -> PreTrainedModel:
    """A second model on the same frozen matrices, with norms of its own, so that it can carry another adapter."""
    shared = {id(p): p for name, p in llm.named_parameters() if "norm" not in name}
    for module in llm.modules():
        hook = getattr(module, "_hf_hook", None)
        parts = [getattr(hook, name, None) for name in ("weights_map", "tied_params_map")]  # offloaded weights
        parts += [getattr(module, name, None) for name in ("state", "quant_state")]  # factors of bitsandbytes' layers
        shared |= {id(part): part for part in parts if part is not None}
    return copy.deepcopy(llm, shared)


def base_identity(llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> dict[str, str]:
    """What an adapter belongs to: `name`, `architecture`, `tokenizer` and `weights`.

    `architecture` (class and shapes) and `tokenizer` (vocabulary) must agree for an adapter to mean anything;
    `weights` is the digest of the frozen tensors (vision.weights_digest). Call it before an adapter's norms are
    loaded. Packed weights (bitsandbytes) are others than those they were made of.
    """
    config = llm.config
    keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
            "vocab_size")  # fmt: skip
    architecture = {"class": type(llm).__name__, **{key: getattr(config, key) for key in keys}}
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]))
    return {
        "name": name,
        "architecture": json.dumps(architecture),
        "tokenizer": hashlib.sha256(vocabulary.encode()).hexdigest(),
        "weights": weights_digest(_frozen(llm)),
    }


def _frozen(llm: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """The frozen tensors by name; offloaded ones are read one at a time, for together they may not fit into memory."""
    for key, tensor in sorted(llm.state_dict().items()):
        if "adapter_" in key or "lora_" in key:
            continue
        if tensor.is_meta:  # offloaded
            parent, _, leaf = key.rpartition(".")
            tensor = llm.get_submodule(parent)._hf_hook.weights_map[leaf]
        yield key, tensor
