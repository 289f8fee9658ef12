"""What the jobs raise: for wrong input, and for what ends a training run before its time."""


class InvalidData(ValueError):
    """A file or directory that is not what a job needs; its message says what is wrong, and where."""


class Diverged(ArithmeticError):
    """The loss is no number any more: going on, or trying again, would change nothing."""


class OutOfTime(Exception):
    """The time that was given is over; what had been learned by then is in a checkpoint."""
