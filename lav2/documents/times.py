"""Made-up opening hours and timetables."""

from __future__ import annotations

from random import Random

from lav2.documents import values, words
from lav2.documents.kinds import BUSINESS_NOUNS, FIELDS, Document, Page, general
from lav2.text.weighing import ABSENT


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
        closed = first > 0 and rng.random() < (0.6 if end == 7 else 0.12)
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
        which, place = rng.choice(("opens", "closes", "hours")), rng.choice(BUSINESS_NOUNS)
        if which == "opens":
            page.ask(
                (
                    f"When does it open on {name}?",
                    f"What time do they open on {name}?",
                    f"At what time does it open {name}?",
                    f"How early is it open on {name}?",
                    f"When does the {place} open on {name}?",
                    f"When do they open on {name}?",
                    f"What is the opening time on {name}?",
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
                    f"When does the {place} close on {name}?",
                    f"When do they close on {name}?",
                    f"What is the closing time on {name}?",
                    f"What time does the {place} close {name}?",
                ),
                two,
                "closes",
            )
        else:
            page.ask(
                (
                    f"When is the {place} open on {name}?",
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
            (f"When does it open on {name}?", f"What are the hours on {name}?", f"When is it open on {name}?"),
            f"It is closed on {name}.",
            "closed",
        )
        if open_days:
            one = rng.choice(open_days)
            page.ask(
                (f"And on {name}?", f"What about {name}?", f"Is it open on {name}, too?"),
                f"It is closed on {name}.",
                "follow-up",
                [(f"When is it open on {words.DAYS[one]}?", shown[one][0])],
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
    general(page, "sign with opening hours", head[0] if head else "")
    return page.made


DEPARTS = ("On time", "On time", "On time", "Delayed", "Cancelled", "Boarding")


def _more(rng: Random, name: str) -> str:
    """What stands beside a departure: its platform, gate, line ... or how it is."""
    return rng.choice(DEPARTS) if name == "status" else FIELDS[name].make(rng)


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
        cells = page.row(*(cells[::-1] if order else cells), *([_more(rng, third)] if third else []))
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
    general(page, "timetable" if not plan else "schedule", head[0])
    return page.made
