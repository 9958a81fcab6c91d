"""COCO's tokenisation of captions."""

import re

# --- COCO's tokenisation ------------------------------------------------------------------------------------
_DROPPED = re.compile(r"[`'?!,:;]|\.+|-+")  # COCO drops these, and keeps "!!" and brackets
_PLAIN = str.maketrans(
    {"’": "'", "‘": "`", "“": " ", "”": " ", '"': " ", "–": "-- ", "—": "-- ", "…": "...", "\u00a0": " "}
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_ABBREVIATED = (
    "mr|mrs|ms|dr|st|jr|sr|vs|etc|co|inc|ltd|corp|mt|ave|blvd|rd|ft|prof|gen|capt|lt|sgt|gov|sen|rep|hon|rev"
    "|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|mon|tue|tues|wed|thu|thurs|fri"
)
_WORD = r"[^\W_]+"
_TOKEN = re.compile(
    rf"""
      https?://\S+ | www\.\S+ | [\w.+-]+@[\w-]+\.\w+ | <[a-z/][^<>\s]*>
    | [:;]-?[()]                                                     # a smiley is one token
    | (?<![^\W_])(?:[a-z]\.){{2,}}                                   # u.s.
    | (?<![^\W_])ph\.d\.
    | (?<![^\W_])(?:{_ABBREVIATED})\.(?!\w)
    | no\.(?=\s*\d)
    | (?<!\w)[+-]?\d+(?:[.,:/-]\d+)+(?!\w) | \d+:\d+ | (?<!\w)[+-]\d+\b | \.\d+
    | \bcan(?=not\b) | \bgon(?=na\b) | \bgot(?=ta\b) | \bwan(?=na\b) | \bgim(?=me\b) | \blem(?=me\b)
    | '(?:s|m|d|re|ve|ll|em)\b | (?<!\w)'n'?(?!\w) | '\d0s\b | (?<!\w)'t(?=is\b|was\b) | n't\b
    | (?-i:(?<!\w)[A-Z]+&[A-Z]+\b | (?<!\w)[A-HJ-Z]\.(?!\w))            # AT&T, an initial
    | \b[odl]'(?!clock\b)[^\W\d_]{{2,}} | \bo'clock\b | \bol'(?!\w)
    | (?:(?!n't\b){_WORD[:-1]})+(?:(?:[-_/](?={_WORD})|\.(?=[^\W\d_])){_WORD})*
    | [#@](?=[^\W\d])[\w-]+
    | \.{{3,}} | -{{2,}} | [!?]{{2,}}
    | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)


def coco_tokens(caption: str) -> list[str]:
    """The lower-case tokens on which COCO's caption scores count: Penn Treebank rules, then most punctuation
    dropped.

    Follows Stanford's PTBTokenizer 3.4.1 with `-lowerCase` and the punctuation list of pycocoevalcap, by
    rules of our own (the agreement measured on captions is in tests/test_metrics.py). "A man's dog can't
    jump!" -> a man 's dog ca n't jump.
    """
    text = caption.translate(_PLAIN).replace("&amp;", "&")
    return [_BRACKETS.get(token, token.lower()) for token in _TOKEN.findall(text) if not _DROPPED.fullmatch(token)]
