"""What one session remembers: exchanges, what the experts found for each, corrections of findings."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from experts.evidence import Evidence, ExpertFailure
from experts.registry import in_order
from experts.render import Item
from lav2.events import AUTO, Change, Done, Event, EvidenceFound, ExpertStarted, PromptReady, Route, Routed, Turn


@dataclass(frozen=True)
class Findings:
    """What the evidence panel shows for one question."""

    states: Mapping[str, str] = field(default_factory=dict)  # expert -> waiting | running | done | failed | stopped
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    prompt: str = ""
    tokens: int = 0
    context: int = 0  # tokens that fit
    trimmed: int = 0  # turns left out because they no longer fit
    waited: float = 0.0  # seconds until the last expert was done; next to none where a photo is known already
    route: Route | None = None  # why these experts look, where `auto` chose them
    corrected: bool = False  # a reader has changed the evidence
    changes: tuple[Change, ...] = ()  # what the reader did
    added: tuple[Item, ...] = ()  # findings of the reader's own, for the next answer
    token_breakdown: Mapping[str, int] = field(default_factory=dict)  # part of the prompt -> its tokens
    left_out: frozenset[int] = frozenset()  # numbers of the findings that had no room in it
    rule: str = ""  # that answered in place of the model
    part: tuple[str, int] = ("", 1)  # which frame or page of the photo's file was taken (lav2.image.Facts)
    receipt: Mapping[str, Any] | None = None  # once the answer is there
    experts: tuple[str, ...] = ()  # that were to look; of one whose findings were all left out there is no state
    remembered: frozenset[str] = frozenset()  # experts that had looked before, for this visitor
    untimed: frozenset[str] = frozenset()  # that had looked for somebody else, which is nobody's business
    seen: frozenset[str] = frozenset()  # experts whose findings on this photo the visitor was shown before

    @classmethod
    def waiting(cls, experts: Sequence[str], seen: frozenset[str] = frozenset()) -> "Findings":
        """Before anything is found; of AUTO nobody knows yet who looks."""
        asked = tuple(name for name in experts if name != AUTO)
        return cls(dict.fromkeys(experts, "waiting"), experts=asked, seen=seen)

    def after(self, event: Event | Exception) -> "Findings":
        """The findings once `event` has happened; a token changes nothing here."""
        match event:
            case Routed(route):
                return replace(self.waiting(route.experts, self.seen), route=route, part=self.part)
            case ExpertStarted(name):
                return replace(self, states={**self.states, name: "running"})
            case EvidenceFound(name, found, known):
                state = "failed" if isinstance(found, ExpertFailure) else "done"
                evidence = {**self.evidence, name: found}
                remembered = self.remembered | {name} if known and name in self.seen else self.remembered
                untimed = self.untimed | {name} if known and name not in self.seen else self.untimed
                states = {**self.states, name: state}
                return replace(self, states=states, evidence=in_order(evidence), remembered=remembered, untimed=untimed)
            case PromptReady(prompt, tokens, context, trimmed, left_out, parts):
                return replace(
                    self,
                    prompt=prompt,
                    tokens=tokens,
                    context=context,
                    trimmed=trimmed,
                    left_out=left_out,
                    token_breakdown=parts,
                )
            case Done(rule=rule) if rule:  # no expert was asked
                return replace(self, states={}, rule=rule)
            case Done() | Exception():  # nobody waits any longer for experts that are not done
                ended = {name: "stopped" for name, state in self.states.items() if state in ("waiting", "running")}
                return replace(self, states={**self.states, **ended})
        return self


@dataclass(frozen=True)
class Correction:
    """`evidence` that a reader corrected, in place of what `experts` found, for as long as the photo stays."""

    experts: tuple[str, ...]
    evidence: Mapping[str, Evidence]
    changes: tuple[Change, ...] = ()

    def of(self, experts: Sequence[str]) -> dict[str, Evidence] | None:
        """What stands in place of these experts' findings, beside what the reader added in place of others; None where
        there are none or one has not looked yet."""
        if not experts or not set(experts) <= set(self.experts):
            return None
        return {name: found for name, found in self.evidence.items() if name in experts or name not in self.experts}


@dataclass(frozen=True)
class Exchange:
    """One question and its answer. `photo` is the file sent with it, None where the earlier one is meant; `before` the
    answer that was given to the same question before the findings were corrected; `following` the photos that are asked
    about next, in the same words."""

    question: str
    photo: str | None = None
    correction: Correction | None = None
    before: str | None = None
    answer: str = ""
    state: str = "pending"  # pending | done | stopped
    findings: Findings = Findings()
    following: tuple[str, ...] = ()


Exchanges = tuple[Exchange, ...]


class Cancellation(threading.Event):
    """Set to stop an answer early, and at its end. `begun` keeps a refused question from answering the one before it
    again; `discarded` keeps the rest of an answer off the page, which was cleared since."""

    begun = False
    discarded = False


def busy(exchanges: Exchanges) -> bool:
    return bool(exchanges) and exchanges[-1].state == "pending"


def experts_seen(exchanges: Exchanges) -> frozenset[str]:
    """The experts whose findings on the last exchange's photo stand in this conversation already."""
    photo = current_photo(exchanges)
    earlier = [exchanges[i] for i in range(len(exchanges) - 1) if current_photo(exchanges[: i + 1]) == photo]
    return frozenset(name for exchange in earlier for name in exchange.findings.evidence)


def current_photo(exchanges: Exchanges) -> str | None:
    """The file that a follow-up question is about: the last one that was sent."""
    return next((exchange.photo for exchange in reversed(exchanges) if exchange.photo), None)


def history(exchanges: Exchanges) -> tuple[Turn, ...]:
    """The turns before the last question that belong to its context: a new photo starts a new one."""
    start = max((i for i, exchange in enumerate(exchanges) if exchange.photo), default=0)
    return tuple(Turn(exchange.question, exchange.answer) for exchange in exchanges[start:-1])
