"""Made-up receipts: items, sums, payment."""

from __future__ import annotations

from random import Random

from lav2.documents import values, words
from lav2.documents.kinds import FIELDS, Document, Page, general
from lav2.documents.prices import ask_prices


def receipt(rng: Random, rate: float) -> Document:
    """A shop's receipt: items, sums, payment."""
    page, money = Page(rng, "receipt", rate), values.Money(rng)
    shop = values.business(rng)
    head = page.row(values.case(rng, shop))
    facts: dict[str, str] = {}
    style = rng.choice((str.upper, str.title, str.capitalize))

    def fact(name: str) -> None:
        entry, value = FIELDS[name], FIELDS[name].make(rng)
        label = rng.choice((*entry.labels, "", "", "") if name == "date" else entry.labels)
        if name == "date" and rng.random() < 0.45:  # the time stands beside it
            time = values.clock(rng, rng.randrange(7 * 60, 23 * 60), values.clock_style(rng))
            date, clock = page.read(value), page.read(time)
            page.made.rows.append([date, clock] if rng.random() < 0.5 else [f"{label} {date} {clock}".strip()])
            facts[name] = date
            page.ask(
                ("At what time was it?", "What time was it bought?", "What time is on the receipt?"), clock, "field"
            )
        elif label and rng.random() < 0.5:
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
    if "date" in facts:
        page.ask(("When was this?", "When was this bought?", "On what date was this?", "On which day did they shop?", "What is the date of the purchase?"), facts["date"], "field")  # fmt: skip
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
            next(row[0] for row in reversed(page.made.rows) if row[-1] == amounts["card"]) if card else "Cash",
            "payment",
        )
        said = amounts["card" if card else "cash"]
        proof = " ".join(next(row for row in reversed(page.made.rows) if row[-1] == said))
        by_card = ("Was it paid by card?", "Did they pay by card?", "Was a credit card used?", "Paid by card?")
        page.ask(by_card, f"{'Yes' if card else 'No'}: {proof}.", "paid by")
        in_cash = ("Was it paid in cash?", "Did they pay cash?", "Was cash used?", "Did they pay with cash?")
        page.ask(in_cash, f"{'No' if card else 'Yes'}: {proof}.", "paid by")
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
    ask_prices(page, things, costs, shown, money, "cost")
    general(page, "receipt", head[0], f", total {amounts['total']}")
    return page.made
