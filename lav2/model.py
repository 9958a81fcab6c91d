"""A frozen LLaMA of transformers, its image encoder and the adapter, put together.

Words: B batch, T tokens, K prompt length, D width, N image tokens, C image width.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
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
from lav2.adapter import ATTENTION, Adapter, LayerPrompt, group, place, trainable, tune_linears
from lav2.config import AdapterConfig, Preset, ProjectorConfig, VisionConfig
from lav2.errors import LAV2Error
from lav2.vision import PooledProjector, VisualProjector, weights_digest

IGNORED = -100  # a label that is not learned, as in transformers
Quantize = Literal["8bit", "4bit"]
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")  # model types whose attention is tested with the adapter


class AdaptedLlama(nn.Module):
    """A frozen causal language model with LLaMA-Adapter V2 on it.

    Args:
        llm: the frozen model, loaded with `attn_implementation=ATTENTION` (see load_llm).
        config: the adapter's settings.
        projector: the visual projection's settings, None: text only.
        vision: settings of the image encoder that the projection reads; required with `projector`.

    Raises:
        LAV2Error: the model's architecture does not take the adapter; the message says why.
    """

    def __init__(
        self,
        llm: PreTrainedModel,
        config: AdapterConfig,
        projector: ProjectorConfig | None = None,
        vision: VisionConfig | None = None,
    ):
        super().__init__()
        _check_architecture(llm)
        self.llm = llm.requires_grad_(False)
        self.config, self.projector_config, self.vision_config = config, projector, vision
        shape = llm.config
        self.adapter = Adapter(config, shape.num_hidden_layers, shape.num_attention_heads, shape.hidden_size)
        self.projector = None
        if projector and projector.pooled:
            self.projector = PooledProjector(projector, vision, shape.hidden_size)
        elif projector:
            self.projector = VisualProjector(projector, vision, config.prompt_length, shape.hidden_size)
        tune_linears(self.decoder, config)
        self.adapter.to(self.device)
        if self.projector is not None:
            self.projector.to(self.device)
        self.requires_grad_(False)

    @property
    def decoder(self) -> nn.Module:
        return self.llm.model

    @property
    def device(self) -> torch.device:
        """Where token ids go and logits come from; with a device map, layers may lie elsewhere."""
        return place(self.llm.get_input_embeddings())

    def adapter_parameters(self) -> dict[str, nn.Parameter]:
        """Every parameter that training may change in some stage, by name: exactly what a checkpoint holds."""
        return {name: p for name, p in self.named_parameters() if group(name, self.config) is not None}

    def set_stage(self, stage: str) -> dict[str, nn.Parameter]:
        """Mark exactly the stage's parameters as trained and return them by name."""
        self.requires_grad_(False)
        chosen = {name: p for name, p in self.named_parameters() if trainable(name, self.config, stage)}
        for parameter in chosen.values():
            parameter.requires_grad_(True)
        return chosen

    def autocast(self) -> torch.autocast:
        """The context in which a model of float32 adapter and norms on 16-bit frozen matrices computes; without effect
        where all is float32."""
        dtype = self.llm.dtype
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)

    def visual_prompt(self, clip_tokens: Tensor) -> Tensor:  # [B, N, C] -> [B, K, D]; pooled: [B, 1, D]
        return self.projector(clip_tokens.to(self.device))

    def prompt_kv(
        self, visual_prompt: Tensor | None = None, has_image: Tensor | None = None
    ) -> tuple[LayerPrompt | None, ...]:
        """Each layer's prompt keys, values and gate (see Adapter.prompt_kv): once per image, not per token."""
        return self.adapter.prompt_kv(self.decoder.layers, visual_prompt, has_image)

    def forward(self, input_ids: Tensor, prompt_kv: tuple[LayerPrompt | None, ...], **kwargs):
        """transformers' forward with the prompts handed down; keywords as there (attention_mask, past_key_values ...).

        Args:
            input_ids: [B, T].
            prompt_kv: from `prompt_kv`.

        Returns:
            transformers' CausalLMOutputWithPast: logits [B, T, vocabulary].
        """
        return self.llm(input_ids=input_ids, prompt_kv=prompt_kv, **kwargs)

    def loss(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor,
        clip_tokens: Tensor | None = None,
        has_image: Tensor | None = None,
        branch: Tensor | None = None,
        weight: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> Tensor:
        """Mean cross-entropy over the labelled positions; only these go through the vocabulary projection.

        Args:
            input_ids, attention_mask, labels: [B, T]; labels IGNORED where nothing is learned.
            clip_tokens: [B, N, C] of the photos, None: text only.
            has_image: [B] bool, None: every row has one.
            branch: [B, T] of each token: 0 is seen by all that follows, another number by its own branch alone
                (lav2.data.join); None: one text a row.
            weight: [B, T] by which each label's cross-entropy is multiplied, None: 1.
        """
        order = {}
        if branch is not None:
            attention_mask = _seen(branch, attention_mask)
            order = {"position_ids": attention_mask[:, 0].sum(-1) - 1}  # as in the branch's own text
        # On a CPU the plain products are faster than the flash kernel, whose backward pass is slow (docs/LOG.md). With
        # gradient checkpointing the layers run again outside of this function, where the choice would not hold.
        choose = self.device.type == "cpu" and not self.llm.is_gradient_checkpointing
        plain = sdpa_kernel(SDPBackend.MATH) if choose else nullcontext()
        with self.autocast(), plain:
            visual = self.visual_prompt(clip_tokens) if clip_tokens is not None else None
            hidden = self.decoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                **order,
                use_cache=False,
                prompt_kv=self.prompt_kv(visual, has_image),
            ).last_hidden_state  # [B, T, D]
            learned = labels[:, 1:] != IGNORED
            logits = self.llm.get_output_embeddings()(hidden[:, :-1][learned])  # [M, vocabulary]
        goal, logits = labels[:, 1:][learned], logits.float()
        if weight is None:
            return F.cross_entropy(logits, goal, label_smoothing=label_smoothing)
        each = F.cross_entropy(logits, goal, label_smoothing=label_smoothing, reduction="none")  # [M]
        return (each * weight[:, 1:][learned]).mean()


def _seen(branch: Tensor, attention_mask: Tensor) -> Tensor:
    """[B, 1, T, T] bool: which earlier tokens each token sees: the shared ones and those of its own branch."""
    there = torch.ones(branch.shape[1], branch.shape[1], dtype=torch.bool, device=branch.device).tril()  # [T, T]
    own = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])  # [B, T, T]
    seen = own & there & attention_mask[:, None, :].bool()
    return (seen | torch.eye(len(there), dtype=torch.bool, device=branch.device))[:, None]  # padding sees itself


def _check_architecture(llm: PreTrainedModel) -> None:
    """Refuse a model whose layers do not look like a LLaMA's or whose attention bypasses the attention interface."""
    name = type(llm).__name__
    layers = getattr(getattr(llm, "model", None), "layers", None)
    wanted = ("q_proj", "k_proj", "v_proj", "o_proj")
    attention = getattr(layers[0], "self_attn", None) if layers is not None and len(layers) else None
    missing = [part for part in wanted if not hasattr(attention, part)]
    if missing or not hasattr(layers[0], "input_layernorm"):
        raise LAV2Error(
            f"{name} is not a LLaMA-family model (its layers have no {', '.join(missing) or 'input_layernorm'}).",
            "Use LLaMA, SmolLM2, TinyLlama, Mistral, Qwen2 or Qwen3.",
        )
    _check_family(llm.config)
    if llm.config._attn_implementation != ATTENTION:
        raise LAV2Error(
            f"{name} was loaded with the attention {llm.config._attn_implementation!r}.",
            f"Load it with attn_implementation={ATTENTION!r} (lav2.model.load_llm does).",
        )


def _check_family(config: PreTrainedConfig) -> None:
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
    _check_family(config)
    settings = preset.adapter_config
    plain = settings.visual_layers if settings.fusion == "early" else 1  # the first layers get no adaptation prompt
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
    """The tokenizer's chat template with its tokens filled in, for lav2.prompts; `alpaca` if it has none."""
    if not tokenizer.chat_template:
        return "alpaca"
    adds_begin = tokenizer.bos_token_id is not None and tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
    begin = "" if adds_begin else tokenizer.bos_token or ""  # generate.encode would put a second one
    values = {"bos_token": begin, "eos_token": tokenizer.eos_token or ""}
    return (
        "".join(f"{{% set {name} = {json.dumps(text)} %}}" for name, text in values.items()) + tokenizer.chat_template
    )


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
        options = {"quantization_config": _packing(quantize, dtype), "device_map": {"": device}}
    if device_map:
        options["device_map"] = device_map
    path = _folder(source)
    config, tokenizer = _described(path)
    _check_family(config)
    try:
        llm = AutoModelForCausalLM.from_pretrained(
            path, config=config, dtype=dtype, attn_implementation=ATTENTION, **options
        )
    except Exception as error:  # transformers and safetensors raise a dozen types, also on files that are cut off
        raise _unreadable(path, error) from error
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


def _packing(quantize: Quantize, dtype: torch.dtype) -> BitsAndBytesConfig:
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
            module.weight = nn.Parameter(hook.weights_map["weight"].to(place(module)), requires_grad=False)
            hook.offload = False


def _folder(source: str) -> Path:
    path = weights.find(source)
    return _dequantised(path) if path.suffix == ".gguf" else path


def _described(path: Path) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    """Config and tokenizer of a folder, without its weights."""
    try:
        return AutoConfig.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> LAV2Error:
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


def _dequantised(gguf: Path) -> Path:
    """The cached folder of a GGUF file's weights in bfloat16; made on first use (about 20 s), and again where it is
    damaged.

    Raises:
        LAV2Error: the file cannot be read, or there is no room for the folder.
    """
    stat = gguf.stat()
    key = hashlib.sha256(f"{gguf.name} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:12]
    target = weights.cache_dir() / f"{gguf.stem}-{key}"
    return files.mended(target, lambda: _convert(gguf, target), files.is_whole)


def _convert(gguf: Path, target: Path) -> None:
    quiet = logging.getLogger("transformers")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        options = {"gguf_file": gguf.name, "dtype": torch.float32}
        if hasattr(transformers, "GgufConfig"):  # transformers >= 5.2x keeps GGUF weights packed unless told
            options["quantization_config"] = transformers.GgufConfig(gguf_file=gguf.name, dequantize=True)
        llm = AutoModelForCausalLM.from_pretrained(gguf.parent, **options).to(torch.bfloat16)
    except Exception as error:  # transformers and gguf raise a dozen types on a damaged file
        raise files.unreadable(gguf, error, "Get the file again.") from error
    finally:
        quiet.setLevel(level)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent))  # renamed when complete: an interrupted run leaves no half
    try:
        llm.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        files.write_manifest(folder)
        folder.rename(target)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError | SafetensorError) and not target.exists():  # else another process was faster
            raise LAV2Error(
                f"The language model could not be converted into {target.parent} ({error}).",
                "Free 0.5 GB there, or set LAV2_CACHE to another folder.",
            ) from error
        if not isinstance(error, OSError | SafetensorError):
            raise


def base_identity(llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> dict[str, str]:
    """What an adapter belongs to: `name`, `architecture`, `tokenizer` and `weights`.

    `architecture` (class and shapes) and `tokenizer` (vocabulary) must agree for an adapter to mean anything;
    `weights` is the digest of the frozen tensors (lav2.vision.weights_digest). Call it before an adapter's norms are
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
