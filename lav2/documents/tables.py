"""Made-up documents of rows: price lists, receipts, opening hours, timetables, tables of facts."""

from __future__ import annotations

from random import Random

from lav2.documents import values, words
from lav2.documents.kinds import ABSENT, FIELDS, Document, Page, _general

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
    what = rng.choices(tuple(LISTS), (5, 3, 2, 2))[0]
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
    columns = what == "price list" and rng.random() < 0.35  # with a number of pieces
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
    _prices(page, things, costs, shown, money, "cost")
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
    _general(
        page,
        "price list" if what == "service list" else what,
        head[0] if head else "",
        f", such as {shown[0][0]} for {shown[0][1]}",
    )
    return page.made


def _prices(page: Page, things, costs, shown, money, verb: str) -> None:
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
    if rng.random() < 0.5:
        missing = rng.choice(
            [
                x
                for x in (*words.FOOD, *words.DISHES, *words.GOODS)
                if not any(set(x.split()) & set(t.split()) for t in things)
            ]
        )
        page.ask(
            [q.format(x=missing) for q in PRICE_QUESTIONS],
            f"{missing.capitalize()} is not in the text." if rng.random() < 0 else ABSENT,
            "absent",
        )
    if count > 1 and rng.random() < 0.8:
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


def receipt(rng: Random, rate: float) -> Document:
    """A shop's receipt: items, sums, payment."""
    page, money = Page(rng, "receipt", rate), values.Money(rng)
    shop = values.business(rng)
    head = page.row(values.case(rng, shop))
    facts: dict[str, str] = {}
    style = rng.choice((str.upper, str.title, str.capitalize))

    def fact(name: str) -> None:
        entry, value = FIELDS[name], FIELDS[name].make(rng)
        label = rng.choice(entry.labels)
        if label and rng.random() < 0.5:
            facts[name] = page.row(label, value)[1]
        else:
            read = page.read(label), page.read(value)
            page.made.rows.append([" ".join(part for part in read if part)])
            facts[name] = read[1]

    for name in ("street", "phone", "date", "vat", "order", "server", "table", "invoice"):
        if rng.random() < (0.6 if name in ("date", "street", "phone") else 0.2):
            fact(name)
    count = rng.choices((1, 2, 3, 4, 5, 6, 8, 11), (1, 3, 5, 5, 4, 3, 2, 1))[0]
    things = rng.sample(rng.choice((words.FOOD, words.DISHES, words.GOODS, words.SERVICES)), count)
    costs = [money.draw(rng, 0.6, 60) for _ in things]
    quantity = rng.random() < 0.45
    pieces = [rng.choice((1, 1, 1, 2, 2, 3, 4, 6)) if quantity else 1 for _ in things]
    where = rng.choice(("before", "cell", "behind"))
    if quantity and rng.random() < 0.3:
        page.row(*rng.choice((("Qty", "Item", "Amount"), ("Description", "Price"), ("Item", "Total"))))
    shown = []
    for thing, cost, n in zip(things, costs, pieces, strict=True):
        name, price = style(thing), money.write(cost)
        if not quantity:
            shown.append(tuple(page.row(name, price)))
        elif where == "cell":
            cells = page.row(str(n), name, price)
            shown.append((cells[1], cells[2]))
        else:
            read = page.read(name)
            cell = f"{n}{rng.choice(('x ', ' x ', ' '))}{read}" if where == "before" else f"{read} x{n}"
            price_read = page.read(price)
            page.made.rows.append([cell, price_read])
            shown.append((read, price_read))
    total = sum(costs)
    lines: list[tuple[str, str, float, tuple[str, ...]]] = []
    tax = round(total * rng.choice((0.05, 0.07, 0.08, 0.1, 0.19, 0.2)), 2)
    if rng.random() < 0.5:
        lines.append(
            (
                "subtotal",
                rng.choice(("Subtotal", "Sub total", "Net", "Sum before tax")),
                total,
                ("What is the subtotal?", "How much was it before tax?", "What's the net amount?"),
            )
        )
        lines.append(
            (
                "tax",
                rng.choice(("Tax", "VAT", "VAT 20%", "GST", "Sales tax", "MwSt 19%")),
                tax,
                ("How much is the tax?", "What tax was charged?", "How much tax is on it?", "What is the VAT?"),
            )
        )
        total += tax
    if rng.random() < 0.12:
        tip = round(total * 0.1, 2)
        lines.append(
            (
                "tip",
                rng.choice(("Tip", "Service", "Gratuity", "Service charge")),
                tip,
                ("How much is the tip?", "What was the service charge?"),
            )
        )
        total += tip
    lines.append(("total", rng.choice(("TOTAL", "Total", "Amount due", "Balance due", "Total due", "GRAND TOTAL", "To pay", "Sum")), total,
                  ("What is the total?", "How much is the total?", "What is the total on this receipt?", "How much did it cost in all?", "How much was paid?", "What do I have to pay?",
                   "how much is it all together", "total amount?", "What did they spend?", "How much is the bill?")))  # fmt: skip
    if rng.random() < 0.6:
        if rng.random() < 0.6:
            given = next((note for note in (5, 10, 20, 50, 100, 200, 500, 1000) if note >= total), total)
            lines.append(
                (
                    "cash",
                    rng.choice(("Cash", "CASH", "Paid cash", "Tendered")),
                    given,
                    ("How much cash was given?", "How much money was handed over?", "How much cash did they pay with?"),
                )
            )
            lines.append(
                (
                    "change",
                    rng.choice(("Change", "CHANGE", "Change due", "Your change")),
                    given - total,
                    (
                        "How much change was given?",
                        "How much change did I get?",
                        "What was the change?",
                        "How much money came back?",
                    ),
                )
            )
        else:
            lines.append(("card", rng.choice(("VISA", "Card", "Mastercard", "Debit card", "Credit")), total, ()))
    if rng.random() < 0.2:
        page.row(rng.choice(("-----------------", "================", "* * * * *", "................")))
    amounts = {}
    for name, label, amount, _ in lines:
        amounts[name] = page.row(label, money.write(amount))[-1]
    for name in ("date", "server", "ticket"):
        if name not in facts and rng.random() < 0.2:
            fact(name)
    if rng.random() < 0.6:
        page.row(
            rng.choice(
                (
                    "Thank you!",
                    "THANK YOU",
                    "Please come again",
                    "Have a nice day",
                    "Goods sold are not returnable",
                    "Thank you for shopping with us",
                    "See you soon",
                )
            )
        )
    for name, _, _, questions in lines:
        if questions and (name == "total" or rng.random() < 0.6):
            page.ask(questions, amounts[name], name)
    for name, answer in facts.items():
        page.ask(FIELDS[name].questions, answer, "field")
    page.ask(
        [
            q.format(what="receipt")
            for q in (
                "What is the name of the shop?",
                "Which shop is it from?",
                "Where was this bought?",
                "Whose receipt is this?",
                "Which store is this?",
                "Where did they shop?",
                "What company is on the receipt?",
            )
        ],
        head[0],
        "title",
    )
    for name in ("tax", "tip", "change", "cash"):
        if name not in amounts and rng.random() < 0.2:
            page.absent(
                {
                    "tax": ("How much is the tax?",),
                    "tip": ("How much is the tip?",),
                    "change": ("How much change was given?", "How much change did I get?"),
                    "cash": ("How much cash was given?",),
                }[name]
            )
    for name in rng.sample(("date", "phone", "order", "server", "table", "expires"), 2):
        if name not in facts and not (name == "order" and "invoice" in facts):
            page.absent(FIELDS[name].questions)
    if "card" in amounts or "cash" in amounts:
        card = "card" in amounts
        page.ask(
            ("How was it paid?", "Was it paid by card or cash?", "How did they pay?"),
            page.made.rows[[r[-1] for r in page.made.rows].index(amounts["card" if card else "cash"])][0]
            if card
            else "Cash",
            "payment",
        )
    if quantity:
        at = rng.randrange(count)
        page.ask(
            (
                f"How many {things[at].lower()} were bought?",
                f"How many {things[at].lower()} did they buy?",
                f"What quantity of {things[at].lower()}?",
            ),
            str(pieces[at]),
            "count of",
        )
    if count > 1:
        page.ask(
            (
                "How many items were bought?",
                "How many different items are on the receipt?",
                "How many products are listed?",
            ),
            str(count),
            "rows",
        )
        page.ask(
            ("What did they buy?", "Which items were bought?", "What was bought?"),
            ", ".join(name for name, _ in shown[:6]),
            "list",
        )
    if facts.get("date"):
        page.ask("And the date?", facts["date"], "follow-up", [("What is the total?", amounts["total"])])
        page.ask(
            ("What is the total and when was it?", "What is the date and the total?"),
            f"{amounts['total']}, {facts['date']}",
            "compound",
        )
    _prices(page, things, costs, shown, money, "cost")
    _general(page, "receipt", head[0], f", total {amounts['total']}")
    return page.made


def hours(rng: Random, rate: float) -> Document:
    """Opening hours by day or by ranges of days."""
    page, style = Page(rng, "opening hours", rate), values.clock_style(rng)
    shop = values.business(rng) if rng.random() < 0.7 else ""
    head = page.row(values.case(rng, shop)) if shop else []
    if rng.random() < 0.6:
        page.row(
            rng.choice(
                ("OPENING HOURS", "Opening hours", "Hours", "Open", "WE ARE OPEN", "Business hours", "Store hours")
            )
        )
    cut = rng.choice(
        (
            [7],
            [5, 7],
            [5, 6, 7],
            [4, 6, 7],
            [1, 5, 6, 7],
            [1, 2, 3, 4, 5, 6, 7],
            [6, 7],
            [3, 5, 7],
            [4, 5, 6, 7],
            [5, 6],
            [6],
        )
    )
    short = rng.random() < 0.6
    upper = rng.random() < 0.35
    dash = rng.choice((" - ", "-", " – ", " to ", "–"))
    spans: list[tuple[int, int, int | None, int]] = []  # first day, last day, opens (None: closed), closes
    first = 0
    for end in cut:
        closed = first > 0 and rng.random() < (0.45 if end == 7 else 0.1)
        opens = rng.randrange(6 * 60, 12 * 60, 30)
        spans.append((first, end - 1, None if closed else opens, rng.randrange(13 * 60, 24 * 60, 30)))
        first = end
    separate = rng.random() < 0.75
    shown: dict[int, tuple[str, str, str] | None] = {}  # day -> (span, opens, closes) as read

    def day(at: int) -> str:
        name = words.DAYS[at][:3] if short else words.DAYS[at]
        return name.upper() if upper else name

    for start, end, opens, closes in spans:
        label = day(start) if start == end else f"{day(start)}{dash}{day(end)}"
        label += rng.choice(("", "", ":"))
        if opens is None:
            text = rng.choice(("closed", "CLOSED", "Closed"))
            cells = page.row(label, text) if separate else page.row(f"{label} {text}")
            for at in range(start, end + 1):
                shown[at] = None
            page.made.subject = cells[0]
            continue
        one, two = (values.clock(rng, minutes, style) for minutes in (opens, closes))
        read_one, read_two = page.read(one), page.read(two)
        span = f"{read_one}{dash}{read_two}"
        read_label = page.read(label)
        page.made.rows.append([read_label, span] if separate else [f"{read_label} {span}"])
        for at in range(start, end + 1):
            shown[at] = (span, read_one, read_two)
    if rng.random() < 0.3:
        page.row(rng.choice((*words.SLOGANS, f"Tel: {values.phone(rng)}")))
    known = list(shown)
    open_days = [at for at in known if shown[at]]
    for at in rng.sample(open_days, min(3, len(open_days))):
        name = words.DAYS[at] + rng.choice(("", "", "s"))
        span, one, two = shown[at]
        which = rng.choice(("opens", "closes", "hours"))
        if which == "opens":
            page.ask(
                (
                    f"When does it open on {name}?",
                    f"What time do they open on {name}?",
                    f"At what time does it open {name}?",
                    f"How early is it open on {name}?",
                    f"From when is it open on {name}?",
                ),
                one,
                "opens",
            )
        elif which == "closes":
            page.ask(
                (
                    f"When does it close on {name}?",
                    f"What time do they close on {name}?",
                    f"Until when is it open on {name}?",
                    f"How late is it open on {name}?",
                    f"How long is it open on {name}?",
                ),
                two,
                "closes",
            )
        else:
            page.ask(
                (
                    f"When is the shop open on {name}?",
                    f"What are the hours on {name}?",
                    f"When is it open on {name}?",
                    f"What are the opening hours on {name}?",
                    f"{name} hours?",
                ),
                span,
                "hours",
            )
    closed = [at for at in known if shown[at] is None]
    for at in closed[:1]:
        name = words.DAYS[at]
        page.ask(
            (f"Is it open on {name}?", f"Are they open on {name}?", f"Can I go there on {name}?"),
            f"No, it is closed on {name}.",
            "open",
        )
        page.ask(
            (f"When does it open on {name}?", f"What are the hours on {name}?"), f"It is closed on {name}.", "closed"
        )
        page.ask(
            ("On which day is it closed?", "When is it closed?", "Which day is closed?"),
            " and ".join(words.DAYS[day] for day in closed),
            "closed",
        )
    if open_days:
        at = rng.choice(open_days)
        page.ask(
            (
                f"Is it open on {words.DAYS[at]}?",
                f"Are they open on {words.DAYS[at]}?",
                f"Can I go there on {words.DAYS[at]}?",
            ),
            f"Yes, {shown[at][0]}.",
            "open",
        )
        other = rng.choice(open_days)
        page.ask(
            (f"And on {words.DAYS[other]}?", f"What about {words.DAYS[other]}?"),
            shown[other][0],
            "follow-up",
            [(f"When is it open on {words.DAYS[at]}?", shown[at][0])],
        )
        page.ask(
            ("And when does it close?", "And until when?", "When does it close then?"),
            shown[at][2],
            "follow-up",
            [(f"When does it open on {words.DAYS[at]}?", shown[at][1])],
        )
        if len({shown[d] for d in open_days}) == 1:
            page.ask(FIELDS["opens"].questions, shown[at][1], "opens")
            page.ask(FIELDS["closes"].questions, shown[at][2], "closes")
        else:
            starts = [spans[i][2] for i in range(len(spans)) if spans[i][2] is not None]
            if len(set(starts)) == len(starts) and len(starts) > 1 and rng.random() < 0.3:
                early = min(spans, key=lambda s: s[2] if s[2] is not None else 9999)
                if early[0] == early[1]:
                    page.ask(("On which day does it open earliest?",), words.DAYS[early[0]], "earliest")
    elif not known:
        pass
    outside = [at for at in range(7) if at not in shown]
    for at in outside[:1]:
        page.ask((f"Is it open on {words.DAYS[at]}?", f"What are the hours on {words.DAYS[at]}?"), ABSENT, "absent")
    for name in rng.sample(("phone", "street", "price", "date"), 1):
        if "Tel" not in " ".join(cell for row in page.made.rows for cell in row):
            page.absent(FIELDS[name].questions)
    if head:
        page.ask(
            (
                "What is the name of the shop?",
                "Which shop is it?",
                "Whose hours are these?",
                "What's the name of the place?",
            ),
            head[0],
            "title",
        )
    _general(page, "sign with opening hours", head[0] if head else "")
    return page.made


def timetable(rng: Random, rate: float) -> Document:
    """Departures or a programme: time, destination or event, platform, gate or room."""
    plan = rng.random() < 0.35
    page, style = Page(rng, "timetable", rate), values.clock_style(rng)
    head = page.row(
        values.case(
            rng,
            rng.choice(
                ("schedule", "programme", "agenda", "course plan", "today")
                if plan
                else ("departures", "timetable", "bus times", "trains", "arrivals", "flights")
            ),
        )
    )
    count = rng.randint(2, 9)
    times = sorted(rng.sample(range(5 * 60, 23 * 60, 5), count))
    goals = rng.sample(words.EVENTS if plan else words.PLACES, count)
    third = rng.choice(("room", "") if plan else ("platform", "gate", "flight", "status", "bus", ""))
    case = rng.choice((str, str.upper, str.title))
    order = rng.choice((0, 0, 1))
    if rng.random() < 0.5:
        names = [
            "Time",
            rng.choice(("Event", "What"))
            if plan
            else rng.choice(("Destination", "To", "From" if head[0].lower() == "arrivals" else "To")),
        ]
        page.row(*(names[::-1] if order else names), *([third.capitalize()] if third else []))
    shown = []
    for minutes, goal in zip(times, goals, strict=True):
        cells = [values.clock(rng, minutes, style), case(goal)]
        cells = page.row(*(cells[::-1] if order else cells), *([FIELDS[third].make(rng)] if third else []))
        time, name = (cells[1], cells[0]) if order else (cells[0], cells[1])
        shown.append((time, name, cells[2] if third else ""))
    verb = ("start", "begin") if plan else ("leave", "depart")
    for at in rng.sample(range(count), min(count, 4)):
        time, name, more = shown[at]
        goal = goals[at] if rng.random() < 0.6 else goals[at].lower()
        ask = (
            (
                f"When does the {goal} {verb[0]}?",
                f"What time is the {goal}?",
                f"At what time does the {goal} {verb[1]}?",
                f"When is the {goal}?",
            )
            if plan
            else (
                f"When does the train to {goal} leave?",
                f"What time is the bus to {goal}?",
                f"When is the departure to {goal}?",
                f"When does it leave for {goal}?",
                f"What time does the one to {goal} go?",
                f"When is the next to {goal}?",
            )
        )
        page.ask(ask, time, "value")
        clean = values.clock(rng, times[at], style)
        if rng.random() < 0.6:
            page.ask(
                (f"What is at {clean}?", f"What happens at {clean}?", f"What starts at {clean}?")
                if plan
                else (
                    f"Where does the {clean} go?",
                    f"What leaves at {clean}?",
                    f"Which destination is at {clean}?",
                    f"Where does the train at {clean} go?",
                ),
                name,
                "key",
            )
        if third:
            label = {
                "platform": "platform",
                "gate": "gate",
                "flight": "flight number",
                "status": "status",
                "bus": "line",
                "room": "room",
            }[third]
            tail = (
                goal
                if plan
                else f"train to {goal}"
                if third == "platform"
                else f"flight to {goal}"
                if third in ("gate", "flight")
                else goal
            )
            page.ask(
                (
                    f"Which {label} is for {goal}?",
                    f"What is the {label} of the {tail}?",
                    f"What {label} does {goal} have?",
                    f"Which {label} is {goal}?",
                ),
                more,
                "value",
            )
            if rng.random() < 0.3:
                page.ask(f"And the {label}?", more, "follow-up", [(rng.choice(ask), time)])
    page.ask(
        ("What is the first one?", "What comes first?", "Which is the first?")
        if plan
        else ("Where does the first one go?", "Which is the first departure?", "What is the earliest destination?"),
        shown[0][1],
        "least",
    )
    page.ask(
        ("What is the last one?", "What comes last?")
        if plan
        else ("Where does the last one go?", "Which is the last departure?", "What is the latest destination?"),
        shown[-1][1],
        "most",
    )
    page.ask(("When does it begin?", "When is the first?", "What is the earliest time?"), shown[0][0], "least value")
    page.ask(("When is the last one?", "What is the latest time?"), shown[-1][0], "most value")
    if count > 2:
        page.ask(
            (
                "How many rows are there?",
                "How many entries are listed?",
                "How many departures are there?" if not plan else "How many events are there?",
            ),
            str(count),
            "rows",
        )
    at = rng.randrange(count)
    other = rng.choice([x for x in (words.EVENTS if plan else words.PLACES) if x not in goals])
    page.yes_no(
        (f"Is there one to {goals[at]}?", f"Is {goals[at]} listed?", f"Does anything go to {goals[at]}?")
        if not plan
        else (f"Is there a {goals[at]}?", f"Is the {goals[at]} listed?"),
        f"{shown[at][0]} {shown[at][1]}.",
    )
    page.yes_no(
        (f"Is there one to {other}?", f"Is {other} listed?", f"Does anything go to {other}?")
        if not plan
        else (f"Is there a {other}?", f"Is the {other} listed?"),
        None,
        other,
    )
    page.ask(
        (f"When does the train to {other} leave?", f"What time is it to {other}?")
        if not plan
        else (f"When is the {other}?",),
        ABSENT,
        "absent",
    )
    one, two = rng.sample(range(count), 2)
    page.ask(
        (f"And to {goals[two]}?", f"What about {goals[two]}?")
        if not plan
        else (f"And the {goals[two]}?", f"What about the {goals[two]}?"),
        shown[two][0],
        "follow-up",
        [(f"When does it leave for {goals[one]}?" if not plan else f"When is the {goals[one]}?", shown[one][0])],
    )
    _general(page, "timetable" if not plan else "schedule", head[0])
    return page.made


def facts(rng: Random, rate: float) -> Document:
    """A table of people or things with two to four columns of values."""
    page = Page(rng, "table", rate)
    columns = {
        "Age": lambda: str(rng.randint(5, 90)), "Points": lambda: str(rng.randint(0, 400)), "City": lambda: values.city(rng), "Phone": lambda: values.phone(rng),
        "Room": lambda: FIELDS["room"].make(rng), "Department": lambda: rng.choice(("Sales", "Support", "Finance", "Design", "IT", "Legal", "Kitchen", "Lab")),
        "Country": lambda: FIELDS["origin"].make(rng), "Wins": lambda: str(rng.randint(0, 40)), "Goals": lambda: str(rng.randint(0, 60)), "Year": lambda: str(rng.randint(1950, 2026)),
        "Height": lambda: f"{rng.randint(150, 210)} cm", "Time": lambda: f"{rng.randint(0, 59)}:{rng.randint(0, 59):02d}", "Grade": lambda: rng.choice("ABCDEF"), "Team": lambda: rng.choice(words.PLACES),
        "Score": lambda: f"{rng.randint(0, 100)}%", "Job": lambda: FIELDS["job"].make(rng), "Date": lambda: values.date(rng),
    }  # fmt: skip
    if rng.random() < 0.25:
        chosen = [rng.choice(("Per 100 g", "Amount", "Value"))]
        names = rng.sample(
            (
                "Energy",
                "Fat",
                "Saturated fat",
                "Carbohydrate",
                "Sugars",
                "Protein",
                "Salt",
                "Fibre",
                "Sodium",
                "Calcium",
                "Iron",
                "Vitamin C",
            ),
            rng.randint(3, 8),
        )
        draw = [
            lambda: (
                f"{rng.choice((str(rng.randint(0, 99)), f'{rng.randint(0, 40)}.{rng.randint(0, 9)}'))} {rng.choice(('g', 'mg'))}"
            )
        ]
        first, title = "Nutrition", rng.choice(("Nutrition facts", "Nutrition", "Typical values"))
    else:
        chosen = rng.sample(tuple(columns), rng.choice((1, 2, 2, 3)))
        draw = [columns[name] for name in chosen]
        names = list(
            dict.fromkeys(
                values.faker(rng).first_name() if rng.random() < 0.7 else values.person(rng)
                for _ in range(rng.randint(3, 8))
            )
        )
        first, title = (
            rng.choice(("Name", "Player", "Employee", "Student", "")),
            rng.choice(("Results", "Staff", "Members", "Class 4B", "Team list", "Contacts", "")),
        )
    head = page.row(title) if title else []
    page.row(*([first] if first else ["Name"]), *chosen)
    shown = []
    for name in names:
        shown.append(page.row(name, *(make() for make in draw)))
    for at in rng.sample(range(len(names)), min(len(names), 3)):
        for place in rng.sample(range(len(chosen)), min(len(chosen), 2)):
            name, what, answer = names[at], chosen[place].lower(), shown[at][place + 1]
            if first == "Nutrition":
                page.ask(
                    (
                        f"How much {name.lower()} is in it?",
                        f"What is the amount of {name.lower()}?",
                        f"How much {name.lower()} does it have?",
                        f"{name.lower()}?",
                    ),
                    answer,
                    "value",
                )
                continue
            page.ask(
                (
                    f"What is {name}'s {what}?",
                    f"What is the {what} of {name}?",
                    f"Which {what} does {name} have?",
                    f"{what} of {name}?",
                ),
                answer,
                "value",
            )
            column = [row[place + 1] for row in shown]
            if column.count(answer) == 1 and rng.random() < 0.6:
                page.ask(
                    (
                        f"Who has the {what} {answer}?",
                        f"Whose {what} is {answer}?",
                        f"Which person has {answer} as {what}?",
                    ),
                    shown[at][0],
                    "key",
                )
    for place, what in enumerate(chosen):
        numbers = [row[place + 1] for row in shown]
        if first != "Nutrition" and all(n.isdigit() for n in numbers) and what in ("Age", "Points", "Wins", "Goals"):
            found = [int(n) for n in numbers]
            if found.count(max(found)) == 1:
                page.ask(
                    (
                        f"Who has the most {what.lower()}?" if what != "Age" else "Who is the oldest?",
                        f"Which one has the highest {what.lower()}?",
                    ),
                    shown[found.index(max(found))][0],
                    "most",
                )
            if found.count(min(found)) == 1:
                page.ask(
                    (
                        f"Who has the fewest {what.lower()}?" if what != "Age" else "Who is the youngest?",
                        f"Which one has the lowest {what.lower()}?",
                    ),
                    shown[found.index(min(found))][0],
                    "least",
                )
    page.ask(
        ("How many people are listed?", "How many rows are there?", "How many names are on it?")
        if first != "Nutrition"
        else ("How many values are listed?",),
        str(len(names)),
        "rows",
    )
    at, missing = rng.randrange(len(names)), rng.choice(("Zoltan", "Beatrix", "Quentin", "Odette", "Ravi", "Ingrid"))
    page.yes_no((f"Is {names[at]} listed?", f"Is {names[at]} on the list?"), " ".join(shown[at]) + ".")
    if missing not in names:
        page.yes_no((f"Is {missing} listed?", f"Is {missing} on the list?"), None, missing)
        if first != "Nutrition":
            page.ask((f"What is {missing}'s {chosen[0].lower()}?",), ABSENT, "absent")
    if len(names) > 1 and first != "Nutrition":
        one, two = rng.sample(range(len(names)), 2)
        page.ask(
            (f"And {names[two]}?", f"And {names[two]}'s?", f"What about {names[two]}?"),
            shown[two][1],
            "follow-up",
            [(f"What is {names[one]}'s {chosen[0].lower()}?", shown[one][1])],
        )
    _general(page, "table", head[0] if head else "", f" with {', '.join(chosen)}" if first != "Nutrition" else "")
    return page.made
