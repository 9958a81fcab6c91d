"""What people answer, beside the words that the captioner expects of the photo: a product of experts (Hinton 2002,
Neural Computation 14, 8).

The model of people's answers learned from few thousand questions and leans on what is mostly true; which words a photo
is described with was learned from tens of thousands of captions. An answer with a word that the photo makes likelier
than photos do at large gains, one whose words it makes less likely loses. What it brings stands in docs/LOG.md.

Words: A answers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lav2.captioning.scenes import WordChance
from lav2.text.claims import singular

# Fitted to 238 questions that people asked of val photos, answered with neither yes or no nor a number: shares of the
# log-odds with the photo and without it, and of the words' gain; what is added to all.
SEEN, BLIND, GAIN, ALL = 0.456, 0.295, 0.347, -0.208
_LITTLE = 1e-3  # added to chances
_EMPTY = frozenset(re.findall("[a-z]+", "a an the of in on at to and with is are his her their it for"))


def gains(answers: Sequence[str], words: Mapping[str, WordChance]) -> Tensor:
    """[A] by how much a photo makes a word of each answer likelier than photos do at large, as logarithm: the most of
    its words, 0 where none is known."""
    best: dict[str, WordChance] = {}
    for word, told in words.items():
        stem = singular(word)
        other = best.get(stem, told)
        best[stem] = WordChance(max(told.chance, other.chance), max(told.share, other.share))
    gain = {stem: math.log((told.chance + _LITTLE) / (told.share + _LITTLE)) for stem, told in best.items()}
    found = []
    for answer in answers:
        stems = (singular(word) for word in re.findall("[a-z]+", answer) if word not in _EMPTY)
        found.append(max((gain[stem] for stem in stems if stem in gain), default=0.0))
    return torch.tensor(found)


def weighed(seen: Tensor, blind: Tensor, gain: Tensor) -> Tensor:
    """Log-odds [A] of people's answers with the photo and without it, and the photo's `gains` -> those of all three
    together."""
    return SEEN * seen + BLIND * blind + GAIN * gain + ALL
