"""``python -m training``: dispatches to one offline job a subcommand."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from training.errors import Diverged, InvalidData

_JOBS = {
    "import": ("training.data.importing", "other people's data into the data layout"),
    "simulate": ("training.simulate", "a simulated survey, labelled"),
    "features": ("training.features", "the engineered features of a data directory, for forests"),
    "tune": ("training.tune", "a forest's options, chosen on validation objects"),
    "train": ("training.train", "train a model"),
    "pretrain": ("training.pretrain", "learn without labels what training can start from (chapter 5)"),
    "few-labels": ("training.few_labels", "what pretraining gains where few labels are known"),
    "experiments": ("training.experiments", "every variant and forest, whatever is missing"),
    "ensemble": ("training.ensemble", "one model of several"),
    "calibrate": ("training.calibrate", "fit a model's calibration anew"),
    "evaluate": ("training.evaluate", "measure models on a data directory"),
    "results": ("training.results", "every check of the experiments, as RESULTS.md"),
    "represent": ("training.represent", "learning without labels: the tables of chapter 3"),
    "compare": ("training.compare", "how far a simulation is from real data"),
}


_INTERRUPTED = 130
"""As a shell tells of a command that ctrl-C ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0; 1 if some input failed; 2 for wrong usage; 130 if interrupted."""
    words = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="python -m training", description="Offline jobs that make models.")
    jobs = parser.add_subparsers(dest="job", required=True, metavar="JOB")
    for name, (module, purpose) in _JOBS.items():
        subparser = jobs.add_parser(name, help=purpose)
        if name in words[:1]:  # the others take their time to import
            try:
                job = importlib.import_module(module)
            except ModuleNotFoundError as error:
                parser.error(f"{name} needs {error.name}, which comes with one of this package's extras")
            subparser.description = (job.__doc__ or "").replace("``", "")
            job.add_arguments(subparser)
            subparser.set_defaults(run=job.run)
    arguments = parser.parse_args(words)
    try:
        code: int = arguments.run(arguments)
    except (InvalidData, Diverged, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command line's own voice
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


if __name__ == "__main__":
    sys.exit(main())
