"""Made-up signs and labels that tell what is allowed, free, contained, and how often something is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from lav2.documents import values, words
from lav2.documents.kinds import FIELDS, Document, Page, general


@dataclass(frozen=True)
class Rule:
    """`yes` and `no`: lines that allow and that forbid; `asked`: questions that the first answer with yes; `other`: those
    that the second answer with yes."""

    yes: tuple[str, ...]
    no: tuple[str, ...]
    asked: tuple[str, ...]
    other: tuple[str, ...] = ()


@dataclass(frozen=True)
class Told:
    """`lines` with {slots}, and for each slot the questions that it answers; "": the whole line answers."""

    lines: tuple[str, ...]
    asked: Mapping[str, tuple[str, ...]]


ALLOWED: dict[str, Rule] = {
    "dogs": Rule(("Dogs welcome", "Dogs allowed on a lead", "Well behaved dogs welcome"), ("No dogs", "No dogs allowed", "Dogs not permitted", "Pets are not allowed"),
                 ("Can I bring my dog?", "Are dogs allowed?", "May my dog come in?", "Is my dog welcome?"), ("Are dogs forbidden?",)),
    "smoking": Rule(("Smoking area", "Smoking permitted here"), ("No smoking", "Smoking prohibited", "This is a smoke free zone"),
                    ("Can I smoke here?", "Is smoking allowed?", "May I smoke?"), ("Is smoking forbidden?", "Is it a non-smoking area?")),
    "photos": Rule(("Photography welcome", "Photos allowed without flash"), ("No photography", "No photos please", "No cameras"),
                   ("Can I take photos?", "Are photos allowed?", "May I use my camera?"), ("Is photography forbidden?",)),
    "food": Rule(("You may bring your own food", "Food and drinks allowed"), ("No food or drinks", "No food beyond this point", "Do not eat or drink here"),
                 ("Can I eat here?", "Is food allowed?", "May I bring a drink?"), ("Is eating forbidden?",)),
    "bikes": Rule(("Bicycles allowed", "Cyclists welcome"), ("No bicycles", "No cycling", "Cyclists dismount"),
                  ("Can I ride my bike here?", "Are bikes allowed?", "May I cycle here?"), ("Is cycling forbidden?",)),
    "swimming": Rule(("Swimming allowed", "Safe to swim"), ("No swimming", "Swimming prohibited", "Danger: do not swim"),
                     ("Can I swim here?", "Is swimming allowed?", "May the children swim?"), ("Is swimming forbidden?",)),
    "phones": Rule(("You may use your phone", "Phones allowed"), ("No mobile phones", "Please switch off phones", "Phones off"),
                   ("Can I use my phone?", "Are phones allowed?"), ("Must I switch off my phone?", "Do I have to turn my phone off?")),
    "cards": Rule(("Cards accepted", "We accept all major cards", "Card payments welcome", "Cards only", "No cash, cards only"),
                  ("Cash only", "No cards", "Sorry, no card payments", "We do not accept cards"),
                  ("Can I pay by card?", "Do they take cards?", "Are credit cards accepted?", "Do they accept cards?"), ("Do I need cash?", "Is it cash only?")),
    "parking": Rule(("Free parking", "Parking for customers", "Parking allowed"), ("No parking", "Do not park here", "No stopping at any time"),
                    ("Can I park here?", "Is parking allowed?", "May I leave my car here?"), ("Is parking forbidden?",)),
    "entry": Rule(("Open to the public", "Visitors welcome", "Please come in"), ("No entry", "Staff only", "Private - keep out", "Do not enter"),
                  ("Can I go in?", "May I enter?", "Is one allowed to enter?"), ("Is entry forbidden?",)),
    "touch": Rule(("Please touch", "You may touch the objects"), ("Do not touch", "Please do not touch"), ("Can I touch it?", "May I touch this?"), ()),
    "booking": Rule(("No reservation needed", "Walk-ins welcome"), ("Reservation required", "By appointment only", "Booking essential"),
                    ("Can I come without a reservation?", "Can I just walk in?"), ("Do I need an appointment?", "Do I have to book?")),
    "wheelchair": Rule(("Wheelchair accessible", "Step-free access"), ("Not suitable for wheelchairs", "Stairs only"),
                       ("Is it accessible by wheelchair?", "Can I get in with a wheelchair?"), ()),
    "vegan": Rule(("Vegan", "100% vegan", "Suitable for vegans"), ("Not suitable for vegans", "Contains milk and eggs"), ("Is it vegan?", "Can vegans eat it?"), ()),
    "gluten": Rule(("Gluten free", "GLUTEN-FREE"), ("Contains gluten", "Contains wheat"), ("Is it gluten free?", "Is it free of gluten?"), ("Does it contain gluten?",)),
    "nuts": Rule(("Contains nuts", "May contain traces of nuts", "Contains almonds"), ("Nut free", "Contains no nuts"), ("Does it contain nuts?", "Are there nuts in it?"),
                 ("Is it free of nuts?", "Is it safe with a nut allergy?")),
    "sugar": Rule(("With added sugar", "Contains sugar"), ("Sugar free", "No added sugar"), ("Is there sugar in it?", "Does it contain sugar?"), ("Is it sugar free?",)),
    "iron": Rule(("Iron on low heat", "Warm iron"), ("Do not iron",), ("Can I iron it?", "May it be ironed?"), ()),
    "dryer": Rule(("Tumble dry low", "Tumble dry"), ("Do not tumble dry", "Line dry only"), ("Can it go in the dryer?", "May I put it in the dryer?"), ()),
    "microwave": Rule(("Microwave safe", "Suitable for microwaves"), ("Not for microwave use", "Do not microwave"), ("Can it go in the microwave?", "Is it microwave safe?"), ()),
    "water": Rule(("Drinking water", "Safe to drink"), ("Not drinking water", "Do not drink"), ("Can I drink it?", "Is the water safe to drink?"), ()),
    "recycling": Rule(("Please recycle", "100% recyclable"), ("Not recyclable", "Do not recycle"), ("Can it be recycled?", "Is it recyclable?"), ()),
    "wifi": Rule(("Free WiFi", "Free Wi-Fi inside"), ("No WiFi", "We do not have WiFi. Talk to each other"), ("Is there WiFi?", "Do they have WiFi?"), ()),
    "refund": Rule(("Returns within {n} days", "Money back guarantee"), ("No refunds", "No returns or exchanges", "All sales final"),
                   ("Can I return it?", "Can I get my money back?", "Are refunds given?"), ()),
    "new": Rule(("Now hiring", "Staff wanted", "We are looking for staff"), ("No vacancies",), ("Are they hiring?", "Are they looking for staff?"), ()),
}  # fmt: skip
FREE: dict[str, Rule] = {
    "entry": Rule(("Free entry", "Admission free", "Entry is free"), ("Admission {m}", "Entry {m}", "Tickets from {m}"), ("Is the entry free?", "Is admission free?", "Is it free?"),
                  ("Does it cost anything?", "Do I have to pay?")),
    "sunday": Rule(("Free on {day}s", "{day}s free", "No charge on {day}s"), ("Fee applies on {day}s", "{day}: {m}"), ("Is it free on {day}?", "Is {day} free?"), ("Do I have to pay on {day}?",)),
    "children": Rule(("Children under {n} free", "Kids under {n} go free", "Free for children under {n}"), ("Children pay {m}", "Child {m}"), ("Are children free?", "Do children get in free?"),
                     ("Do children have to pay?", "Do kids pay?")),
    "delivery": Rule(("Free delivery", "Delivery free"), ("Delivery {m}", "Plus {m} delivery"), ("Is delivery free?",), ("Does delivery cost anything?",)),
}  # fmt: skip
TELLS = (
    Told(("Take {n} tablets {often}", "{n} capsules {often}", "Adults: {n} tablets {often}", "Dose: {n} tablets {often}", "Take {n} pills {often}"),
         {"n": ("How many tablets do I take?", "How many should I take?", "How many at a time?", "What is the dose?"),
          "often": ("How often do I take it?", "How often per day?", "How often?", "How many times a day?", "How often should it be taken?")}),
    Told(("Apply {often}", "Use {often}", "Shake well, {drops} drops {often}"), {"often": ("How often do I use it?", "How often is it used?", "How often per day?", "How often?")}),
    Told(("Max. {n} tablets in 24 hours", "Do not take more than {n} a day", "No more than {n} in 24 hours"),
         {"n": ("What is the maximum per day?", "How many may I take at most?", "How many a day at most?")}),
    Told(("Take with food", "Take before meals", "Take after meals", "Take on an empty stomach", "Dissolve in water"), {"": ("When should it be taken?", "How should I take it?", "How is it taken?")}),
    Told(("Not for children under {n}", "Keep away from children under {n}", "Not suitable under {n} years"), {"n": ("Up to what age is it not for children?", "From what age may it be used?")}),
    Told(("Keep refrigerated", "Store in a cool dry place", "Store below {n} C", "Keep frozen", "Store away from sunlight"), {"": ("How should it be stored?", "Where do I keep it?", "How do I store it?")}),
    Told(("Machine wash {t}", "Wash at {t}", "Hand wash {t}"), {"t": ("At what temperature is it washed?", "How hot can I wash it?", "What temperature for washing?")}),
    Told(("You must be {n} or older", "Age {n}+", "No admission under {n}", "Minimum age {n}"), {"n": ("How old do I have to be?", "What is the minimum age?", "From what age?")}),
    Told(("Max. stay {long}", "Parking limited to {long}", "{long} at most"), {"long": ("How long can I stay?", "How long may I park here?", "What is the longest stay?", "How many hours may I park?")}),
    Told(("{m} per hour", "{m} / hour", "Fee: {m} per hour"), {"m": ("How much is it per hour?", "What does an hour cost?", "How much is an hour?")}),
    Told(("Runs {often2}", "Every bus {often2}", "Tours {often2}", "Departs {often2}"), {"often2": ("How often does it run?", "How often does it go?", "How often?")}),
    Told(("Collected on {day}s", "Cleaned every {day}", "Emptied on {day}s"), {"day": ("On which day?", "Which day is it collected?", "When is it collected?")}),
    Told(("Permit holders only", "Residents only", "Members only", "Buses only", "Customers only", "Staff parking only"), {"": ("Who may park here?", "Who is allowed here?", "Who is it for?")}),
    Told(("Service every {months}", "Replace after {months}", "Change filter every {months}"), {"months": ("After how many months?", "After what time?", "After how long?")}),
    Told(("Feed {often}", "Water {often}", "Clean {often}"), {"often": ("How often?", "How often should I do that?")}),
)  # fmt: skip
OFTEN = ("{k} times a day", "{k} times daily", "twice a day", "twice daily", "once a day", "once daily", "every {h} hours", "every day", "every morning and evening",
         "{k}x daily", "{k} x a day", "once a week", "every {k} days")  # fmt: skip
OFTEN_RUN = (
    "every {t} minutes",
    "every {t} min",
    "every hour",
    "hourly",
    "twice a day",
    "{k} times a day",
    "every half hour",
    "on weekdays",
    "once a day",
)
RULES = 0.6  # share of a sign's lines that allow or forbid


def permits(rng: Random, rate: float) -> Document:
    """A sign or label of one to five such lines, at times with a heading."""
    page = Page(rng, "sign", rate)
    case = rng.choice((str, str, str.upper, str.upper))
    if rng.random() < 0.5:
        page.row(
            case(
                rng.choice(
                    (
                        *words.PLACES,
                        *words.SHOPS,
                        *words.GOODS,
                        *words.FOOD,
                        "House rules",
                        "Please note",
                        "Directions",
                        "Information",
                    )
                )
            )
        )
    heading = page.made.rows[0][0] if page.made.rows else ""
    rules = {**ALLOWED, **{f"free {name}": rule for name, rule in FREE.items()}}
    names = rng.sample(tuple(rules), len(rules))
    told = list(rng.sample(TELLS, len(TELLS)))
    for _ in range(rng.choice((1, 1, 2, 3, 4, 5))):
        slots = _slots(rng)
        if rng.random() < RULES:
            rule = rules[names.pop()]
            allows = rng.random() < 0.5
            line = page.row(case(rng.choice(rule.yes if allows else rule.no).format(**slots)))[0]
            for questions, yes in ((rule.asked, allows), (rule.other, not allows)):
                if questions:
                    page.ask([text.format(**slots) for text in questions], f"{'Yes' if yes else 'No'}: {line}.", "rule")
        else:
            chosen = told.pop()
            text = rng.choice(chosen.lines)
            line = page.row(case(text.format(**slots)))[0]
            for name, questions in chosen.asked.items():
                answer = case(slots[name]) if name else line
                if (not name or f"{{{name}}}" in text) and answer in line:
                    for _ in range(2):
                        page.ask(questions, answer, "told")
    for name in names[:2]:  # of what the sign says nothing
        page.absent([text.format(**_slots(rng)) for text in rules[name].asked])
    if rng.random() < 0.3:
        page.absent(FIELDS[rng.choice(("phone", "date", "web", "opens"))].questions)
    general(page, "sign", heading)
    return page.made


def _slots(rng: Random) -> dict[str, str]:
    drawn = {"k": rng.randint(2, 6), "h": rng.choice((2, 4, 6, 8, 12)), "t": rng.choice((5, 10, 12, 15, 20, 30))}
    money = values.Money(rng)
    return {
        "n": str(rng.randint(1, 18)), "m": money.write(money.draw(rng, 0.5, 40)), "day": rng.choice(words.DAYS), "often": rng.choice(OFTEN).format(**drawn),
        "often2": rng.choice(OFTEN_RUN).format(**drawn), "t": f"{rng.choice((30, 40, 60, 90))}{rng.choice(('°C', ' C', '°', ' degrees'))}", "drops": str(rng.randint(1, 20)),
        "long": f"{rng.choice((2, 3, 4, 6, 30, 45, 90))} {rng.choice(('hours', 'hours', 'minutes', 'min'))}", "months": f"{rng.choice((2, 3, 6, 12))} months",
    }  # fmt: skip
