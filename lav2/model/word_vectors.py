"""Vectors of words from a language model's embedding, for small networks that know few examples of each word."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase


def word_vectors(
    llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, words: Sequence[str], length: float
) -> Tensor:
    """[words, C] float32: the mean of each word's tokens, less that of all tokens, of that length; C: width of the
    model. A word without tokens has the vector 0."""
    table = llm.get_input_embeddings().weight.detach().float()
    tokens = (tokenizer(" " + word, add_special_tokens=False).input_ids for word in words)
    vectors = [table[ids].mean(0) if ids else table.mean(0) for ids in tokens]
    return F.normalize(torch.stack(vectors) - table.mean(0), dim=1) * length
