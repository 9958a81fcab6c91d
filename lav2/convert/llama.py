"""Meta's LLaMA checkpoints as transformers' own."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, PreTrainedTokenizerBase

from lav2 import files
from lav2.convert.shapes import check_names
from lav2.convert.tokenizer import convert_tokenizer
from lav2.errors import LAV2Error
from lav2.model.tensors import only_tensors, read_tensors

AGAIN = "Check the path, and copy or download the file again if it is damaged."
SHARD_BYTES = 4 << 30  # of a safetensors file, as transformers cuts them
LINEARS = {  # Meta's name of a linear layer -> transformers'
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
}
NORMS = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}

ROW_PARALLEL = ("attention.wo", "feed_forward.w2")  # Meta's shards cut these along their input, others along output


# --- the base model ---------------------------------------------------------------------------------------------
def convert_llama(source: Path, target: Path, report: Callable[[str], None] = print) -> None:
    """Meta's LLaMA files as a folder of transformers, in the precision they have.

    Tensors are read from memory-mapped files and written in parts of at most 4 GiB, so peak memory is about one part.
    `target` appears when it is complete.

    Raises:
        LAV2Error: files are missing, or are not LLaMA's with a sentencepiece tokenizer.
    """
    source = _meta_folder(source)
    params = _params(source / "params.json")
    parts = sorted(source.glob("consolidated.*.pth"))
    if not parts:
        raise LAV2Error(f"{source} has params.json but no consolidated.NN.pth.", "Copy the complete folder from Meta.")
    vocabulary = next((f for f in (source / "tokenizer.model", source.parent / "tokenizer.model") if f.exists()), None)
    if vocabulary is None:
        raise LAV2Error(
            f"There is no tokenizer.model in {source} or {source.parent}.", "Copy it from Meta's download there."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        tokenizer = convert_tokenizer(vocabulary)
        tokenizer.save_pretrained(folder)
        shards = [only_tensors(read_tensors(file, AGAIN, mmap=True), file, AGAIN) for file in parts]
        _llama_config(params, shards, tokenizer).save_pretrained(folder)
        _write_parts(_llama_tensors(params, shards), folder, report)
        folder.rename(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _params(file: Path) -> dict[str, Any]:
    """Meta's settings of a model.

    Raises:
        LAV2Error: the file is damaged or holds something else.
    """
    params: dict[str, Any] = files.read_json(file, "Copy params.json from Meta's download again.")
    for name in ("dim", "n_layers", "n_heads", "norm_eps"):
        value = params.get(name) if isinstance(params, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise LAV2Error(f"{file} gives {name} as {value!r}.", "Copy params.json from Meta's download again.")
    return params


def _meta_folder(source: Path) -> Path:
    if (source / "params.json").exists():
        return source
    found = sorted(path.parent for path in source.glob("*/params.json"))
    if len(found) != 1:
        raise LAV2Error(
            f"{source} has no params.json (Meta's format) and no config.json (transformers)"
            + (f", but the folders {', '.join(path.name for path in found)} do." if found else "."),
            "Give the folder of one model size." if found else "Give the folder that holds the LLaMA weights.",
        )
    return found[0]


def _llama_config(
    params: dict[str, Any], shards: list[dict[str, Tensor]], tokenizer: PreTrainedTokenizerBase
) -> LlamaConfig:
    """
    Raises:
        LAV2Error: files are missing or more than the model's.
    """
    width = params["dim"]
    first = shards[0]
    names = ("tok_embeddings.weight", "layers.0.attention.wq.weight", "layers.0.feed_forward.w1.weight")
    known = {name: first[name] for name in names if name in first}
    check_names(dict.fromkeys(names), known, "The base model", "Copy Meta's files again.")
    queries = known["layers.0.attention.wq.weight"].shape[0]  # rows, of D in all
    if queries * len(shards) != width:
        raise LAV2Error(
            f"{len(shards)} of the {width / queries:g} files consolidated.NN.pth of this model are there.",
            "Copy the complete folder from Meta.",
        )
    wide = first["tok_embeddings.weight"].shape[1] == width  # not cut, or cut along the vocabulary
    rows = first["tok_embeddings.weight"].shape[0] * (len(shards) if wide else 1)
    weight = first["layers.0.feed_forward.w1.weight"]
    return LlamaConfig(
        vocab_size=rows,
        hidden_size=width,
        intermediate_size=weight.shape[0] * len(shards),
        num_hidden_layers=params["n_layers"],
        num_attention_heads=params["n_heads"],
        num_key_value_heads=params.get("n_kv_heads", params["n_heads"]),
        max_position_embeddings=2048,
        rms_norm_eps=params["norm_eps"],
        rope_parameters={"rope_type": "default", "rope_theta": params.get("rope_theta", 10000.0)},
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        dtype=weight.dtype,
        architectures=["LlamaForCausalLM"],
    )


def _llama_tensors(params: dict[str, Any], shards: list[dict[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """(transformers' name, tensor) of every weight, one after the other.

    Raises:
        LAV2Error: a tensor is missing or unknown.
    """
    heads, width = params["n_heads"], params["dim"]
    rotated = {"attention.wq": heads, "attention.wk": params.get("n_kv_heads", heads)}
    embedding = 0 if shards[0]["tok_embeddings.weight"].shape[1] == width else 1
    plan: dict[str, tuple[str, int | None, int | None]] = {  # Meta's name -> (name, dimension that is cut, heads)
        "tok_embeddings.weight": ("model.embed_tokens.weight", embedding, None),
        "norm.weight": ("model.norm.weight", None, None),
        "output.weight": ("lm_head.weight", 0, None),
    }
    for index in range(params["n_layers"]):
        for theirs, ours in NORMS.items():
            plan[f"layers.{index}.{theirs}.weight"] = (f"model.layers.{index}.{ours}.weight", None, None)
        for theirs, ours in LINEARS.items():
            name = f"model.layers.{index}.{ours}.weight"
            plan[f"layers.{index}.{theirs}.weight"] = (name, int(theirs in ROW_PARALLEL), rotated.get(theirs))
    found = {name: t for name, t in shards[0].items() if name != "rope.freqs"}  # rope.freqs follows from params.json
    check_names(dict.fromkeys(plan), found, "The base model", "Copy Meta's files again.")
    for theirs, (ours, cut, count) in plan.items():
        tensor = shards[0][theirs] if cut is None else torch.cat([shard[theirs] for shard in shards], dim=cut)
        yield ours, half_rotation(tensor, count) if count else tensor


def half_rotation(tensor: Tensor, heads: int) -> Tensor:
    """Rows of a query or key projection, from Meta's order to transformers'.

    Meta rotates neighbouring pairs of a head's channels, transformers rotates channel i with channel i + A/2.

    Args:
        tensor: [heads · A, ...], rows in Meta's order.
    """
    return tensor.view(heads, -1, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def _write_parts(tensors: Iterator[tuple[str, Tensor]], folder: Path, report: Callable[[str], None]) -> None:
    """Safetensors files of at most SHARD_BYTES and the index that transformers wants."""
    index: dict[str, str] = {}
    part: dict[str, Tensor] = {}
    size = total = 0

    def flush() -> None:
        nonlocal part, size
        file = f"model-part-{len(set(index.values())):05d}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        index.update(dict.fromkeys(part, file))
        report(f"  {file}: {len(part)} tensors, {size / 2**30:.2f} GiB")
        part, size = {}, 0

    for name, tensor in tensors:
        count = tensor.numel() * tensor.element_size()
        if part and size + count > SHARD_BYTES:
            flush()
        part[name] = tensor.contiguous()
        size, total = size + count, total + count
    flush()
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=1)
    (folder / "model.safetensors.index.json").write_text(text + "\n", encoding="utf-8")
