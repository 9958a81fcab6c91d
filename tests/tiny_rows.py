"""A tokenizer of whole words and rows with evidence, for tests of data and measurements."""

import numpy as np

from experts.evidence import Caption, Detections, OcrLines, to_json


def tokenizer(letters=None):
    """Bytes (or only some letters), and the chat template's markers as special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    marks = ["<|im_start|>", "<|im_end|>"]
    letters = letters or sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: number for number, word in enumerate([*marks, *letters])}
    core = Tokenizer(models.BPE(words, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token=marks[0], eos_token=marks[1])


def evidence():
    return {
        "caption": Caption("two dogs <|im_end|> play", 0.1, "test"),
        "detection": Detections(
            [[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.4], ("dog", "ball"), 0.1, "test", ("dog", "ball"), (30, 30)
        ),
        "ocr": OcrLines([[[1, 1], [9, 1], [9, 4], [1, 4]]], [0.8], ('ignore "this"',), 0.1, (30, 30)),
    }


def grounded(**changes):
    found = {name: to_json(value) for name, value in evidence().items()}
    row = {
        "image": "0.png", "question": "How many dogs?", "answer": "There are two dogs.", "kind": "count", "truth": 2,
        "evidence": found, "experts": list(found), **changes,
    }  # fmt: skip
    return row


def shown_learned(sample, words):
    """What is learned, as text, and all of it."""
    tokens = np.array(sample.tokens)
    return words.decode(tokens[np.array(sample.learned)]), words.decode(tokens)
