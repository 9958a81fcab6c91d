"""The frozen image encoder (photo -> clip_tokens) and the visual projection (clip_tokens -> visual_prompt).

Words: B batch, N image tokens, C image width, V projector width, K prompt length, D width of the LLaMA.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from lav2 import files, weights
from lav2.config import ProjectorConfig, VisionConfig
from lav2.errors import LAV2Error
from lav2.model.tensors import only_tensors, read_tensors


def weights_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """A hash of named weights, sorted by name: of the first 4,096 values of each as bfloat16, so that it is the same in
    every dtype. One tensor is held at a time."""
    digest = hashlib.sha256()
    for key, tensor in tensors:
        digest.update(key.encode())
        digest.update(tensor.flatten()[:4096].to(torch.bfloat16).view(torch.int16).cpu().numpy().tobytes())
    return digest.hexdigest()


class VisionTower(nn.Module):
    """A frozen encoder: `tower.encode(photos) -> clip_tokens [B, N, C]`, float32.

    timm CNNs give the last feature map as N = h·w tokens; open_clip ViTs give the class token and all patch tokens
    after `ln_post`, times `proj`, as the released code reads them (PAPER.md).
    """

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.config = config
        self.net = _timm_net(config) if config.library == "timm" else _open_clip_net(config)
        self.requires_grad_(False).eval()
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @property
    def identity(self) -> str:
        """`weights_digest` of the net."""
        return weights_digest(sorted(self.net.state_dict().items()))

    def pixels(self, photos: Sequence[Image.Image]) -> Tensor:
        """Upright RGB photos -> normalised pixels [B, 3, S, S] in the order of channels that the tower wants."""
        arrays = np.stack([np.asarray(self.resized(photo), dtype=np.float32) for photo in photos])  # [B, S, S, 3]
        if self.config.channel_order == "bgr":
            arrays = arrays[..., ::-1].copy()
        pixels = torch.from_numpy(arrays).to(self.mean.device).permute(0, 3, 1, 2) / 255
        return (pixels - self.mean) / self.std

    def resized(self, photo: Image.Image) -> Image.Image:
        """The S x S pixels of a photo that the encoder looks at; those of `resized` are themselves."""
        side = self.config.image_size
        if not self.config.keep_aspect:
            return photo.resize((side, side), Image.Resampling.BICUBIC)
        scale = side / min(photo.size)
        width, height = (max(side, round(length * scale)) for length in photo.size)
        left, top = (width - side) // 2, (height - side) // 2
        right, bottom = min((left + side) / scale, photo.width), min((top + side) / scale, photo.height)
        box = (left / scale, top / scale, right, bottom)
        return photo.resize((side, side), Image.Resampling.BICUBIC, box=box)  # one resampling, cropped on the way

    @torch.inference_mode()
    def encode(self, photos: Sequence[Image.Image]) -> Tensor:
        """Upright RGB photos -> clip_tokens [B, N, C]."""
        return self.forward(self.pixels(photos))

    def forward(self, pixels: Tensor) -> Tensor:  # [B, 3, S, S] -> [B, N, C]
        if self.config.library == "timm":
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            return self.net.forward_features(pixels).flatten(2).transpose(1, 2)
        return _all_clip_tokens(self.net, pixels)


def _timm_net(config: VisionConfig) -> nn.Module:
    """A CNN with its batch norms folded into the convolutions: with them, and channels last, 2.3 times as fast on a CPU
    (docs/LOG.md). Weights are of timm's model, norms and all, or, as .safetensors, of one folded
    (lav2.training.encoder)."""
    import timm

    file = weights.find(config.weights) if config.weights else None
    folded = file is not None and file.suffix == ".safetensors"
    net = timm.create_model(config.name, pretrained=False, num_classes=0 if folded else 1000).eval()
    if file and not folded:
        _fill(net, _timm_tensors(file), config)
    _fold_norms(net)
    if folded:
        _fill(net, _timm_tensors(file), config)
    return net.to(memory_format=torch.channels_last)


def _timm_tensors(file: Path) -> dict[str, Tensor]:
    step = "Get the file of the image encoder again."
    return only_tensors(read_tensors(file, step), file, step)


def _fill(net: nn.Module, stored: dict[str, Tensor], config: VisionConfig) -> None:
    """Load tensors whose order is timm's and whose names may be others (DATA.md); those of .safetensors are sorted."""
    own = net.state_dict()
    names = own if stored.keys() != own.keys() else stored
    if [tuple(t.shape) for t in stored.values()] != [tuple(own[name].shape) for name in names]:
        step = "Reinstall requirements-weights.txt." if config.weights.startswith("package:") else (
            "Give the file that `python -m lav2 encoder` made from this encoder."
        )  # fmt: skip
        raise LAV2Error(f"{config.weights} is not of timm's {config.name}.", step)
    net.load_state_dict(dict(zip(names, stored.values(), strict=True)))


def _fold_norms(net: nn.Module) -> None:
    """Fold every batch norm (with fixed statistics) into the convolution before it; its activation stays."""
    convolution = None
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.Conv2d):
            convolution = module
        elif isinstance(module, nn.BatchNorm2d):
            convolution.weight, convolution.bias = fuse_conv_bn_weights(
                convolution.weight, convolution.bias, module.running_mean, module.running_var, module.eps,
                module.weight, module.bias,
            )  # fmt: skip
            parent, _, leaf = name.rpartition(".")
            setattr(net.get_submodule(parent), leaf, getattr(module, "act", nn.Identity()))


def _open_clip_net(config: VisionConfig) -> nn.Module:
    import open_clip

    if config.name.endswith(".json"):
        return _clip_net_of_file(config, _clip_config(config.name))
    if config.weights and Path(config.weights).is_file():  # import --clip
        return _clip_net_of_file(config, open_clip.get_model_config(config.name))
    try:
        return open_clip.create_model(config.name, pretrained=config.weights).visual
    except Exception as error:  # open_clip and the Hub's client raise many types for a missing network or name
        raise LAV2Error(
            f"open_clip's {config.name} ({config.weights}) could not be loaded ({type(error).__name__}).",
            "Connect to the Hub once, import with `--clip FILE`, or choose the preset `embedded`.",
        ) from error


def _clip_net_of_file(config: VisionConfig, settings: dict) -> nn.Module:
    """The vision tower of an open_clip model config (embed_dim, vision_cfg, quick_gelu) and a file with its tensors, or
    with those of the whole CLIP model."""
    from open_clip.model import _build_vision_tower

    net = _build_vision_tower(settings["embed_dim"], settings["vision_cfg"], settings.get("quick_gelu", False))
    if config.weights:
        try:
            net.load_state_dict(_clip_tensors(weights.find(config.weights)))
        except (RuntimeError, ValueError, pickle.UnpicklingError, EOFError, SafetensorError) as error:
            raise LAV2Error(
                f"{config.weights} is not the state dict of the vision tower {config.name} ({type(error).__name__}).",
                "Give the file and the model config that belong together.",
            ) from error
    return net


def _clip_tensors(file: Path) -> dict[str, Tensor]:
    """Tensors of a vision tower by name, from its own file or that of a whole model: safetensors, a state dict, a
    training's checkpoint, or the TorchScript archive that OpenAI publishes (ViT-L-14.pt), which `torch.load` refuses
    where it may not run code; torch.jit.load reads its tensors and runs none of it."""
    step = "Give the file of a vision tower, or of the whole CLIP model."
    try:
        state = read_tensors(file, step)
    except LAV2Error as error:
        if "TorchScript" not in str(error.__cause__):
            raise
        state = torch.jit.load(file, map_location="cpu").state_dict()
    state = state.get("state_dict", state)
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ValueError("it holds no tensors by name")
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    tower = {name.removeprefix("visual."): tensor for name, tensor in state.items() if name.startswith("visual.")}
    return tower or state


def clip_settings(vision: VisionConfig, source: str) -> VisionConfig:
    """`vision` with the sizes of an open_clip model config of a ViT (.json)."""
    settings = _clip_config(source)
    side, patch = settings["vision_cfg"]["image_size"], settings["vision_cfg"]["patch_size"]
    return replace(vision, name=source, image_size=side, width=settings["embed_dim"], tokens=(side // patch) ** 2 + 1)


def _clip_config(source: str) -> dict:
    step = "Give a model config of open_clip, of a ViT."
    settings = files.read_json(weights.find(source), step)
    try:
        sizes = [settings["embed_dim"], settings["vision_cfg"]["image_size"], settings["vision_cfg"]["patch_size"]]
    except (KeyError, TypeError) as error:
        raise LAV2Error(f"{source} is no model config of open_clip ({type(error).__name__}: {error}).", step) from error
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise LAV2Error(f"{source} has sizes that are no whole numbers: {sizes}.", step)
    return settings


def _all_clip_tokens(net: nn.Module, pixels: Tensor) -> Tensor:
    """Class and patch tokens of an open_clip VisionTransformer, each normalised and projected: [B, N, C]."""
    x = net.conv1(pixels).flatten(2).transpose(1, 2)  # [B, N-1, width]
    x = torch.cat([net.class_embedding.expand(len(x), 1, -1), x], dim=1) + net.positional_embedding
    x = net.transformer(net.ln_pre(x))
    return net.ln_post(x) @ net.proj


class VisualProjector(nn.Module):
    """clip_tokens [B, N, C] -> visual_prompt [B, K, D]: learned queries read the tokens in a few ViT blocks.

    The structure is the released code's: Linear, LayerNorm, K queries before the tokens, blocks, keep the queries,
    Linear, LayerNorm.
    """

    def __init__(self, config: ProjectorConfig, vision: VisionConfig, prompt_length: int, width: int):
        super().__init__()
        self.prompt_length = prompt_length
        self.input = nn.Linear(vision.width, config.width)
        self.input_norm = nn.LayerNorm(config.width)
        self.visual_query = nn.Parameter(torch.randn(prompt_length, config.width))  # as nn.Embedding starts
        self.position = nn.Parameter(0.02 * torch.randn(vision.tokens, config.width)) if config.position else None
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_ratio, qkv_bias=True, proj_drop=config.dropout)
            for _ in range(config.depth)
        )
        self.output = nn.Linear(config.width, width)
        self.output_norm = nn.LayerNorm(width)

    def forward(self, clip_tokens: Tensor) -> Tensor:
        x = self.input_norm(self.input(clip_tokens))  # [B, N, V]
        if self.position is not None:
            x = x + self.position
        x = torch.cat([self.visual_query.expand(len(x), -1, -1), self.dropout(x)], dim=1)  # [B, K+N, V]
        for block in self.blocks:
            x = block(x)
        return self.output_norm(self.output(x[:, : self.prompt_length]))  # [B, K, D]


class PooledProjector(nn.Module):
    """clip_tokens [B, N, C] -> visual_prompt [B, 1, D]: one feature of the whole photo, added to every prompt.

    The multimodal form of V1 (arXiv 2303.16199, Sec. 3.4), whose weights were never released. A ViT's class token
    stands for the photo, a CNN's mean does.
    """

    def __init__(self, config: ProjectorConfig, vision: VisionConfig, width: int):
        super().__init__()
        self.has_class_token = vision.library == "open_clip"
        self.input = nn.Linear(vision.width, config.width)
        self.input_norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width, width)
        self.output_norm = nn.LayerNorm(width)

    def forward(self, clip_tokens: Tensor) -> Tensor:
        whole = clip_tokens[:, :1] if self.has_class_token else clip_tokens.mean(1, keepdim=True)  # [B, 1, C]
        return self.output_norm(self.output(self.input_norm(self.input(whole))))
