"""Questions asked of a real assistant."""


def events(assistant, *args, cancel=None, **kwargs):
    from lav2.events import Request

    return list(assistant.answer(Request(*args, **kwargs), cancel))


def short(**changes):
    from lav2.events import Sampling

    return Sampling(**{"max_new_tokens": 12, **changes})
