"""Made-up tables of people or things with columns of values."""

from __future__ import annotations

from random import Random

from lav2.documents import values, words
from lav2.documents.kinds import FIELDS, Document, Page, general
from lav2.text.weighing import ABSENT


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
    general(page, "table", head[0] if head else "", f" with {', '.join(chosen)}" if first != "Nutrition" else "")
    return page.made
