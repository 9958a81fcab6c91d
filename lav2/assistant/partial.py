"""The end of an answer that is computed elsewhere and stopped here: made of what has come of it. No torch."""

from __future__ import annotations

from typing import Protocol

from experts.evidence import Evidence
from lav2.events import Done, Event, EvidenceFound, PromptReady, Request, Route, Routed, Token


class Named(Protocol):
    """What a Done tells of an assistant."""

    preset: str
    versions: dict[str, str]
    hashes: dict[str, str]


class PartialAnswer:
    """Takes the events of an answer as they come; `text` is what was said so far."""

    def __init__(self) -> None:
        self.text, self._prompt = "", ""
        self._left_out: frozenset[int] = frozenset()
        self._route: Route | None = None
        self._evidence: dict[str, Evidence] = {}

    def take(self, event: Event) -> None:
        """Take up one event, in the order of the answer."""
        match event:
            case Token(piece):
                self.text += piece
            case Routed():
                self._route = event.route
            case EvidenceFound(name, found):
                self._evidence[name] = found
            case PromptReady():
                self._prompt, self._left_out = event.prompt, event.left_out

    def stopped(self, assistant: Named, request: Request) -> Done:
        """The end of the answer as it stands now: `stopped`, without timings."""
        return Done(
            self.text,
            self._evidence,
            self._prompt,
            {},
            seed=request.sampling.seed,
            preset=assistant.preset,
            versions=assistant.versions,
            stopped=True,
            weights=assistant.hashes,
            left_out=self._left_out,
            route=self._route,
        )
