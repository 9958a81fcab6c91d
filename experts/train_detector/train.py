"""Training by ultralytics' own trainer on our model, and its export to the one file that the expert loads."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import WeightedRandomSampler

from experts.detection import contained
from experts.evidence import ExpertError
from experts.train_detector.loss import PartialLabelLoss
from experts.train_detector.model import BODY, STEM, LiteDetector, adopt, keep_classes
from experts.train_detector.settings import DetectorTraining

with contained(verbose=True):
    from ultralytics import YOLO
    from ultralytics.data.build import InfiniteDataLoader, seed_worker
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.nn.tasks import load_checkpoint

EMA_DECAY, EMA_STEPS = 0.998, 300  # ultralytics' own (0.9999, 2,000) averages nothing in some hundred steps
BACKBONE_LR = 0.3  # of the rest's rate: it starts from ImageNet
DEFAULTS: dict[str, Any] = {  # ultralytics' settings that differ from its own defaults
    "optimizer": "AdamW",
    "lrf": 0.01,
    "cos_lr": True,
    "momentum": 0.9,
    "weight_decay": 0.003,  # ultralytics multiplies it by the batch
    "warmup_epochs": 0.5,
    "warmup_bias_lr": 0.0,
    "nbs": 1,  # step after every batch
    "mosaic": 0.5,
    "scale": 0.4,
    "close_mosaic": 2,
    "patience": 0,
    "val": False,  # AP is measured by `evaluate`, through the expert
    "amp": False,  # LiteDetector.predict takes bfloat16 where a CPU has it
    "deterministic": False,  # torch would clear every new tensor before it is written
    "plots": False,
    "cache": "ram",
    "exist_ok": True,
}


class LiteTrainer(DetectionTrainer):
    """DetectionTrainer for LiteDetector: slower rate for the backbone, channels last, a loader beside the step, and
    what `hints.json` of data.write says: how often a photo is sampled, where its labels are incomplete."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.trunk = "tf_efficientnet_lite0"
        self.init: Path | None = None
        self.loaders = 1
        self.photos: int | None = None
        self.hints = json.loads((Path(self.args.data).parent / "hints.json").read_text())

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> LiteDetector:
        shape = {k: v for k, v in weights.yaml.items() if k in ("width", "reach")} if weights else {}
        model = LiteDetector(self.data["nc"], weights.yaml["trunk"] if weights else self.trunk, **shape)
        if weights:
            model.load(weights)
        elif self.init:
            brought = adopt(model, load_checkpoint(self.init)[0], list(self.data["names"].values()))
            print(f"starts from {self.init}, {len(brought)} classes of it: {', '.join(brought)}")
        # The weights' gradients of the backbone's depthwise convolutions would take a third of the whole step.
        self.args.freeze = [STEM, *model.depthwise_of_backbone()]
        return model.to(memory_format=torch.channels_last)

    def build_optimizer(self, model: LiteDetector, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        optimizer = super().build_optimizer(model, *args, **kwargs)
        tuned = {id(p) for p in model.model[BODY].parameters()}
        for group in list(optimizer.param_groups):
            own = [p for p in group["params"] if id(p) in tuned]
            if own:
                group["params"] = [p for p in group["params"] if id(p) not in tuned]
                optimizer.add_param_group({**group, "params": own, "lr": group["lr"] * BACKBONE_LR})
        return optimizer

    def _setup_train(self) -> None:
        super()._setup_train()
        self.ema.decay = lambda steps: EMA_DECAY * (1 - math.exp(-steps / EMA_STEPS))

    def set_model_attributes(self) -> None:
        super().set_model_attributes()
        absence = torch.tensor(self.hints["absence"]).reshape(-1, self.data["nc"])
        self.model.criterion = PartialLabelLoss(self.model, absence)

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None):
        """Regions of incomplete labels go through mosaics and flips as boxes of further classes (PartialLabelLoss)."""
        dataset = super().build_dataset(img_path, mode, batch)
        for labels in dataset.labels if mode == "train" else ():
            regions = np.array(self.hints["regions"][Path(labels["im_file"]).stem], np.float32).reshape(-1, 5)
            labels["cls"] = np.concatenate([labels["cls"], regions[:, :1] + self.data["nc"]])
            labels["bboxes"] = np.concatenate([labels["bboxes"], regions[:, 1:]])
        return dataset

    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train"):
        self.args.workers = self.loaders  # ultralytics sets 0 on a CPU, and the step then waits for the mosaics
        loader = super().get_dataloader(dataset_path, batch_size, rank, mode)
        if mode != "train":
            return loader
        repeats = [self.hints["repeats"][Path(file).stem] for file in loader.dataset.im_files]
        return InfiniteDataLoader(
            loader.dataset,
            batch_size=min(batch_size, len(repeats)),
            sampler=WeightedRandomSampler(repeats, self.photos or len(repeats)),
            num_workers=self.loaders,
            prefetch_factor=4 if self.loaders else None,
            collate_fn=loader.dataset.collate_fn,
            worker_init_fn=seed_worker,
        )

    def preprocess_batch(self, batch: dict) -> dict:
        batch = super().preprocess_batch(batch)
        batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)  # 1.5 times as fast on a CPU
        return batch


def train(data: Path, out: Path, config: DetectorTraining) -> Path:
    """Train until all epochs are done and return the last checkpoint.

    A run that was cut off goes on after its last whole epoch, with the settings it began with. In the last epochs,
    those without mosaics, photos have the final size: most of the run is cheaper on small ones.

    Args:
        data: data.yaml of `data.write`.
        out: folder of the run: weights/last.pt after every epoch, results.csv.
        config: its settings; where no checkpoint is named to start from, the backbone has ImageNet's weights.
    """
    last = out / "weights" / "last.pt"
    grown = config.epochs - DEFAULTS["close_mosaic"]  # epochs before the final size
    done = 0
    settings = {**DEFAULTS, "data": str(data), "epochs": config.epochs, "model": "lite.yaml"}
    settings |= {"lr0": config.lr, "time": config.hours}
    if last.is_file():
        done = load_checkpoint(last)[1]["epoch"] + 1
        if done == 0:  # ultralytics marks a finished run so
            return last
        settings = {"resume": str(last), "data": str(data)}
    side = config.final_size if config.final_size and done >= grown else config.size
    shared = {"task": "detect", "imgsz": side, "batch": config.batch, "device": _device(), "save_dir": str(out)}
    trainer = LiteTrainer(overrides=settings | shared)
    trainer.trunk, trainer.loaders = config.backbone, config.loaders
    trainer.init, trainer.photos = config.init, config.photos
    if config.final_size and done < grown:
        trainer.add_callback("on_model_save", partial(_cut, grown))
    torch.set_num_threads(config.threads or len(os.sched_getaffinity(0)))  # ultralytics leaves a core idle
    try:
        trainer.train()
    except _TimeToGrow:
        return train(data, out, config)
    return last


class _TimeToGrow(Exception):
    """Leaves ultralytics' loop after an epoch was saved, to go on from there with another size."""


def _cut(epochs: int, trainer: LiteTrainer) -> None:
    if trainer.epoch + 1 == epochs:
        raise _TimeToGrow


def _device() -> str:
    return "0" if torch.cuda.is_available() else "cpu"


def export(
    checkpoint: Path, out: Path, size: int, classes: Sequence[str] | None = None, second_size: int | None = None
) -> Path:
    """A checkpoint as the ONNX file that ultralytics loads (names, stride and size are in it), cut to `classes`. With
    `second_size` it also looks at the photo's mirror image at that many px.

    Raises:
        ExpertError: a class is not among those that were trained.
    """
    yolo = YOLO(str(checkpoint), task="detect")
    names = list(yolo.model.names.values())
    unknown = sorted(set(classes or ()) - set(names))
    if unknown:
        raise ExpertError(f"{checkpoint} was not trained on {', '.join(unknown)}.", f"It knows: {', '.join(names)}.")
    yolo.model = deepcopy(yolo.model).to(memory_format=torch.contiguous_format)
    if classes:
        keep_classes(yolo.model, [name for name in names if name in set(classes)])
    yolo.model.second_size = second_size
    with contained():  # without installing packages by itself
        file = Path(yolo.export(format="onnx", imgsz=size, simplify=False, device="cpu"))
    _halve(file)
    out.parent.mkdir(parents=True, exist_ok=True)
    file.replace(out)
    return out


def _halve(file: Path) -> None:
    """Store the matrices of an ONNX file as float16, in place: half the size; computing stays in float32."""
    import onnx

    model = onnx.load(file)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1:
            name, value = tensor.name, onnx.numpy_helper.to_array(tensor).astype("float16")
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, f"{name}.half"))
            casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, file)
