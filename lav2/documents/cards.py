"""Made-up cards, labels, tickets and signs: a heading and some fields, below each other, in pairs or in a grid."""

from __future__ import annotations

from random import Random

from lav2.documents import values, words
from lav2.documents.kinds import BUSINESS_NOUNS, FIELDS, Document, Page, general

STYLES = {"one": 5, "two": 4, "above": 1, "mixed": 2, "pairs": 2, "grid": 2}  # how fields are set, and how often

# kind -> (titles or a maker of them, what it is called, fields that are likely on it)
CARDS: dict[str, tuple[object, str, tuple[str, ...]]] = {
    "business card": (values.business, "business card", ("name", "job", "phone", "mobile", "email", "web", "street", "city")),
    "membership card": (values.business, "card", ("name", "member", "expires", "phone", "street", "email", "web", "serial", "issued")),
    "name badge": (lambda rng: rng.choice(words.EVENTS), "badge", ("name", "job", "room", "member")),
    "shipping label": (("express parcel", "priority mail", "shipping label", "parcel service"), "shipping label", ("name", "sender", "street", "city", "weight", "tracking", "order", "date")),
    "product label": (lambda rng: rng.choice(words.FOOD), "product label", ("weight", "volume", "price", "expires", "origin", "batch", "phone", "web")),
    "device label": (("power adapter", "router", "laser printer", "battery charger", "tv set", "washing machine", "camera"), "label", ("model", "serial", "origin", "weight", "web", "issued")),
    "medicine": (("ibuprofen 200 mg", "paracetamol 500 mg", "vitamin c", "cough syrup", "aspirin 100 mg", "allergy relief", "eye drops"), "medicine label", ("dose", "expires", "batch", "volume", "name", "phone")),
    "boarding pass": (("boarding pass", "boarding card"), "boarding pass", ("name", "flight", "from", "to", "gate", "seat", "boarding", "departs", "date")),
    "train ticket": (("train ticket", "single ticket", "day return", "rail pass"), "ticket", ("from", "to", "date", "departs", "arrives", "platform", "seat", "price", "ticket", "name")),
    "event ticket": (lambda rng: rng.choice(words.EVENTS), "ticket", ("date", "start", "seat", "price", "ticket", "street", "name", "end")),
    "poster": (lambda rng: rng.choice(words.EVENTS), "poster", ("date", "start", "street", "price", "phone", "web", "contact", "end", "city")),
    "appointment": (values.business, "appointment card", ("name", "date", "start", "room", "phone", "contact", "street", "floor")),
    "invoice head": (values.business, "invoice", ("invoice", "date", "due", "name", "street", "phone", "email", "vat", "price", "order")),
    "parking sign": (("no parking", "permit parking only", "pay parking", "2 hour parking", "no stopping", "tow away zone"), "sign", ("days", "fee", "phone")),
    "notice": (lambda rng: rng.choice(words.NOTICES), "sign", ("fee", "phone", "contact", "date", "days")),
    "road sign": (lambda rng: rng.choice(words.PLACES), "sign", ("distance", "speed")),
    "bus": (lambda rng: rng.choice(words.PLACES), "bus sign", ("bus", "plate")),
    "vehicle": ((), "number plate", ("plate",)),
    "room sign": (values.person, "door sign", ("room", "job", "phone", "floor", "opens")),
    "dialog": (lambda rng: rng.choice(words.ERRORS), "error message", ("error", "phone", "web", "reference")),
    "wifi card": (("guest wifi", "free wifi", "wifi access", "welcome"), "wifi card", ("wifi", "password", "room", "phone")),
    "order slip": (("order confirmation", "pick-up order", "your order", "kitchen order"), "order slip", ("order", "name", "date", "start", "table", "server", "status", "price", "people")),
    "id card": (("identity card", "student card", "driving licence", "employee id", "library card"), "card", ("name", "born", "member", "expires", "issued", "street", "city")),
    "shop sign": (values.business, "shop sign", ("phone", "opens", "closes", "days", "web", "street")),
    "reservation": (("reservation", "reserved", "booking confirmation", "hotel voucher"), "booking", ("name", "date", "start", "people", "room", "table", "reference", "price", "phone")),
    "rental": (("for rent", "for sale", "apartment to let", "car for sale", "lost cat", "found keys"), "notice", ("price", "phone", "contact", "email", "deposit", "street", "size", "colour")),
    "lift": (("lift", "elevator", "cable car"), "sign", ("capacity", "weight", "phone", "serial")),
    "book cover": (lambda rng: values.faker(rng, "en_US").catch_phrase(), "cover", ("author", "price", "pages")),
    "weather": (lambda rng: rng.choice(words.PLACES), "weather display", ("temperature", "date", "start")),
    "scoreboard": (lambda rng: f"{rng.choice(words.PLACES)} vs {rng.choice(words.PLACES)}", "scoreboard", ("score", "start", "date")),
}  # fmt: skip

TITLE_QUESTIONS = ("What is the name on the {what}?", "What does the {what} say at the top?", "What is the title?", "What is the {what} for?",
                   "What's the heading?", "What is written first?")  # fmt: skip
BUSINESS_QUESTIONS = ("What is the name of the shop?", "Which shop is it from?", "Which business is this?", "What is the company called?", "What's the name of the place?",
                      "Whose {what} is this?", "Which company is it?")  # fmt: skip
# What the heading of some kinds of card answers beside TITLE_QUESTIONS.
HEADING_QUESTIONS = {
    "bus": ("Where does the bus go?", "Where is the bus going?", "What is the destination of the bus?", "Which stop does it go to?"),
    "room sign": ("Who is in this room?", "Whose room is it?", "Whose office is this?"),
    "road sign": ("Where does the road go?", "Which place is on the sign?", "Where does this lead to?"),
    "dialog": ("What went wrong?", "What is the problem?", "What does the error say?", "What happened?", "What is the error message?"),
    "weather": ("Which place is it for?", "Where is that weather?"),
    "book cover": ("What is the title of the book?", "What is the book called?"),
    "event ticket": ("What event is it for?", "Which event is it?"),
    "poster": ("What event is it?", "What is announced?", "What is on?"),
    "product label": ("What product is it?", "What is in the package?", "What is it?"),
    "medicine": ("What medicine is it?", "Which medicine is this?", "What is in the bottle?"),
    "device label": ("What device is it?", "Which device is this?"),
}  # fmt: skip


def card(rng: Random, rate: float) -> Document:
    """A title and some fields, each a line."""
    kind = rng.choice(tuple(CARDS))
    titles, what, likely = CARDS[kind]
    page = Page(rng, kind, rate)
    title = (rng.choice(titles) if titles else "") if isinstance(titles, tuple) else titles(rng)
    shown = values.case(rng, title) if title else ""
    below = rng.random() < 0.15  # the heading stands below the values
    head = [] if below else page.row(shown)
    named = list(likely)
    rng.shuffle(named)
    named = named[: rng.randint(min(1, len(named)), min(len(named), 7))]
    if rng.random() < 0.5:
        named.sort(key=likely.index)
    style = rng.choices(tuple(STYLES), tuple(STYLES.values()))[0]
    upper = rng.random() < 0.3
    if rng.random() < 0.2:
        page.row(rng.choice(words.SLOGANS))
    answers = _print(page, named, style, upper)
    if below:
        head = page.row(shown)
    if rng.random() < 0.15:
        page.row(rng.choice(words.SLOGANS))
    for name, answer in answers.items():
        page.ask(FIELDS[name].questions, answer, "field")
        if rng.random() < 0.35:
            page.ask(FIELDS[name].questions, answer, "field")
    if title and head:
        asked = [q.format(what=what) for q in (BUSINESS_QUESTIONS if titles is values.business else TITLE_QUESTIONS)]
        if titles is values.business:
            asked += [f"What is the name of the {rng.choice(BUSINESS_NOUNS)}?" for _ in range(3)]
        page.ask(HEADING_QUESTIONS.get(kind, asked), head[0], "title")
        page.ask(asked, head[0], "title")
        if kind == "room sign" and "room" in answers:
            page.ask(
                (f"Which room is {title} in?", f"In which room is {title}?", f"Where do I find {title}?"),
                answers["room"],
                "field",
            )
        if kind == "bus" and "bus" in answers:
            page.ask(
                (f"Which bus goes to {title}?", f"What is the number of the bus to {title}?"), answers["bus"], "field"
            )
    missing = [name for name in FIELDS if name not in answers and not _overlap(name, answers)]
    for name in rng.sample(missing, rng.choice((1, 1, 2, 3))):
        page.absent(FIELDS[name].questions)
    if len(answers) > 1 and rng.random() < 0.5:
        one, two = rng.sample(sorted(answers), 2)
        first, second = rng.choice(FIELDS[one].questions), rng.choice(FIELDS[two].questions)
        page.ask(
            f"{first.rstrip('?.')} and {second[:1].lower()}{second[1:]}",
            f"{answers[one]} and {answers[two]}",
            "compound",
        )
        page.ask((f"And {second[:1].lower()}{second[1:]}", second), answers[two], "follow-up", [(first, answers[one])])
    more = "".join(f", {name.replace('_', ' ')} {answers[name]}" for name in list(answers)[:2])
    general(page, what, head[0] if head else "", more)
    return page.made


def _print(page: Page, named: list[str], style: str, upper: bool) -> dict[str, str]:
    """Print fields; what each says, as it was read."""
    rng, answers = page.rng, {}
    labels = {name: rng.choice(FIELDS[name].labels) for name in named}
    labels = {name: label.upper() if upper else label for name, label in labels.items()}
    if style == "grid":  # a row of labels above the row of their values, as on a boarding pass
        wide = rng.choice((2, 3, 3, 4))
        for start in range(0, len(named), wide):
            part = named[start : start + wide]
            page.row(*(labels[name].rstrip(":.") or name.capitalize() for name in part))
            answers |= zip(part, page.row(*(FIELDS[name].make(rng) for name in part)), strict=True)
        return answers
    if style == "pairs":  # two fields in a row
        for start in range(0, len(named), 2):
            part = named[start : start + 2]
            read = [(page.read(labels[name]), page.read(FIELDS[name].make(rng))) for name in part]
            answers |= {name: value for name, (_, value) in zip(part, read, strict=True)}
            cells = [f"{label} {value}".strip() for label, value in read]
            apart = [cell for pair in read for cell in pair if cell]
            page.made.rows.append(rng.choice((cells, [" ".join(cells)], apart)))
        return answers
    for name in named:
        value, label = FIELDS[name].make(rng), labels[name]
        form = rng.choice(("one", "two", "above")) if style == "mixed" else style
        if not label:
            answers[name] = page.row(value)[0]
        elif form == "one":
            read = page.read(label), page.read(value)
            page.made.rows.append([" ".join(read)])
            answers[name] = read[1]
        elif form == "two":
            answers[name] = page.row(label, value)[1]
        else:
            page.row(label)
            answers[name] = page.row(value)[0]
    return answers


_ALIKE = ({"phone", "mobile"}, {"street", "city", "from", "to"}, {"date", "expires", "issued", "born", "due", "days"}, {"price", "fee", "deposit"},
          {"name", "contact", "sender", "author", "server"}, {"start", "end", "opens", "closes", "boarding", "departs", "arrives"},
          {"order", "invoice", "serial", "member", "ticket", "tracking", "batch", "reference", "model", "vat", "password", "error"}, {"room", "floor", "table", "gate", "platform"},
          {"email", "web", "wifi"})  # fmt: skip


def _overlap(name: str, answers: dict[str, str]) -> bool:
    """Whether a field could be mistaken for one that is there, so that "not there" would be unfair."""
    return any(name in group and group & answers.keys() for group in _ALIKE)
