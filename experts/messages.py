"""A sentence for the user that whoever shows it can say in another language. No dependencies."""

from __future__ import annotations

from typing import Any

ECHO = 160  # characters of a name or text from outside that a message repeats
LONGEST = 2000  # characters of a whole message


class Message(str):
    """The English text, with what it was made of: `key`, the text with {name} in place of each of `values`.

    Values are text, numbers or messages themselves; long ones are cut, since they may come from anybody. Where there
    are none, the text is its own key and braces in it mean nothing.
    """

    key: str
    values: dict[str, Any]

    def __new__(cls, key: str, **values: Any) -> Message:
        if isinstance(key, cls) and not values:
            return key
        values = {name: value if isinstance(value, Message) else cut(str(value)) for name, value in values.items()}
        made = super().__new__(cls, cut(key.format(**values) if values else key, LONGEST))
        made.key, made.values = key, values
        return made


def cut(text: str, most: int = ECHO) -> str:
    """`text`, without its middle where it has more than `most` characters."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}…{text[-half:]}"
