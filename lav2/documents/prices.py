"""Made-up price lists, menus and tags, and what is asked of things and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from lav2.documents import values, words
from lav2.documents.kinds import Document, Page, general
from lav2.text.weighing import ABSENT

PRICE_QUESTIONS = ("How much is the {x}?", "What does the {x} cost?", "How much does the {x} cost?", "What is the price of the {x}?", "How much for the {x}?",
                   "price of {x}?", "How much are the {x}?", "What do I pay for {x}?", "How much was the {x}?", "How much did the {x} cost?",
                   "How much do the {x} cost?", "What do the {x} cost?", "How much is {x}?", "How much for {x}?")  # fmt: skip
MEMBER_QUESTIONS = ("Do they sell {x}?", "Is there {x} on the list?", "Do they have {x}?", "Can I get {x} here?", "Is {x} listed?", "Did they buy {x}?",
                    "Is there {x}?", "Is there any {x}?", "Are there {x}?", "Do they serve {x}?", "Is {x} on it?", "Can I buy {x}?")  # fmt: skip
SECTIONS = (
    "drinks",
    "food",
    "starters",
    "mains",
    "desserts",
    "snacks",
    "sides",
    "specials",
    "hot drinks",
    "breakfast",
    "lunch",
)
LISTS = {
    "menu": words.DISHES,
    "price list": (*words.FOOD, *words.GOODS),
    "service list": words.SERVICES,
    "price tag": (*words.FOOD, *words.GOODS),
}
PRICES = ("Price", "Unit price", "Each", "Cost")
COLUMNS = (("Item", "Qty", "Price"), ("Article", "Pieces", "Price"), ("Product", "Stock", "Price"), ("Item", "Price", "Qty"),
           ("Name", "Number", "Cost"), ("Item", "Quantity", "Unit price", "Total"), ("What", "Pcs", "Each", "Sum"))  # fmt: skip


def _thing(rng: Random, text: str) -> str:
    """How a question names a printed thing: in small letters, at times without its first word."""
    text = text.lower()
    parts = text.split()
    return " ".join(parts[1:]) if len(parts) > 2 and rng.random() < 0.2 else text


def _elsewhere(rng: Random, things: Sequence[str]) -> str:
    """Something that is not on a list: mostly of the same sort as what is, so that likeness is no proof."""
    lists = (words.FOOD, words.DISHES, words.GOODS)
    alike = [sort for sort in lists if things[0] in sort]
    sorts = alike if alike and rng.random() < 0.6 else lists
    used = {word for thing in things for word in thing.split()}
    return rng.choice([x for sort in sorts for x in sort if not used & set(x.split())])


def price_list(rng: Random, rate: float) -> Document:
    """Things and what they cost: a menu, a price list, a tag of one or two things."""
    what = rng.choices(tuple(LISTS), (5, 5, 2, 1))[0]
    page, money = Page(rng, what, rate), values.Money(rng)
    title = rng.choice((values.business(rng), "menu", "price list", "our prices", "drinks", "today", "specials", ""))
    head = page.row(values.case(rng, title)) if title else []
    count = (
        rng.choice((1, 1, 2))
        if what == "price tag"
        else rng.choices((3, 4, 5, 6, 8, 10, 14, 20), (3, 4, 4, 4, 3, 2, 1, 1))[0]
    )
    things = rng.sample(LISTS[what], count)
    if what in ("price list", "service list") and rng.random() < 0.08:  # numbered, which only the number tells apart
        first, noun = rng.randint(1, 90), rng.choice(("item", "part", "no.", "article", "room", "lot"))
        things = [f"{noun} {first + i}" for i in range(count)]
    low, high = rng.choice(((0.5, 12), (2, 40), (20, 1500)))
    costs = [money.draw(rng, low, high) for _ in things]
    style = rng.choice((str.upper, str.title, str.capitalize, str.lower))
    columns = what == "price list" and rng.random() < 0.6  # with a number of pieces
    header = rng.choice(COLUMNS) if columns else ()
    price_at = next((at for at, name in enumerate(header) if name in PRICES), -1)
    if header and rng.random() < 0.85:
        page.row(*header)
    sections = what == "menu" and count > 4 and rng.random() < 0.3
    breaks = {0, rng.randint(2, count - 2)} if sections else set()
    named = iter(rng.sample(SECTIONS, 2))
    numbers = [rng.randint(1, 60) for _ in things]
    joined = rng.random() < 0.15
    dots = rng.random() < 0.1
    shown: list[tuple[str, str]] = []
    stacked = what == "price tag" and rng.random() < 0.5
    counted: list[str] = []  # numbers of pieces as read
    for at, (thing, cost, number) in enumerate(zip(things, costs, numbers, strict=True)):
        name, price = style(thing), money.write(cost)
        if at in breaks:
            page.row(values.case(rng, next(named)))
        if columns:
            more = [price if i == price_at else str(number) for i in range(1, len(header))]
            if len(more) > 2:  # number, price of one, price of all
                more[-1] = money.write(cost * number)
            cells = page.row(name, *more)
            shown.append((cells[0], cells[price_at]))
            counted.append(cells[1 if price_at != 1 else 2])
        elif stacked:
            shown.append((page.row(name)[0], page.row(price)[0]))
        elif joined or dots:
            read = page.read(name), page.read(price)
            page.made.rows.append([f"{read[0]}{' .... ' if dots else ' '}{read[1]}"])
            shown.append(read)
        else:
            shown.append(tuple(page.row(name, price)))
        if what == "menu" and rng.random() < 0.1:
            page.row(
                rng.choice(
                    ("with chips and salad", "served with bread", "vegan option available", "gluten free", "spicy")
                )
            )
    ask_prices(page, things, costs, shown, money, "cost")
    if columns:
        at = rng.randrange(count)
        page.ask(
            (
                f"How many {things[at]} are there?",
                f"How many {things[at]} are in stock?",
                f"What is the quantity of {things[at]}?",
            ),
            counted[at],
            "count of",
        )
    if count > 2:
        page.ask(
            ("How many items are listed?", "How many things are on the list?", "How many entries are there?"),
            str(count),
            "rows",
        )
    general(
        page,
        "price list" if what == "service list" else what,
        head[0] if head else "",
        f", such as {shown[0][0]} for {shown[0][1]}",
    )
    return page.made


def ask_prices(page: Page, things, costs, shown, money, verb: str) -> None:
    """Questions on things with amounts; `shown`: (thing, amount) as read."""
    rng, count = page.rng, len(things)
    for at in rng.sample(range(count), min(count, rng.choice((2, 3, 4)))):
        page.ask([q.format(x=_thing(rng, things[at])) for q in PRICE_QUESTIONS], shown[at][1], "value")
    unique = [at for at in range(count) if costs.count(costs[at]) == 1]
    for at in rng.sample(unique, min(len(unique), 1)) if count > 1 else ():
        bare = money.write(costs[at]).strip("$£€¥₩ ") if rng.random() < 0.5 else money.write(costs[at])
        page.ask(
            (
                f"What costs {bare}?",
                f"Which item costs {bare}?",
                f"What can I get for {bare}?",
                f"Which one is {bare}?",
            ),
            shown[at][0],
            "key",
        )
    at = rng.randrange(count)
    name = _thing(rng, things[at])
    page.yes_no([q.format(x=name) for q in MEMBER_QUESTIONS], " ".join(shown[at]) + ".")
    other = _elsewhere(rng, things)
    page.yes_no([q.format(x=other) for q in MEMBER_QUESTIONS], None, other)
    if count > 1 and rng.random() < 0.3:
        missing = _elsewhere(rng, things)
        page.ask(
            [q.format(x=missing) for q in PRICE_QUESTIONS],
            ABSENT,
            "absent",
        )
    if count > 1:
        least, most = min(costs), max(costs)
        if costs.count(least) == 1:
            low = costs.index(least)
            page.ask(
                (
                    "What is the cheapest item?",
                    "Which is the cheapest?",
                    "What costs the least?",
                    "Which item has the lowest price?",
                    "What's the cheapest thing?",
                ),
                shown[low][0],
                "least",
            )
            if rng.random() < 0.4:
                page.ask(
                    ("How much is it?", "What does it cost?", "And how much is that?", "How much does that cost?"),
                    shown[low][1],
                    "follow-up",
                    [("What is the cheapest item?", shown[low][0])],
                )
        if costs.count(most) == 1:
            high = costs.index(most)
            page.ask(
                (
                    "What is the most expensive item?",
                    "Which is the most expensive?",
                    "What costs the most?",
                    "Which item has the highest price?",
                    "What was the most expensive item?",
                ),
                shown[high][0],
                "most",
            )
            if rng.random() < 0.3:
                page.ask(
                    ("How much is the cheapest?", "What is the lowest price?"),
                    shown[costs.index(least)][1],
                    "least value",
                )
                page.ask(
                    ("How much is the most expensive one?", "What is the highest price?"), shown[high][1], "most value"
                )
    if count > 1:
        one, two = rng.sample(range(count), 2)
        first, second = _thing(rng, things[one]), things[two].lower()
        page.ask(
            (f"And the {second}?", f"And {second}?", f"What about the {second}?", f"How much is the {second}, then?"),
            shown[two][1],
            "follow-up",
            [(f"How much is the {first}?", shown[one][1])],
        )
        if count == 2 or rng.random() < 0.2:
            asked = f"How much is the {first}?"
            if count == 2:
                page.ask(
                    ("How much is the other?", "And the other one?", "What does the other cost?"),
                    shown[two][1],
                    "follow-up",
                    [(asked, shown[one][1])],
                )
        if rng.random() < 0.4:
            page.ask(
                (f"How much are the {first} and the {second}?", f"What do {first} and {second} cost?"),
                f"{shown[one][1]} and {shown[two][1]}",
                "compound",
            )
        if costs[one] != costs[two] and rng.random() < 0.5:
            cheap = one if costs[one] < costs[two] else two
            page.ask(
                (
                    f"Which is cheaper, {things[one].lower()} or {things[two].lower()}?",
                    f"Is {things[one].lower()} or {things[two].lower()} cheaper?",
                ),
                shown[cheap][0],
                "compare",
            )
            dear = one if cheap == two else two
            page.ask(
                (
                    f"Which {verb}s more, {things[one].lower()} or {things[two].lower()}?",
                    f"What is more expensive, {things[one].lower()} or {things[two].lower()}?",
                ),
                shown[dear][0],
                "compare",
            )
        if 2 < count <= 8 and rng.random() < 0.4:
            ranked = sorted(costs)
            at = rng.choice((1, 1, 2)) if count > 3 else 1
            limit = round((ranked[at - 1] + ranked[at]) / 2, 0 if ranked[at] - ranked[at - 1] > 1.5 else 2)
            if ranked[at - 1] < limit <= ranked[at]:
                below = [shown[i][0] for i in range(count) if costs[i] < limit]
                shape = f"{limit:g}"
                page.ask(
                    (
                        f"Which items cost less than {shape}?",
                        f"What is under {shape}?",
                        f"What can I get for less than {shape}?",
                        f"Which ones are below {shape}?",
                    ),
                    ", ".join(below),
                    "below",
                )
