"""``python -m service embed``: alert files in, one JSON line an alert on standard output, in input order.

Lines are as ``classify`` prints them, but in place of probabilities they have ``embedding``: the model's last
representation of the alert, a list of numbers of the same length for all. Alike alerts lie near each other (compare
cosines, within the same ``branches``); one that is far from every other is an outlier.
"""

import argparse

from service import classify
from service.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    classify.add_input_arguments(parser)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """The subcommand. Exit code 1 if an alert could not be represented, 2 if nothing could be tried."""
    return classify.print_answers(arguments, settings, prior=settings.model_prior, embed=True)
