"""Types of command line arguments that several jobs take."""

import argparse
import math
from collections.abc import Callable

from training.data.splits import FOLDS


def up_to(most: int, *, least: int = 0) -> Callable[[str], int]:
    """The type of an option that is an integer within these bounds."""

    def integer(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not from {least} to {most}")
        return value

    return integer


def positive(text: str) -> float:
    """The type of an option that is a finite number above zero."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def not_negative(text: str) -> float:
    """The type of an option that is a finite number from zero on."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number from zero on")
    return value


def share(text: str) -> float:
    """The type of an option that is a part of a whole, or all of it."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


count = up_to(10**9, least=1)
"""The type of an option that says how many."""
workers = up_to(1024, least=1)
"""The same, of processes or threads."""
seed_number = up_to(2**31 - 1)
"""As every generator of random numbers here takes it."""
fold_number = up_to(FOLDS - 1)
block_count = up_to(1000)
"""Of a transformer, from none on."""
