"""Made-up rows that name somebody, a place or a number, with questions whether it is this one or another: "Made in
Denmark" does not mean that it is from Sweden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from lav2.documents import values
from lav2.documents.kinds import FIELDS
from lav2.documents.limits import Limit

_ROLES = ("driver", "cashier", "mechanic", "coach", "doctor", "teacher", "guide", "captain", "manager", "tenant", "owner",
          "sender", "winner", "author", "editor", "referee", "trainer", "patient", "landlord", "chef", "host", "customer")  # fmt: skip
_COLOURS = ("red", "blue", "green", "black", "white", "yellow", "grey", "brown", "navy", "silver", "pink", "orange")
_THINGS = ("wool", "cotton", "leather", "oak", "steel", "plastic", "linen", "silk", "glass", "pine", "rubber", "brass")


class _Kind(NamedTuple):
    """What draws a value; rows that have it, and questions whether it is {n}; {r}: a role that both name."""

    make: Callable[[Random], str]
    rows: Sequence[str]
    asks: Sequence[str]


def _one_of(names: Sequence[str]) -> Callable[[Random], str]:
    return lambda rng: rng.choice(names)


def _first_name(rng: Random) -> str:
    return values.faker(rng).first_name()


def _number(rng: Random) -> str:
    return rng.choice((str(rng.randint(1, 40)), f"{rng.choice('ABCDEFG')}{rng.randint(1, 30)}", rng.choice("ABCDEF")))


_KINDS = (
    _Kind(lambda rng: FIELDS["origin"].make(rng),
          ("Made in {n}", "Product of {n}", "Origin: {n}", "Grown in {n}", "Country of origin {n}", "Produce of {n}"),
          ("is it from {n}?", "was it made in {n}?", "does it come from {n}?", "is this a product of {n}", "from {n}?")),
    _Kind(_first_name,
          ("{R}: {n}", "{R} {n}", "{n}, {r}", "Your {r}: {n}", "{n} ({r})", "{R} - {n}"),
          ("is {n} the {r}?", "so {n} is the {r}?", "is the {r} called {n}?", "is the {r}'s name {n}", "{n} the {r}?")),
    _Kind(_first_name, ("Served by {n}", "Signed {n}", "Written by {n}", "Call {n}", "Ask for {n}", "With {n}", "Love, {n}"),
          ("is it {n}?", "was it {n}?", "did {n} do it?", "is that {n}", "is {n} meant?")),
    _Kind(values.city,
          ("To {n}", "Destination: {n}", "Direction {n}", "{n} express", "via {n}", "Next stop {n}", "Delivered to {n}"),
          ("does it go to {n}?", "is this the one to {n}?", "am I right here for {n}", "can I get to {n} with it?")),
    _Kind(_number,
          ("Platform {n}", "Gate {n}", "Room {n}", "Table {n}", "Hall {n}", "Line {n}", "Locker {n}", "Seat {n}", "Lane {n}"),
          ("is it {n}?", "is it number {n}?", "do we have {n}?", "must I go to {n}?", "is {n} right?")),
    _Kind(_one_of(_COLOURS), ("Colour: {n}", "Colour {n}", "in {n}", "{n}, size M", "Paint: {n}"),
          ("is it {n}?", "is the colour {n}?", "did they order a {n} one?", "is it a {n} one")),
    _Kind(_one_of(_THINGS), ("100 % {n}", "Material: {n}", "{n}", "solid {n}", "Made of {n}", "real {n}"),
          ("is it {n}?", "is it made of {n}?", "made from {n}?", "is that real {n}")),
)  # fmt: skip


def drawn(rng: Random) -> Limit:
    """One of the rows with a question, with yes and no alike often."""
    kind, role, same = rng.choice(_KINDS), rng.choice(_ROLES), rng.random() < 0.5
    value, other = kind.make(rng), kind.make(rng)
    while other.lower() == value.lower():
        other = kind.make(rng)
    told = value if same else other
    row = rng.choice(kind.rows).format(n=value, r=role, R=role.capitalize())
    question = rng.choice(kind.asks).format(n=rng.choice((told, told.lower())), r=role)
    return Limit(question, row[:1].upper() + row[1:], same)
