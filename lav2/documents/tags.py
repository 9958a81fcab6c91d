"""Made-up small signs: one thing and what it costs, one label and its value."""

from __future__ import annotations

from random import Random

from lav2.documents import values, words
from lav2.documents.kinds import FIELDS, Document, Page, general
from lav2.documents.prices import PRICE_QUESTIONS

ADJECTIVES = ("red", "blue", "green", "black", "white", "small", "large", "big", "fresh", "new", "used", "organic", "daily", "classic", "sweet",
              "hot", "cold", "iced", "double", "half", "kids", "summer", "winter", "vintage", "wooden", "local")  # fmt: skip
UNITS = (
    "1 kg",
    "500 g",
    "per kg",
    "each",
    "/kg",
    "a dozen",
    "1 L",
    "per lb",
    "3 for 2",
    "100 g",
    "a bunch",
    "pack of 6",
)
OFFERS = ("sale", "special offer", "today only", "now", "best price", "price", "offer", "deal of the day", "reduced")
OLD = ("was", "before", "instead of", "old price", "RRP", "reg.")


def thing(rng: Random) -> str:
    """What is sold: of our lists or any noun, at times with an adjective, so that no list is learned by heart."""
    name = rng.choice((*words.FOOD, *words.DISHES, *words.GOODS, *words.SERVICES))
    if rng.random() < 0.35:
        name = values.faker(rng, "en_US").word(part_of_speech="noun")
    return f"{rng.choice(ADJECTIVES)} {name}" if rng.random() < 0.25 else name


def tag(rng: Random, rate: float) -> Document:
    """A price tag: a thing, a price, at times a unit, an offer or the price before."""
    page, money = Page(rng, "price tag", rate), values.Money(rng)
    name, case = thing(rng), rng.choice((str.upper, str.upper, str.title, str.capitalize, str.lower))
    low, high = rng.choice(((0.5, 12), (2, 60), (20, 1500), (500, 9000)))
    price = (
        money.write(money.draw(rng, low, high))
        if rng.random() < 0.9
        else f"{rng.randint(5, 99)} {rng.choice(('cents', 'ct', 'p', '¢'))}"
    )
    offer = rng.choice(OFFERS) if rng.random() < 0.3 else ""
    named = not offer or rng.random() < 0.7
    unit = rng.choice(UNITS) if named and rng.random() < 0.25 else ""
    label = case(name) + (f" {unit}" if unit else "")
    if rng.random() < 0.15:
        page.row(values.case(rng, values.business(rng)))
    if offer and rng.random() < 0.5:
        page.row(case(offer))
        offer = ""
    form = rng.choice(("two", "above", "above", "one", "before"))
    before = case(offer) if offer else ""
    shown = page.read(price)
    head = page.read(label) if named else ""
    if form == "before" and head:
        page.made.rows.append([shown, head] if rng.random() < 0.5 else [shown])
        if len(page.made.rows[-1]) == 1:
            page.made.rows.append([head])
    elif form == "one" or not head:
        page.made.rows.append([" ".join(filter(None, (head, before, shown)))])
    elif form == "two":
        page.made.rows.append([cell for cell in (head, before, shown) if cell])
    else:
        page.made.rows.append([head])
        page.made.rows.append([cell for cell in (before, shown) if cell])
    old = ""
    if rng.random() < 0.4:
        old, word = page.read(money.write(money.draw(rng, low * 1.5, high * 2))), rng.choice(OLD)
        cells = [f"{case(word)} {old}"] if rng.random() < 0.7 else [case(word), old]
        at = rng.choice(
            (len(page.made.rows), len(page.made.rows), len(page.made.rows) - 1)
        )  # below, or before the price
        page.made.rows.insert(at, cells)
    short = name.split()[-1] if len(name.split()) > 1 and rng.random() < 0.3 else name
    for _ in range(2):
        if named:
            page.ask([q.format(x=short.lower()) for q in PRICE_QUESTIONS], shown, "value")
    page.ask(
        ("What is the price?", "How much is it?", "How much does it cost?", "What does this cost?", "How much is the sale price?" if offer or not named else "What's the price?",
         "What price is shown?", "How much do I have to pay?"), shown, "value")  # fmt: skip
    if old:
        page.ask(("What was the price before?", "How much was it before?", "What is the old price?", "What did it cost before?"), old, "value")  # fmt: skip
        page.ask(("How much is it now?", "What is the price now?", "What is the new price?"), shown, "value")
    if head:
        page.ask(("What is for sale?", "What product is it?", "What is being sold?", "What item is this?", f"What costs {price}?", f"What can I buy for {price}?"), head, "key")  # fmt: skip
    if unit:
        page.ask((f"How much {name.lower()} do I get for that?", "What amount is that for?", "Per what is the price?"), page.read(unit) if rate == 0 else unit, "value")  # fmt: skip
    if rng.random() < 0.3:
        other = rng.choice([x for x in (*words.FOOD, *words.GOODS) if not set(x.split()) & set(name.split())])
        page.yes_no((f"Is this the price of {other}?", f"Do they sell {other}?", f"Is {other} for sale?"), None, other)
    if named and rng.random() < 0.3:
        page.yes_no((f"Do they sell {name.lower()}?", f"Is {name.lower()} for sale?"), f"{head} {shown}.")
    if rng.random() < 0.15:
        page.absent(FIELDS[rng.choice(("phone", "opens", "date", "web"))].questions)
    general(page, "price tag", "", f", {head or 'with the price'} {shown}")
    return page.made


def label(rng: Random, rate: float) -> Document:
    """A sign of one or two values with their names, in one line or two, as a gate, a hotline or an error has it."""
    page = Page(rng, "sign", rate)
    names = [name for name in FIELDS if name not in ("distance", "days")]
    chosen = rng.sample(names, rng.choice((1, 1, 2)))
    case = rng.choice((str.upper, str.upper, str.title, str))
    above = rng.random() < 0.3
    if above:
        page.row(case(rng.choice((*words.SLOGANS, *words.SHOPS, *words.NOTICES, *words.ERRORS))))
    answers = {}
    for name in chosen:
        entry = FIELDS[name]
        title = case(rng.choice([text for text in entry.labels if text] or [name]))
        value = entry.make(rng)
        form = rng.choice(("one", "two", "above"))
        if form == "one":
            read = page.read(title), page.read(value)
            page.made.rows.append([" ".join(read)])
            answers[name] = read[1]
        elif form == "two":
            answers[name] = page.row(title, value)[-1]
        else:
            page.row(title)
            answers[name] = page.row(value)[0]
    if rng.random() < 0.25:
        page.row(
            case(rng.choice(("ready", "OK", "cancel", "open", "thank you", "welcome", "please wait", "retry", "close")))
        )
    for name, answer in answers.items():
        for _ in range(2):
            page.ask(FIELDS[name].questions, answer, "field")
    if len(chosen) == 2:
        first, second = (rng.choice(FIELDS[name].questions) for name in chosen)
        page.ask(
            f"And {second[:1].lower()}{second[1:]}", answers[chosen[1]], "follow-up", [(first, answers[chosen[0]])]
        )
    general(page, "sign", page.made.rows[0][0] if above else "")
    return page.made
