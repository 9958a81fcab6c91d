"""Evidence -> what it adds to the logits of an answer's tokens: answers that the experts make likely. No torch.

The model reads the same findings in its prompt. This keeps how sure an expert is, which words tell roughly, and what a
text or a price list says outright.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from experts.evidence import Detections, Evidence, OcrLines
from experts.prompt_block import text_rows
from lav2.text import amounts, box_colours, claims, counts, grounding, lookups, proofs, sections
from lav2.text.asking import OPENING, PHOTO, asks_of_several, straight

# An answer, or what may follow where the model has written the first part by itself.
Said = str | tuple[str, str]


@dataclass(frozen=True)
class Likely:
    """What is likely for another reason than that the model says so.

    Attributes:
        answers: with what each adds to the logits of its tokens, as long as the answer goes on like it.
        whole: the same, and to the end of the answer behind the last one.
        following: what is written so far -> words that may come next, with what each adds to its logit.
    """

    answers: Mapping[Said, float] = field(default_factory=dict)
    whole: Mapping[str, float] = field(default_factory=dict)
    following: Callable[[str], Mapping[str, float]] | None = None


NOTHING = Likely()


class Passage(NamedTuple):
    """A part of a text, without a full stop, and its chance (0..1) to be what is asked for."""

    text: str
    chance: float


class Told(NamedTuple):
    """What a reader of texts (lav2.reading) tells of a text and a question.

    Attributes:
        proofs: rows and cells that may answer, the likeliest first.
        answers: words of them that may be the answer, likewise.
        none: the chance that the text does not answer.
        closed: log-odds that the question is answered by yes or no.
    """

    proofs: tuple[Passage, ...] = ()
    answers: tuple[Passage, ...] = ()
    none: float = 0.0
    closed: float = 0.0


NOTHING_TOLD = Told()

ABSENT = "The text does not say that."  # how the chat says so
CANNOT_READ = "I cannot read the text in the photo."

# Of a likely answer: the share of its chance, against that of an answer which is not told, in the logit of each token.
BIAS, UNTOLD = 2.0, 0.05
READ = 1.6  # the same of words that a reader of texts tells, chosen on held-out documents (docs/LOG.md)
SURE = 0.95  # how often arithmetic on prices is right (docs/LOG.md)
PROVEN = 2.0  # the same of rows that may decide a yes-or-no question
VERDICT = 2.0  # share of a verdict's log-odds in its logit, chosen on held-out documents (docs/LOG.md)
NOT_SAID = 1.0  # the same of its chance that a text does not answer
CLOSED = 1.0  # share of the log-odds that no yes or no answers, in the logit of the mark of a proof
LOOKED_UP = 0.998  # how often what is looked up in made-up documents is right; of written ones 330 of 353 (docs/LOG.md)

_WORN = re.compile(
    rf"{OPENING}what(?:'s|s| is) (?:he|she|(?:the|this|that) "
    r"(?:man|woman|boy|girl|person|guy|lady|kid|child|baby|player|rider|skier|skater|surfer))"
    rf"(?: (?:wearing|dressed in)(?: (?:in|on) (?:the|this) {PHOTO}| today| here)?| in the {PHOTO} wearing)\W*",
    re.IGNORECASE,
)
_WRITING = r"(?:numbers?|names?|words?|letters?|texts?|writing|lettering)"
_PLACE = rf"(?:on|in (?:the|this) (?:{PHOTO}|background|corner))\b(?! the street\b)"
# What says something without letters, and whom the page itself asks.
_SPEAKS = (
    r"(?:man|woman|boy|girl|person|people|dog|cat|horse|bird|baby|child|face|expression|look|clock|watch|caption|"
    r"detector|experts?|captioner|findings?|answer|it all)"
)
_WRITTEN = re.compile(
    rf"{OPENING}(?:(?:what|which) {_WRITING} (?:is|are|was|were) (?:(?:written|printed|shown|visible) )?{_PLACE}|"
    rf"what(?:'s|s| is| are) (?:the )?{_WRITING} (?:that is )?(?:written |printed )?{_PLACE}|"
    r"what(?:'s|s| is| was) (?:written|printed|inscribed)\b|"
    r"what (?:does|do|did) (?:the|his|her|their|this|that|these|those|its|it) "
    rf"(?!(?:\w+ ){{0,3}}{_SPEAKS} (?:say|read)\b)(?:[\w'-]+ ){{0,8}}?(?:say|read)\b(?! about| to)|"
    r"what (?:is|are) (?:the|this|that|his|her) (?:[\w'-]+ ){1,3}saying\W*$)",
    re.IGNORECASE,
)


def likely(
    evidence: Mapping[str, Evidence], question: str, proof_first: bool = False, told: Told = NOTHING_TOLD
) -> Likely:
    """Likely answers as the chat writes them: that nothing can be read where the question asks what is written and no
    letters were found; where it compares prices how the answer begins (lav2.text.amounts), else what the text says
    outright (lav2.text.lookups), else the caption expert's answers and numbers, colours and kinds that boxes tell, and
    what a reader finds in the text.

    Args:
        proof_first: the model writes a proof before yes or no (lav2.text.proofs).
        told: what a reader of texts tells.
    """
    rows = text_rows(evidence)
    lines = evidence.get("ocr")
    if isinstance(lines, OcrLines) and not lines.texts and _WRITTEN.match(straight(question)):
        return Likely(whole={CANNOT_READ: BIAS * math.log(LOOKED_UP / (1 - LOOKED_UP))})
    if amounts.compares(question) and (prices := sections.compared(rows, question)):
        return Likely({prices.begins: _weight(SURE)} if prices.begins else {})
    if said := lookups.looked_up(rows, question):
        return Likely(whole={said: BIAS * math.log(LOOKED_UP / (1 - LOOKED_UP))})
    candidates = box_colours.weighed(grounding.candidates_for(evidence, question), evidence, question)
    counted = counts.likely(evidence, question)
    if any(said in ("Yes", "No") for said, _ in counted):
        candidates = ()  # people ask of what is there
    weights, whole = _of_candidates(candidates)
    surest = max((chance for _, chance in candidates), default=0.0)
    of_group = [pair for pair in _of_group(evidence, question) if pair[1] >= surest]  # a faint dog is no lion
    for said, chance in (*counted, *of_group):
        weights[said] = max(weights.get(said, 0.0), _weight(chance))
    weights |= _worn(evidence, question)
    if not _WRITTEN.match(straight(question)):  # the text as a whole, no part of it
        whole |= {text: _weight(chance, READ) for text, chance in told.answers if chance > UNTOLD}
    whole |= {ABSENT: _weight(told.none, NOT_SAID)} if told.none > UNTOLD else {}
    if proof_first and rows:
        # What a text proves is no less likely for what photos mostly show, or for other words that the text has.
        closed = max(weights.get("Yes", 0.0), weights.get("No", 0.0), *whole.values())
        closed += CLOSED * min(told.closed, 0.0)  # of a photo with some text yes or no may be told without a proof
        weights |= {proofs.MARK: closed} if closed else {}
        weights |= {(proofs.MARK, f" {text}"): _weight(chance, PROVEN) for text, chance in told.proofs}
    return Likely(weights, whole)


def _of_candidates(candidates: Sequence[tuple[str, float]]) -> tuple[dict[Said, float], dict[str, float]]:
    """What the caption expert's answers weigh: `answers`, and `whole` ones: kinds of thing that it is sure of."""
    weights: dict[Said, float] = {}
    whole: dict[str, float] = {}
    for answer, chance in candidates:
        said, weight = answer[:1].upper() + answer[1:], _weight(max(chance, UNTOLD))
        article, _, name = said.partition(" ")
        if article not in ("A", "An"):
            weights[said] = weight + _odds(chance)
            continue
        bare = name[:1].upper() + name[1:]  # of a kind of thing
        if sure := _odds(chance):  # there is nothing more to say of it
            whole |= dict.fromkeys((said, bare), weight + BIAS * sure)
        else:
            weights |= {bare: weight, (article, f" {name}"): weight}
    return weights, whole


def _weight(chance: float, share: float = BIAS) -> float:
    """What it adds to a logit."""
    return share * math.log(chance / UNTOLD)


def _odds(chance: float) -> float:
    """Log-odds of an answer that is likelier than all others together, which it weighs more; else 0."""
    inside = min(chance, 0.99)
    return max(0.0, math.log(inside / (1 - inside)))


def _of_group(evidence: Mapping[str, Evidence], question: str) -> list[tuple[str, float]]:
    """The kinds that boxes tell where a question asks for the right one (claims.group_asked): "Dog", "A dog"."""
    group, found = claims.group_asked(question), _boxes(evidence, question)
    if not group or found is None:
        return []
    surest = {
        label: max(chance, UNTOLD)
        for chance, label in sorted(zip(found.confidence.tolist(), found.labels, strict=True))
        if label in group
    }
    written = (grounding.plural,) if asks_of_several(question) else (grounding.named, grounding.a)
    return [(write(kind).capitalize(), chance) for kind, chance in surest.items() for write in written]


def _worn(evidence: Mapping[str, Evidence], question: str) -> dict[Said, float]:
    """The colour of the only person's clothes, behind the article, where a question asks what that person wears. Not
    brown, which skin and hair are too."""
    asked = _WORN.fullmatch(straight(question.strip()))
    found = _boxes(evidence, question) if asked else None
    people = [at for at, label in enumerate(found.labels) if label == "person"] if found else []
    sure = found is not None and len(people) == 1 and found.confidence[people[0]] >= found.sure
    colour = found.colours[people[0]] if found and sure and found.colours else ""
    unsure = not colour or " or " in colour or colour == "brown"
    said: Said = "An orange" if colour == "orange" else ("A", f" {colour}")
    return {} if unsure else {said: _weight(box_colours.COLOURS_RIGHT[0])}


def _boxes(evidence: Mapping[str, Evidence], question: str) -> Detections | None:
    """Those that an answer may rest on; None without a detector."""
    found = evidence.get("detection")
    found = found and grounding.filter_for_question(found, question)
    return found if isinstance(found, Detections) else None
