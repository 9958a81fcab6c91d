"""Labels of a text with the values behind them: "Total: 8.00", "Gate # 12", or a row of two cells. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence

_INSIDE = re.compile(r"(?P<label>[^\W\d](?:[^\W\d]|[ .'/-]){0,30}?)(?:\s*:\s*|\s+#\s*)(?P<value>\S.*)")


def labelled_values(row: Sequence[str]) -> list[tuple[str, str]]:
    """Each label with its value, within cells of a row; where none has both, of a row of two cells.

    Args:
        row: cells of a row of the text.
    """
    found = [(match["label"], match["value"].strip()) for cell in row if (match := _INSIDE.fullmatch(cell))]
    return found or ([(row[0].rstrip(" :"), row[1].strip())] if len(row) == 2 else [])
