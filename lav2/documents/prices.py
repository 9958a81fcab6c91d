"""Made-up price lists, menus and tags, and what is asked of things and what they cost."""

from __future__ import annotations

from random import Random

from lav2.documents import values, words
from lav2.documents.kinds import ABSENT, Document, Page, general

PRICE_QUESTIONS = ("How much is the {x}?", "What does the {x} cost?", "How much does the {x} cost?", "What is the price of the {x}?", "How much for the {x}?",
                   "price of {x}?", "How much are the {x}?", "What do I pay for {x}?", "How much was the {x}?", "How much did the {x} cost?")  # fmt: skip
LISTS = {
    "menu": words.DISHES,
    "price list": (*words.FOOD, *words.GOODS),
    "service list": words.SERVICES,
    "price tag": (*words.FOOD, *words.GOODS),
}


def _thing(rng: Random, text: str) -> str:
    """How a question names a printed thing: in small letters, at times without its first word."""
    text = text.lower()
    parts = text.split()
    return " ".join(parts[1:]) if len(parts) > 2 and rng.random() < 0.2 else text


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
    low, high = rng.choice(((0.5, 12), (2, 40), (20, 1500)))
    costs = [money.draw(rng, low, high) for _ in things]
    style = rng.choice((str.upper, str.title, str.capitalize, str.lower))
    columns = what == "price list" and rng.random() < 0.6  # with a number of pieces
    header = (
        rng.choice((("Item", "Qty", "Price"), ("Article", "Pieces", "Price"), ("Product", "Stock", "Price")))
        if columns
        else ()
    )
    if header:
        page.row(*header)
    numbers = [rng.randint(1, 60) for _ in things]
    joined = rng.random() < 0.15
    dots = rng.random() < 0.1
    shown: list[tuple[str, str]] = []
    stacked = what == "price tag" and rng.random() < 0.5
    for thing, cost, number in zip(things, costs, numbers, strict=True):
        name, price = style(thing), money.write(cost)
        if columns:
            cells = page.row(name, str(number), price)
            shown.append((cells[0], cells[-1]))
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
            str(numbers[at]) if rate == 0 else page.made.rows[-count + at][1],
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
    page.yes_no(
        (
            f"Do they sell {name}?",
            f"Is there {name} on the list?",
            f"Do they have {name}?",
            f"Can I get {name} here?",
            f"Is {name} listed?",
            f"Did they buy {name}?",
        ),
        " ".join(shown[at]) + ".",
    )
    other = rng.choice(
        [
            x
            for x in (*words.FOOD, *words.DISHES, *words.GOODS)
            if not any(set(x.split()) & set(t.split()) for t in things)
        ]
    )
    page.yes_no(
        (
            f"Do they sell {other}?",
            f"Is there {other} on the list?",
            f"Do they have {other}?",
            f"Can I get {other} here?",
            f"Is {other} listed?",
            f"Did they buy {other}?",
        ),
        None,
        other,
    )
    if count > 1 and rng.random() < 0.3:
        missing = rng.choice(
            [
                x
                for x in (*words.FOOD, *words.DISHES, *words.GOODS)
                if not any(set(x.split()) & set(t.split()) for t in things)
            ]
        )
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
