"""`python -m experts.train_detector.colours`: the colour model of boxes from phrases tied to them."""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from experts import colours

SAME = {"gray": "grey", "tan": "brown", "beige": "brown", "golden": "yellow", "gold": "yellow", "silver": "grey"}
KINDS = ("animals", "vehicles", "clothing", "other")  # of phrases
# sRGB of plain surfaces, which photos hardly have: drawings, signs and screens do.
PLAIN = {
    "black": ((10, 10, 10), (35, 35, 40)),
    "white": ((250, 250, 250), (235, 232, 225)),
    "grey": ((128, 128, 128), (170, 170, 172), (90, 92, 95)),
    "red": ((215, 25, 30), (160, 15, 25), (235, 60, 50)),
    "orange": ((245, 130, 20), (230, 110, 40)),
    "yellow": ((250, 220, 30), (225, 195, 60)),
    "green": ((30, 140, 50), (90, 180, 70), (20, 85, 40)),
    "blue": ((30, 60, 190), (80, 140, 220), (20, 35, 100), (130, 190, 235)),
    "purple": ((110, 40, 140), (150, 90, 190)),
    "pink": ((245, 150, 185), (235, 90, 150)),
    "brown": ((105, 65, 35), (140, 95, 60), (75, 45, 25)),
}
PLAIN_COUNT, SPREAD = 1600, 14  # surfaces made of them; the standard deviation of their sRGB values
SMALLEST = 900  # px: area of a box
DECAY = 1e-4  # of squared weights


def named(folder: Path) -> Iterator[tuple[Path, tuple[float, ...], str, str]]:
    """(photo, box, colour, split) of phrases that name one colour and stand for one box."""
    with gzip.open(folder / "entities_flickr8k.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            for caption in entry["captions"]:
                for start, end, entity, kind in caption["phrases"]:
                    words = [w for w in re.split(r"\W+", caption["text"][start:end].lower()) if w]
                    spelled = [SAME.get(w, w) for w in words]
                    colour = [w for w in spelled if w in colours.NAMES]
                    boxes = entry["boxes"].get(entity) or ()
                    if kind not in KINDS or len(colour) != 1 or spelled[-1] in colours.NAMES or len(boxes) != 1:
                        continue
                    left, top, right, bottom = boxes[0]
                    if (right - left) * (bottom - top) >= SMALLEST:
                        yield folder / entry["image"], tuple(boxes[0]), colour[0], entry["split"]


def plain_surfaces() -> tuple[list[np.ndarray], list[int]]:
    """Features and colours of made-up plain surfaces."""
    rng = np.random.default_rng(0)
    inputs, targets = [], []
    for number in range(PLAIN_COUNT):
        name = colours.NAMES[number % len(colours.NAMES)]
        base = PLAIN[name][rng.integers(len(PLAIN[name]))]
        shade = tuple(int(v) for v in np.clip(np.array(base) + rng.normal(0, SPREAD, 3), 0, 255))
        inputs.append(colours.features(Image.new("RGB", (20, 20), shade), (0, 0, 20, 20)))
        targets.append(colours.NAMES.index(name))
    return inputs, targets


def fit(inputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[C, 11] weights and [11] bias of multinomial regression; rare colours count more, by the square root."""
    x, y = torch.tensor(inputs), torch.tensor(targets)
    weights = torch.zeros(x.shape[1], len(colours.NAMES), requires_grad=True)
    bias = torch.zeros(len(colours.NAMES), requires_grad=True)
    counts = torch.bincount(y, minlength=len(colours.NAMES)).clamp(min=1)
    shares = (counts.sum() / counts / len(counts)).sqrt()
    solver = torch.optim.LBFGS([weights, bias], max_iter=300)

    def loss() -> torch.Tensor:
        solver.zero_grad()
        value = functional.cross_entropy(x @ weights + bias, y, weight=shares) + DECAY * weights.square().sum()
        value.backward()
        return value

    solver.step(loss)
    return weights.detach().numpy(), bias.detach().numpy()


def main(argv: Sequence[str] | None = None) -> int:
    """Fit on split train, score on val, write the weights."""
    parser = argparse.ArgumentParser(prog="python -m experts.train_detector.colours", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with entities_flickr8k.jsonl.gz and photos/")
    parser.add_argument("--out", type=Path, default=colours.WEIGHTS)
    options = parser.parse_args(argv)
    rows: dict[str, tuple[list, list]] = {"train": ([], []), "val": ([], [])}
    file, photo = None, None
    for path, box, colour, split in named(options.data):
        if path != file:
            file, photo = path, Image.open(path).convert("RGB")
        if split in rows:
            rows[split][0].append(colours.features(photo, box))
            rows[split][1].append(colours.NAMES.index(colour))
    made_up = plain_surfaces()
    weights, bias = fit(np.array(rows["train"][0] + made_up[0]), np.array(rows["train"][1] + made_up[1]))
    weights, bias = weights.round(2), bias.round(2)
    order = np.argsort(-(np.array(rows["val"][0]) @ weights + bias), 1)
    truth = np.array(rows["val"][1])
    score = {
        "boxes": len(truth),
        "right": round(float((order[:, 0] == truth).mean()), 3),
        "first two": round(float((order[:, :2] == truth[:, None]).any(1).mean()), 3),
    }
    print(json.dumps({"train": len(rows["train"][1]), "val": score}))
    made = {"names": colours.NAMES, "val": score, "bias": bias.tolist(), "weights": weights.tolist()}
    options.out.write_text(f"{json.dumps(made)}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
