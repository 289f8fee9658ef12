"""What ends a training run that cannot be mended by going on."""


class Diverged(ArithmeticError):
    """The loss is no number any more."""
