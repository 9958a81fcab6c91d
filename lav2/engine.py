"""Fast generation: the adapted LLaMA with its adapter folded into plain weights and a cache that is allocated once.

`Engine(model)` computes what `AdaptedLlama` computes (tests compare open-gate logits), for the shapes that `refusal`
lets through. One token of a few rows is a single call of decode.c on the CPU, where a C compiler is at hand, which also
makes int8 weights possible, and a recorded graph of kernels.py on a GPU. Prompts of many tokens run through torch, or
through decode.c where that is faster.

Words: B batch, T new tokens, S tokens in the cache, K prompt length, D width, H query heads, G key/value heads,
A head width, F width of the feed-forward, V vocabulary.
"""

from __future__ import annotations

import ctypes
import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from lav2 import native
from lav2.adapter import LayerPrompt, transformer_linears
from lav2.config import AdapterConfig, VisionConfig
from lav2.errors import LAV2Error
from lav2.model import AdaptedLlama

FAMILIES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
BLOCK = 32  # int8 weights that share a factor, as in decode.c
TILE = 16  # rows of an int8 matrix that lie together, as in decode.c
STRETCH = 128  # tokens that are attended to at once, as in decode.c
MOST = 128  # tokens that decode.c takes in one call
PIECE = 128  # tokens of a long prompt at once, cut at multiples (and behind Cache.lead): what a piece computes
# depends only on what stands before it, so that an answer is the same to the last bit whether or not earlier pieces
# were kept
GPU_PIECE = 512  # a GPU reads as many in 16 ms (7B on an H200), of which launching the kernels is most
NATIVE_ROWS = 32  # up to which a token of each row is a step of decode.c or kernels.py; more are read as a prompt is


def piece_of(device: torch.device) -> int:
    """Tokens of a prompt that are read at once on this device, at most."""
    return PIECE if device.type == "cpu" else GPU_PIECE


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


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16 (without them they are slower than float32)."""
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # torch 2.8 cannot say
    return bool(known.get("avx512_bf16") or known.get("amx_bf16") or known.get("bf16"))


@dataclass
class Matrix:
    """A weight [out, in] with an optional bias [out]; int8, in the order of decode.c, if it has factors
    [out / TILE, in / BLOCK, TILE]."""

    weight: Tensor
    bias: Tensor | None = None
    factor: Tensor | None = None

    def __call__(self, x: Tensor, room: Tensor | None = None) -> Tensor:  # [..., in] -> [..., out]
        """x Wᵀ + bias; an int8 weight is expanded into `room`, float32 or bfloat16 memory of at least its size, and the
        product is made in that type."""
        if self.factor is None:
            return F.linear(x, self.weight, self.bias)
        plain = (torch.empty(self.weight.numel()) if room is None else room)[: self.weight.numel()]
        native.library().lav2_expand(
            self.weight.data_ptr(), self.factor.data_ptr(), *self.weight.shape, plain.data_ptr(),
            plain.element_size(), torch.get_num_threads(),
        )  # fmt: skip
        found = F.linear(x.to(plain.dtype), plain.view(self.weight.shape)).to(x.dtype)
        return found if self.bias is None else found + self.bias


class Room:
    """Memory for weights in pages of 2 MB, where the system has them: reading pages of 4 KB takes a quarter longer."""

    CHUNK = 2**26  # bytes

    def __init__(self) -> None:
        self._left = torch.empty(0, dtype=torch.uint8)

    def take(self, dtype: torch.dtype, *shape: int) -> Tensor:
        """Memory for a tensor, not set to anything; kept until no tensor lies in its chunk."""
        size = math.prod(shape) * dtype.itemsize
        if size > len(self._left):
            self._left = native.memory(max(size, self.CHUNK))
        taken, self._left = self._left[:size], self._left[size + -size % 64 :]
        return taken.view(dtype).view(shape)


@dataclass
class Folded:
    """A linear layer with its tuning (lav2.adapter.tune_linears): (weight + added) · scale, not computed yet."""

    weight: Tensor  # [out, in]
    bias: Tensor | None = None  # [out] float32, scaled already
    added: Tensor | None = None  # [out, in] float32
    scale: Tensor | None = None  # [out] float32

    def whole(self) -> Tensor:
        """[out, in] float32"""
        weight = self.weight.float()
        weight = weight if self.added is None else weight + self.added
        return weight if self.scale is None else weight * self.scale[:, None]


def folded(linear: nn.Linear, config: AdapterConfig, room: Tensor | None = None) -> Folded:
    """What a linear layer and its tuning come to; `room` is float32 memory of the weight's size that may be used."""
    weight = linear.weight.detach()
    bias = torch.zeros(len(weight), device=weight.device)
    for name in ("bias", "adapter_bias"):
        if getattr(linear, name, None) is not None:
            bias = bias + getattr(linear, name).detach().float()
    found = Folded(weight, bias)
    if hasattr(linear, "lora_a"):
        out = None if room is None else room.view(weight.shape)
        found.added = torch.matmul(linear.lora_b.detach().float(), linear.lora_a.detach().float(), out=out)
    if hasattr(linear, "adapter_scale"):
        scale = linear.adapter_scale.detach().float()
        if config.scale_on_input:
            return Folded(found.whole() * scale, bias)
        found.scale, found.bias = scale, bias * scale
    return found


def quantised(parts: Sequence[Folded], bias: Tensor | None, room: Room) -> Matrix:
    """Parts that lie one below the other as one int8 matrix; blocks of a row share a bfloat16 factor. Parts are folded
    as they are read: written down in float32 first, they take twice as long. Rows of zeros fill up the last
    tile; all parts but the last have a multiple of TILE rows."""
    length = parts[0].weight.shape[1]
    tiles = [-(-len(part.weight) // TILE) for part in parts]
    whole = room.take(torch.int8, sum(tiles) * TILE, length)
    factor = room.take(torch.bfloat16, sum(tiles), length // BLOCK, TILE)
    begin = 0
    for part, count in zip(parts, tiles, strict=True):
        weight = part.weight if part.weight.dtype == torch.bfloat16 else part.weight.float()
        given = [None if given is None else given.contiguous() for given in (weight, part.added, part.scale)]
        source, added, scale = (None if tensor is None else tensor.data_ptr() for tensor in given)
        native.library().lav2_quantise(
            source, weight.element_size(), added, scale, *weight.shape, whole[begin * TILE :].data_ptr(),
            factor[begin:].data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        begin += count
    return Matrix(whole, bias, factor)


def unmap(models: Sequence[AdaptedLlama]) -> None:
    """Copy the weights that are left of models whose engines released theirs out of the mapped weight file: as long as
    one of them lies in it, all its pages stay in memory. Weights that the models share stay shared."""
    copies: dict[tuple[int, torch.Size], Tensor] = {}
    for parameter in (p for model in models for p in model.llm.parameters() if p.numel()):
        place = (parameter.data_ptr(), parameter.shape)
        if place not in copies:
            copies[place] = parameter.data.clone()
        parameter.data = copies[place]
    native.trim()


@dataclass
class Layer:
    qkv: Matrix  # [(H + 2G) · A, D]
    out: Matrix  # [D, H · A]
    gate_up: Matrix  # [2F, D]
    down: Matrix  # [D, F]
    norms: list[Tensor | None]  # before attention [D], before the feed-forward [D], of queries and of keys [A]


@dataclass
class Cache:
    """Keys and values of the tokens so far, and the prompts that their photos gave."""

    kv: Tensor  # [layers, B, room, 2G, A]
    prompts: list[tuple[Tensor, Tensor] | None]  # per layer keys and values [B or 1, K, 2G, A] and gates
    # [B or 1, H, 1, 1]
    first: Tensor  # [B] where each row's text begins (left padding)
    lead: int = 0  # tokens of a beginning that many texts share: a piece ends behind it as well
    length: int = 0
    state: Tensor = field(init=False)  # [layers, B, 4] the addresses that decode.c and kernels.py read
    begins: list[int] = field(init=False)  # `first`

    def __post_init__(self) -> None:
        def places(part: Tensor, count: int) -> list[int]:  # of `count` rows; one of which may stand for all
            step = part.stride(0) * part.element_size() if len(part) > 1 else 0
            return [part.data_ptr() + row * step for row in range(count)]

        layers = []
        for kv, prompt in zip(self.kv, self.prompts, strict=True):
            columns = [places(kv, len(kv))] + [[0] * len(kv)] * 3
            if prompt is not None:
                columns[1:] = [places(part, len(kv)) for part in prompt] + [[prompt[0].shape[1]] * len(kv)]
            layers.append(list(zip(*columns, strict=True)))
        self.state = torch.tensor(layers, device=self.kv.device)
        self.begins = self.first.tolist()

    def where(self, row: int, ahead: int) -> tuple[int, int, int, int]:
        """What decode.c wants to know of the token `ahead` of the next: its place in the cache, where its text begins
        there, the address of the row's state, and how far apart two layers' are."""
        return self.length + ahead, self.begins[row], self.state.data_ptr() + row * 4 * 8, self.state.stride(0)

    @property
    def room(self) -> int:
        """Tokens that it holds at most."""
        return self.kv.shape[2]

    @property
    def piece(self) -> int:
        """Tokens to the next place where pieces are cut."""
        size = piece_of(self.kv.device)
        end = self.length // size * size + size
        return (min(end, self.lead) if self.length < self.lead else end) - self.length

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row becomes `repeats` rows, as transformers' caches do it."""
        self.batch_select_indices(torch.arange(len(self.first), device=self.first.device).repeat_interleave(repeats))

    def batch_select_indices(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was, and there are as many as `rows`, as transformers' caches do it."""
        kv = self.kv.new_empty((len(self.kv), len(rows), *self.kv.shape[2:]))
        kv[:, :, : self.length] = self.kv[:, rows, : self.length]
        self.kv, self.first = kv, self.first[rows]
        self.prompts = [
            None if prompt is None else tuple(p if len(p) == 1 else p[rows] for p in prompt) for prompt in self.prompts
        ]
        self.__post_init__()

    def reorder_cache(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was, as transformers' caches do it; only among rows of one photo."""
        self.kv[:, :, : self.length] = self.kv[:, rows, : self.length]


def _rows_of(caches: Sequence[Cache]) -> tuple[Tensor, Tensor, Tensor]:
    """Of all rows of the caches: addresses [layers, B, 4] (Cache.state), the next token's place in the row's cache [B],
    and where the row's text begins there [B]."""
    return (
        torch.cat([cache.state for cache in caches], dim=1),
        torch.cat([torch.full_like(cache.first, cache.length) for cache in caches]),
        torch.cat([cache.first for cache in caches]),
    )


class Recorded:
    """The fused step of `rows` rows, recorded once as a CUDA graph: launched one by one, the step's small kernels take
    longer than the weights take to be read."""

    def __init__(self, engine: Engine, rows: int):
        layers, device = len(engine.layers), engine.device
        self._spare = torch.empty(2 * engine.groups * engine.head_width, dtype=engine.kept, device=device)
        # Rows that nobody asks for write their token to a place of their own.
        nowhere = torch.tensor([self._spare.data_ptr(), 0, 0, 0], device=device).expand(layers, rows, 4)
        nothing = torch.zeros(rows, dtype=torch.int64, device=device)
        self._idle = nothing[:, None], nowhere, nothing, nothing
        self._inputs = tuple(part.clone() for part in self._idle)
        self._tokens, self._state, self._places, self._first = self._inputs
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device):  # Triton computes on the current one
            now, aside = torch.cuda.current_stream(), torch.cuda.Stream()
            aside.wait_stream(now)
            with torch.cuda.stream(aside):  # a graph wants its kernels loaded beforehand
                engine.fused_step(*self._inputs)
            now.wait_stream(aside)
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):  # experts go on in other threads
                self._logits = engine.fused_step(*self._inputs)

    def __call__(self, tokens: Tensor, state: Tensor, places: Tensor, first: Tensor) -> Tensor:
        """As Engine.fused_step for at most `rows` rows; the next call overwrites what is returned."""
        rows = len(tokens)
        if rows < len(self._tokens):
            for own, idle in zip(self._inputs, self._idle, strict=True):
                own.copy_(idle)
        self._tokens[:rows].copy_(tokens)
        self._state[:, :rows].copy_(state)
        self._places[:rows].copy_(places)
        self._first[:rows].copy_(first)
        with torch.cuda.device(self._logits.device):
            self._graph.replay()
        return self._logits


class Engine:
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
        self.device, self.kept = self.embedding.device, self.embedding.dtype
        fits = (
            self.device.type == "cpu"
            and self.kept == torch.bfloat16
            and not any(n % BLOCK for n in (config.hidden_size, config.intermediate_size, self.head_width))
        )
        self.library = native.library() if compiled and fits else None
        self.int8 = self.library is not None if int8 is None else int8
        if self.int8 and self.library is None:
            raise LAV2Error(
                "int8 weights need a C compiler, a CPU, bfloat16 and widths that are multiples of 32.",
                "Install gcc (apt-get install gcc), or use the weights as they are.",
            )
        self.dtype = torch.float32 if self.int8 else self.kept  # of activations in torch
        # of int8 weights' products in torch: bfloat16 takes half the time where the processor multiplies it
        self.product = torch.bfloat16 if multiplies_bfloat16() else torch.float32
        # Whether decode.c reads prompts as well: with wide registers it is faster than torch's products of float32.
        self.reads = self.int8 and not multiplies_bfloat16() and native.lanes() >= 8
        # One token of a few rows by kernels.py; needs Triton, which comes with torch's builds for GPUs.
        aligned = self.head_width % 8 == 0  # the kernels read 16 bytes at once
        self.fused = self.device.type == "cuda" and compiled and aligned and find_spec("triton") is not None
        self._steps: dict[int, Recorded] = {}  # by rows
        self._recording = threading.Lock()
        self._room, self._spare = Room(), torch.empty(0)
        with torch.inference_mode():
            self.layers = [self._layer(layer, model.config, release) for layer in model.decoder.layers]
            self.norm = self._weight(model.decoder.norm)
            self.head = head or self._vocabulary_matrix(model.llm.get_output_embeddings())
            places = torch.arange(context, device=self.device)[None]
            cosine, sine = model.decoder.rotary_emb(torch.zeros(1, device=self.device), places)  # [1, context, A]
        self._spare = torch.empty(0)
        first = self.layers[0]
        self._largest = max(part.weight.numel() for part in (first.qkv, first.out, first.gate_up, first.down))
        half = self.head_width // 2
        self.cosine, self.sine = cosine[0].float(), sine[0].float()
        self.signed = torch.cat([-self.sine[:, :half], self.sine[:, half:]], -1)  # of x rolled by half a head
        if self.library is not None:
            self._prepare(config.intermediate_size)
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
        return self.model.prompt_kv(visual_prompt, has_image)

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
        rooms = self._spare[: sum(sizes)].split(sizes)
        parts = [folded(linear, config, room) for linear, room in zip(linears, rooms, strict=True)]
        bias = torch.cat([part.bias for part in parts])
        kept = bias.to(self.dtype) if bias.any() else None
        if self.int8:
            return quantised(parts, kept, self._room)
        weight = torch.cat([part.whole() for part in parts])
        if self.library is None:
            return Matrix(weight.to(self.kept), kept)
        return Matrix(self._room.take(self.kept, *weight.shape).copy_(weight), kept)

    def _weight(self, norm: nn.Module) -> Tensor:
        return norm.weight.detach().to(self.dtype).clone()

    def _vocabulary_matrix(self, linear: nn.Linear) -> Matrix:
        weight = linear.weight.detach()
        return quantised([Folded(weight)], None, self._room) if self.int8 else Matrix(weight)

    def _prepare(self, hidden: int) -> None:
        """The tables that decode.c reads; biases and norms there are float32."""
        self._exact: list[Tensor] = []  # kept alive for their addresses

        def exact(part: Tensor | None) -> int:
            if part is None:
                return 0
            self._exact.append(part.float().contiguous())
            return self._exact[-1].data_ptr()

        layers = []
        for layer in self.layers:
            row = []
            for matrix in (layer.qkv, layer.out, layer.gate_up, layer.down):
                factor = 0 if matrix.factor is None else matrix.factor.data_ptr()
                row += [matrix.weight.data_ptr(), factor, exact(matrix.bias)]
            layers.append(row + [exact(norm) for norm in layer.norms])
        width, wide = self.embedding.shape[1], self.heads * self.head_width
        # a row's, of its attention: parts of its text and prompt, with what puts them together
        parts = sum(4 * math.ceil(n / (4 * STRETCH)) for n in (self.context, self.model.config.prompt_length))
        shape = (width, self.heads, self.groups, self.head_width, hidden, len(self.embedding), len(layers), parts,
                 1 if self.int8 else 2)  # fmt: skip
        head = (self.head.weight.data_ptr(), 0 if self.head.factor is None else self.head.factor.data_ptr())
        tables = (shape, layers, (self.epsilon, self.scaling), self.cosine, self.sine, self.norm.float(), head)
        self._exact += [part if isinstance(part, Tensor) else torch.tensor(part) for part in tables]
        self._tables = [part.data_ptr() for part in self._exact[-len(tables):]]
        # numbers of scratch memory: for each row, for each row and thread, for each thread
        self._scratch = (
            width + wide + 2 * self.groups * self.head_width + hidden + parts * self.heads * (self.head_width + 16),
            2 * max(hidden, wide, width),
            self.heads * (STRETCH + 16) + 16,
        )

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
            logits = self._few(ids.tolist() if self.library is not None else ids, [cache])
            cache.length += 1
            return logits, cache
        while cache.length < end:
            piece = min(end - cache.length, cache.piece)
            ids, input_ids = input_ids[:, :piece], input_ids[:, piece:]
            logits = self._read(ids, cache)
            cache.length += piece
        return logits, cache

    def together(self, tokens: Sequence[int], caches: Sequence[Cache]) -> Tensor:
        """Logits [B, V] after one more token of each of B texts that have a cache of one row each. By decode.c they are
        to the last bit those of each text alone; torch's products of several rows may round otherwise than of one.

        Raises:
            LAV2Error: one of them is as long as the context.
        """
        for cache in caches:
            self.check(cache, 1)
        logits = self._few(tokens, caches)
        for cache in caches:
            cache.length += 1
        return logits

    def check(self, cache: Cache, count: int) -> None:
        """
        Raises:
            LAV2Error: so many more tokens are more than the cache holds.
        """
        if cache.length + count > cache.room:
            raise LAV2Error(f"{cache.length + count} tokens do not fit into {cache.room}.", "Shorten the prompt.")

    @torch.inference_mode()
    def begin(
        self,
        rows: int,
        prompt_kv: tuple[LayerPrompt | None, ...],
        attention_mask: Tensor | None = None,
        room: int | None = None,
        lead: int = 0,
    ) -> Cache:
        """An empty cache for texts with these prompts; attention_mask [B, T] tells the left padding, `room` how many
        tokens will be enough (all of the context if None), `lead` see Cache."""
        room = min(room or self.context, self.context)
        shape = (len(self.layers), rows, room, 2 * self.groups, self.head_width)
        cached = torch.empty(shape, dtype=self.kept, device=self.device)  # a CPU's pages take no memory until written
        first = torch.zeros(rows, dtype=torch.int64, device=self.device)
        if attention_mask is not None:
            first = attention_mask.shape[1] - attention_mask.sum(-1)
            if bool((first == attention_mask.shape[1]).any()):
                raise LAV2Error("A text of the batch is empty.", "Leave it out.")
        prompts: list[tuple[Tensor, Tensor] | None] = []
        for prompt in prompt_kv:
            if prompt is None:
                prompts.append(None)
                continue
            key, value, gate = prompt
            kv = torch.cat([key, value], dim=1).transpose(1, 2)
            prompts.append((kv.to(self.kept).contiguous(), gate.to(self.kept).contiguous()))
        return Cache(cached, prompts, first, lead)

    def _read(self, input_ids: Tensor, cache: Cache) -> Tensor:
        """Logits [B, V] after a piece [B, T] of prompts, by what is fastest here."""
        native = self.reads and len(input_ids) <= MOST
        return self._rows(input_ids, cache) if native else self._forward(input_ids, cache)

    @torch.inference_mode()
    def _forward(self, input_ids: Tensor, cache: Cache) -> Tensor:
        begin, end = cache.length, cache.length + input_ids.shape[1]
        mask = self._mask(cache, begin, end)
        places = (torch.arange(begin, end, device=self.device) - cache.first[:, None]).clamp(min=0)  # [B, T]
        return self._through(input_ids, places, lambda layer, qkv: self._attended(layer, qkv, cache, mask))

    def _few(self, ids: Sequence[int] | Tensor, caches: Sequence[Cache]) -> Tensor:
        """One more token of each of a few rows, by what is fastest here."""
        if self.library is not None and len(ids) <= NATIVE_ROWS:
            return self._step(ids, caches)
        tokens = torch.as_tensor(ids, device=self.device)[:, None]
        if self.fused and len(ids) <= NATIVE_ROWS:
            tell = logging.getLogger("lav2.engine").warning
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
                caches = [self.begin(1, (None,) * len(self.layers), room=1) for _ in range(size)]
                self.together([0] * size, caches)

    @torch.inference_mode()
    def _replayed(self, tokens: Tensor, caches: Sequence[Cache]) -> Tensor:
        """`_shared` by the recorded step of so many rows."""
        rows = len(tokens)
        size = 1 << (rows - 1).bit_length()
        where = _rows_of(caches)
        with self._recording:  # a recorded step has one place for what goes in and one for what comes out
            if size not in self._steps:
                self._steps[size] = Recorded(self, size)
            return self._steps[size](tokens, *where)[:rows].clone()

    def fused_step(self, tokens: Tensor, state: Tensor, places: Tensor, first: Tensor) -> Tensor:
        """Logits [B, V] after one more token [B, 1] by kernels.py; nothing moves between processor and GPU.

        Args:
            state: [layers, B, 4], see Cache.
            places, first: [B] the token's place in the row's cache, and where the row's text begins there.
        """
        from lav2 import kernels

        x = F.embedding(tokens[:, 0], self.embedding).to(self.dtype)  # [B, D]
        normed = kernels.add_norm(x, None, self.layers[0].norms[0], self.epsilon)
        next_norms = [layer.norms[0] for layer in self.layers[1:]] + [self.norm]
        for number, (layer, next_norm) in enumerate(zip(self.layers, next_norms, strict=True)):
            mixed = kernels.attend(
                layer.qkv(normed), state[number], places, first, self.cosine, self.signed, tuple(layer.norms[2:]),
                self.epsilon, self.scaling, self.heads, self.groups,
            )  # fmt: skip
            normed = kernels.add_norm(x, layer.out(mixed), layer.norms[1], self.epsilon)
            active = kernels.silu_times(layer.gate_up(normed))
            normed = kernels.add_norm(x, layer.down(active), next_norm, self.epsilon)
        return self.head(normed)

    @torch.inference_mode()
    def _shared(self, tokens: Tensor, caches: Sequence[Cache]) -> Tensor:
        """`_forward` of one token of texts that have a cache each: all but the attention is done together."""
        places = torch.cat([cache.length - cache.first for cache in caches])[:, None]  # [B, 1]
        masks = [self._mask(cache, cache.length, cache.length + 1) for cache in caches]

        def attended(layer: int, qkv: Tensor) -> Tensor:
            rows = zip(qkv.split([len(cache.first) for cache in caches]), caches, masks, strict=True)
            return torch.cat([self._attended(layer, row, cache, mask) for row, cache, mask in rows])

        return self._through(tokens, places, attended)

    def _attended(self, layer: int, qkv: Tensor, cache: Cache, mask: Tensor | None) -> Tensor:
        """[B, T, H + 2G, A] -> [B, H, T, A]; the new keys and values go into the cache."""
        end = cache.length + qkv.shape[1]
        cache.kv[layer][:, cache.length : end] = qkv[:, :, self.heads :]
        return self._mixed(layer, qkv, cache, end, mask)

    def _mixed(self, layer: int, qkv: Tensor, cache: Cache, end: int, mask: Tensor | None) -> Tensor:
        """What queries [B, T, H + 2G, A] make of the cache up to `end` and of its prompts: [B, H, T, A]."""
        rows, count = qkv.shape[:2]
        prompt = cache.prompts[layer]
        query = qkv[:, :, : self.heads].transpose(1, 2).to(self.kept)  # [B, H, T, A]
        key, value = cache.kv[layer][:, :end].transpose(1, 2).split(self.groups, dim=1)  # [B, G, S, A]
        mixed = F.scaled_dot_product_attention(
            query, key, value, mask, is_causal=mask is None and count > 1, scale=self.scaling, enable_gqa=True
        )
        if prompt is not None:
            kv, gate = prompt
            key, value = kv.expand(rows, -1, -1, -1).transpose(1, 2).split(self.groups, dim=1)  # [B, G, K, A]
            of_prompt = F.scaled_dot_product_attention(query, key, value, scale=self.scaling, enable_gqa=True)
            mixed = torch.addcmul(mixed, of_prompt, gate)
        return mixed

    def _through(self, input_ids: Tensor, places: Tensor, attended: Callable[[int, Tensor], Tensor]) -> Tensor:
        """All layers on tokens at `places` [B, T] of their texts; logits [B, V] after the last."""
        rows, count = input_ids.shape
        heads, groups = self.heads, self.groups
        cosine, sine = (
            torch.cat([table[places][:, :, None].expand(-1, -1, heads + groups, -1), rest], 2).to(self.dtype)
            for table, rest in (
                (self.cosine, torch.ones(rows, count, groups, self.head_width, device=self.device)),
                (self.signed, torch.zeros(rows, count, groups, self.head_width, device=self.device)),
            )  # values are "rotated" by nothing, so that queries, keys and values stay one tensor
        )
        x = F.embedding(input_ids, self.embedding).to(self.dtype)
        room = torch.empty(self._largest, dtype=self.product) if self.int8 else None
        for number, layer in enumerate(self.layers):
            before, after, of_queries, of_keys = layer.norms
            qkv = layer.qkv(self._normed(x, before), room).view(rows, count, -1, self.head_width)  # [B, T, H + 2G, A]
            if of_queries is not None:
                qkv = torch.cat([
                    self._normed(qkv[:, :, :heads], of_queries),
                    self._normed(qkv[:, :, heads : heads + groups], of_keys),
                    qkv[:, :, heads + groups :],
                ], 2)  # fmt: skip
            qkv = torch.addcmul(qkv * cosine, qkv.roll(self.head_width // 2, -1), sine)
            mixed = attended(number, qkv)
            x = x + layer.out(mixed.transpose(1, 2).reshape(rows, count, -1).to(self.dtype), room)
            gate, up = layer.gate_up(self._normed(x, after), room).chunk(2, -1)
            x = x + layer.down(F.silu(gate) * up, room)
        return self._vocabulary(self._normed(x[:, -1], self.norm))

    def _mask(self, cache: Cache, begin: int, end: int) -> Tensor | None:
        """[B or 1, 1, T, S], True where a token looks; None: at everything before it, from the cache's start."""
        if not any(cache.begins) and (begin == 0 or end - begin == 1):
            return None
        token, key = torch.arange(begin, end, device=self.device)[:, None], torch.arange(end, device=self.device)
        text = key >= cache.first[:, None, None]  # [B, 1, S]
        return ((key <= token) & text | (key == token))[:, None]  # padding looks at itself: nothing would be NaN

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self.epsilon)

    def _vocabulary(self, x: Tensor) -> Tensor:  # [B, D] -> [B, V]
        if not self.int8 or len(x) > NATIVE_ROWS:
            return self.head(x)[:, : len(self.embedding)]  # without the rows that fill up an int8 matrix
        logits, scratch = torch.empty(len(x), len(self.embedding)), torch.empty(x.numel() + 16)
        self.library.lav2_linear(
            self.head.weight.data_ptr(), self.head.factor.data_ptr(), x.contiguous().data_ptr(), len(x), x.shape[1],
            logits.shape[1], scratch.data_ptr(), logits.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return logits

    def _step(self, ids: Sequence[int], caches: Sequence[Cache]) -> Tensor:
        """`_forward` of one token of each row by decode.c. Little torch: with the processor's caches full of weights,
        an operation takes 10 to 50 microseconds, and so does entering inference mode."""
        rows = [(cache, row) for cache in caches for row in range(len(cache.begins))]
        return self._native([number for token, (cache, row) in zip(ids, rows, strict=True)
                             for number in (token, *cache.where(row, 0))], len(rows))  # fmt: skip

    def _rows(self, input_ids: Tensor, cache: Cache) -> Tensor:
        """`_forward` by decode.c: every token is a row, but for padding."""
        columns, rows = input_ids.T.tolist(), len(input_ids)
        begun = cache.length + len(columns) > max(cache.begins)  # by then; else there is nothing to choose from yet
        most = max(1, MOST // rows)
        for begin in range(0, len(columns), most):
            where: list[int] = []
            for ahead, column in enumerate(columns[begin : begin + most], begin):
                for row, token in enumerate(column):
                    if cache.length + ahead >= cache.begins[row]:
                        where += token, *cache.where(row, ahead)
            logits = self._native(where, rows if begun and begin + most >= len(columns) else 0)
        return logits

    def _native(self, where: list[int], wanted: int) -> Tensor:
        """Logits [wanted, V] of the last of some tokens: for each its id and Cache.where."""
        rows, threads = len(where) // 5, torch.get_num_threads()
        if strange := [token for token in where[::5] if not 0 <= token < len(self.embedding)]:
            raise LAV2Error(f"Token {strange[0]} is none of the model's {len(self.embedding)}.",
                            "Use the tokenizer that belongs to the model.")  # fmt: skip
        if not wanted <= rows <= MOST:  # decode.c has room for no more
            raise ValueError(f"{wanted} of {rows} rows, at most {MOST}")
        scratch = torch.empty(rows * self._scratch[0] + threads * (rows * self._scratch[1] + self._scratch[2]))
        logits = torch.empty(wanted, len(self.embedding))
        self.library.lav2_step(
            *self._tables, self.embedding.data_ptr(), rows, (ctypes.c_int64 * len(where))(*where), wanted,
            scratch.data_ptr(), logits.data_ptr(), threads,
        )  # fmt: skip
        return logits
