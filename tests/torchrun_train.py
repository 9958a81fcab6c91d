"""A few training steps, for test_train to start by torchrun: `torchrun ... torchrun_train.py OUT`."""

import sys
from pathlib import Path

import torch
from tiny import VISION, adapted, llama, open_gates, tokenizer

from lav2.data.batches import Rows, Sample
from lav2.model.llm import base_identity
from lav2.training import distributed, loop
from lav2.training.settings import TrainConfig


class Features:
    """Tokens that tell the photo."""

    def get(self, images, views=None):
        return torch.tensor([float(image) for image in images]).view(-1, 1, 1).expand(-1, VISION.tokens, VISION.width)


def main(out: Path) -> None:
    distributed.join_processes(torch.device("cpu"))
    samples = [Sample(str(n), (1, 3 + n, 20 + n, *[2] * (n % 3 + 1)), (False, *[True] * (n % 3 + 3))) for n in range(9)]
    rows = Rows(lambda rng: samples, Features(), 2)
    settings = TrainConfig(stage="joint", steps=4, batch=3, save_every=2)
    base = base_identity(llama(), tokenizer(), "tiny")
    torch.manual_seed(1)
    model = open_gates(adapted())
    loop.train(model, {"caption": rows, "instruction": rows}, settings, out, base, {"caption": rows.fixed(3)})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
