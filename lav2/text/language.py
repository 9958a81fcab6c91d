"""What is answered by rule and not by the model: questions in languages that the model does not read, and questions
about a photo where there is none. Korean forms that leave no doubt (lav2.text.korean) are put into English. No torch.

The rules are careful: what they do not surely know goes to the model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from lav2.events import Turn
from lav2.text import claims, korean
from lav2.text.asking import OPENING, straight

LANGUAGE, NO_PHOTO = "language", "no photo"  # the rules

SENTENCES = {
    (LANGUAGE, "en"): "Questions are read in English only. Please ask again in English.",
    (LANGUAGE, "ko"): "질문은 영어로만 읽을 수 있습니다. 영어로 다시 물어봐 주세요.",
    (NO_PHOTO, "en"): "There is no photo yet. Add one and ask again.",
    (NO_PHOTO, "ko"): "아직 사진이 없습니다. 사진을 올리고 다시 물어봐 주세요.",
}


def read(question: str, photo: bool, history: Sequence[Turn] = ()) -> tuple[str, str, str]:
    """(the question in English, "", ""), or ("", the rule that answers it, its sentence).

    Args:
        question: as it was asked.
        photo: whether there is one.
        history: the turns before.
    """
    language = "ko" if korean.HANGUL.search(question) else "en"
    english = korean.translated(question)
    if not english and foreign(question):
        return "", LANGUAGE, SENTENCES[LANGUAGE, language]
    english = english or question
    if not photo and about_photo(english, history):
        return "", NO_PHOTO, SENTENCES[NO_PHOTO, language]
    return english, "", ""


def spoken(history: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns that a model answered, their questions in English where they were put into it."""
    turns = (turn for turn in history if turn.answer not in SENTENCES.values())
    return tuple(replace(turn, question=korean.translated(turn.question) or turn.question) for turn in turns)


# --- languages ------------------------------------------------------------------------------------------------

_DENSE = re.compile(r"[\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_OTHER = re.compile(
    r"[\u0370-\u052f\u0531-\u058f\u0590-\u06ff\u0750-\u077f\u0900-\u0dff\u0e00-\u0e7f\u10a0-\u10ff\ufb50-\ufdff\ufe70-\ufeff]"
)
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")
_QUOTED = re.compile(r"[\"“”„«»「」『』].*?[\"“”„«»「」『』]|(?<!\w)['‘].*?['’](?!\w)")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")

# Function words of English that the languages below do not have, and words that ask for another language.
_ENGLISH_WORDS = """
what what's is are the how does did this that these those it it's where when who which why there can you of and to say
says said read many much have has with your my please describe translate mean means word for from they
"""
# Words that only a question in one of the languages has: Spanish and Portuguese, French, German, Italian.
_ASKING_WORDS = """
qué cuánto cuánta cuántos cuántas cuanto cuantos cuantas dónde donde cuándo quién cuál hay está están dice tiene puedes
quantos quantas onde quanto quem qual estão você há tem são diz custa cuesta llama hola
quel quelle quels quelles combien où quand pourquoi est est-ce sont écrit bonjour c'est d'où qu'est
wie wieviel wieviele viel viele wo wann wer welche welcher welches ist sind steht gibt heißt kostet warum hallo sehen
quanti quante cosa perché c'è chi chiama scritto sono vedi ciao dov'è cos'è
"""
# Words that may begin such a question but are words or names in English as well.
_BEGINNING_WORDS = "come dove was que qui o a di quando che"
_NAMES = ("hay", "cosa", "est", "dice", "wo")  # of the asking ones: alone they say nothing
_FUNCTION_WORDS = """
de del la las el los un una unos unas en y por para con se su es hora imagen cartel
le les du des et une dans sur il elle ce cette ces au aux je vous ils heure
der die das den dem ein eine einen einer und auf mit im zu nicht es ich sie bild foto dort hier an uhr
lo gli i della dello delle nel nella sul sulla questo questa si ci costa ora immagine
os as um uma do da dos das no na nos nas ao em isto isso este esta imagem horas
"""
_ENGLISH, _ASKING, _BEGINNING, _FUNCTION = (
    frozenset(words.split()) for words in (_ENGLISH_WORDS, _ASKING_WORDS, _BEGINNING_WORDS, _FUNCTION_WORDS)
)


def _letters(text: str, kind: re.Pattern[str]) -> int:
    return len(kind.findall(text))


def foreign(question: str) -> bool:
    """Whether a question is surely in another language than English: by its script, or by function words of Spanish,
    French, German, Italian or Portuguese. Quotations do not count, and a name ("Soup du jour?") is no question."""
    text = _QUOTED.sub(" ", question[:1000])
    dense, other = _letters(text, _DENSE), _letters(text, _OTHER)
    if 2 * dense + other > _letters(text, _LATIN):  # a syllable stands for two letters
        return True
    if "¿" in text or "¡" in text:
        return True
    words = [word.replace("’", "'") for word in _WORD.findall(text.lower())]
    if any(word in _ENGLISH for word in words):
        return False
    sure = [word for word in words if word in _ASKING]
    function = sum(word in _FUNCTION for word in words)
    if words and words[0] in _BEGINNING and function:
        sure.append(words[0])
    return len(sure) >= 2 or (len(sure) == 1 and (function > 0 or (sure[0] == words[0] and sure[0] not in _NAMES)))


# --- no photo -------------------------------------------------------------------------------------------------

_PICTURE = r"(?:photo|picture|image|photograph|pic|screenshot)"
_PLACE = (
    rf"(?: (?:in|on|at|of) (?:the|this|that|my) (?:{_PICTURE}|room|table|left|right|top|bottom|middle|background|"
    r"foreground|street|sign|scene|shelf|wall|floor|bench|beach))"
)
_TEXT = (
    r"(?:sign|label|text|poster|plate|screen|receipt|menu|note|card|ticket|notice|banner|shirt|t-shirt|caption|"
    r"headline|page|tag|billboard)"
)
_WEAR = (
    r"(?:shirt|t-shirt|dress|hat|cap|hair|coat|jacket|shoes|pants|trousers|skirt|helmet|tie|bag|wall|sign|house|"
    r"building|door|ball)"
)
_WHO = r"(?:he|she|they|the \w+)"
_IT = r"(?:it|this|that|these|those)"

# About a photo whatever was said before.
_ALWAYS = tuple(
    re.compile(form)
    for form in (
        rf"\b(?:in|on|of|about|describe|caption|at) (?:the|this|that|my) {_PICTURE}\b(?! of\b| frame| book| editor)",
        rf"^(?:describe|what is|what's|whats|explain|read) (?:this|the|that) {_PICTURE}$",
        r"^(?:what|who|which \w+|how many [\w -]+?) (?:do|can) you see(?: here| there)?$",
        rf"^(?:what|how) (?:do|does) (?:the|this|that) (?:\w+ )?{_TEXT} (?:say|read|show)$",
        rf"^(?:please )?read (?:me )?(?:the|this|that) (?:\w+ )?{_TEXT}(?: aloud| to me)?$",
        r"^what(?: is|'s| are) (?:written|printed|shown|visible)(?: here| there| on it| on (?:the|this) [\w -]+)?$",
    )
)
# About a photo where the conversation has nothing that "it" could be.
_ALONE = tuple(
    re.compile(form)
    for form in (
        rf"^what (?:colou?r|breed|shape|material|brand|animal|vehicle|sport)s? (?:is|are) {_IT}$",
        rf"^(?:what|which) (?:kind|type|sort|breed|brand) of [\w ]{{1,20}} (?:is|are) {_IT}$",
        r"^(?:what|which) (?!time|day|date|year|month|season|week)\w+ (?:is|are) (?:this|that|these|those)$",
        r"^(?:what|who)(?: is|'s| are) (?:this|that|these|those)$",
        rf"^what(?: is|'s| are) {_WHO} (?:wearing|holding|carrying|eating|riding|doing)$",
        r"^who is (?:wearing|holding|riding|sitting|standing) .{1,40}$",
        rf"^(?:describe|caption|read) {_IT}(?: aloud)?$",
        r"^how much (?:is|are|does|do) (?:it|this|that|these|those|they)(?: cost)?$",
        r"^what(?: is|'s) the (?:(?:grand )?total|total price|phone number|(?:licen[cs]e|number) plate|plate number)$",
        r"^(?:when|what time) does (?:it|the \w+|this \w+) (?:open|close)(?: on \w+| today)?$",
        rf"^what does {_IT} say$",
        r"^is (?:it|this) (?:indoors|outdoors|inside|outside|indoors or outdoors|inside or outside|day or night)$",
    )
)
_COLOUR = re.compile(rf"^what colou?r (?:is|are) (?:the|his|her|their) (?P<what>[\w' -]{{1,40}}?){_PLACE}?$")
_COUNT = re.compile(
    rf"^how many (?P<what>[\w -]{{1,40}}?) (?:are|is) (?P<shown>there|here|visible|shown)(?: here)?(?P<place>{_PLACE})?"
    r"(?: in total)?$"
)
_EXISTS = re.compile(rf"^(?:is|are) there (?:an?|any|some)? ?(?P<what>[\w -]{{1,40}}?)(?P<place>{_PLACE}| here)?$")
_WHERE_IS = re.compile(r"^where(?: is|'s| are) (?:the|my) (?P<what>[\w -]{1,30})$")
_OPENING = re.compile(OPENING)
_COUNTED = re.compile(
    r"\b(?:circles?|squares?|triangles?|shapes?|objects?|things|animals?|windows?|flowers?|trees?|signs?|colou?rs|text|"
    r"words|letters)$"
)


def about_photo(question: str, history: Sequence[Turn] = ()) -> bool:
    """Whether a question makes sense only with a photo, asked where there is none. Plain chat, greetings and general
    knowledge ("How many planets are there?") are not; with earlier turns "it" may be what they spoke of."""
    text = re.sub(r"[\s?!.]+$", "", " ".join(straight(question.lower()).split()))[:300]
    text = _OPENING.sub("", text, count=1)
    if any(form.search(text) for form in _ALWAYS):
        return True
    for form in (_COUNT, _EXISTS):
        if match := form.match(text):
            what = match["what"]
            if match["place"] or match.groupdict().get("shown") in ("here", "visible", "shown") or _depicted(what):
                return True
    if spoken(history):
        return False
    if any(form.match(text) for form in _ALONE):
        return True
    if match := _COLOUR.match(text):
        return _depicted(match["what"]) or bool(re.fullmatch(rf"(?:\w+'s )?(?:\w+ )?{_WEAR}", match["what"]))
    match = _WHERE_IS.match(text)
    return bool(match and _depicted(match["what"]))


def _depicted(what: str) -> bool:
    """Whether words end with something that is counted in photos: a kind of object, a shape, a sign."""
    if re.search(r"\b(?:between|of|that|who|which|for|with|to|like)\b", what):
        return False
    kinds = claims.asked_words(f"the {what}")
    return bool(_COUNTED.search(what)) or bool(kinds and what.endswith(kinds[-1][0]))
