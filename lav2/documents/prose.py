"""Made-up sentences on paper: letters, messages, notices, signs with conditions."""

from __future__ import annotations

import textwrap
from random import Random

from lav2.documents import values, words
from lav2.documents.kinds import FIELDS, Document, Page, _days, _money, general

# A text with {slots}, and for each slot the questions that it answers.
LETTERS: tuple[tuple[str, str, dict[str, tuple[str, ...]]], ...] = (
    ("letter", "Dear residents, the {what} will be turned off on {date} from {start} to {end}. Please call {phone} with any questions. {name}, building manager.",
     {"what": ("What will be turned off?",), "date": ("On which day is that?", "When will it be turned off?"), "start": ("From what time?", "When does it start?"), "end": ("Until when?", "When does it end?"),
      "phone": FIELDS["phone"].questions, "name": ("Who signed it?", "Who is the building manager?", "Who wrote this?")}),
    ("message", "Hi {first}, dinner is at {start} on {day} at {shop}. Bring {thing}! See you, {name}",
     {"first": ("Who is the message to?", "Whom is it for?"), "start": ("When is the dinner?", "What time is dinner?"), "day": ("On which day is it?", "What day is the dinner?"), "shop": ("Where is the dinner?", "Where do they meet?"),
      "thing": ("What should be brought?", "What should I bring?"), "name": ("Who wrote the message?", "Who is it from?")}),
    ("notice", "Due to {cause} the {place} is closed until {date}. The nearest open branch is at {street}. We apologise for the inconvenience.",
     {"cause": ("Why is it closed?", "What is the reason?"), "place": ("What is closed?",), "date": ("Until when is it closed?", "How long is it closed?"), "street": ("Where is the nearest branch?", "Where can I go instead?")}),
    ("letter", "Dear {name}, your appointment with {doctor} is on {date} at {start} in room {room}. Please bring your insurance card and arrive {minutes} minutes early.",
     {"name": ("Who is the letter for?", "Whose appointment is it?"), "doctor": ("Which doctor is it with?", "Who is the doctor?"), "date": ("When is the appointment?", "On what date is it?"), "start": ("At what time is the appointment?",),
      "room": FIELDS["room"].questions, "minutes": ("How many minutes early should I come?", "How early should I arrive?")}),
    ("notice", "Lost: a {colour} {thing} near {place}. Reward of {price}. If found please call {name} at {phone}.",
     {"thing": ("What was lost?", "What is missing?"), "colour": ("What colour is it?",), "place": ("Where was it lost?",), "price": ("How much is the reward?", "What is the reward?"), "name": ("Whom should I call?", "Who lost it?"), "phone": FIELDS["phone"].questions}),
    ("article", "{name} was born in {city} in {year} and worked as {job} for {number} years. In {later} she opened a {shopkind} on {street}, which her {relative} still runs today.",
     {"name": ("Who is it about?", "Who is described?"), "city": ("Where was she born?", "In which city was she born?"), "year": ("When was she born?", "In which year was she born?"), "job": ("What was her job?", "What did she work as?"), "number": ("For how many years did she work?",),
      "later": ("When did she open it?",), "shopkind": ("What did she open?",), "street": ("Where is it?",), "relative": ("Who runs it today?",)}),
    ("article", "The {building} in {city} was built in {year} and is {height} metres high. About {visitors} people visit it every year. Tickets cost {price} and are free for {free}.",
     {"building": ("What is the text about?", "What was built?"), "city": ("Where is it?", "In which city is it?"), "year": ("When was it built?", "In which year was it built?"), "height": ("How high is it?", "How tall is it?"), "visitors": ("How many people visit it?",), "price": ("How much is a ticket?", "What do tickets cost?"), "free": ("Who gets in free?", "For whom is it free?")}),
    ("email", "From: {name} Subject: {event} Hello all, the {event} has been moved to {date}, {start}, in {room2}. Please send your slides to {email} by {day}.",
     {"name": ("Who sent the email?", "Who is it from?"), "event": ("What is the subject?", "What has been moved?"), "date": ("To which date was it moved?", "When is it now?"), "start": ("What time is it?",), "room2": ("Where is it?", "Which room is it in?"), "email": ("Where should the slides be sent?", "Which address do I send it to?"), "day": ("By when do I have to send them?",)}),
    ("instructions", "Mix {number} cups of {thing} with {thing2}. Bake at {temperature} for {minutes} minutes. Serves {people}.",
     {"number": ("How many cups are needed?",), "thing": ("What is mixed first?",), "temperature": ("At what temperature is it baked?", "How hot should the oven be?"), "minutes": ("How long is it baked?", "For how many minutes?"), "people": ("How many people does it serve?",)}),
    ("instructions", "To reset the {device}, hold the {button} button for {minutes} seconds until the light turns {colour}. The default password is {password}. More at {web}.",
     {"device": ("What is being reset?", "Which device is it about?"), "button": ("Which button do I press?",), "minutes": ("How long do I hold the button?", "For how many seconds?"), "colour": ("Which colour does the light turn?",), "password": ("What is the default password?",), "web": FIELDS["web"].questions}),
    ("news", "{city}, {date}. A {event} drew {visitors} visitors to {place} on {day}. Organiser {name} said the next one will be held in {month}.",
     {"event": ("What happened?", "Which event was it?"), "visitors": ("How many visitors came?", "How many people came?"), "place": ("Where was it held?",), "name": ("Who organised it?", "Who is the organiser?"), "month": ("When is the next one?",), "city": ("From which city is the news?",)}),
    ("letter", "Dear customer, your parcel {code} will be delivered by {carrier} on {day} between {start} and {end}. The fee of {price} is paid to the driver.",
     {"code": ("What is the parcel number?", "Which parcel is it?"), "carrier": ("Who delivers it?",), "day": ("When will it be delivered?", "On which day does it come?"), "start": ("From when can it come?",), "price": ("How much is the fee?", "What do I pay the driver?")}),
    ("page", "{heading}. This chapter explains how {topic} works and why it matters. First, {topic} is compared with {topic2}. Then an example from {city} is shown. The results are listed on page {pages}.",
     {"heading": ("What is the title of this page?", "What is the title?", "What's the heading?"), "topic": ("What is this page about?", "What is explained?", "What is the chapter about?"), "topic2": ("What is it compared with?",), "city": ("Where is the example from?",), "pages": ("On which page are the results?",)}),
)  # fmt: skip

TOPICS = ("gradient descent", "image segmentation", "photosynthesis", "compound interest", "edge detection", "soil erosion", "data compression", "bridge building", "crop rotation",
          "random sampling", "glass making", "wind power", "memory management", "bee keeping", "water treatment", "tide prediction", "public transport", "paper recycling")  # fmt: skip


def _slots(rng: Random) -> dict[str, str]:
    style = values.clock_style(rng)
    start = rng.randrange(6 * 60, 20 * 60, 15)
    year = rng.randint(1800, 1990)
    topic, topic2 = rng.sample(TOPICS, 2)
    one, two = rng.sample(words.FOOD, 2)
    make = {
        "what": rng.choice(("water", "electricity", "heating", "gas", "lift", "internet")), "date": values.date(rng, rng.random() < 0.5), "start": values.clock(rng, start, style),
        "end": values.clock(rng, start + rng.randrange(30, 240, 30), style), "phone": values.phone(rng), "name": values.person(rng), "first": values.faker(rng).first_name(), "day": rng.choice(words.DAYS),
        "shop": values.business(rng).title(), "thing": one, "thing2": two, "cause": rng.choice(("renovation", "a water leak", "illness", "holidays", "bad weather", "a power cut", "staff training", "stocktaking")),
        "place": rng.choice(words.PLACES), "street": values.street(rng), "doctor": f"Dr. {values.faker(rng).last_name()}", "room": FIELDS["room"].make(rng), "minutes": str(rng.randint(2, 60)),
        "colour": rng.choice(("red", "blue", "green", "black", "white", "orange", "brown", "grey")), "price": _money(rng), "city": values.city(rng), "year": str(year), "job": FIELDS["job"].make(rng).lower(),
        "number": str(rng.randint(2, 30)), "later": str(year + rng.randint(20, 35)), "shopkind": rng.choice(words.SHOP_KINDS), "relative": rng.choice(("daughter", "son", "niece", "grandson", "family")),
        "building": rng.choice(("tower", "bridge", "castle", "cathedral", "lighthouse", "museum", "city hall", "old mill")), "height": str(rng.randint(12, 320)), "visitors": f"{rng.randint(2, 900)},000",
        "free": rng.choice(("children", "students", "members", "residents", "visitors under 12")), "event": rng.choice(words.EVENTS), "room2": f"room {FIELDS['room'].make(rng)}", "email": values.web(rng)[1],
        "temperature": f"{rng.randint(14, 24) * 10} C", "people": str(rng.randint(2, 12)), "device": rng.choice(("router", "printer", "alarm", "thermostat", "camera", "scale")), "button": rng.choice(("power", "reset", "red", "left", "menu")),
        "password": values.code(rng), "web": values.web(rng)[0], "month": rng.choice(words.MONTHS), "code": values.code(rng), "carrier": rng.choice(("DHL", "UPS", "FedEx", "Royal Mail", "our courier", "City Express")),
        "heading": rng.choice((topic.title(), f"Introduction to {topic}", f"{topic.capitalize()} in practice", f"How {topic} works")), "topic": topic, "topic2": topic2, "pages": str(rng.randint(2, 300)),
    }  # fmt: skip
    return make


def letter(rng: Random, rate: float) -> Document:
    """A text of a few sentences, in lines of some width, at times two texts after each other."""
    what, text, questions = rng.choice(LETTERS)
    page, slots = Page(rng, what, rate), _slots(rng)
    shown = {name: page.read(value) for name, value in slots.items()}
    heading = ""
    if what == "page":
        heading = shown["heading"]
        page.made.rows.append([heading])
        text = text.removeprefix("{heading}. ")
    pieces = [page.read(part) if part.strip() and not part.startswith("{") else part for part in _parts(text)]
    body = "".join(
        shown[p[1:-1]] if p.startswith("{") else _spaced(p, q) for p, q in zip(pieces, _parts(text), strict=True)
    )
    body = " ".join(body.split())
    secret = ""
    if rng.random() < 0.12:
        secret = rng.choice(
            ("pelican", "lantern", "velvet", "harbour", "tulip", "copper", "walnut", "meadow", "comet", "anchor")
        )
        body += page.read(f" The secret word is {secret}.")
    for line in textwrap.wrap(body, rng.randint(22, 64)):
        page.made.rows.append([line])
    for name, asked in questions.items():
        if rng.random() < 0.75 and shown[name] in " ".join(cell for row in page.made.rows for cell in row):
            page.ask(asked, shown[name], "sentence")
    if secret and secret in body:
        page.ask(
            ("What is the secret word?", "What is the secret word at the end?", "Which word is secret?"),
            secret,
            "sentence",
        )
    for name in rng.sample([n for n in ("phone", "price", "email", "web", "date") if n not in questions], 1):
        page.absent(FIELDS[name].questions)
    first = body.split(". ")[0].rstrip(".") + "."
    page.ask(
        (
            "What is this text about?",
            "What is it about?",
            "Summarize this document.",
            "What is this letter about?",
            "Summarise the text.",
            "What does the text say in short?",
            "Sum it up.",
        ),
        first if len(first) < 160 else first[:160],
        "about",
    )
    general(page, what, heading)
    return page.made


def _parts(text: str) -> list[str]:
    parts, rest = [], text
    while "{" in rest:
        before, _, rest = rest.partition("{")
        name, _, rest = rest.partition("}")
        parts += [before, f"{{{name}}}"]
    return [*parts, rest]


def _spaced(read: str, was: str) -> str:
    """A misread piece with the spaces at its ends, which `misread` takes away."""
    return f"{' ' if was[:1] == ' ' else ''}{read.strip()}{' ' if was[-1:] == ' ' else ''}" if was.strip() else was


def sign(rng: Random, rate: float) -> Document:
    """A sign of one to four short lines: a shop, an order, a place, with hours or days at times."""
    page = Page(rng, "sign", rate)
    kind = rng.choice(("shop", "notice", "place", "parking", "brand", "words"))
    case = rng.choice((str.upper, str.upper, str.title, str.capitalize, str.lower))
    days = hours = fine = ""
    if kind == "shop":
        trade = rng.choice(words.SHOP_KINDS)
        name = values.faker(rng).last_name() + "'s" if rng.random() < 0.4 else ""
        page.row(case(f"{name} {trade}".strip()))
        if rng.random() < 0.6:
            page.row(case(rng.choice(words.SLOGANS)))
        page.ask(
            (
                "What kind of shop is this?",
                "What kind of shop is it?",
                "What sort of business is it?",
                "What does this shop sell?",
                "What shop is this?",
            ),
            page.read(case(trade)) if rate == 0 else next((c for c in page.made.rows[0]), trade),
            "shop",
        )
    elif kind == "notice":
        said = page.row(case(rng.choice(words.NOTICES)))[0]
        page.ask(("What is not allowed?", "What should I do?", "What is the rule?", "What does the notice say?", "What is asked of people?"), said, "title")  # fmt: skip
        if rng.random() < 0.3:
            page.row(case(rng.choice(words.NOTICES)))
    elif kind == "place":
        for goal in rng.sample(words.PLACES, rng.randint(1, 3)):
            cells = page.row(case(goal), FIELDS["distance"].make(rng)) if rng.random() < 0.6 else page.row(case(goal))
            if len(cells) == 2:
                page.ask(
                    (f"How far is it to {goal}?", f"What is the distance to {goal}?", f"How far is {goal}?"),
                    cells[1],
                    "value",
                )
    elif kind == "parking":
        page.row(
            case(
                rng.choice(
                    (
                        "no parking",
                        "no stopping",
                        "parking",
                        "permit holders only",
                        "loading only",
                        "pay and display",
                        "no entry",
                    )
                )
            )
        )
        style = values.clock_style(rng)
        opens = rng.randrange(5 * 60, 11 * 60, 30)
        dash = rng.choice((" - ", "-", " to "))
        if rng.random() < 0.8:
            hours = page.row(
                f"{values.clock(rng, opens, style)}{dash}{values.clock(rng, opens + rng.randrange(240, 700, 30), style)}"
            )[0]
        if rng.random() < 0.8:
            days = page.row(case(_days(rng)))[0]
        if rng.random() < 0.5:
            label, amount = page.read(rng.choice(("Fine", "FINE", "Fee", "Penalty"))), page.read(_money(rng))
            page.made.rows.append([label, amount] if rng.random() < 0.4 else [f"{label} {amount}"])
            fine = amount
        if hours:
            page.ask(
                (
                    "During which hours?",
                    "At what times does it apply?",
                    "During which hours is parking not allowed?",
                    "From when to when?",
                    "What hours are on the sign?",
                    "When may I not park here?",
                ),
                hours,
                "hours",
            )
        if days:
            page.ask(FIELDS["days"].questions, days, "days")
            first, last = _span(days)
            if first is not None:
                at = rng.randrange(7)
                inside = first <= at <= last
                page.ask(
                    (f"Does it apply on {words.DAYS[at]}?", f"Is {words.DAYS[at]} included?"),
                    f"Yes: {days}." if inside else f"No: {days}.",
                    "days",
                )
                if page.made.rows[0][0].lower() in ("no parking", "no stopping"):
                    page.ask(
                        (
                            f"May I park here on {words.DAYS[at]}?",
                            f"Can I park here on {words.DAYS[at]}?",
                            f"Is parking allowed on {words.DAYS[at]}?",
                        ),
                        f"{'No' if inside else 'Yes'}: {page.made.rows[0][0]} {days}.",
                        "days",
                    )
        if fine:
            page.ask(FIELDS["fee"].questions, fine, "field")
        elif rng.random() < 0.3:
            page.absent(FIELDS["fee"].questions)
    elif kind == "brand":
        maker = (
            values.faker(rng, "en_US").last_name()
            if rng.random() < 0.5
            else rng.choice(
                (
                    "honda",
                    "toyota",
                    "pepsi",
                    "coca-cola",
                    "nokia",
                    "sony",
                    "samsung",
                    "nike",
                    "adidas",
                    "yamaha",
                    "bosch",
                    "canon",
                    "heineken",
                    "ford",
                    "kodak",
                    "shell",
                )
            )
        )
        read = page.row(case(maker))
        thing = rng.choice(
            (
                "motorcycle",
                "car",
                "shirt",
                "bottle",
                "cup",
                "laptop",
                "phone",
                "camera",
                "bike",
                "bag",
                "truck",
                "can",
                "box",
                "machine",
            )
        )
        if rng.random() < 0.3:
            page.row(values.code(rng))
        page.ask(
            (
                f"What brand is the {thing}?",
                f"What brand is on the {thing}?",
                f"What is the brand of the {thing}?",
                "Which brand is this?",
                f"Who made the {thing}?",
                f"What name is on the {thing}?",
            ),
            read[0],
            "brand",
        )
    else:
        source = values.faker(rng, "en_US")
        for _ in range(rng.randint(1, 4)):
            page.row(
                case(
                    " ".join(rng.sample((*words.GOODS, *words.PLACES, *words.FOOD), rng.randint(1, 3)))
                    if rng.random() < 0.6
                    else source.catch_phrase()
                )
            )
    for name in rng.sample(("phone", "price", "date", "web", "opens"), rng.random() < 0.35):
        page.absent(FIELDS[name].questions)
    if rng.random() < 0.5:
        text = " ".join(cell for row in page.made.rows for cell in row)
        page.ask(
            (
                "What does the sign say?",
                "What does it say?",
                "Read the sign.",
                "What is written on the sign?",
                "What is written there?",
            ),
            text,
            "read",
        )
    word = rng.choice([w for row in page.made.rows for c in row for w in c.split() if len(w) > 3] or ["sign"])
    other = rng.choice(words.GOODS).split()[0]
    page.yes_no(
        (f"Is the word {word} on the sign?", f"Does it say {word}?"),
        next((" ".join(r) for r in page.made.rows if word in " ".join(r)), word) + ".",
    )
    if other.lower() not in " ".join(c for r in page.made.rows for c in r).lower():
        page.yes_no((f"Is the word {other} on the sign?", f"Does it say {other}?"), None, other)
    general(page, "sign", " ".join(page.made.rows[0]))
    return page.made


def _span(days: str) -> tuple[int | None, int]:
    found = [at for at, day in enumerate(words.DAYS) if day[:3].lower() in days.lower()]
    return (found[0], found[-1]) if len(found) == 2 else (None, 0)


def columns(rng: Random, rate: float) -> Document:
    """Two columns of running text, which the reading order gives one after the other."""
    page = Page(rng, "columns", rate)
    bodies = []
    for _ in range(2):
        _, text, _ = rng.choice(LETTERS[:-1])
        body = text.format(**_slots(rng)).split(". ")[0] + "."
        lines = textwrap.wrap(page.read(body), rng.randint(14, 26))
        bodies.append(" ".join(lines))
        page.made.rows += [[line] for line in lines]
    page.ask(
        ("What does the left column say?", "Read the left column.", "What is in the first column?"), bodies[0], "column"
    )
    page.ask(
        ("What does the right column say?", "Read the right column.", "What is in the second column?"),
        bodies[1],
        "column",
    )
    page.ask(("Read all the text.", "What does it say?", "What is written here?"), " ".join(bodies), "read")
    page.absent(FIELDS["phone"].questions if not any("call" in b for b in bodies) else FIELDS["serial"].questions)
    return page.made


__all__ = ["columns", "letter", "sign"]
