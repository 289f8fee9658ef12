"""The error that costs exactly one alert."""


class InvalidAlert(ValueError):
    """One alert cannot be classified; its message says why, in words for a person. The rest of the batch goes on."""
