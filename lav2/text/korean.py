"""Korean questions of a few known forms, put into English by rules. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lav2.text.dates import DAYS

HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")
LONGEST = 200  # characters of a question that the forms are held against

# What the forms may name; another name leaves a question untranslated.
_THINGS = {
    "사람": ("person", "people"), "남자": ("man", "men"), "여자": ("woman", "women"), "아이": ("child", "children"),
    "개": ("dog", "dogs"), "강아지": ("dog", "dogs"), "고양이": ("cat", "cats"), "말": ("horse", "horses"),
    "새": ("bird", "birds"), "소": ("cow", "cows"), "양": ("sheep", "sheep"), "곰": ("bear", "bears"),
    "자동차": ("car", "cars"), "차": ("car", "cars"), "버스": ("bus", "buses"), "트럭": ("truck", "trucks"),
    "기차": ("train", "trains"), "자전거": ("bicycle", "bicycles"), "오토바이": ("motorcycle", "motorcycles"),
    "비행기": ("airplane", "airplanes"), "배": ("boat", "boats"), "의자": ("chair", "chairs"), "컵": ("cup", "cups"),
    "병": ("bottle", "bottles"), "책": ("book", "books"), "시계": ("clock", "clocks"), "공": ("ball", "balls"),
    "우산": ("umbrella", "umbrellas"), "가방": ("bag", "bags"), "휴대폰": ("phone", "phones"),
    "노트북": ("laptop", "laptops"),
}  # fmt: skip
_GOODS = {
    "커피": "coffee", "아메리카노": "americano", "라떼": "latte", "차": "tea", "물": "water", "우유": "milk",
    "맥주": "beer", "빵": "bread", "사과": "apple", "피자": "pizza", "파스타": "pasta", "샐러드": "salad",
    "케이크": "cake", "주스": "juice", "크루아상": "croissant",
}  # fmt: skip
_DAYS = dict(zip("월화수목금토일", DAYS, strict=True))


def _any(names: Iterable[str]) -> str:
    return "|".join(sorted(names, key=len, reverse=True))


_WHERE = "(?:(?:이|그|저)?(?:사진|그림|이미지)(?:속)?(?:에는|에서|안에|속에|에|은|는)?)?"
_BE = "있(?:어|나|니|나요|어요|습니까|는지|을까|는가요|지)(?:요)?"
_IS = "(?:야|예요|에요|이에요|이야|입니까|인가요|인가|이죠|죠|지|일까)(?:요)?"
_SEEN = "보(?:여|여요|이나요|이니|입니까)"
_THING = f"(?P<thing>{_any(_THINGS)})(?:들)?(?:은|는|이|가)?"
_GOOD = f"(?P<good>{_any(_GOODS)}|[a-z]+)(?:은|는|이|가|의)?"
_WRITTEN = f"(?:뭐라고|무엇이라고|뭐라|무엇이|뭐가)(?:쓰여|써|적혀|쓰여져|나와){_BE}"
_UNIT = "(?:명|마리|대|개|사람|권|병)"
_SHOP = "(?:이|그)?(?:가게|상점|매장|식당|카페|여기|은행|약국)?(?:는|은|이|가)?"
_DAY = f"(?:(?P<day>{_any(_DAYS)})요일(?:에는|에|은|날에)?)?"
_OPENS = "(?:여나요|엽니까|여는지|열어|열어요|열까|오픈해|오픈해요|시작해|시작해요)"
_CLOSES = "(?:닫나요|닫습니까|닫아|닫아요|끝나|끝나요|끝나나요|마감해|마감해요|영업해|영업해요)"

# Without white space and punctuation -> English.
_FORMS = tuple(
    (re.compile(form), english)
    for form, english in (
        (f"{_WHERE}(?:간판|표지판|팻말)(?:에는|에|은|는)?{_WRITTEN}", "What does the sign say?"),
        (f"{_WHERE}(?:(?:글자|글씨|글)(?:에는|에|은|는|이|가)?)?{_WRITTEN}", "What does the text say?"),
        (f"{_WHERE}(?:글자|글씨|글)(?:을|를)?읽어(?:줘|주세요|봐|줘요|줄래)", "What does the text say?"),
        (
            f"{_WHERE}{_THING}(?:모두|전부|총)?몇{_UNIT}(?:이|이나)?(?:{_BE}|{_SEEN}|{_IS})?",
            "How many {things} are there?",
        ),
        (f"{_WHERE}(?:모두|전부|총)?몇(?:명|사람)(?:이|이나)?(?:{_BE}|{_SEEN}|{_IS})?", "How many people are there?"),
        (f"{_WHERE}{_THING}{_BE}", "Is there a {thing}?"),
        (f"{_WHERE}(?:가격|값)(?:이|은|는)?얼마{_IS}", "What is the price?"),
        (f"{_WHERE}(?:(?:이거|이것|그거)(?:은|는|이)?)?얼마{_IS}", "How much does it cost?"),
        (f"{_WHERE}{_GOOD}(?:(?:가격|값)(?:이|은|는)?)?얼마{_IS}", "How much is the {good}?"),
        (f"(?:그럼|그러면)?{_GOOD}요", "And the {good}?"),
        (f"메뉴(?:판)?에(?:는)?{_GOOD}{_BE}", "Is there {good} on the menu?"),
        (f"(?:합계|총액|총금액)(?:은|는|이|가)?얼마{_IS}", "What is the total?"),
        (f"전화번호(?:은|는|이|가)?(?:뭐|무엇|몇번){_IS}", "What is the phone number?"),
        (f"{_WHERE}(?:어떤|무슨)동물(?:{_IS}|이{_SEEN}|이{_BE})", "Which animal is this?"),
        (f"{_SHOP}{_DAY}(?:몇시에|몇시부터|언제)(?:문을|문)?{_OPENS}", "What time does it open{day}?"),
        (f"{_SHOP}{_DAY}(?:몇시에|몇시까지|언제)(?:문을|문)?{_CLOSES}", "When does the shop close{day}?"),
        (f"{_WHERE}(?:무엇|뭐)(?:이|가)?(?:{_SEEN}|{_BE})", "What is in the photo?"),
        (
            "(?:이|그)?(?:사진|그림|이미지)(?:을|를)?(?:설명|묘사)(?:해줘|해주세요|해봐|해줄래|해)",
            "Describe the photo.",
        ),
    )
)


def translated(question: str) -> str:
    """A Korean question of a known form in English; "" for any other: nothing that was said may be dropped."""
    if len(question) > LONGEST or not HANGUL.search(question):
        return ""
    plain = re.sub(r"[\s?!.,~？！。]+", "", question.lower())
    match, english = next(((m, english) for form, english in _FORMS if (m := form.fullmatch(plain))), (None, ""))
    if match is None:
        return ""
    said = {name: text for name, text in match.groupdict().items() if text}
    thing, things = _THINGS.get(said.get("thing", ""), ("", ""))
    latin = " ".join(re.findall("[A-Za-z]+", question))  # a name as it was written
    good = _GOODS.get(said.get("good", ""), latin)
    day = f" on {_DAYS[said['day']]}" if "day" in said else ""
    return english.format(thing=thing, things=things, good=good, day=day)
