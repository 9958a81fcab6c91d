"""Texts laid out on a page, as their quads, and how they are read."""

import numpy as np
from PIL import ImageFont

from experts.reading_order import rows_of

SIZE = 24  # px, of the letters
FONT = ImageFont.load_default(SIZE)


def box(x, y, width=40, height=10):
    return [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]


def page(*rows, columns=(20, 320, 620, 920), pitch=36):
    """Texts and quads of rows: each a string, or its cells by column (None: nothing there); ~ lies between the words
    of a cell that are found apart. A text's box reaches a little beyond its letters, as EasyOCR's do."""
    texts, quads = [], []
    for k, row in enumerate(rows):
        for cell, x in zip([row] if isinstance(row, str) else row, columns, strict=False):
            for word in cell.split("~") if cell else ():
                width, y = FONT.getlength(word), 20 + k * pitch
                texts.append(word)
                quads.append(box(x - 2, y - 2, width + 4, SIZE + 4))
                x += width + 0.35 * SIZE
    return texts, np.array(quads, float)


def read(texts, quads, seed=0, known=True):
    """Rows as strings, cells parted by |, of texts that were found in any order."""
    mixed = np.random.default_rng(seed).permutation(len(texts))
    said = [texts[i] for i in mixed]
    rows = rows_of(quads[mixed], said if known else None)
    return [" | ".join(" ".join(said[i] for i in cell) for cell in row) for row in rows]
