"""Released adapter files, of versions 1 and 2, as this project names their tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaConfig

from lav2.config import AdapterConfig, ProjectorConfig
from lav2.convert.llama import AGAIN, LINEARS, NORMS, half_rotation
from lav2.convert.shapes import Shapes, check_names
from lav2.errors import LAV2Error
from lav2.model.tensors import only_tensors, read_tensors

BIASED = ("attention.wq", "attention.wo", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3")  # multimodal

PROJECTOR = {  # the released names of the visual projection's tensors -> VisualProjector's
    "clip_proj.": "input.",
    "clip_proj_norm.": "input_norm.",
    "visual_blocks.": "blocks.",
    "visual_proj.": "output.",
    "visual_proj_norm.": "output_norm.",
}


# --- the adapter ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Released:
    """An adapter file, understood: settings and tensors under this project's names."""

    kind: str
    config: AdapterConfig
    projector: ProjectorConfig | None
    tensors: dict[str, Tensor]


def read_adapter(file: Path, llm: LlamaConfig, projector_heads: int = 16, prompt_length: int = 10) -> Released:
    """A released adapter file; every tensor in it is used, none may be missing.

    Gates of the first layers, which have no prompts, are in the files and mean nothing; they are the one thing left.

    Args:
        llm: the base model's config.
        projector_heads, prompt_length: see import_released.

    Raises:
        LAV2Error: the file is unreadable, unknown, or belongs to another base model.
    """
    stored = read_tensors(file, AGAIN, mmap=True)
    state = only_tensors(stored.get("model", stored), file, AGAIN)
    if "visual_query.weight" in state:
        found = _multimodal(state, stored.get("config"), llm, projector_heads, file)
    elif any(name.endswith(".attention.wq_scale") for name in state):
        found = _chat(state, llm, prompt_length, file)
    elif "adapter_query.weight" in state:
        found = _v1(state, llm, prompt_length, file)
    else:
        raise LAV2Error(
            f"{file} is no adapter file that was released with LLaMA-Adapter (no adapter_query.weight).",
            "Give BIAS-7B.pth, LORA-BIAS-7B.pth, CAPTION-7B.pth or another file of its releases page.",
        )
    return replace(found, tensors={name: tensor.float().contiguous() for name, tensor in found.tensors.items()})


def _multimodal(state: dict[str, Tensor], options: object, llm: LlamaConfig, heads: int, file: Path) -> Released:
    if not isinstance(options, dict) or not {"w_bias", "w_lora", "lora_rank"} <= options.keys():
        raise LAV2Error(f"{file} does not say its config (w_bias, w_lora, lora_rank).", "Get the file again.")
    bias, lora = options["w_bias"], options["w_lora"]
    query = state["visual_query.weight"]  # [K, V]
    depth = 1 + max((int(n.split(".")[1]) for n in state if n.startswith("visual_blocks.")), default=-1)
    layers = [f"llama.layers.{index}." for index in range(llm.num_hidden_layers)]
    sizes = _sizes(llm)
    expected: Shapes = {n: None for n in ("visual_query.weight", *(n for n in state if n.startswith(tuple(PROJECTOR))))}
    expected |= _prompt_shapes("llama.", llm) | _norm_shapes("llama.", llm)
    for layer in layers:
        if bias:
            expected |= {f"{layer}{name}.bias": sizes[name][:1] for name in BIASED}
        if lora:
            expected[f"{layer}attention.new_gate"] = (1, 1, 1, 1)
            for name, (out, into) in sizes.items():
                expected[layer + _pair(name, 1)] = (options["lora_rank"], into)
                expected[layer + _pair(name, 2)] = (out, options["lora_rank"])
    check_names(expected, state, str(file), _other_base(llm))

    first, tensors = _prompts(state, "llama.", llm, len(query), file)
    if lora:
        gates = [state[f"{layer}attention.new_gate"] for layer in layers[first:]]
        tensors["adapter.gate_scale"] = torch.stack(gates)  # [L, 1, 1, 1, 1]
    for name in state:
        for theirs, ours in PROJECTOR.items():
            if name.startswith(theirs):
                tensors["projector." + ours + name.removeprefix(theirs)] = state[name]
    tensors["projector.visual_query"] = query
    tensors |= _norms(state, "llama.", llm)
    for index, layer in enumerate(layers):
        for name, ours in LINEARS.items():
            target = f"llm.model.layers.{index}.{ours}."
            turned = _heads_of(name, llm)
            if bias and name in BIASED:
                tensors[target + "adapter_bias"] = _rows(state[f"{layer}{name}.bias"], turned)
            if lora:
                tensors[target + "lora_a"] = state[layer + _pair(name, 1)]  # [r, in]
                tensors[target + "lora_b"] = _rows(state[layer + _pair(name, 2)], turned)  # [out, r]
    config = AdapterConfig(
        fusion="late",
        prompt_length=len(query),
        adapter_layers=llm.num_hidden_layers - first,
        bias=bias,
        scale=False,
        lora_rank=options["lora_rank"] if lora else 0,
        linears=tuple(LINEARS[name].rpartition(".")[2] for name in BIASED),
        gate_scale=lora,
    )
    hidden = state["visual_blocks.0.mlp.fc1.weight"].shape[0]
    projector = ProjectorConfig(width=query.shape[1], depth=depth, heads=heads, mlp_ratio=hidden / query.shape[1])
    return Released("multimodal", config, projector, tensors)


def _chat(state: dict[str, Tensor], llm: LlamaConfig, prompt_length: int, file: Path) -> Released:
    """Scale and bias on every linear layer, `y = W (s · x) + b`; the prompts' keys and values pass both, too."""
    layers = [f"layers.{index}." for index in range(llm.num_hidden_layers)]
    expected = _prompt_shapes("", llm) | _norm_shapes("", llm)
    for layer in layers:
        for name, (out, into) in _sizes(llm).items():
            expected |= {f"{layer}{name}_bias": (out,), f"{layer}{name}_scale": (into,)}
    check_names(expected, state, str(file), _other_base(llm))
    first, tensors = _prompts(state, "", llm, prompt_length, file)
    tensors |= _norms(state, "", llm)
    for index, layer in enumerate(layers):
        for name, ours in LINEARS.items():
            target = f"llm.model.layers.{index}.{ours}."
            tensors[target + "adapter_bias"] = _rows(state[f"{layer}{name}_bias"], _heads_of(name, llm))
            tensors[target + "adapter_scale"] = state[f"{layer}{name}_scale"]  # of the input: not rotated
    config = AdapterConfig(
        fusion="late",
        prompt_length=prompt_length,
        adapter_layers=llm.num_hidden_layers - first,
        scale_on_input=True,
        tuned_prompts=True,
    )
    return Released("chat", config, None, tensors)


def _v1(state: dict[str, Tensor], llm: LlamaConfig, prompt_length: int, file: Path) -> Released:
    """Prompts and gates alone. V1's released code multiplies by the gate itself, not by its tanh."""
    check_names(_prompt_shapes("", llm), state, str(file), _other_base(llm))
    first, tensors = _prompts(state, "", llm, prompt_length, file)
    gate = tensors["adapter.gate"].double()  # [L, 1, H, 1, 1]
    scale = (2 * gate.abs().amax(dim=2, keepdim=True)).clamp(min=1)  # tanh cannot reach 1, a factor can
    tensors["adapter.gate"] = torch.atanh(gate / scale)
    tensors["adapter.gate_scale"] = scale
    config = AdapterConfig(
        fusion="late",
        prompt_length=prompt_length,
        adapter_layers=llm.num_hidden_layers - first,
        norm=False,
        bias=False,
        scale=False,
        gate_scale=True,
    )
    return Released("v1", config, None, tensors)


def _sizes(llm: LlamaConfig) -> dict[str, tuple[int, int]]:
    """(outputs, inputs) of a layer's linear layers, by Meta's names."""
    width, hidden = llm.hidden_size, llm.intermediate_size
    queries, keys = llm.num_attention_heads * llm.head_dim, llm.num_key_value_heads * llm.head_dim
    return {
        "attention.wq": (queries, width),
        "attention.wk": (keys, width),
        "attention.wv": (keys, width),
        "attention.wo": (width, queries),
        "feed_forward.w1": (hidden, width),
        "feed_forward.w2": (width, hidden),
        "feed_forward.w3": (hidden, width),
    }


def _prompt_shapes(prefix: str, llm: LlamaConfig) -> Shapes:
    gates = (f"{prefix}layers.{index}.attention.gate" for index in range(llm.num_hidden_layers))
    return {"adapter_query.weight": None, **{gate: (1, llm.num_attention_heads, 1, 1) for gate in gates}}


def _norm_shapes(prefix: str, llm: LlamaConfig) -> Shapes:
    layers = range(llm.num_hidden_layers)
    names = [f"{prefix}norm.weight", *(f"{prefix}layers.{i}.{norm}.weight" for i in layers for norm in NORMS)]
    return {name: (llm.hidden_size,) for name in names}


def _prompts(
    state: dict[str, Tensor], prefix: str, llm: LlamaConfig, prompt_length: int, file: Path
) -> tuple[int, dict[str, Tensor]]:
    """(first layer with prompts, tensors of prompts and gates)."""
    query = state["adapter_query.weight"]  # [L · K, D]
    count, rest = divmod(len(query), prompt_length)
    if rest or not 0 < count <= llm.num_hidden_layers:
        raise LAV2Error(
            f"{file} has {len(query)} prompt rows, which are not prompts of length {prompt_length} for at most "
            f"{llm.num_hidden_layers} layers.",
            "Give the length that it was trained with as --prompt-length.",
        )
    first = llm.num_hidden_layers - count
    gates = [state[f"{prefix}layers.{i}.attention.gate"] for i in range(first, llm.num_hidden_layers)]
    prompts = query.view(count, prompt_length, query.shape[1])
    return first, {"adapter.adapter_prompt": prompts, "adapter.gate": torch.stack(gates)}


def _norms(state: dict[str, Tensor], prefix: str, llm: LlamaConfig) -> dict[str, Tensor]:
    tensors = {"llm.model.norm.weight": state[f"{prefix}norm.weight"]}
    for index in range(llm.num_hidden_layers):
        for theirs, ours in NORMS.items():
            tensors[f"llm.model.layers.{index}.{ours}.weight"] = state[f"{prefix}layers.{index}.{theirs}.weight"]
    return tensors


def _heads_of(name: str, llm: LlamaConfig) -> int | None:
    """Heads of a layer whose outputs are rotated, None for the others."""
    return {"attention.wq": llm.num_attention_heads, "attention.wk": llm.num_key_value_heads}.get(name)


def _rows(tensor: Tensor, heads: int | None) -> Tensor:
    return half_rotation(tensor, heads) if heads else tensor


def _pair(name: str, side: int) -> str:
    """Released name of a LoRA matrix: side 1 goes down to the rank, side 2 up from it."""
    block, _, linear = name.partition(".")
    return f"{block}.lora_{linear}_l{side}.weight"


def _other_base(llm: LlamaConfig) -> str:
    return (
        f"The base model given has {llm.num_hidden_layers} layers of width {llm.hidden_size}; give the base and the "
        "file that belong together, and a complete copy of both."
    )
