"""The one error that users see: it names its cause and the next step."""


class LAV2Error(Exception):
    """A failure that the user can act on.

    Args:
        cause: what went wrong, one sentence.
        next_step: what the user can do about it, one sentence.
    """

    def __init__(self, cause: str, next_step: str):
        super().__init__(cause, next_step)
        self.cause = cause
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.cause} {self.next_step}"
