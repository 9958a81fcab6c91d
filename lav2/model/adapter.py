"""LLaMA-Adapter V2 on any LLaMA of transformers: zero-init attention, bias/scale/norm tuning, fusion.

Source: arXiv 2304.15010.

How it is put on the frozen model, without a copy of transformers' code:
- zero-init attention is one function in `transformers.AttentionInterface`. A layer's prompt keys and values depend on
  the image alone, so they are computed once (`Adapter.prompt_kv`) and handed down as a forward keyword; nothing is
  kept on a module, so users and gradients cannot mix.
- the model's layers may lie on several devices (accelerate's device_map): each layer's share lies where it computes.
- bias, scale and LoRA are parameters and a forward hook put on the linear layers that are there. Base tensors keep
  their names, and a quantised linear layer works as a plain one does. Calling `linear.forward(x)` is the frozen layer.

Words: B batch, T tokens, K prompt length, L adapted layers, H query heads, G key/value heads, D width, A head width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from lav2.config import AdapterConfig
from lav2.errors import LAV2Error

# cuDNN's attention plans anew, for half a second, whenever a length is new, as a prompt's is.
torch.backends.cuda.enable_cudnn_sdp(False)
# Plain attention, which training takes on a CPU, stays in bfloat16 where the model is. By default PyTorch does it in
# float32: a whole step takes 1.3 (384 tokens) to 1.7 times (640 tokens) as long.
torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)

ATTENTION = "lav2_zero_init"
Group = Literal["visual", "language"]
TUNING = ("adapter_bias", "adapter_scale", "lora_a", "lora_b")  # the parameters on a linear layer
GROUPS: tuple[Group, ...] = ("visual", "language")
STAGES: dict[str, dict[str, tuple[Group, ...]]] = {
    # stage -> kind of a batch -> the groups of parameters that it may change (Sec. 4.2: disjoint in the first three)
    "pretrain": {"caption": ("visual",)},
    "finetune": {"instruction": ("language",)},
    "joint": {"caption": ("visual",), "instruction": ("language",)},
    # what Sec. 4.2 warns of, for comparison: both kinds of batches train both groups
    "joint-all": {"caption": ("visual", "language"), "instruction": ("visual", "language")},
    "caption": {"caption": ("visual", "language")},  # the caption expert: the whole adapter on captions alone
    "scst": {"caption": ("visual", "language")},  # the same, on captions of its own (lav2.training.scst)
}
# One layer's prompt: keys and values [B or 1, G, K, A] and the gate that multiplies their attention [B or 1, H, 1, 1].
LayerPrompt = tuple[Tensor, Tensor, Tensor]


def zero_init_attention(
    module: nn.Module,
    query: Tensor,  # [B, H, T, A], rotated
    key: Tensor,  # [B, G, S, A]
    value: Tensor,  # [B, G, S, A]
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    prompt_kv: tuple[LayerPrompt | None, ...] | None = None,
    **kwargs,
) -> tuple[Tensor, None]:
    """The layer's own attention plus `tanh(gate) · softmax(q k_pᵀ) v_p` over its prompt (arXiv 2303.16199, Sec. 3.2).

    The prompt's softmax is separate, and its keys are not rotated. Returns attention output [B, T, H, A].
    """
    output, _ = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
    )
    prompt = prompt_kv[module.layer_idx] if prompt_kv is not None else None
    if prompt is None:
        return output, None
    prompt_key, prompt_value, gate = prompt
    groups = query.shape[1] // prompt_key.shape[1]
    if groups > 1:
        prompt_key = prompt_key.repeat_interleave(groups, dim=1)  # [B, H, K, A]
        prompt_value = prompt_value.repeat_interleave(groups, dim=1)
    scores = torch.matmul(query, prompt_key.transpose(2, 3)) * scaling  # [B, H, T, K]
    scores = gate * F.softmax(scores, dim=-1, dtype=torch.float32)
    prompted = torch.matmul(scores.to(query.dtype), prompt_value)  # [B, H, T, A]
    return output + prompted.transpose(1, 2), None


AttentionInterface.register(ATTENTION, zero_init_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)  # without it the mask is None and left padding is silently wrong


class Adapter(nn.Module):
    """The prompts and gates of zero-init attention.

    Args:
        config: see AdapterConfig.
        layers: number of layers of the frozen model.
        heads: H, its query heads.
        width: D, its hidden width.

    Raises:
        LAV2Error: the layers asked for are more than there are, or the visual prompts of early fusion would meet
            in one layer.
    """

    def __init__(self, config: AdapterConfig, layers: int, heads: int, width: int):
        super().__init__()
        self.config = config
        self.first = layers - config.adapter_layers
        if self.first < 0:
            raise LAV2Error(
                f"{config.adapter_layers} layers are to get adaptation prompts, but the model has {layers} layers.",
                f"Give {layers} or fewer (--adapter-layers).",
            )
        if config.fusion != "late" and not 1 <= config.visual_layers <= self.first:
            raise LAV2Error(
                f"{config.fusion.capitalize()} fusion: {config.visual_layers} visual and {config.adapter_layers} "
                f"adapter layers are none, or overlap in a model of {layers} layers.",
                "Give 1 or more visual layers (--visual-layers), and so few of both that they do not overlap "
                "(--adapter-layers).",
            )
        # Token-like size: the released code's nn.Embedding starts at N(0, 1), too large beside trained embeddings.
        self.adapter_prompt = nn.Parameter(0.02 * torch.randn(config.adapter_layers, config.prompt_length, width))
        self.gate = nn.Parameter(torch.zeros(config.adapter_layers, 1, heads, 1, 1))
        if config.gate_scale:
            self.gate_scale = nn.Parameter(torch.ones(config.adapter_layers, 1, 1, 1, 1))
        if config.fusion != "late":
            self.visual_gate = nn.Parameter(torch.zeros(config.visual_layers, 1, heads, 1, 1))

    @torch.no_grad()
    def start_gates(self, value: float) -> None:
        """Set every gate to `value`; it multiplies its attention by tanh(value). 0 is zero-init attention."""
        for name, gate in self.named_parameters():
            if name in ("gate", "visual_gate"):
                gate.fill_(value)

    def prompt_kv(
        self,
        layers: nn.ModuleList,
        visual_prompt: Tensor | None,
        has_image: Tensor | None = None,
        text_only: tuple[LayerPrompt | None, ...] | None = None,
    ) -> tuple[LayerPrompt | None, ...]:
        """Keys, values and gate of every layer's prompt; computed once per image.

        Args:
            layers: the frozen model's decoder layers.
            visual_prompt: [B, K, D] from VisualProjector, None: text only.
            has_image: [B] bool, the rows whose visual prompt counts; None: all.
            text_only: what this returned without a photo, of the same weights: the prompts that no photo changes (with
                early fusion all adaptation prompts) are taken from it.

        Returns:
            One entry per layer of the model: (key [B|1, G, K, A], value [B|1, G, K, A], gate [B|1, H, 1, 1]) or None;
            it lies on the device on which the layer computes.
        """
        config = self.config
        present = None if has_image is None else has_image.view(-1, 1, 1)
        early = config.fusion != "late" and visual_prompt is not None
        entries: list[LayerPrompt | None] = [None] * len(layers)
        changed = range(config.adapter_layers)  # the adaptation prompts that are projected
        if text_only is not None and (config.fusion == "early" or visual_prompt is None):
            entries, changed = list(text_only), range(0)
        if early:
            for index in range(config.visual_layers):
                gate = torch.tanh(self.visual_gate[index])
                if present is not None:  # rows without an image do not attend to it at all
                    gate = gate * present[..., None]
                entries[index] = _project(layers[index], visual_prompt, gate, config.tuned_prompts)
        for index in changed:
            prompt = self.adapter_prompt[index][None]  # [1, K, D]
            if config.fusion != "early" and visual_prompt is not None:
                visual = visual_prompt if present is None else visual_prompt * present
                prompt = prompt + visual  # [B, K, D]
            gate = torch.tanh(self.gate[index])
            if config.gate_scale:
                gate = gate * self.gate_scale[index]
            layer = self.first + index
            entries[layer] = _project(layers[layer], prompt, gate, config.tuned_prompts)
        return tuple(entries)


def _project(layer: nn.Module, prompt: Tensor, gate: Tensor, tuned: bool) -> LayerPrompt:
    """Keys and values of a prompt [B, K, D] by the layer's own frozen projections, without rotation; with its gate."""
    attention = layer.self_attn
    device = device_of(attention.k_proj)
    prompt = prompt.to(device, layer.input_layernorm.weight.dtype)
    shape = (*prompt.shape[:-1], -1, attention.head_dim)
    key, value = (  # .forward: the frozen layer, without the tuning hook
        (linear(prompt) if tuned else linear.forward(prompt)).view(shape)
        for linear in (attention.k_proj, attention.v_proj)
    )
    norm = getattr(attention, "k_norm", None)  # Qwen3 normalises keys per head
    if norm is not None:
        key = norm(key)
    return key.transpose(1, 2), value.transpose(1, 2), gate.to(device)


def device_of(module: nn.Module) -> torch.device:
    """Where a module with a weight computes: accelerate's device for it (its weight may be offloaded), or its own."""
    device = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
    return module.weight.device if device is None else torch.device(device)


def transformer_linears(decoder: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(name, module) of every linear layer inside the decoder's Transformer layers (quantised ones too)."""
    for name, module in decoder.layers.named_modules():
        if hasattr(module, "in_features") and hasattr(module, "out_features"):
            yield name, module


def tune_linears(decoder: nn.Module, config: AdapterConfig) -> None:
    """Put `y = s · (W x + b)` (Sec. 4.1) and LoRA pairs on the linear layers; they start as the identity.

    New parameters on each: `adapter_bias [out]` zeros, `adapter_scale [out]` ones (`[in]` with scale_on_input),
    `lora_a [r, in]` small random, `lora_b [out, r]` zeros.
    """
    if not (config.bias or config.scale or config.lora_rank):
        return
    for name, linear in list(transformer_linears(decoder)):
        leaf, device = name.rpartition(".")[2], device_of(linear)
        tuned = not config.linears or leaf in config.linears
        if config.bias and tuned:
            linear.adapter_bias = nn.Parameter(torch.zeros(linear.out_features, device=device))
        if config.scale and tuned:
            size = linear.in_features if config.scale_on_input else linear.out_features
            linear.adapter_scale = nn.Parameter(torch.ones(size, device=device))
        if config.lora_rank and (not config.lora_linears or leaf in config.lora_linears):
            bound = linear.in_features**-0.5
            start = torch.empty(config.lora_rank, linear.in_features, device=device).uniform_(-bound, bound)
            linear.lora_a = nn.Parameter(start)
            linear.lora_b = nn.Parameter(torch.zeros(linear.out_features, config.lora_rank, device=device))
        if config.scale_on_input and hasattr(linear, "adapter_scale"):
            linear.register_forward_pre_hook(_scale_input)
        linear.register_forward_hook(_add if config.scale_on_input else _tune)
        if getattr(getattr(linear, "_hf_hook", None), "offload", False):
            linear._hf_hook = _FrozenOffload(linear._hf_hook)


class _FrozenOffload:
    """accelerate's hook of an offloaded linear layer, which brings and drops every parameter that it finds there:
    it finds the frozen ones, the adapter's stay."""

    no_grad = False

    def __init__(self, hook):
        self.hook, self.execution_device, self.weights_map = hook, hook.execution_device, hook.weights_map

    def pre_forward(self, linear: nn.Module, *args, **kwargs):
        with _hidden_adapter(linear):
            return self.hook.pre_forward(linear, *args, **kwargs)

    def post_forward(self, linear: nn.Module, output: Tensor) -> Tensor:
        with _hidden_adapter(linear):
            return self.hook.post_forward(linear, output)


@contextmanager
def _hidden_adapter(linear: nn.Module) -> Iterator[None]:
    own = {name: linear._parameters.pop(name) for name in TUNING if name in linear._parameters}
    try:
        yield
    finally:
        linear._parameters.update(own)


def _scale_input(linear: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return (args[0] * linear.adapter_scale.to(args[0].dtype),)


def _add(linear: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
    dtype = output.dtype
    if hasattr(linear, "lora_a"):
        output = output + F.linear(F.linear(args[0], linear.lora_a.to(dtype)), linear.lora_b.to(dtype))
    if hasattr(linear, "adapter_bias"):
        output = output + linear.adapter_bias.to(dtype)
    return output


class _Tuned(torch.autograd.Function):
    """`s · (y + B A x + b)` of a frozen layer's output y, in as few passes over it as its products take.

    On a CPU a training step is bound by passes over activations, not by products.
    """

    @staticmethod
    def forward(ctx, y, x, lora_a, lora_b, bias, scale):  # [N, out], [N, in], [r, in], [out, r], [out], [out]
        dtype = y.dtype
        a, b, factor = lora_a.to(dtype), lora_b.to(dtype), scale.to(dtype)
        low = x @ a.T  # [N, r]
        tuned = torch.addmm(y, low, b.T).add_(bias.to(dtype))
        ctx.save_for_backward(x, low, a, b, tuned, factor)
        ctx.kind = scale.dtype
        return tuned * factor

    @staticmethod
    def backward(ctx, grad):
        x, low, a, b, tuned, factor = ctx.saved_tensors
        scale = _columns(grad * tuned)
        grad = grad * factor
        grad_low = grad @ b  # [N, r]
        own = (grad_low.T @ x, grad.T @ low, _columns(grad), scale)
        return grad, grad_low @ a, *(part.to(ctx.kind) for part in own)


def _columns(rows: Tensor) -> Tensor:
    """The sum of rows [N, C] -> [C]; of 16 bits as a product, which is quicker and sums in float32."""
    return (rows.new_ones(1, len(rows)) @ rows)[0] if rows.dtype == torch.bfloat16 else rows.sum(0)


def _tune(linear: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
    whole = all(hasattr(linear, name) for name in TUNING)
    if whole and torch.is_grad_enabled() and output.device.type == "cpu" and linear.lora_a.requires_grad:
        own = (linear.lora_a, linear.lora_b, linear.adapter_bias, linear.adapter_scale)
        flat = output.reshape(-1, output.shape[-1])
        return _Tuned.apply(flat, args[0].reshape(-1, args[0].shape[-1]).to(output.dtype), *own).view_as(output)
    output = _add(linear, args, output)
    if hasattr(linear, "adapter_scale"):
        output = output * linear.adapter_scale.to(output.dtype)
    return output


def group(name: str, config: AdapterConfig) -> Group | None:
    """Which group a parameter of `AdaptedLlama` belongs to; None: frozen. This one predicate decides what is trained
    and what is saved.

    `visual`: what captions train, `language`: what instructions train (Sec. 4.2). With late fusion (and
    both) prompts and gates carry the image, so they are visual, as in the released code's pretraining stage.
    """
    owner, _, rest = name.partition(".")
    leaf = rest.rpartition(".")[2]
    if owner == "projector":
        return "visual"
    if owner == "adapter":
        return "visual" if config.fusion != "early" or leaf == "visual_gate" else "language"
    if owner == "llm":
        if leaf in TUNING:
            return "language"
        parent = rest.split(".")[-2]
        if config.norm and leaf == "weight" and "norm" in parent:
            return "language"
    return None


def trainable(name: str, config: AdapterConfig, stage: str, kind: str | None = None) -> bool:
    """Whether a parameter is trained in a stage (by batches of one kind, or by any).

    Raises:
        KeyError: no such stage or kind.
    """
    kinds = STAGES[stage]
    groups = kinds[kind] if kind else tuple(name for groups in kinds.values() for name in groups)
    return group(name, config) in groups
