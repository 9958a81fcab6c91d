"""Made-up documents: rows of cells in reading order, and questions with answers about them.

Every printed text goes through a `Page`, which may misread it: questions use the true words, answers repeat what stands on
the page as it was read, since a reader that mends misread words changes right ones too (docs/LOG.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from lav2.documents import values, words
from lav2.documents.noise import habits, misread
from lav2.documents.phrasing import worded
from lav2.text.weighing import ABSENT

Rows = list[list[str]]


@dataclass(frozen=True)
class Ask:
    """A question about a document. `history`: turns (question, answer) before it."""

    question: str
    answer: str
    kind: str
    history: tuple[tuple[str, str], ...] = ()


@dataclass
class Document:
    """`rows` of cells as the text reader found them; `asks` about them; `subject`: what it is, in a sentence."""

    kind: str
    rows: Rows = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    subject: str = ""


class Page:
    """A document being written, with the reader's mistakes.

    Args:
        rng: of all choices.
        rate: of misread characters, 0..1.
    """

    def __init__(self, rng: Random, kind: str, rate: float):
        self.rng, self.rate, self.made = rng, rate, Document(kind)
        self._habits = habits(rng)

    def read(self, text: str) -> str:
        for written, read in self._habits:
            text = written.sub(read, text)
        return misread(self.rng, text, self.rate)

    def row(self, *cells: str) -> list[str]:
        """Print a row; returns its cells as read."""
        seen = [self.read(cell) for cell in cells if cell]
        if seen:
            self.made.rows.append(seen)
        return seen

    def ask(self, questions: Sequence[str] | str, answer: str, kind: str, history=()) -> None:
        question = questions if isinstance(questions, str) else self.rng.choice(questions)
        self.made.asks.append(Ask(worded(self.rng, question), answer, kind, tuple(history)))

    def absent(self, questions: Sequence[str] | str) -> None:
        self.ask(questions, ABSENT, "absent")

    def yes_no(self, questions: Sequence[str] | str, line: str | None, thing: str = "", kind: str = "member") -> None:
        """`line`: what proves the yes; None: a no. Not "Yes: ...", which is learned proof first (lav2.text.proofs): here
        a proof is always a yes."""
        self.ask(
            questions, f"Yes, {line}" if line else "No." if not thing else f"No, {thing} is not in the text.", kind
        )


# --- fields: one value each ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """`labels` as printed before the value ("": none), `questions` for it, `make` draws a value."""

    labels: tuple[str, ...]
    questions: tuple[str, ...]
    make: Callable[[Random], str]


def _money(rng: Random) -> str:
    money = values.Money(rng)
    return money.write(money.draw(rng, 2, 900))


def _time(rng: Random) -> str:
    return values.clock(rng, rng.randrange(0, 1440, 5), values.clock_style(rng))


def _days(rng: Random) -> str:
    first = rng.randrange(0, 5)
    last = rng.randrange(first + 1, 7)
    short = rng.random() < 0.6
    one, two = (day[:3] if short else day for day in (words.DAYS[first], words.DAYS[last]))
    return rng.choice((f"{one} - {two}", f"{one}-{two}", f"{one} to {two}"))


FIELDS: dict[str, Field] = {
    "phone": Field(("Tel:", "Phone:", "Call", "Call us:", "T:", "Tel.", "Telephone", "Ph:", "Hotline:", "Call now", ""),
                   ("What is the phone number?", "Which number do I call?", "What's the telephone number?", "What number should I call?",
                    "How can I call them?", "Give me the phone number.", "phone number?"), values.phone),
    "mobile": Field(("Mobile:", "Cell:", "M:"), ("What is the mobile number?", "What is the cell phone number?"), values.phone),
    "email": Field(("Email:", "E-mail:", "E:", "Mail:", ""), ("What is the email address?", "What's the e-mail?", "Where can I write to them by email?",
                   "Which email is given?"), lambda rng: values.web(rng)[1]),
    "web": Field(("Web:", "www:", "Visit", "Website:", "Online:", ""), ("What website is shown?", "What is the website?", "What is the web address?",
                 "Which site can I visit?", "What's the URL?"), lambda rng: values.web(rng)[0]),
    "street": Field(("Address:", "Add:", "", ""), ("What is the address?", "Where is it?", "Which street is it on?", "What street is it on?",
                    "Where can I find them?", "What's the street address?"), values.street),
    "city": Field(("City:", "Town:"), ("Which city is it in?", "What city is given?", "In which town is it?"), values.city),
    "date": Field(("Date:", "Date", "Dated", "On"), ("What is the date?", "On what date was this?", "When was this?", "Which date is printed?",
                  "What day is it dated?", "date?"), values.date),
    "expires": Field(("Valid until", "Exp:", "Expires", "Expiry date:", "EXP", "Best before", "Use by", "Valid thru"),
                     ("When does it expire?", "What is the expiry date?", "Until when is it valid?", "How long is it valid?", "Is there an expiration date?"), values.date),
    "issued": Field(("Issued:", "Issue date:", "Date of issue"), ("When was it issued?", "What is the date of issue?"), values.date),
    "born": Field(("Date of birth:", "DOB:", "Born"), ("What is the date of birth?", "When was this person born?"), values.date),
    "due": Field(("Due:", "Due date:", "Pay by", "Payment due"), ("When is it due?", "What is the due date?", "By when must it be paid?"), values.date),
    "order": Field(("Order no.", "Order #", "Order:", "Order number:", "Order ID"), ("What is the order number?", "Which order is it?", "What's the order ID?"), values.code),
    "invoice": Field(("Invoice no.", "Invoice #", "Invoice:", "Inv. No."), ("What is the invoice number?", "Which invoice is this?"), values.code),
    "serial": Field(("Serial no.", "S/N", "S/N:", "Serial number:"), ("What is the serial number?", "Which serial number is on it?"), values.code),
    "model": Field(("Model:", "Model no.", "Type:"), ("What is the model?", "Which model is it?", "What's the model number?"), values.code),
    "member": Field(("Member no.", "ID:", "ID No.", "Card no.", "Member ID:"), ("What is the ID number?", "What is the member number?", "What's the card number?"), values.code),
    "ticket": Field(("Ticket no.", "Ticket:", "Ticket #"), ("What is the ticket number?",), values.code),
    "tracking": Field(("Tracking no.", "Tracking:", "Parcel no."), ("What is the tracking number?", "How can I track it?"), values.code),
    "batch": Field(("Lot:", "LOT", "Batch:", "Batch no."), ("What is the batch number?", "Which lot is it?"), values.code),
    "room": Field(("Room", "Room:", "Rm."), ("Which room is it?", "What is the room number?", "In which room?", "What room?"),
                  lambda rng: rng.choice((str(rng.randint(1, 999)), f"{rng.randint(1, 40)}{rng.choice('ABC')}", f"{rng.choice('ABCD')}{rng.randint(1, 99)}"))),
    "floor": Field(("Floor:", "Level"), ("Which floor is it on?", "What floor?"), lambda rng: str(rng.randint(0, 30))),
    "table": Field(("Table", "Table:", "Tbl"), ("Which table was it?", "What is the table number?"), lambda rng: str(rng.randint(1, 60))),
    "server": Field(("Server:", "Cashier:", "Waiter:", "Served by", "Clerk"), ("Who was the cashier?", "Who served?", "What is the name of the server?"),
                    lambda rng: values.faker(rng).first_name()),
    "gate": Field(("Gate", "Gate:"), ("Which gate?", "What is the gate?", "Which gate does it leave from?", "Where do I board?"), lambda rng: f"{rng.choice('ABCDEFG')}{rng.randint(1, 60)}"),
    "seat": Field(("Seat", "Seat:"), ("Which seat is it?", "What is the seat number?", "Where do I sit?"), lambda rng: f"{rng.randint(1, 45)}{rng.choice('ABCDEF')}"),
    "flight": Field(("Flight", "Flight:", "Flight no."), ("What is the flight number?", "Which flight is it?"),
                    lambda rng: f"{rng.choice(('KE', 'BA', 'LH', 'AF', 'UA', 'DL', 'AA', 'SQ', 'EK', 'QF', 'KL'))}{rng.choice(('', ' '))}{rng.randint(1, 9999)}"),
    "platform": Field(("Platform", "Track", "Plat.", "Gleis"), ("Which platform?", "What platform does it leave from?", "Which track is it?"), lambda rng: str(rng.randint(1, 24))),
    "boarding": Field(("Boarding", "Boarding time:", "Boards"), ("When does boarding start?", "What is the boarding time?"), _time),
    "departs": Field(("Departure", "Dep.", "Departs", "Leaves"), ("When does it leave?", "What time is the departure?", "When does it depart?"), _time),
    "arrives": Field(("Arrival", "Arr.", "Arrives"), ("When does it arrive?", "What is the arrival time?"), _time),
    "start": Field(("Starts", "Start:", "Time:", "Begins at", "At", "Doors open"), ("When does it start?", "What time does it begin?", "At what time is it?", "What time is it?"), _time),
    "end": Field(("Ends", "End:", "Until"), ("When does it end?", "What time does it finish?", "Until when?"), _time),
    "opens": Field(("Opens at", "Opens", "Open from", "Opening:"), ("When does it open?", "What time does it open?", "At what time do they open?"), _time),
    "closes": Field(("Closes at", "Closes", "Closed from", "Open until", "Closing:"), ("When does it close?", "What time does it close?", "Until when is it open?", "How late is it open?"), _time),
    "from": Field(("From:", "From"), ("Where does it start?", "Where is it from?", "Where does the trip begin?"), values.city),
    "to": Field(("To:", "To", "Destination:"), ("Where does it go?", "What is the destination?", "Where is it going?"), values.city),
    "name": Field(("Name:", "Name", "Passenger:", "Holder:", "Mr/Ms"), ("What is the name?", "Whose is it?", "Who is it for?", "What name is on it?"), values.person),
    "contact": Field(("Contact:", "Manager:", "Ask for", "Attn:"), ("Who is the contact?", "Whom should I ask for?", "Who is the manager?"), values.person),
    "sender": Field(("Sender:", "From:"), ("Who sent it?", "Who is the sender?"), values.person),
    "job": Field(("", "Position:", "Title:"), ("What is their job?", "What does this person do?", "Which position is it?"),
                 lambda rng: values.faker(rng, "en_US", "en_GB").job()),
    "fee": Field(("Fee:", "Fine:", "Penalty", "Fine", "FINE"), ("What is the fine?", "How much is the fine?", "What is the fee?", "How much do I have to pay?"), _money),
    "price": Field(("Price:", "Only", "Now", "Just", "Price", ""), ("What is the price?", "How much is it?", "How much does it cost?", "What does it cost?", "price?"), _money),
    "deposit": Field(("Deposit:", "Deposit"), ("How much is the deposit?", "What deposit is asked?"), _money),
    "weight": Field(("Net wt.", "Weight:", "Net weight", "Wt."), ("How much does it weigh?", "What is the weight?", "What's the net weight?"),
                    lambda rng: rng.choice((f"{rng.randint(1, 99) * 10} g", f"{rng.randint(1, 40)} kg", f"{rng.randint(1, 32)} oz", f"{rng.randint(1, 9)}.{rng.randint(1, 9)} lb"))),
    "size": Field(("Size:", "Size"), ("What size is it?", "Which size?"), lambda rng: rng.choice(("S", "M", "L", "XL", "38", "40", "42", "10.5", "One size", "30 x 40 cm"))),
    "volume": Field(("Contents:", "Vol."), ("How much is in it?", "What is the volume?"), lambda rng: rng.choice(("330 ml", "500 ml", "750 ml", "1 L", "1.5 L", "12 fl oz", "250 ml"))),
    "colour": Field(("Colour:", "Color:"), ("Which colour is given?", "What color is it?"), lambda rng: rng.choice(("red", "blue", "green", "black", "white", "yellow", "grey", "brown", "pink"))),
    "origin": Field(("Made in", "Product of", "Origin:"), ("Where was it made?", "Which country is it from?", "Where does it come from?"),
                    lambda rng: rng.choice(("Italy", "Germany", "France", "Spain", "China", "Japan", "Korea", "Vietnam", "Mexico", "Canada", "USA", "UK", "India", "Turkey", "Portugal", "Kenya", "Peru"))),
    "dose": Field(("Take", "Dosage:", "Dose:"), ("How often should it be taken?", "What is the dose?", "How much should I take?"),
                  lambda rng: f"{rng.choice(('1', '2', 'one', 'two'))} tablet{rng.choice(('', 's'))} {rng.choice(('daily', 'twice a day', 'every 6 hours', 'three times a day', 'with meals', 'before bed'))}"),
    "wifi": Field(("WiFi:", "Network:", "SSID:"), ("What is the wifi network?", "What's the name of the network?"), lambda rng: f"{values.case(rng, values.business(rng))}"[:18].replace(" ", rng.choice(("_", "-", "")))),
    "password": Field(("Password:", "Pass:", "Code:", "PW:"), ("What is the password?", "What's the wifi password?", "Which code do I enter?"),
                      lambda rng: rng.choice((values.code(rng), f"{rng.choice(words.FOOD).replace(' ', '')}{rng.randint(1, 999)}"))),
    "distance": Field(("",), ("How far is it?", "What is the distance?"), lambda rng: f"{rng.choice((str(rng.randint(1, 400)), f'{rng.randint(0, 9)}.{rng.randint(1, 9)}'))} {rng.choice(('km', 'mi', 'miles', 'm'))}"),
    "speed": Field(("Speed limit", "Max.", "Maximum speed"), ("What is the speed limit?", "How fast may I drive?"), lambda rng: rng.choice((f"{rng.randint(1, 13) * 10}", f"{rng.randint(1, 13) * 10} km/h", f"{rng.randint(2, 15) * 5} mph"))),
    "days": Field(("", "Days:"), ("On which days?", "Which days are given?", "On what days is that?"), _days),
    "status": Field(("Status:",), ("What is the status?",), lambda rng: rng.choice(("Delivered", "On time", "Delayed", "Cancelled", "Paid", "Pending", "Shipped", "In progress", "Approved", "Open"))),
    "error": Field(("Error", "Error code:", "Code:", "Error:"), ("What is the error code?", "Which error is shown?", "What's the code of the error?"),
                   lambda rng: rng.choice((f"0x{rng.getrandbits(32):08X}", f"E{rng.randint(10, 999)}", str(rng.randint(100, 999)), f"ERR_{rng.choice(('TIMEOUT', 'IO', 'CONN', 'AUTH'))}_{rng.randint(1, 99)}"))),
    "score": Field(("Score:", "Result:", "Final score"), ("What is the score?", "What was the result?"), lambda rng: f"{rng.randint(0, 9)}{rng.choice((':', ' - ', '-'))}{rng.randint(0, 9)}"),
    "plate": Field(("", "Plate:", "Licence plate:", "Reg. no."), ("What is the license plate number?", "What does the number plate say?", "Which licence plate is it?", "Read the plate."), values.plate),
    "temperature": Field(("", "Temp:", "Temperature"), ("What is the temperature?", "How warm is it?"), lambda rng: f"{rng.randint(-15, 42)}{rng.choice(('°C', ' °F', '°', ' C'))}"),
    "capacity": Field(("Capacity:", "Max. persons", "Maximum"), ("How many persons are allowed?", "What is the capacity?"), lambda rng: str(rng.randint(2, 40))),
    "people": Field(("Guests:", "Persons:", "Party of", "Covers"), ("For how many people is it?", "How many guests?"), lambda rng: str(rng.randint(1, 12))),
    "reference": Field(("Ref:", "Reference:", "Ref. no."), ("What is the reference number?", "Which reference is given?"), values.code),
    "vat": Field(("VAT no.", "Tax ID:", "GST ID:"), ("What is the tax number?", "What's the VAT number?"), lambda rng: f"{rng.choice(('GB', 'DE', 'FR', ''))}{rng.randint(10**8, 10**9 - 1)}"),
    "pages": Field(("Pages:", "Page"), ("How many pages?", "Which page is it?"), lambda rng: str(rng.randint(1, 400))),
    "author": Field(("by", "Author:", "Written by"), ("Who wrote it?", "Who is the author?"), values.person),
    "bus": Field(("Bus", "Line", "Route"), ("Which bus is it?", "What is the number of the bus?", "Which line is it?"), lambda rng: rng.choice((str(rng.randint(1, 399)), f"{rng.choice('XNME')}{rng.randint(1, 60)}"))),
}  # fmt: skip

WHAT_QUESTIONS = ("What is this?", "What does the photo show?", "What do you see?", "What kind of document is this?", "What is this about?", "Describe the photo.",
                  "Describe this.", "What is in the picture?", "Summarize this.", "What is this {what} about?")  # fmt: skip
READ_QUESTIONS = ("What does it say?", "What does the {what} say?", "Read the text.", "What is written here?", "What text is in the photo?", "Read all the text.",
                  "Can you read it to me?", "What is written on the {what}?", "What are the words?",
                  "What does the {what} show?", "What does the display show?", "What is on the screen?")  # fmt: skip

BUSINESS_NOUNS = (
    "shop",
    "company",
    "clinic",
    "restaurant",
    "hotel",
    "cafe",
    "store",
    "business",
    "school",
    "bank",
    "dentist",
    "office",
    "firm",
    "practice",
)


def article(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def whole(page: Page) -> str:
    return " ".join(cell for row in page.made.rows for cell in row)


def general(page: Page, what: str, title: str, more: str = "") -> None:
    """Questions that fit any document: what it is, what it says, its lines."""
    rng, rows = page.rng, page.made.rows
    about = f"{article(what).capitalize()}{f' with the heading {title}' if title else ''}{more}."
    page.made.subject = about
    page.ask([q.format(what=what) for q in WHAT_QUESTIONS], about, "about")
    text = whole(page)
    if len(text) <= 160 and rng.random() < 0.7:
        page.ask([q.format(what=what) for q in READ_QUESTIONS], text, "read")
    if len(rows) > 1 and rng.random() < 0.35:
        at = rng.randrange(min(len(rows), 4))
        nth = ("first", "second", "third", "fourth")[at]
        page.ask(
            (f"What is the {nth} line?", f"What does the {nth} line say?", f"Read line {at + 1}."),
            " ".join(rows[at]),
            "line",
        )
    if len(rows) > 1 and rng.random() < 0.25:
        page.ask(
            ("What is the last line?", "What does the last line say?", "What is written at the bottom?"),
            " ".join(rows[-1]),
            "line",
        )
