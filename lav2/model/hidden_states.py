"""What the first layers of a frozen language model make of each token of a text: words in their context.

For small networks that know few examples: the layers were trained on billions of words. Middle layers tell most about
what words mean beside each other (Peters et al. 2018, arXiv 1808.08949).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lav2.model.llm import load_llm, multiplies_bfloat16

LAYERS = 10  # of the language model, from its first
_BEFORE = "\n"  # the first token takes attention that belongs to none; it is left out of what is told
TOKENS = 2048  # of padded texts that are read at once


@dataclass(frozen=True)
class Tokens:
    """A text's T tokens.

    Attributes:
        places: where each begins and ends in the text.
        ids: of the tokenizer [T].
        states: what the layers make of them [T, C], float16.
        source: that made them.
    """

    places: Sequence[tuple[int, int]]
    ids: Tensor
    states: Tensor
    source: HiddenStates

    @property
    def vectors(self) -> Tensor:
        """Of the embedding, less the mean of all tokens, over their spread [T, C]."""
        return self.source.vectors(self.ids)


class HiddenStates:
    """The first layers of a language model, on the CPU.

    Args:
        source: of lav2.weights.
        layers: how many of them.

    Raises:
        LAV2Error: the language model cannot be loaded.
    """

    def __init__(self, source: str, layers: int = LAYERS):
        llm, self._tokenizer = load_llm(source, torch.bfloat16 if multiplies_bfloat16() else torch.float32)
        table = llm.get_input_embeddings().weight.detach().float()
        self._mean, self._scale = table.mean(0), (table - table.mean(0)).std()
        self._decoder = llm.model
        self._decoder.layers, self._decoder.norm = self._decoder.layers[:layers], nn.Identity()
        first = self._tokenizer(_BEFORE, add_special_tokens=False).input_ids or [self._tokenizer.bos_token_id or 0]
        self._first = first[-1]
        self.layers, self.width = layers, table.shape[1]

    def __call__(self, text: str) -> Tokens:
        """The tokens of one text."""
        return self.of([text])[0]

    @torch.inference_mode()
    def of(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of several texts, in their order; texts of like length are read together."""
        read = [self._tokenizer(text, return_offsets_mapping=True, add_special_tokens=False) for text in texts]
        ids = [torch.tensor(one.input_ids, dtype=torch.long) for one in read]
        order = sorted(range(len(read)), key=lambda at: len(ids[at]))
        states: dict[int, Tensor] = {}
        while order:
            longest = len(ids[order[-1]]) + 1
            part = order[-max(1, TOKENS // longest) :]
            del order[-len(part) :]
            states |= zip(part, self._states([ids[at] for at in part], longest), strict=True)
        return [Tokens(one.offset_mapping, ids[at], states[at], self) for at, one in enumerate(read)]

    @torch.inference_mode()
    def vectors(self, ids: Tensor) -> Tensor:
        """Of the embedding, less the mean of all tokens, over their spread [T, C]."""
        return (self._decoder.embed_tokens.weight[ids].float() - self._mean) / self._scale

    def _states(self, texts: Sequence[Tensor], longest: int) -> list[Tensor]:
        ids = torch.full((len(texts), longest), self._first)
        mask = torch.zeros(len(texts), longest, dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, 1 : len(text) + 1], mask[row, : len(text) + 1] = text, 1
        found = self._decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state.half()
        return [found[row, 1 : len(text) + 1].clone() for row, text in enumerate(texts)]
