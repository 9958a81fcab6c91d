"""Fast generation: the adapted LLaMA with its adapter folded into plain weights and a cache that is allocated once.

`Engine(model)` computes what `AdaptedLlama` computes (tests compare open-gate logits), for the shapes that `refusal`
lets through. One token of a few rows is a single call of decode.c on the CPU, where a C compiler is at hand, which also
makes int8 weights possible, and a recorded graph of kernels.py on a GPU. Prompts of many tokens run through torch, or
through decode.c where that is faster.

Words: B batch, T new tokens, S tokens in the cache, K prompt length, D width, H query heads, G key/value heads,
A head width, F width of the feed-forward, V vocabulary.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from lav2.config import AdapterConfig, VisionConfig
from lav2.errors import LAV2Error
from lav2.inference import native
from lav2.inference.cache import Cache, addresses_of, packed
from lav2.inference.cuda_graph import CudaGraphStep
from lav2.inference.folding import BLOCK, Arena, Folded, Matrix, folded, quantised
from lav2.inference.native_forward import MAX_NATIVE_TOKENS, NativeForward
from lav2.inference.torch_forward import NATIVE_ROWS, TorchForward
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import LayerPrompt, transformer_linears
from lav2.model.llm import multiplies_bfloat16

FAMILIES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")


def refusal(model: AdaptedLlama) -> str:
    """Why the engine does not take this model, "" if it does; transformers' own forward serves the others."""
    config = model.llm.config
    linears = [module for _, module in transformer_linears(model.decoder)]
    if type(model.llm).__name__ not in FAMILIES:
        return f"{type(model.llm).__name__} is not of {', '.join(FAMILIES)}"
    if any(type(linear) is not nn.Linear or not linear.weight.is_floating_point() for linear in linears):
        return "its linear layers are quantised"
    if len({parameter.device for parameter in model.llm.parameters()}) > 1:
        return "it lies on several devices"
    if config.hidden_act != "silu":
        return f"its feed-forward uses {config.hidden_act}"
    if getattr(config, "sliding_window", None):
        return "it attends to a sliding window"
    if model.decoder.rotary_emb.rope_type in ("dynamic", "longrope"):
        return "its rotary frequencies change with the length"
    return ""


@dataclass
class Layer:
    """The folded weights of one decoder layer."""

    qkv: Matrix  # [(H + 2G) · A, D]
    out: Matrix  # [D, H · A]
    gate_up: Matrix  # [2F, D]
    down: Matrix  # [D, F]
    norms: list[Tensor | None]  # before attention [D], before the feed-forward [D], of queries and of keys [A]


class Engine(TorchForward, NativeForward):
    """The fast forward of an adapted LLaMA: `engine(input_ids, prompt_kv) -> (logits, cache)`.

    It stands in for the model wherever answers are generated: `visual_prompt`, `prompt_kv` and the settings are the
    model's own.

    Args:
        model: for which `refusal` is "".
        int8: keep the weights as int8 (half the memory traffic); None: where decode.c serves this model in bfloat16.
        context: tokens of prompt and answer together at most.
        head: the vocabulary's matrix, of another engine on the same frozen model.
        compiled: False keeps everything in torch.
        release: free each frozen matrix that only transformers' forward reads as soon as it is folded. The model's own
            forward is lost, and that of every model on the same matrices.

    Raises:
        LAV2Error: int8 is asked for and cannot be had.
    """

    continuous = True  # see lav2.inference.backend.DecoderBackend

    def __init__(
        self,
        model: AdaptedLlama,
        int8: bool | None = None,
        context: int = 2048,
        head: Matrix | None = None,
        compiled: bool = True,
        release: bool = False,
    ):
        config = model.llm.config
        self.model, self.context = model, context
        self.heads, self.groups = config.num_attention_heads, config.num_key_value_heads
        attention = model.decoder.layers[0].self_attn
        self.head_width, self.scaling, self.epsilon = attention.head_dim, attention.scaling, config.rms_norm_eps
        self.embedding = model.llm.get_input_embeddings().weight
        self.device, self.cache_dtype = self.embedding.device, self.embedding.dtype
        self.proof_first = model.proof_first
        fits = (
            self.device.type == "cpu"
            and self.cache_dtype == torch.bfloat16
            and not any(n % BLOCK for n in (config.hidden_size, config.intermediate_size, self.head_width))
        )
        self.library = native.library() if compiled and fits else None
        self.int8 = self.library is not None if int8 is None else int8
        if self.int8 and self.library is None:
            raise LAV2Error(
                "int8 weights need a C compiler, a CPU, bfloat16 and widths that are multiples of 32.",
                "Install gcc (apt-get install gcc), or use the weights as they are.",
            )
        self.dtype = torch.float32 if self.int8 else self.cache_dtype  # of activations in torch
        # of int8 weights' products in torch: bfloat16 takes half the time where the processor multiplies it
        self.matmul_dtype = torch.bfloat16 if multiplies_bfloat16() else torch.float32
        # Whether decode.c reads prompts as well: with wide registers it is faster than torch's products of float32.
        self.reads = self.int8 and not multiplies_bfloat16() and native.lanes() >= 8
        # One token of a few rows by kernels.py; needs Triton, which comes with torch's builds for GPUs.
        aligned = self.head_width % 8 == 0  # the kernels read 16 bytes at once
        self.fused = self.device.type == "cuda" and compiled and aligned and find_spec("triton") is not None
        self._steps: dict[int, CudaGraphStep] = {}  # by rows
        self._recording = threading.Lock()
        self._arena, self._spare = Arena(), torch.empty(0)
        with torch.inference_mode():
            self.layers = [self._layer(layer, model.config, release) for layer in model.decoder.layers]
            self.norm = self._weight(model.decoder.norm)
            self.head = head or self._vocabulary_matrix(model.llm.get_output_embeddings())
            positions = torch.arange(context, device=self.device)[None]
            cosine, sine = model.decoder.rotary_emb(torch.zeros(1, device=self.device), positions)  # [1, context, A]
            # What no photo changes is projected and packed once: with early fusion all but the visual layers' prompts.
            self._text_only = model.prompt_kv()
            self._packed = [packed(prompt, self.cache_dtype) for prompt in self._text_only]
        self._spare = torch.empty(0)
        first = self.layers[0]
        self._largest = max(part.weight.numel() for part in (first.qkv, first.out, first.gate_up, first.down))
        half = self.head_width // 2
        self.cosine, self.sine = cosine[0].float(), sine[0].float()
        self.signed = torch.cat([-self.sine[:, :half], self.sine[:, half:]], -1)  # of x rolled by half a head
        if self.library is not None:
            self._native_tables(config.intermediate_size)
            native.trim()

    @property
    def llm(self) -> PreTrainedModel:
        return self.model.llm

    @property
    def vision_config(self) -> VisionConfig | None:
        return self.model.vision_config

    def visual_prompt(self, clip_tokens: Tensor) -> Tensor:  # [B, N, C] -> [B, K, D]
        return self.model.visual_prompt(clip_tokens)

    def prompt_kv(
        self, visual_prompt: Tensor | None = None, has_image: Tensor | None = None
    ) -> tuple[LayerPrompt | None, ...]:
        return self.model.prompt_kv(visual_prompt, has_image, self._text_only)

    def _layer(self, layer: nn.Module, config: AdapterConfig, release: bool) -> Layer:
        attention, mlp = layer.self_attn, layer.mlp
        matrices = [
            self._fused(linears, config)
            for linears in (
                (attention.q_proj, attention.k_proj, attention.v_proj),
                (attention.o_proj,),
                (mlp.gate_proj, mlp.up_proj),
                (mlp.down_proj,),
            )
        ]
        if release:
            for linear in (attention.q_proj, attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj):
                linear.weight.data = linear.weight.data.new_empty(0)  # k_proj and v_proj project prompts
        own = [layer.input_layernorm, layer.post_attention_layernorm,
               getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)]  # fmt: skip
        return Layer(*matrices, [None if norm is None else self._weight(norm) for norm in own])

    def _fused(self, linears: Sequence[nn.Linear], config: AdapterConfig) -> Matrix:
        sizes = [linear.weight.numel() if hasattr(linear, "lora_a") else 0 for linear in linears]
        if self._spare.numel() < sum(sizes):  # the same for all layers: memory that is new each time takes longer
            self._spare = torch.empty(sum(sizes), device=self.device)
        scratch = self._spare[: sum(sizes)].split(sizes)
        parts = [folded(linear, config, memory) for linear, memory in zip(linears, scratch, strict=True)]
        bias = torch.cat([part.bias for part in parts])
        folded_bias = bias.to(self.dtype) if bias.any() else None
        if self.int8:
            return quantised(parts, folded_bias, self._arena)
        weight = torch.cat([part.float_weight() for part in parts])
        if self.library is None:
            return Matrix(weight.to(self.cache_dtype), folded_bias)
        return Matrix(self._arena.take(self.cache_dtype, *weight.shape).copy_(weight), folded_bias)

    def _weight(self, norm: nn.Module) -> Tensor:
        return norm.weight.detach().to(self.dtype).clone()

    def _vocabulary_matrix(self, linear: nn.Linear) -> Matrix:
        weight = linear.weight.detach()
        return quantised([Folded(weight)], None, self._arena) if self.int8 else Matrix(weight)

    def __call__(
        self,
        input_ids: Tensor,
        prompt_kv: tuple[LayerPrompt | None, ...],
        attention_mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> tuple[Tensor, Cache]:
        """Logits [B, V] after the last of input_ids [B, T], and the cache that holds them; perhaps none, [0, V], where
        one row is nothing but padding so far.

        Args:
            prompt_kv: of AdaptedLlama; read when the cache begins.
            attention_mask: [B, T] of a beginning with left padding.
            cache: of the tokens before; it is changed.

        Raises:
            LAV2Error: more tokens than the context holds, a text without any, or one that the model does not know.
        """
        if cache is None:
            cache = self.begin(len(input_ids), prompt_kv, attention_mask)
        rows, count = input_ids.shape
        self.check(cache, count)
        end = cache.length + count
        begun = cache.length >= max(cache.begins)  # no row is in its padding any more
        if count == 1 and begun and rows <= NATIVE_ROWS and (self.fused or self.library is not None):
            ids = input_ids[:, 0]
            logits = self._fastest_step(ids.tolist() if self.library is not None else ids, [cache])
            cache.length += 1
            return logits, cache
        while cache.length < end:
            chunk = min(end - cache.length, cache.chunk)
            ids, input_ids = input_ids[:, :chunk], input_ids[:, chunk:]
            logits = self._read(ids, cache)
            cache.length += chunk
        return logits, cache

    prefill = __call__  # as every DecoderBackend calls it

    def decode_step(self, tokens: Sequence[int], caches: Sequence[Cache]) -> Tensor:
        """Logits [B, V] after one more token of each of B texts that have a cache of one row each. By decode.c they are
        to the last bit those of each text alone; torch's products of several rows may round otherwise than of one.

        Raises:
            LAV2Error: one of them is as long as the context.
        """
        for cache in caches:
            self.check(cache, 1)
        logits = self._fastest_step(tokens, caches)
        for cache in caches:
            cache.length += 1
        return logits

    def check(self, cache: Cache, count: int) -> None:
        """
        Raises:
            LAV2Error: so many more tokens are more than the cache holds.
        """
        if cache.length + count > cache.capacity:
            raise LAV2Error(f"{cache.length + count} tokens do not fit into {cache.capacity}.", "Shorten the prompt.")

    @torch.inference_mode()
    def begin(
        self,
        rows: int,
        prompt_kv: tuple[LayerPrompt | None, ...],
        attention_mask: Tensor | None = None,
        capacity: int | None = None,
        shared_prefix: int = 0,
    ) -> Cache:
        """An empty cache for texts with these prompts.

        Args:
            attention_mask: [B, T], which tells the left padding.
            capacity: tokens that will be enough; None: all of the context.
            shared_prefix: see Cache.

        Raises:
            LAV2Error: a text of the batch is empty.
        """
        capacity = min(capacity or self.context, self.context)
        shape = (len(self.layers), rows, capacity, 2 * self.groups, self.head_width)
        # A CPU's pages take no memory until they are written.
        cached = torch.empty(shape, dtype=self.cache_dtype, device=self.device)
        first = torch.zeros(rows, dtype=torch.int64, device=self.device)
        if attention_mask is not None:
            first = attention_mask.shape[1] - attention_mask.sum(-1)
            if bool((first == attention_mask.shape[1]).any()):
                raise LAV2Error("A text of the batch is empty.", "Leave it out.")
        own = zip(prompt_kv, self._text_only, self._packed, strict=True)
        prompts = [ready if prompt is known else packed(prompt, self.cache_dtype) for prompt, known, ready in own]
        return Cache(cached, prompts, first, shared_prefix)

    def _read(self, input_ids: Tensor, cache: Cache) -> Tensor:
        """Logits [B, V] after a chunk [B, T] of prompts, by what is fastest here."""
        by_c = self.reads and len(input_ids) <= MAX_NATIVE_TOKENS
        return self._native_prompt(input_ids, cache) if by_c else self._forward(input_ids, cache)

    def _fastest_step(self, ids: Sequence[int] | Tensor, caches: Sequence[Cache]) -> Tensor:
        """One more token of each of a few rows, by what is fastest here."""
        if self.library is not None and len(ids) <= NATIVE_ROWS:
            return self._native_step(ids, caches)
        tokens = torch.as_tensor(ids, device=self.device)[:, None]
        if self.fused and len(ids) <= NATIVE_ROWS:
            tell = logging.getLogger("lav2.inference.engine").warning
            try:
                return self._replayed(tokens, caches)
            except torch.OutOfMemoryError as error:  # there may be room for it next time
                tell("A step could not be recorded: %s", error)
            except Exception as error:  # Triton compiles here and now, and a driver may refuse to record
                tell("No fused steps on this GPU: %s", error)
                self.fused = False
        return self._shared(tokens, caches)

    def record(self, rows: int) -> None:
        """Compile and record the fused steps of 1, 2, 4 ... `rows` rows, so that nobody waits for it in an answer."""
        for size in (1 << power for power in range(rows.bit_length())):
            if self.fused:
                caches = [self.begin(1, (None,) * len(self.layers), capacity=1) for _ in range(size)]
                self.decode_step([0] * size, caches)

    @torch.inference_mode()
    def _replayed(self, tokens: Tensor, caches: Sequence[Cache]) -> Tensor:
        """`_shared` by the recorded step of so many rows."""
        rows = len(tokens)
        size = 1 << (rows - 1).bit_length()
        where = addresses_of(caches)
        with self._recording:  # a recorded step has one input and one output buffer
            if size not in self._steps:
                self._steps[size] = CudaGraphStep(self, size)
            return self._steps[size](tokens, *where)[:rows].clone()

    def fused_step(self, tokens: Tensor, state: Tensor, positions: Tensor, first: Tensor) -> Tensor:
        """Logits [B, V] after one more token [B, 1] by kernels.py; nothing moves between processor and GPU.

        Args:
            state: [layers, B, 4], see Cache.
            positions, first: [B] the token's position in the row's cache, and where the row's text begins there.
        """
        from lav2.inference import kernels

        x = F.embedding(tokens[:, 0], self.embedding).to(self.dtype)  # [B, D]
        normed = kernels.add_norm(x, None, self.layers[0].norms[0], self.epsilon)
        next_norms = [layer.norms[0] for layer in self.layers[1:]] + [self.norm]
        for number, (layer, next_norm) in enumerate(zip(self.layers, next_norms, strict=True)):
            mixed = kernels.attend(
                layer.qkv(normed), state[number], positions, first, self.cosine, self.signed, tuple(layer.norms[2:]),
                self.epsilon, self.scaling, self.heads, self.groups,
            )  # fmt: skip
            normed = kernels.add_norm(x, layer.out(mixed), layer.norms[1], self.epsilon)
            active = kernels.silu_times(layer.gate_up(normed))
            normed = kernels.add_norm(x, layer.down(active), next_norm, self.epsilon)
        return self.head(normed)
