"""The error that costs exactly one alert, and its kinds that a caller may want to tell apart."""


class InvalidAlert(ValueError):
    """One alert cannot be classified; its message says why, in words for a person. The rest of the batch goes on."""


class NotAnAlert(InvalidAlert):
    """What is there is no alert at all: bytes that nothing reads, or a record of another kind."""


class TooLarge(NotAnAlert):
    """It unpacks to more than the caller allows."""
