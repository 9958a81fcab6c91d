"""Misreadings of a text reader, put on made-up documents: at most what EasyOCR does on real ones."""

from __future__ import annotations

import re
from random import Random

# As EasyOCR's english_g2 confuses them on rendered documents, the commonest first.
ALIKE = {
    "0": "Oo", "O": "0Q", "o": "0", "1": "lI", "l": "1I", "I": "l1", "5": "S", "S": "5", "8": "B", "B": "8", "2": "Z", "Z": "2",
    "6": "G", "G": "6", "g": "9q", "9": "g", "q": "9", ".": ", ", ",": ".", ":": ". ", ";": ":", "-": "~_", "$": "S8", "£": "EL", "€": "EC",
    "m": "rn", "n": "r", "u": "v", "v": "y", "y": "v", "c": "e", "e": "c", "h": "b", "t": "f", "f": "t", "i": "j", "D": "O", "E": "F",
    "M": "N", "W": "w", "#": "H", "&": "8", "/": "I1", "(": "C", ")": "J", "@": "Q", "'": "", "é": "e", "ü": "u", "ö": "o",
}  # fmt: skip


# What a reader does the same way all over a page: (written, read), and how often a page has it.
HABITS = (
    (re.compile(r"£"), "E", 0.3), (re.compile(r"\$(?=\d)"), "S", 0.15), (re.compile(r"€"), "C", 0.1), (re.compile(r"₩"), "W", 0.6),
    (re.compile(r"(?<=\d)\.(?=\d)"), " . ", 0.08), (re.compile(r"(?<=\d)\.(?=\d)"), ". ", 0.04), (re.compile(r"(?<=\d):(?=\d)"), " : ", 0.06),
    (re.compile(r"(?<=\d):(?=\d)"), ".", 0.03), (re.compile(r"(?<=\w)\.(?=[a-z])"), " ", 0.06), (re.compile(r":$"), "", 0.15), (re.compile(r"\bx(?=\d)"), "xl", 0.02),
)  # fmt: skip


def habits(rng: Random) -> tuple[tuple[re.Pattern[str], str], ...]:
    """The habits of one page's reading."""
    return tuple((written, read) for written, read, share in HABITS if rng.random() < share)


def misread(rng: Random, text: str, rate: float) -> str:
    """The text with each character taken for a look-alike, dropped or moved apart at `rate` (0..1)."""
    read = []
    for mark in text:
        if rng.random() >= rate:
            read.append(mark)
            continue
        fate = rng.random()
        if fate < 0.6:
            read.append(rng.choice(ALIKE.get(mark, mark)) if ALIKE.get(mark) else mark)
        elif fate < 0.8 and mark == " ":
            continue
        elif fate < 0.88:
            read.append(f"{mark} ")
        elif fate < 0.95 and not mark.isdigit():
            continue
        else:
            read.append(mark.swapcase())
    return " ".join("".join(read).split()) or text
