"""Types of command line arguments that several subcommands take."""

import argparse
import math
from collections.abc import Callable
from datetime import UTC, datetime


def positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    """An argument's type: a number above zero, and not without end."""

    def number(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value

    return number


def moment(text: str) -> datetime:
    """An argument's type: a time in ISO 8601, in UTC where it does not say."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in ISO 8601, such as 2026-01-31T22:00") from error
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read


def add_window(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """``--from`` and ``--to``, as ``begin`` and ``end``."""
    parser.add_argument(
        "--from",
        dest="begin",
        type=moment,
        required=required,
        metavar="TIME",
        help="ISO 8601, of Kafka's timestamp, UTC",
    )
    parser.add_argument(
        "--to", dest="end", type=moment, required=required, metavar="TIME", help="ISO 8601, not included"
    )
