"""Made-up signs of several parts: opening hours above prices and what is allowed, as on a door or a leaflet."""

from __future__ import annotations

from random import Random

from lav2.documents import cards, permits, prices, prose, states, tables, tags, times
from lav2.documents.kinds import Document, Page, general

PARTS = (
    (times.hours, 5),
    (prices.price_list, 4),
    (permits.permits, 5),
    (cards.card, 4),
    (prose.sign, 2),
    (tags.label, 4),
    (states.states, 2),
    (tables.table, 1),
)
# What is no longer true, or has more than one answer, beside another part.
ALONE = ("about", "read", "title", "line", "rows", "absent", "member", "list", "below", "above", "compare", "closed", "least", "most",
         "least value", "most value", "shop")  # fmt: skip
ONE_OF = {"card": "fields", "label": "fields"}  # both ask for fields by their names alone
LONGEST = 16  # rows of a board


def board(rng: Random, rate: float) -> Document:
    """Two or three parts below each other, with the questions that still have one answer."""
    made = Document("board")
    seen: set[str] = set()
    for _ in range(rng.choice((2, 2, 3))):
        maker = rng.choices([maker for maker, _ in PARTS], [share for _, share in PARTS])[0]
        kind = ONE_OF.get(maker.__name__, maker.__name__)
        part = maker(rng, rate)
        if kind in seen or (made.rows and len(made.rows) + len(part.rows) > LONGEST):
            continue
        seen.add(kind)
        asks = [ask for ask in part.asks if ask.kind not in ALONE]
        made.rows += part.rows
        made.asks += asks
    page = Page(rng, "board", rate)
    page.made = made
    general(page, "sign", made.rows[0][0])
    return made
