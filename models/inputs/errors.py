"""The error that costs exactly one alert, and its kinds that a caller may want to tell apart."""


class InvalidAlert(ValueError):
    """One alert cannot be classified; its message says why, in words for a person. The rest of the batch goes on."""

    def __init__(self, reason: str) -> None:
        # It may quote half a character, which a header, a log or JSON cannot.
        super().__init__(reason.encode(errors="backslashreplace").decode())


class NotAnAlert(InvalidAlert):
    """What is there is no alert at all: bytes that nothing reads, or a record of another kind."""


class TooLarge(NotAnAlert):
    """It has, or unpacks to, more bytes than are allowed."""


class NothingLeft(InvalidAlert):
    """A sound alert, but nothing of it can be used to classify it: it is declined, not refused.

    ``dia_object_id`` as in AlertBatch.
    """

    def __init__(self, reason: str, *, alert_id: int, dia_source_id: int, dia_object_id: int) -> None:
        super().__init__(reason)
        self.alert_id = alert_id
        self.dia_source_id = dia_source_id
        self.dia_object_id = dia_object_id
