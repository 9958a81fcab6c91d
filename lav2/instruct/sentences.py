"""Captions as sentences, and the action in one."""

import re
from functools import cache

from lav2.instruct.phrasings import OTHER_NAMES


# --- English ------------------------------------------------------------------------------------------------
@cache
def mentions(label: str) -> frozenset[str]:
    return frozenset([label.split()[-1], *OTHER_NAMES.get(label, "").split()])


def sentence(text: str) -> str:
    """A caption as a sentence: one space between words, first letter large, one full stop."""
    text = re.sub(r"\s+([.,;!?])", r"\1", " ".join(text.split())).rstrip(" .,;")
    return text[:1].upper() + text[1:] + ("" if text.endswith(("!", "?")) else ".")


_PEOPLE = {"man", "woman", "boy", "girl", "person", "child", "kid", "lady", "guy", "baby", "toddler"}
PLURAL_PEOPLE = {"men", "women", "boys", "girls", "people", "children", "kids", "ladies", "guys"}
_NO_ACTIONS = {
    "wearing",
    "being",
    "having",
    "including",
    "clothing",
    "building",
    "morning",
    "evening",
    "during",
} | {
    *(
        "something",
        "nothing",
        "string",
        "bring",
        "spring",
        "wedding",
        "ceiling",
        "railing",
        "wing",
        "ring",
        "king",
    ),
    *("sling", "covering", "matching", "boxing", "swimming", "bathing", "missing", "containing", "featuring"),
}
_LOOSE_ENDS = {
    "a",
    "an",
    "the",
    "in",
    "on",
    "at",
    "of",
    "with",
    "to",
    "from",
    "and",
    "or",
    "by",
    "his",
    "her",
    "their",
    "into",
}
_ACTION = re.compile(
    rf"\b({'|'.join(sorted(_PEOPLE | PLURAL_PEOPLE))})\b"
    r"(?: (?:in|with|on|wearing) (?:(?!\b(?:and|who|that|is|are)\b)[a-z' -])+)?"
    r"(?: (?:is|are))?(?P<first> )([a-z]{3,}ing)\b([a-z' -]*)"
)


def action(caption: str) -> tuple[str, str] | None:
    """(who, what) of a caption that tells what somebody does, such as ("man", "riding a horse"), else None."""
    match = _ACTION.search(caption.lower())
    if match is None or match[3] in _NO_ACTIONS:
        return None
    between = caption.lower()[match.end(1) : match.start("first")].strip()
    if between and not between.endswith((" is", " are")) and between not in ("is", "are"):
        return None  # "a man in a red running suit": without is/are the -ing word may belong to a thing
    what = (match[3] + re.split(r" (?:while|as|and|who|that|which|is|are) ", match[4] + " ")[0]).split()
    if len(what) > 12:
        return None
    while what and what[-1] in _LOOSE_ENDS:
        what.pop()
    if what[-1:] in ([], ["riding"], ["holding"], ["carrying"]):
        return None  # cut off before its object
    return match[1], " ".join(what)
