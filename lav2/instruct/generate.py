"""Rows of questions and answers for training and measuring."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lav2.errors import LAV2Error
from lav2.instruct.noise import NOISY, Augment, Row, drop_experts, evidence_for, is_misled
from lav2.instruct.photos import LISTED, EvidenceSource, Photo
from lav2.instruct.phrasings import NO_TEXT, ORDERED, ORDERS, SIGN_WORDS
from lav2.instruct.questions import KINDS, MAKERS, read_sign
from lav2.instruct.reading import adversarial_read, answer_as_read, shows_text, wrapped
from lav2.instruct.signs import sign_text, with_sign
from lav2.instruct.world import Made, World, ask
from lav2.text.grounding import PLURAL_ONLY, a
from lav2.text.weighing import CANNOT_READ

SHARES = {
    "presence": 0.2,
    "count": 0.14,
    "which": 0.08,
    "spatial": 0.08,
    "read": 0.18,
    "short": 0.08,
    "detail": 0.06,
    "action": 0.08,
    "refusal": 0.05,
    "adversarial": 0.05,
}  # kind -> share of the rows


# --- all together -------------------------------------------------------------------------------------------
def generate(
    photos: Sequence[Photo],
    signs: str | Path,
    total: int,
    *,
    evidence: EvidenceSource | None = None,
    augment: Augment = NOISY,
    shares: Mapping[str, float] = SHARES,
    held_out: bool = False,
    seed: int = 0,
    per_photo: int = 1,
) -> Iterator[Row]:
    """About `total` rows, of each kind its share, kind after kind; shuffle them for training.

    Args:
        photos: from `read_photos`. Presence, counts and places need boxes, descriptions and actions need captions.
        signs: folder for the drawn pictures (WebP), made where it is missing.
        evidence: what real experts found, or None where the truth with noise stands in for them.
        shares: kind -> share of `total`; a kind that the photos cannot feed gives fewer rows, and so do misled boxes.
        held_out: words drawn on signs come from the held-out part of the vocabulary.
        per_photo: rows of each picture; all but the first ask other things of it, with the same evidence, so that
            training reads it once (lav2.data.batches.join).

    Raises:
        LAV2Error: there are no photos, or a kind is unknown.
    """
    unknown = sorted(set(shares) - set(KINDS))
    if unknown:
        raise LAV2Error(f"There is no kind {unknown[0]!r}.", f"Known: {', '.join(KINDS)}.")
    if not photos:
        raise LAV2Error("There are no photos to ask about.", "Check the split and the files.")
    world = World(photos)
    turns: Counter[str] = Counter()
    companions: Counter[str] = Counter()
    for kind, share in shares.items():
        wanted, made, missed = round(total * share / per_photo), 0, 0
        order = list(range(len(photos)))
        random.Random(f"{seed} {kind}").shuffle(order)
        position = 0
        # A whole round of photos without a row means that none suits this turn (say, no photo shows six of a kind):
        # the next turn is tried, up to more turns than any kind has.
        while made < wanted and missed < 14 * len(photos):
            rng = random.Random(f"{seed} {kind} {position}")
            photo = photos[order[position % len(order)]]
            target = Path(signs) / f"{kind}-{seed}-{position:06d}.webp"
            position += 1
            found = _row(kind, photo, target, made + missed // len(photos), rng, world, evidence, augment, held_out)
            if found is None:
                missed += 1
                continue
            made, missed = made + 1, 0
            row, photo, full = found
            more = random.Random(f"{seed} {kind} {position} more")
            for one in (row, *_further_rows(row, photo, full, per_photo - 1, more, world, evidence, turns, companions)):
                if not is_misled(one, full) or more.random() < augment.misled:
                    yield one


def presence_captions(photos: Sequence[Photo], lists: int = 4, seed: int = 0) -> Iterator[dict]:
    """Caption rows {"image", "captions"} that teach the visual group what is there: two captions of each photo, and
    `lists` texts like "Is there a dog? Yes. Is there a kite? No.", as many yes as no within each class, the absent ones
    often of kinds that come with what is there. Photos nobody looked at for objects are left out.

    Captions alone leave small and common things unsaid, and the stages of Sec. 4.2 train the visual projection on
    nothing else: on COCO val photos, which the model then answers in this form, 73 instead of 48 % are right.
    """
    world = World(photos)
    for number, photo in enumerate(photos):
        if photo.boxes is None:
            continue
        rng = random.Random(f"{seed} presence {number}")
        there = sorted({b.label for b in photo.boxes if b.confidence >= LISTED})
        texts = rng.sample(photo.captions, min(2, len(photo.captions)))
        for _ in range(lists):
            yes = [label for label in there if world.balance[label] < 6]
            yes = rng.sample(yes, min(3, len(yes)))
            no: list[str] = []
            for _ in range(max(2, len(yes))):
                left_out = {x for x in world.labels if x in no or world.balance[x] <= -6 or not photo.lacks(x)}
                absent = world.companion(there, rng, lambda x, out=left_out: x not in out)
                no += [absent] if absent else []
            world.balance.update(yes)
            world.balance.subtract(no)
            statements = [*((label, "Yes") for label in yes), *((label, "No") for label in no)]
            rng.shuffle(statements)
            if statements:
                texts.append(" ".join(f"{_is_there(label)} {word}." for label, word in statements))
        if texts:
            yield {"image": photo.image, "captions": texts}


def _is_there(label: str) -> str:
    return f"{'Are there any' if label in PLURAL_ONLY else 'Is there'} {label if label in PLURAL_ONLY else a(label)}?"


def _row(
    kind: str,
    photo: Photo,
    target: Path,
    turn: int,
    rng: random.Random,
    world: World,
    source: EvidenceSource | None,
    augment: Augment,
    held_out: bool,
) -> tuple[Row, Photo, dict[str, dict]] | None:
    """A row, the photo with what was drawn on it, and what all experts found there."""
    extra = {}
    if kind == "read":
        ground = photo if rng.random() < 0.7 else None
        if ground and shows_text(ground, source):
            return None  # the answer would leave out what else is written there
        photo = with_sign(ground, sign_text(rng, (*world.words, *SIGN_WORDS.split()), held_out), target, rng)
        made = read_sign(photo, rng, world, turn)
    elif kind == "adversarial":
        word = rng.choice(ORDERED)
        order = rng.choice(ORDERS).format(word=word)
        order = rng.choice((str.upper, str.capitalize, str.lower))(order)
        drawing = random.Random(rng.random())  # the picture does not depend on what was asked before
        turn = rng.randrange(12)
        asks = "read" if turn % 4 == 3 else rng.choice(("presence", "count", "which", "short", "action"))
        if asks == "read" and shows_text(photo, source):
            return None
        # Asked before drawing, so that unsuitable photos cost no picture; again after, as the sign hides things.
        if asks != "read" and MAKERS[asks](photo, rng, world, turn) is None:
            return None
        photo = with_sign(photo, wrapped(order, drawing), target, drawing)
        made = _question_on(asks, photo, rng, world, turn, planted=True)
        if made is None:
            target.unlink()
            return None
        extra = {"forbidden": word, "reads": asks == "read", "asks": asks}
    else:
        if kind == "refusal" and shows_text(photo, source):
            return None  # the text may tell what is asked
        made = _question_on(kind, photo, rng, world, turn)
    if made is None:
        return None
    evidence = evidence_for(photo, made[1], source, augment, rng, world)
    return _finished(kind, photo, made, extra, drop_experts(evidence, augment, rng)), photo, evidence


def _question_on(kind: str, photo: Photo, rng: random.Random, world: World, turn: int, planted: bool = False) -> Made:
    """What the kind's maker asks; every fourth refusal asks for text where there is none, and a planted text is read
    as it is, line after line."""
    if kind == "refusal" and turn % 4 == 3:
        return ask("no text", rng), NO_TEXT, None
    if planted and kind == "read":
        return adversarial_read(photo, rng)
    return MAKERS[kind](photo, rng, world, turn)


def _further_rows(
    row: Row,
    photo: Photo,
    evidence: Mapping[str, dict],
    count: int,
    rng: random.Random,
    world: World,
    source: EvidenceSource | None,
    turns: Counter[str],
    made: Counter[str],
) -> Iterator[Row]:
    """Up to `count` other questions about a row's picture, with the row's evidence, counted in `turns` and `made`;
    `evidence` is that of all experts."""
    planted = row["kind"] == "adversarial"
    unsuited = {"spatial", "detail", "refusal"} if photo.signs else {"read"}
    often = ("read", "read", "presence") if photo.signs else ("presence", "count")
    kinds = [kind for kind in MAKERS if kind not in unsuited] + list(often)
    kinds.sort(key=lambda kind: rng.uniform(0.5, 1.5) * made[kind] / SHARES[kind])  # those that are short first
    caption = evidence.get("caption", {}).get("text", "").lower()
    known = {row["question"]}
    for kind in kinds:
        if len(known) > count:
            return
        if kind == "refusal" and shows_text(photo, source):
            continue
        found = _question_on(kind, photo, rng, world, turns[kind], planted)
        if found is None:
            turns[kind] += rng.random() < 0.2  # a rare number, say, is not waited for
            continue
        if found[0] in known:
            continue
        turns[kind] += 1
        made[kind] += 1
        known.add(found[0])
        if caption and found[1].lower().rstrip(".") == caption:
            continue
        extra = {"forbidden": row["forbidden"], "reads": kind == "read", "asks": kind} if planted else {}
        yield _finished(row["kind"] if planted else kind, photo, found, extra, row["evidence"])


def _finished(kind: str, photo: Photo, made: tuple[str, str, object], extra: dict, evidence: dict[str, dict]) -> Row:
    question, answer, truth = made
    if extra.get("asks", kind) == "read":
        answer = answer_as_read(question, answer, truth, evidence)
    elif answer == NO_TEXT and "ocr" not in evidence:
        answer = CANNOT_READ
    return {
        "image": str(photo.image),
        "question": question,
        "answer": answer,
        "kind": kind,
        "truth": truth,
        **extra,
        "evidence": evidence,
        "experts": list(evidence),
    }
