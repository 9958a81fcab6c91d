"""Files of other makers into this project's: LLaMA in Meta's format, adapters as OpenGVLab released them.

One import makes a folder: `adapter.safetensors` and `config.json` (lav2.checkpoint) and `llm/`, the frozen model as
transformers reads it. What the released code computes is in arXiv 2304.15010 and 2303.16199; where it departs from
the papers is said here, at the place that follows it.

Kinds of adapter files, told apart by their tensors:
    multimodal  V2, {"model", "config": {"w_bias", "w_lora", "lora_rank"}}: BIAS-7B, LORA-BIAS-7B, CAPTION-7B ...
    chat        V2 chat, {"model"}: bias and scale on every linear layer, the scale on its input; text only
    v1          V1, prompts and gates alone; text only
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import sentencepiece
import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, processors
from torch import Tensor
from transformers import LlamaConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lav2 import checkpoint, files, preflight
from lav2.config import CLIP_VIT_L_14_BGR, PRESETS, AdapterConfig, ProjectorConfig, VisionConfig
from lav2.errors import LAV2Error
from lav2.model import AdaptedLlama, base_identity, load_llm
from lav2.tensors import only_tensors, read_tensors
from lav2.vision import VisionTower

Shapes = dict[str, tuple[int, ...] | None]  # name -> shape that is expected, None: any
LLM = "llm"  # the frozen model's folder inside an import
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
BIASED = ("attention.wq", "attention.wo", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3")  # multimodal
ROW_PARALLEL = ("attention.wo", "feed_forward.w2")  # Meta's shards cut these along their input, others along output
PROJECTOR = {  # the released names of the visual projection's tensors -> VisualProjector's
    "clip_proj.": "input.",
    "clip_proj_norm.": "input_norm.",
    "visual_blocks.": "blocks.",
    "visual_proj.": "output.",
    "visual_proj_norm.": "output_norm.",
}
PROBES = (  # texts whose ids must be sentencepiece's own
    "Below is an instruction that describes a task.\n\n### Instruction:\nWhat does the sign say?\n\n### Response:",
    "two  spaces, a\ttab,\r\n lines \n\n and a trailing space ",
    "</s> <s> <unk> <0x0A> ▁",
    "naïve café, 한국어, 日本語, 🐶🏽, ½, 12.5e-3",
    "",
)


def import_released(
    llama: Path,
    adapter: Path,
    out: Path,
    *,
    base: Path | None = None,
    vision: VisionConfig = CLIP_VIT_L_14_BGR,
    projector_heads: int = 16,
    prompt_length: int = 10,
    report: Callable[[str], None] = print,
) -> None:
    """Make `out` from a base model and a released adapter file; what `python -m lav2 import` calls.

    Args:
        llama: Meta's folder (params.json, consolidated.NN.pth, tokenizer.model here or one folder up; or the folder
            above one such folder) or a folder of transformers.
        adapter: the `.pth`.
        base: where the converted base model goes, so that several imports share it; `out/llm` by default. What is
            there already is used as it is.
        vision: the image encoder that the adapter was trained on.
        projector_heads: attention heads of the visual projection, which no tensor's shape tells.
        prompt_length: K of a text-only adapter, which no tensor's shape tells.

    Raises:
        LAV2Error: a file is missing or damaged, or the adapter does not fit the base model, or the file of the image
            encoder is another's.
    """
    if vision.weights and Path(vision.weights).is_file():
        VisionTower(vision)  # a wrong file of CLIP is told now, not at the first question
    out.mkdir(parents=True, exist_ok=True)
    if (llama / "config.json").exists():
        folder = llama
    else:
        folder = base or out / LLM
        if not folder.exists():
            convert_llama(llama, folder, report)
    link = out / LLM
    if folder.resolve() != link.resolve():
        if link.exists() and not link.is_symlink():
            raise LAV2Error(f"{link} already holds another base model.", "Choose another --out, or remove it.")
        link.unlink(missing_ok=True)
        link.symlink_to(folder.resolve(), target_is_directory=True)
    report(preflight.check(replace(PRESETS["llama-7b-bias"], llm=str(folder)), "float16", training=True))
    llm, tokenizer = load_llm(str(folder), torch.float16)
    identity = base_identity(llm, tokenizer, llama.resolve().name)
    found = read_adapter(adapter, llm.config, projector_heads, prompt_length)
    model = AdaptedLlama(llm, found.config, found.projector, vision if found.projector else None)
    notes = {"source": adapter.name, "kind": found.kind, "channel_order": vision.channel_order}
    checkpoint.write(model, found.tensors, out, identity, notes)
    report(f"{out}: {found.kind} adapter {adapter.name}, {len(found.tensors)} tensors, on {folder}")


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


def _params(file: Path) -> dict:
    """Meta's settings of a model.

    Raises:
        LAV2Error: the file is damaged or holds something else.
    """
    params = files.read_json(file, "Copy params.json from Meta's download again.")
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


def _llama_config(params: dict, shards: list[dict[str, Tensor]], tokenizer: PreTrainedTokenizerBase) -> LlamaConfig:
    """
    Raises:
        LAV2Error: files are missing or more than the model's.
    """
    width = params["dim"]
    first = shards[0]
    names = ("tok_embeddings.weight", "layers.0.attention.wq.weight", "layers.0.feed_forward.w1.weight")
    known = {name: first[name] for name in names if name in first}
    _same_names(dict.fromkeys(names), known, "The base model", "Copy Meta's files again.")
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


def _llama_tensors(params: dict, shards: list[dict[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
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
            cut = int(theirs in ROW_PARALLEL)
            name = f"model.layers.{index}.{ours}.weight"
            plan[f"layers.{index}.{theirs}.weight"] = (name, cut, rotated.get(theirs))
    found = {name: t for name, t in shards[0].items() if name != "rope.freqs"}  # rope.freqs follows from params.json
    _same_names(dict.fromkeys(plan), found, "The base model", "Copy Meta's files again.")
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


# --- the tokenizer ----------------------------------------------------------------------------------------------


def convert_tokenizer(file: Path) -> PreTrainedTokenizerFast:
    """A sentencepiece BPE model as a tokenizer of transformers: the same ids, a begin token first, no end token.

    transformers' own LlamaTokenizer ignores the model's normaliser (other ids for line breaks and double spaces where
    there is one) and reads `</s>` in a user's text as the end token; sentencepiece and the released code do neither.
    One difference is left, in the tokenizers library, for normalisers other than LLaMA's `identity`: a letter with
    two or more combining marks may lose one of them.

    Raises:
        LAV2Error: the file is no sentencepiece BPE model, or the ids of PROBES differ.
    """
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(file.read_bytes())
        original = sentencepiece.SentencePieceProcessor(model_file=str(file))
    except Exception as error:  # protobuf and sentencepiece raise types of their own, RuntimeError and OSError
        raise LAV2Error(
            f"{file} is no sentencepiece model ({type(error).__name__}).",
            "LLaMA 1 and 2 have one; for LLaMA 3 give a folder of transformers (config.json, tokenizer.json).",
        ) from error
    spec, trainer = proto.normalizer_spec, proto.trainer_spec
    vocabulary = {piece.piece: number for number, piece in enumerate(proto.pieces)}
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == piece.NORMAL}
    merges = [  # of the pair whose union has the highest score first
        (-score, vocabulary[text], text[:cut], text[cut:])
        for text, score in scores.items()
        for cut in range(1, len(text))
        if text[:cut] in scores and text[cut:] in scores
    ]
    bos, eos, unknown = (proto.pieces[i].piece for i in (trainer.bos_id, trainer.eos_id, trainer.unk_id))
    core = Tokenizer(
        models.BPE(
            vocabulary,
            [(left, right) for *_, left, right in sorted(merges)],
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=trainer.byte_fallback,
        )
    )
    steps: list[normalizers.Normalizer] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend("▁"))
    core.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, trainer.bos_id)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=bos,
        eos_token=eos,
        unk_token=unknown,
        split_special_tokens=True,  # markers in a text are text
        clean_up_tokenization_spaces=False,
    )
    for text in PROBES:
        if tokenizer(text).input_ids != [original.bos_id(), *original.encode(text)]:
            raise LAV2Error(
                f"{file} could not be converted: {text!r} gets other ids.",
                "Give a folder of transformers (config.json, tokenizer.json) for this model.",
            )
    return tokenizer


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
    _same_names(expected, state, str(file), _other_base(llm))

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
    _same_names(expected, state, str(file), _other_base(llm))
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
    _same_names(_prompt_shapes("", llm), state, str(file), _other_base(llm))
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
    room, _, linear = name.partition(".")
    return f"{room}.lora_{linear}_l{side}.weight"


def _other_base(llm: LlamaConfig) -> str:
    return (
        f"The base model given has {llm.num_hidden_layers} layers of width {llm.hidden_size}; give the base and the "
        "file that belong together, and a complete copy of both."
    )


def _same_names(expected: Shapes, found: dict[str, Tensor], what: str, next_step: str) -> None:
    """Every tensor that is expected is there with its shape, and no other."""
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    wrong = [n for n, shape in expected.items() if shape and n in found and tuple(found[n].shape) != shape]
    if missing or unknown or wrong:
        kinds = {"missing": missing, "unknown": unknown, "of another shape": wrong}
        told = [f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in kinds.items() if names]
        raise LAV2Error(f"{what} does not fit; tensors {', '.join(told)}.", next_step)
