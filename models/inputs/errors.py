"""The error that costs exactly one alert."""


class InvalidAlert(ValueError):  # noqa: N818 - the field's word for it; it is an outcome as much as an error
    """One alert cannot be classified; its message says why, in words for a person. The rest of the batch goes on."""
