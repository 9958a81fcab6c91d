"""Made-up tables of events: what is when, where, with whom and for how much, asked from any column for any other."""

from __future__ import annotations

from random import Random

from lav2.documents import values, words
from lav2.documents.kinds import FIELDS, Document, Page, general
from lav2.text.weighing import ABSENT

CLASSES = ("Beginners", "Power yoga", "Morning flow", "Families", "Spinning", "Pilates", "Zumba", "Aqua fit", "Judo", "Salsa", "Choir", "Chess club", "Pottery",
           "First aid", "Spanish A1", "German B2", "Cooking", "Life drawing", "Guitar", "Book club", "Boxing", "Stretching", "Photography", "Drama")  # fmt: skip
HEADS = {"what": ("Class", "Course", "Event", "What", "Activity", "Lesson"), "day": ("Day", "Weekday", "When"), "time": ("Time", "Start", "From"),
         "who": ("Teacher", "Trainer", "With", "Host", "Led by", "Coach"), "room": ("Room", "Where", "Place"), "price": ("Price", "Fee", "Cost")}  # fmt: skip
OF_WHAT = {
    "day": ("On which day is {x}?", "Which day is {x}?", "What day is the {x} class?", "When is {x}?", "On what day is {x}?"),
    "time": ("At what time is {x}?", "When does {x} start?", "What time is {x}?", "What time does the {x} class begin?"),
    "who": ("Who teaches {x}?", "Who gives {x}?", "Who is the teacher of {x}?", "Who leads the {x} class?", "Who is {x} with?"),
    "room": ("Where is {x}?", "In which room is {x}?", "Which room is {x} in?", "Where does {x} take place?"),
    "price": ("How much is {x}?", "What does {x} cost?", "How much does {x} cost?", "What is the fee for {x}?"),
}  # fmt: skip
WHAT_OF = {
    "day": ("What is on {x}?", "Which class is on {x}?", "What can I do on {x}?", "What takes place on {x}?"),
    "time": ("What starts at {x}?", "Which class is at {x}?", "What is at {x}?"),
    "who": ("What does {x} teach?", "Which class does {x} give?", "What is {x} teaching?", "Which course is with {x}?"),
    "room": ("What is in {x}?", "Which class is in {x}?"),
    "price": ("What costs {x}?", "Which class is {x}?"),
}  # fmt: skip
OTHERS = {  # (asked for, known)
    ("who", "day"): ("Who teaches on {x}?", "Who is there on {x}?", "Which teacher is there on {x}?"),
    ("day", "who"): ("When does {x} teach?", "On which day is {x} there?", "On which day does {x} teach?"),
    ("time", "day"): ("At what time does it start on {x}?", "What time is the class on {x}?", "When does it begin on {x}?"),
    ("room", "day"): ("Where is the class on {x}?", "Which room is it in on {x}?"),
    ("time", "who"): ("At what time does {x} teach?",),
    ("who", "time"): ("Who teaches at {x}?",),
}  # fmt: skip
PARTS = {"morning": (0, 12 * 60), "afternoon": (12 * 60, 17 * 60), "evening": (17 * 60, 24 * 60)}
LISTED = 4


def table(rng: Random, rate: float) -> Document:
    """A course plan or programme: a name and two to four more columns."""
    page, style, money = Page(rng, "course plan", rate), values.clock_style(rng), values.Money(rng)
    count = rng.randint(2, 7)
    columns = ["what", *rng.sample(("day", "time", "who", "room", "price"), rng.choice((2, 3, 3, 4)))]
    if rng.random() < 0.6:
        rng.shuffle(columns)
    times = sorted(rng.sample(range(6 * 60, 22 * 60, 15), count))
    people = [
        values.faker(rng).first_name() if rng.random() < 0.7 else values.person(rng) for _ in range(max(1, count - 1))
    ]
    days = (
        sorted(rng.choice(range(7)) for _ in range(count))
        if rng.random() < 0.4
        else sorted(rng.sample(range(7), count))
    )
    short = rng.random() < 0.3
    title = rng.choice(
        (
            "Course plan",
            "Classes",
            "Programme",
            "Timetable",
            "Our courses",
            "This week",
            "Yoga classes",
            "Workshops",
            "",
        )
    )
    head = page.row(values.case(rng, title)) if title else []
    if rng.random() < 0.75:
        page.row(*(rng.choice(HEADS[name]) for name in columns))
    true, seen = [], []
    names = rng.sample(CLASSES if rng.random() < 0.6 else [event.capitalize() for event in words.EVENTS], count)
    for at in range(count):
        day = words.DAYS[days[at]]
        cells = {
            "what": names[at], "day": day[:3] if short else day, "time": values.clock(rng, times[at], style), "who": rng.choice(people),
            "room": f"Room {FIELDS['room'].make(rng)}", "price": money.write(money.draw(rng, 3, 200)),
        }  # fmt: skip
        true.append({**cells, "day": day})
        seen.append(dict(zip(columns, page.row(*(cells[name] for name in columns)), strict=True)))
    others = [name for name in columns if name != "what"]
    for at in rng.sample(range(count), min(3, count)):
        for name in rng.sample(others, min(2, len(others))):
            thing = true[at]["what"]
            asked = thing if rng.random() < 0.6 else thing.lower()
            page.ask([text.format(x=asked) for text in OF_WHAT[name]], seen[at][name], "value")
            _back(page, WHAT_OF[name], true, seen, at, name, "what")
    for (wanted, known), questions in OTHERS.items():
        if wanted in columns and known in columns:
            _back(page, questions, true, seen, rng.randrange(count), known, wanted)
    if "time" in columns and rng.random() < 0.5:
        part = rng.choice(tuple(PARTS))
        first, last = PARTS[part]
        found = [seen[at]["what"] for at in range(count) if first <= times[at] < last]
        if 0 < len(found) <= LISTED:
            page.ask(
                (f"Which class is in the {part}?", f"What is in the {part}?", f"What can I do in the {part}?"),
                ", ".join(found),
                "key" if len(found) == 1 else "list",
            )
    if "day" in columns:
        free = [day for day in words.DAYS if day not in {row["day"] for row in true}]
        if free:
            page.ask(
                (f"Is there a class on {free[0]}?", f"Is there anything on {free[0]}?"),
                f"No, {free[0]} is not in the text.",
                "member",
            )
        at = rng.randrange(count)
        proof = f"Yes, {' '.join(seen[at][name] for name in columns)}."
        page.ask(
            (f"Is there a class on {true[at]['day']}?", f"Is there anything on {true[at]['day']}?"), proof, "member"
        )
    if len(others) and count > 1:
        one, two = rng.sample(range(count), 2)
        name = rng.choice(others)
        first_asked = rng.choice(OF_WHAT[name]).format(x=true[one]["what"])
        page.ask(
            (f"And {true[two]['what']}?", f"What about {true[two]['what']}?"),
            seen[two][name],
            "follow-up",
            [(first_asked, seen[one][name])],
        )
    missing = [name for name in OF_WHAT if name not in columns]
    if missing:
        page.absent(
            [text.format(x=true[0]["what"]) for text in OF_WHAT[missing[0]]]
            if missing[0] != "day" or "time" not in columns
            else f"Which weekday is {true[0]['what']}?"
        )
    page.ask(("How many classes are there?", "How many are listed?", "How many courses are there?"), str(count), "rows")
    page.ask((f"When is the {rng.choice(('origami', 'archery', 'falconry'))} class?",), ABSENT, "absent")
    general(page, "course plan", head[0] if head else "")
    return page.made


def _back(page: Page, questions, true, seen, at: int, known: str, wanted: str) -> None:
    """Ask for a column by what another one says, of all rows that say it."""
    having = [row for row, fact in zip(seen, true, strict=True) if fact[known] == true[at][known]]
    told = list(dict.fromkeys(row[wanted] for row in having))
    if len(told) <= LISTED:
        page.ask(
            [text.format(x=true[at][known]) for text in questions], ", ".join(told), "key" if len(told) == 1 else "list"
        )
