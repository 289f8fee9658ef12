"""``python -m training ensemble``: makes one model of several, which answers with the mean of what they say.

The members are copied into its artifact with their calibrations. ``python -m training calibrate`` fits its own.
"""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from models.calibration import Calibration
from models.classifier import Classifier
from models.ensemble import Ensemble
from training import predictions
from training.errors import InvalidData


def ensemble_of(members: list[Classifier], *, name: str, version: str) -> Classifier:
    """Raises InvalidData for members that do not go together."""
    try:
        model = Ensemble(members)
    except ValueError as error:
        raise InvalidData(str(error)) from error
    first = members[0].calibration
    shares = {member.calibration.training_shares for member in members}
    calibration = Calibration(
        temperatures={},
        prior=first.prior,
        prior_shares=first.prior_shares,
        training_shares=first.training_shares if len(shares) == 1 else (),
    )
    provenance = {
        "members": [
            {"name": member.name, "version": member.version, "provenance": dict(member.provenance)}
            for member in members
        ],
        "training": _in_common([member.provenance.get("training", {}) for member in members]),
    }
    return Classifier(
        model, taxonomy=members[0].taxonomy, calibration=calibration, name=name, version=version, provenance=provenance
    )


def _in_common(options: list[dict[str, Any]]) -> dict[str, Any]:
    """The options that all have, with the value that all have."""
    first, *others = options
    return {name: value for name, value in first.items() if all((name, value) in each.items() for each in others)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument("members", type=Path, nargs="+", metavar="MODEL", help="directory of a model; two or more")
    parser.add_argument("--name", default="ensemble", help="of the model (default: %(default)s)")
    parser.add_argument("--version", default="1", help="of the model (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="directory for the artifact, in which it is NAME")


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    members = [predictions.load(directory) for directory in arguments.members]
    artifact = arguments.output / arguments.name
    ensemble_of(members, name=arguments.name, version=arguments.version).save(artifact)
    Console().print(str(artifact), soft_wrap=True)
    return 0
