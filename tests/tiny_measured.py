"""An assistant with an image encoder, small enough to be measured in a test."""

import string
from dataclasses import replace

import torch
from tiny import LATE, PROJECTOR, VISION, llama, open_gates
from tiny_rows import tokenizer

from experts import detection
from lav2 import config
from lav2.assistant.service import Assistant
from lav2.model.adapted import AdaptedLlama


class Tower:
    """Tokens that tell the photo: its red level."""

    config = VISION

    def resized(self, picture):
        return picture

    def encode(self, pictures):
        reds = torch.tensor([picture.getpixel((0, 0))[0] / 255 for picture in pictures])
        return reds.view(-1, 1, 1).expand(-1, VISION.tokens, VISION.width)


def made(detector):
    words = tokenizer([*string.ascii_letters, *string.digits, *'.,:?!"[]()/-', "Ġ", "Ċ"])  # whole characters only
    sizes = {"vocab_size": len(words), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
             "max_position_embeddings": 2048}  # fmt: skip
    models = [open_gates(AdaptedLlama(llama(seed, **sizes), LATE, PROJECTOR, VISION).eval()) for seed in range(2)]
    preset = replace(config.EMBEDDED, template="chat")
    found = detection.build(detector)
    return Assistant(preset, *models, words, Tower(), found, {}, {"base": "b", "adapter": "a"})
