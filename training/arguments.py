"""Types of command line arguments that several jobs take."""

import argparse
from collections.abc import Callable


def up_to(most: int, *, least: int = 0) -> Callable[[str], int]:
    """The type of an option that is an integer within these bounds."""

    def integer(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not from {least} to {most}")
        return value

    return integer


def positive(text: str) -> float:
    """The type of an option that is a number above zero."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


count = up_to(10**9, least=1)
"""The type of an option that says how many."""
workers = up_to(1024, least=1)
"""The same, of processes or threads."""
