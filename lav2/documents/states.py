"""Made-up boards and lists whose rows have a state: trains that are late, goods that are sold out, who has paid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from lav2.documents import values, words
from lav2.documents.kinds import Document, Page, general
from lav2.text.states import NONE

LISTED = 4  # of names in an answer at most
TASKS = ("buy milk", "call the bank", "book flights", "water the plants", "clean the kitchen", "pay the rent", "fix the sink", "send invoices",
         "order paper", "update website", "write report", "test backup", "paint the fence", "renew passport", "wash the car", "feed the cat",
         "return books", "mow the lawn", "check tyres", "plan the trip", "print flyers", "reply to Sam")  # fmt: skip
SIGHTS = ("Museum", "Castle", "Gallery", "Pool", "Sauna", "Library", "Cafe", "Aquarium", "Tower", "Ski lift 1", "Ski lift 2", "North slope",
          "South slope", "Coast road", "Bridge", "Tunnel", "Gate A", "Gate B", "Playground", "Ice rink", "Beach", "Trail 4", "Gift shop")  # fmt: skip
DEVICES = (
    "Heating",
    "Lights",
    "Alarm",
    "Fan",
    "Pump",
    "Boiler",
    "Camera 1",
    "Camera 2",
    "Garage door",
    "Oven",
    "Sprinkler",
    "Radio",
    "WiFi",
    "Bluetooth",
)


@dataclass(frozen=True)
class State:
    """`shown`: ways to print it, {minutes} and {number} are drawn; `asked`: adjectives that people ask with."""

    shown: tuple[str, ...]
    asked: tuple[str, ...]


@dataclass(frozen=True)
class Board:
    """A kind of list. `whether` and `which`: questions, {x} a row's thing, {state} one word of State.asked; `more`: (questions
    with {x}, the states that mean yes)."""

    what: str
    titles: tuple[str, ...]
    things: Callable[[Random, int], list[str]]
    states: dict[str, State]
    whether: tuple[str, ...]
    which: tuple[str, ...]
    more: tuple[tuple[tuple[str, ...], frozenset[str]], ...] = ()
    columns: tuple[str, ...] = ()  # what may stand between thing and state: time, price, date


def _of(names: Sequence[str]) -> Callable[[Random, int], list[str]]:
    return lambda rng, count: rng.sample(names, count)


def _people(rng: Random, count: int) -> list[str]:
    drawn = [values.faker(rng).first_name() if rng.random() < 0.6 else values.person(rng) for _ in range(count)]
    return list(dict.fromkeys(drawn))


def _rooms(rng: Random, count: int) -> list[str]:
    start = rng.choice((1, 10, 101, 200, 301))
    return [f"{rng.choice(('Room', 'Room', 'Table', 'Court'))} {number}" for number in range(start, start + count)]


def _ride(noun: str) -> Board:
    """Departures of trains, buses, flights or ferries."""
    return Board(
        "timetable", ("departures", "live departures", f"{noun} times", "departures today", "service status", ""), _of(words.PLACES),
        {
            "on time": State(("On time", "on time", "ON TIME"), ("on time", "punctual")),
            "late": State(("Delayed", "DELAYED", "Late", "delayed {minutes} min", "Delayed {minutes} min", "+{minutes} min", "{minutes} min late"),
                          ("late", "delayed")),
            "cancelled": State(("Cancelled", "CANCELLED", "cancelled", "Canceled", "not running"), ("cancelled", "not running")),
            "boarding": State(("Boarding", "Now boarding", "BOARDING"), ("boarding",)),
        },
        (f"Is the {noun} to {{x}} {{state}}?", f"Is the {{x}} {noun} {{state}}?", "Is the one to {x} {state}?"),
        (f"Which {noun} is {{state}}?", f"Where does the {noun} go that is {{state}}?", "Which destination is {state}?", f"Which {noun}s are {{state}}?"),
        (((f"Is the {noun} to {{x}} running?", f"Does the {noun} to {{x}} run?", f"Does the {noun} to {{x}} go today?",
           f"Is the {{x}} {noun} still going?"), frozenset(("on time", "late", "boarding"))),),
        ("time",),
    )  # fmt: skip


BOARDS = (
    (_ride("train"), 4), (_ride("bus"), 2), (_ride("flight"), 2), (_ride("ferry"), 1),
    (Board(
        "stock list", ("stock", "availability", "inventory", "today's menu", "our products", ""), lambda rng, count: rng.sample(rng.choice((words.FOOD, words.DISHES, words.GOODS)), count),
        {"in stock": State(("in stock", "In stock", "available", "Available", "{number} left"), ("in stock", "available")),
         "sold out": State(("sold out", "SOLD OUT", "Sold out", "out of stock", "Out of stock", "none left"), ("sold out", "out of stock"))},
        ("Is the {x} {state}?", "Are {x} {state}?", "Is {x} {state}?"), ("What is {state}?", "Which item is {state}?", "Which products are {state}?"),
        ((("Can I still get {x}?", "Can I buy {x}?", "Do they have {x}?", "Is there any {x} left?"), frozenset(("in stock",))),), ("price",)), 3),
    (Board(
        "to-do list", ("to do", "tasks", "to-do list", "weekend", "project plan", "this week", ""), _of(TASKS),
        {"done": State(("done", "Done", "DONE", "finished", "completed"), ("done", "finished")),
         "open": State(("open", "Open", "to do", "not started", "pending"), ("open", "not done")),
         "in progress": State(("in progress", "In progress", "started", "WIP"), ("in progress",))},
        ('Is "{x}" {state}?', "Is the task {x} {state}?", "Is {x} {state}?"), ("What is {state}?", "Which task is {state}?", "Which tasks are {state}?"),
        (), ("date",)), 2),
    (Board(
        "list of people", ("attendance", "class 3A", "register", "roll call", "team", "group B", ""), _people,
        {"present": State(("present", "Present", "here", "yes"), ("present", "here")),
         "absent": State(("absent", "Absent", "away", "missing"), ("absent", "missing")),
         "ill": State(("ill", "sick", "Sick"), ("ill", "sick"))},
        ("Is {x} {state}?", "Was {x} {state}?"), ("Who is {state}?", "Which person is {state}?", "Who was {state}?"), (), ("date",)), 2),
    (Board(
        "list of payments", ("rent", "payments", "trip money", "membership fees", "invoices", "contributions", ""), _people,
        {"paid": State(("paid", "Paid", "PAID", "received"), ("paid",)),
         "unpaid": State(("unpaid", "Unpaid", "open", "overdue", "OVERDUE", "not paid", "due"), ("unpaid",))},
        ("Is {x} {state}?", "Is the payment of {x} {state}?"), ("Who is {state}?", "Which payment is {state}?"),
        ((("Has {x} paid?", "Did {x} pay?", "Has {x} paid already?"), frozenset(("paid",))),
         (("Does {x} still have to pay?", "Does {x} owe money?"), frozenset(("unpaid",)))), ("price",)), 3),
    (Board(
        "room plan", ("rooms", "bookings", "meeting rooms", "reservations", "occupancy", ""), _rooms,
        {"free": State(("free", "Free", "available", "vacant"), ("free", "available")),
         "taken": State(("occupied", "Occupied", "in use", "busy", "OCCUPIED"), ("occupied", "in use")),
         "reserved": State(("reserved", "Reserved", "booked"), ("reserved", "booked"))},
        ("Is {x} {state}?",), ("Which one is {state}?", "What is {state}?", "Which are {state}?"),
        ((("Can I use {x}?", "Can I have {x}?"), frozenset(("free",))),), ("time",)), 2),
    (Board(
        "course plan", ("courses", "tours", "classes", "workshops", "events", ""), _of(words.EVENTS),
        {"full": State(("full", "FULL", "fully booked", "sold out", "no places left"), ("full", "fully booked")),
         "places left": State(("places left", "{number} places left", "{number} left", "available"), ("available", "open")),
         "cancelled": State(("cancelled", "CANCELLED", "Cancelled"), ("cancelled", "called off"))},
        ("Is the {x} {state}?",), ("Which one is {state}?", "Which event is {state}?", "What is {state}?"),
        ((("Can I still join the {x}?", "Are there places left for the {x}?", "Can I book the {x}?"), frozenset(("places left",))),
         (("Does the {x} take place?",), frozenset(("full", "places left")))), ("time", "date")), 2),
    (Board(
        "status board", ("today", "open today", "status", "mountain report", "road conditions", ""), _of(SIGHTS),
        {"open": State(("open", "Open", "OPEN"), ("open",)), "closed": State(("closed", "Closed", "CLOSED"), ("closed", "shut"))},
        ("Is the {x} {state}?", "Is {x} {state}?"), ("What is {state}?", "Which one is {state}?", "Which are {state}?"),
        ((("Can I go to the {x}?", "Can I use the {x}?", "Can we visit the {x}?"), frozenset(("open",))),), ()), 3),
    (Board(
        "settings screen", ("settings", "home", "devices", "smart home", "status", ""), _of(DEVICES),
        {"on": State(("on", "On", "ON"), ("on", "switched on")), "off": State(("off", "Off", "OFF"), ("off", "switched off"))},
        ("Is the {x} {state}?",), ("What is {state}?", "Which device is {state}?", "Which ones are {state}?"), (), ()), 1),
    (Board(
        "list of results", ("exam results", "driving test", "results", "inspection", "quality check", ""), _people,
        {"passed": State(("passed", "Passed", "pass", "PASS", "OK"), ("passed",)), "failed": State(("failed", "Failed", "fail", "FAIL"), ("failed",))},
        ("Has {x} {state}?", "Is {x} one of those who {state}?"), ("Who has {state}?", "Who {state}?"),
        ((("Did {x} pass?",), frozenset(("passed",))), (("Did {x} fail?",), frozenset(("failed",)))), ("score",)), 2),
)  # fmt: skip


def states(rng: Random, rate: float) -> Document:
    """A list of things, each with its state, at times with a time, a date, a price or a score beside it."""
    board = rng.choices([board for board, _ in BOARDS], [share for _, share in BOARDS])[0]
    page, case = Page(rng, board.what, rate), rng.choice((str, str, str.upper, str.capitalize))
    things = board.things(rng, rng.randint(2, 7))
    of = [rng.choice(tuple(board.states)) for _ in things]
    money, clock = values.Money(rng), values.clock_style(rng)
    make = {
        "time": lambda: values.clock(rng, rng.randrange(5 * 60, 23 * 60, 5), clock),
        "price": lambda: money.write(money.draw(rng, 2, 90)),
        "date": lambda: values.date(rng),
        "score": lambda: f"{rng.randint(20, 100)}%",
    }
    column = rng.choice(board.columns) if board.columns and rng.random() < 0.6 else ""
    joined, first = rng.random() < 0.2, column and rng.random() < 0.5  # one cell a row; the column before the thing
    title = rng.choice(board.titles)
    head = page.row(values.case(rng, title)) if title else []
    if rng.random() < 0.3 and not joined:
        above = [rng.choice(("Name", "Item", "What")), *([column.capitalize()] if column else [])]
        page.row(*(above[::-1] if first else above), rng.choice(("Status", "State", "Info")))
    names: list[str] = []  # the things and
    seen: list[str] = []  # their states as read
    for thing, state in zip(things, of, strict=True):
        printed = rng.choice(board.states[state].shown).format(
            minutes=rng.randrange(5, 60, 5), number=rng.randint(1, 30)
        )
        cells = [page.read(case(thing)), *([page.read(make[column]())] if column else [])]
        names.append(cells[0])
        read = page.read(printed)
        page.made.rows.append([" ".join((*cells, read))] if joined else [*(cells[::-1] if first else cells), read])
        seen.append(read)
    for at in rng.sample(range(len(things)), min(3, len(things))):
        wanted = of[at] if rng.random() < 0.5 else rng.choice([name for name in board.states if name != of[at]])
        _whether(page, board.whether, things[at], rng.choice(board.states[wanted].asked), of[at] == wanted, seen[at])
        for questions, means_yes in board.more:
            _whether(page, questions, things[at], "", of[at] in means_yes, seen[at])
    at = rng.randrange(len(things))
    status = (
        f"What is the status of {things[at]}?",
        f"What does it say for {things[at]}?",
        f"What about {things[at]}?",
    )
    page.ask(status, seen[at], "value")
    if len(things) > 1:
        one, two = rng.sample(range(len(things)), 2)
        page.ask((f"And {things[two]}?", f"What about {things[two]}?"), seen[two], "follow-up",
                 [(f"What is the status of {things[one]}?", seen[one])])  # fmt: skip
    for name, state in board.states.items():
        having = [shown for shown, found in zip(names, of, strict=True) if found == name]
        if len(having) <= LISTED and (having or rng.random() < 0.5):
            questions = [text.format(state=rng.choice(state.asked)) for text in board.which]
            page.ask(questions, ", ".join(having) or NONE, "which state")
        if rng.random() < 0.25:
            page.ask(f"How many are {rng.choice(state.asked)}?", str(len(having)), "rows")
    general(page, board.what, head[0] if head else "")
    return page.made


def _whether(page: Page, questions: Sequence[str], thing: str, state: str, yes: bool, read: str) -> None:
    lower = page.rng.random() < 0.5
    page.ask([text.format(x=thing.lower() if lower else thing, state=state) for text in questions],
             f"{'Yes' if yes else 'No'}: {read}.", "state")  # fmt: skip
