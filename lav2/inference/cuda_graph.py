"""The fused decode step as a CUDA graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lav2.inference.engine import Engine


class CudaGraphStep:
    """The fused step of `rows` rows, recorded once as a CUDA graph: launched one by one, the step's small kernels take
    longer than the weights take to be read."""

    def __init__(self, engine: Engine, rows: int):
        layers, device = len(engine.layers), engine.device
        self._spare = torch.empty(2 * engine.groups * engine.head_width, dtype=engine.cache_dtype, device=device)
        # Rows that nobody asks for write their token to a cache of their own.
        nowhere = torch.tensor([self._spare.data_ptr(), 0, 0, 0], device=device).expand(layers, rows, 4)
        nothing = torch.zeros(rows, dtype=torch.int64, device=device)
        self._idle = nothing[:, None], nowhere, nothing, nothing
        self._inputs = tuple(part.clone() for part in self._idle)
        self._tokens, self._state, self._positions, self._first = self._inputs
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device):  # Triton computes on the current one
            now, aside = torch.cuda.current_stream(), torch.cuda.Stream()
            aside.wait_stream(now)
            with torch.cuda.stream(aside):  # a graph wants its kernels loaded beforehand
                engine.fused_step(*self._inputs)
            now.wait_stream(aside)
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):  # experts go on in other threads
                self._logits = engine.fused_step(*self._inputs)

    def __call__(self, tokens: Tensor, state: Tensor, positions: Tensor, first: Tensor) -> Tensor:
        """As Engine.fused_step for at most `rows` rows; the next call overwrites what is returned."""
        rows = len(tokens)
        if rows < len(self._tokens):
            for own, idle in zip(self._inputs, self._idle, strict=True):
                own.copy_(idle)
        self._tokens[:rows].copy_(tokens)
        self._state[:, :rows].copy_(state)
        self._positions[:rows].copy_(positions)
        self._first[:rows].copy_(first)
        with torch.cuda.device(self._logits.device):
            self._graph.replay()
        return self._logits
