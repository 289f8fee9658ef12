"""What ends a training run before its time."""


class Diverged(ArithmeticError):
    """The loss is no number any more: going on, or trying again, would change nothing."""


class OutOfTime(Exception):
    """The time that was given is over; what had been learned by then is in a checkpoint."""
