"""The choice of the next token: temperature, top-p, penalty for repetition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lav2.errors import LAV2Error
from lav2.events import Sampling

NUCLEUS = 512  # likeliest tokens that are sorted first for top-p; all of them only where these do not suffice
LOOP, PERIOD = 8, 16  # tokens of a repetition at least, and of what is repeated at most (see `looping`)


def sample(
    logits: Tensor, sampling: Sampling, generator: torch.Generator, earlier: Sequence[Sequence[int]] = ()
) -> list[int]:
    """Next token of each row of logits [B, vocabulary], which may be overwritten; `earlier` are the tokens of each row
    that get the penalty for coming again.

    Raises:
        LAV2Error: the logits give no chances.
    """
    logits = logits.float()
    on_cpu = logits.device.type == "cpu"
    # numpy looks through a row of 49,152 numbers in a tenth of torch's time, and its operations start at once.
    rows = logits.numpy() if on_cpu else logits
    for row, ids in zip(rows, earlier if sampling.repetition_penalty != 1 else (), strict=False):
        for some in ids if on_cpu else [ids] if ids else []:  # one by one is faster than numpy for less than 200
            row[some] *= sampling.repetition_penalty ** (1.0 - 2.0 * (row[some] > 0))
    if sampling.temperature < 1e-4:  # anything between 0 and this leaves the likeliest alone, and may overflow
        return rows.argmax(-1).tolist()
    chances = torch.softmax(logits / sampling.temperature, -1)
    if not chances.sum().isfinite():  # else a token would be drawn that is none, which a GPU does not survive
        raise LAV2Error("The model's numbers grew out of their type.", "Use --dtype bfloat16 or float32.")
    if sampling.top_p >= 1:
        return multinomial(chances, generator).tolist()
    for count in (NUCLEUS, chances.shape[1]):  # sorting all takes as long as the model does
        top, order = chances.topk(min(count, chances.shape[1]))  # the likeliest first
        cumulative = top.cumsum(-1)
        if count >= chances.shape[1] or bool((cumulative[:, -1] >= sampling.top_p).all()):
            break
    top = top.masked_fill(cumulative - top >= sampling.top_p, 0)  # the likeliest always stays
    return order.gather(1, multinomial(top, generator)[:, None])[:, 0].tolist()


def multinomial(chances: Tensor, generator: torch.Generator) -> Tensor:
    """Indices [B], sampled by weights [B, n] with one random number a row (inverse transform). torch.multinomial draws
    one for every weight: for the tokens of sixteen drafts, that takes longer on a CPU than the model does."""
    heights = chances.cumsum(-1)
    drawn = torch.rand(len(chances), 1, generator=generator).to(heights.device)  # at most 1 - 2^-24: below the last
    return torch.searchsorted(heights, drawn * heights[:, -1:], right=True)[:, 0]


def looping(written: list[int]) -> int | None:
    """The token that would say once more what the text has said over and over, three times and LOOP tokens at least."""
    for period in range(1, PERIOD + 1):
        times = max(3, -(-LOOP // period))
        repeats = len(written) >= times * period and written[-1] == written[-1 - period]
        if repeats and written[-times * period :] == written[-period:] * times:
            return written[-period]
    return None


class Bias(NamedTuple):
    """Tokens of a likely answer, and what is added to the logit of each from place `start` on."""

    ids: Sequence[int]
    weight: float
    start: int = 0


class RowBias(NamedTuple):
    """Likely answers of a row, and what tells from the tokens that are written what is added to which next ones."""

    answers: Sequence[Bias] = ()
    following: Callable[[Sequence[int]], Mapping[int, float]] | None = None


class SequenceSampler:
    """Chooses the next token of each row, until every row has met a stop token or max_new_tokens are out.

    With a repetition penalty, which spares tokens of the prompt, a row that goes round in circles is led out of it
    (`looping`). Written in Python: an operation of torch on a few numbers takes as long as twenty of Python's.

    Args:
        stop: ids that end a row; a finished row repeats stop[0].
        prompts: of each row, ids that get no penalty.
        bias: of each row, likely answers with what is added to the logit of their next token while the row says the
            same (see streaming.row_bias), and what may follow.
    """

    def __init__(
        self,
        sampling: Sampling,
        stop: Sequence[int],
        prompts: Sequence[Sequence[int]],
        bias: Sequence[RowBias] = (),
    ):
        self._bias = bias
        self._sampling, self._stop = sampling, stop
        self._generator = torch.Generator().manual_seed(sampling.seed)
        self._penalised: list[list[int]] = [[] for _ in prompts]  # what gets the penalty, once each
        self._known = [set(row) for row in prompts]  # that, and the prompt
        self._written: list[list[int]] = [[] for _ in prompts]
        self._unfinished = [True] * len(prompts)
        self._left = sampling.max_new_tokens

    @property
    def over(self) -> bool:
        return not self._left or not any(self._unfinished)

    def _lift(self, logits: Tensor) -> None:
        """Add what the likely answers weigh that begin as their rows do; of several with one next token the most."""
        going = []
        for row, ((answers, following), written) in enumerate(zip(self._bias, self._written, strict=False)):
            at, weights = len(written), dict(following(written)) if following else {}
            going.append(RowBias([one for one in answers if at < len(one.ids) and one.ids[:at] == written], following))
            for ids, weight, start in going[row].answers:
                if at >= start:
                    weights[ids[at]] = max(weight, weights.get(ids[at], weight))
            for token, weight in weights.items():
                logits[row, token] += weight
        self._bias = going if any(row.answers or row.following for row in going) else ()

    def __call__(self, logits: Tensor) -> list[int]:
        """The next token of each row of logits [B, vocabulary], which may be overwritten.

        Raises:
            LAV2Error: the logits give no chances.
        """
        if self._sampling.repetition_penalty != 1:
            for row, written in enumerate(self._written):
                if (token := looping(written)) is not None:
                    logits[row, token] = float("-inf")
        self._lift(logits)
        chosen = sample(logits, self._sampling, self._generator, self._penalised)
        chosen = [
            token if unfinished else self._stop[0] for token, unfinished in zip(chosen, self._unfinished, strict=True)
        ]
        self._unfinished = [
            unfinished and token not in self._stop for token, unfinished in zip(chosen, self._unfinished, strict=True)
        ]
        self._left -= 1
        for new, penalised, known, written in zip(chosen, self._penalised, self._known, self._written, strict=True):
            written.append(new)
            if new not in known:
                penalised.append(new)
                known.add(new)
        return chosen
