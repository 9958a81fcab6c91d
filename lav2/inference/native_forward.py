"""The engine's forward in decode.c: steps of a few rows, and prompts where that is faster than torch.

Words as in engine.py.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lav2.errors import LAV2Error
from lav2.inference.cache import Cache

KV_BLOCK = 128  # tokens that are attended to at once, as in vectors.h
MAX_NATIVE_TOKENS = 128  # tokens that decode.c takes in one call


class NativeForward:
    """The methods of Engine that compute in decode.c; the weights and sizes are Engine's."""

    def _native_tables(self, hidden: int) -> None:
        """The tables that decode.c reads; biases and norms there are float32."""
        self._exact: list[Tensor] = []  # kept alive for their addresses

        def exact(part: Tensor | None) -> int:
            if part is None:
                return 0
            self._exact.append(part.float().contiguous())
            return self._exact[-1].data_ptr()

        layers = []
        for layer in self.layers:
            row = []
            for matrix in (layer.qkv, layer.out, layer.gate_up, layer.down):
                factor = 0 if matrix.factor is None else matrix.factor.data_ptr()
                row += [matrix.weight.data_ptr(), factor, exact(matrix.bias)]
            layers.append(row + [exact(norm) for norm in layer.norms])
        width, wide = self.embedding.shape[1], self.heads * self.head_width
        # a row's, of its attention: parts of its text and prompt, with what puts them together
        parts = sum(4 * math.ceil(n / (4 * KV_BLOCK)) for n in (self.context, self.model.config.prompt_length))
        shape = (width, self.heads, self.groups, self.head_width, hidden, len(self.embedding), len(layers), parts,
                 1 if self.int8 else 2)  # fmt: skip
        head = (self.head.weight.data_ptr(), 0 if self.head.factor is None else self.head.factor.data_ptr())
        tables = (shape, layers, (self.epsilon, self.scaling), self.cosine, self.sine, self.norm.float(), head)
        self._exact += [part if isinstance(part, Tensor) else torch.tensor(part) for part in tables]
        self._tables = [part.data_ptr() for part in self._exact[-len(tables) :]]
        # numbers of scratch memory: for each row, for each row and thread, for each thread
        self._scratch = (
            width + wide + 2 * self.groups * self.head_width + hidden + parts * self.heads * (self.head_width + 16),
            2 * max(hidden, wide, width),
            self.heads * (KV_BLOCK + 16) + 16,
        )

    def _native_step(self, ids: Sequence[int], caches: Sequence[Cache]) -> Tensor:
        """`_forward` of one token of each row by decode.c. Little torch: with the processor's caches full of weights,
        an operation takes 10 to 50 microseconds, and so does entering inference mode."""
        rows = [(cache, row) for cache in caches for row in range(len(cache.begins))]
        return self._native_call([number for token, (cache, row) in zip(ids, rows, strict=True)
                             for number in (token, *cache.decode_arguments(row, 0))], len(rows))  # fmt: skip

    def _native_prompt(self, input_ids: Tensor, cache: Cache) -> Tensor:
        """`_forward` by decode.c: every token is a row, but for padding."""
        columns, rows = input_ids.T.tolist(), len(input_ids)
        begun = cache.length + len(columns) > max(cache.begins)  # by then; else there is nothing to choose from yet
        most = max(1, MAX_NATIVE_TOKENS // rows)
        for begin in range(0, len(columns), most):
            where: list[int] = []
            for offset, column in enumerate(columns[begin : begin + most], begin):
                for row, token in enumerate(column):
                    if cache.length + offset >= cache.begins[row]:
                        where += token, *cache.decode_arguments(row, offset)
            logits = self._native_call(where, rows if begun and begin + most >= len(columns) else 0)
        return logits

    def _native_call(self, where: list[int], wanted: int) -> Tensor:
        """Logits [wanted, V] of the last of some tokens: for each its id and Cache.decode_arguments."""
        rows, threads = len(where) // 5, torch.get_num_threads()
        if strange := [token for token in where[::5] if not 0 <= token < len(self.embedding)]:
            raise LAV2Error(f"Token {strange[0]} is none of the model's {len(self.embedding)}.",
                            "Use the tokenizer that belongs to the model.")  # fmt: skip
        if not wanted <= rows <= MAX_NATIVE_TOKENS:  # decode.c has room for no more
            raise ValueError(f"{wanted} of {rows} rows, at most {MAX_NATIVE_TOKENS}")
        scratch = torch.empty(rows * self._scratch[0] + threads * (rows * self._scratch[1] + self._scratch[2]))
        logits = torch.empty(wanted, len(self.embedding))
        self.library.lav2_step(
            *self._tables, self.embedding.data_ptr(), rows, (ctypes.c_int64 * len(where))(*where), wanted,
            scratch.data_ptr(), logits.data_ptr(), threads,
        )  # fmt: skip
        return logits
