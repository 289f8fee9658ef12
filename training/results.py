"""``python -m training results``: every check of the experiments in one table, and the page that shows it.

What each model answered is kept beside the page's pictures, so that the page can be made anew, and added to, when the
models are gone: without directories of runs it is made of what had been kept. A directory of runs holds a model a
variant and seed, VARIANT-SEED (``lc-md-mta-0``).
"""

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from models.selection import DEFAULT_ARTIFACT
from training import answers, evaluate, options, predictions, results_page
from training.answers import Run
from training.checks import (
    book_of,
    calibration_checks,
    checks,
    further_checks,
    further_plasticc_checks,
    plasticc_checks,
    real_check,
)
from training.data.layout import Dataset
from training.data.splits import is_compared
from training.errors import InvalidData
from training.experiment import TIERS
from training.experiments import OBJECTS, SHORTER
from training.predictions import Ready, Selection
from training.times import Times

TRIED = "tried.md"
"""Beside the pictures: what was tried for the rows that fail, by hand; it ends the page."""
SHIPPED, CHANGES, PLASTICC, ELASTICC, AFRESH = "shipped", "changes", "plasticc", "elasticc", "afresh"
"""Directories of kept answers, beside one for each tier."""
TIMES = "times.json"
"""Beside the pictures: what each model took, all in one sitting."""
AMONG = "-told"
"""Ends the name of a variant that was told which classes there are among the objects."""

_FOLD = re.compile(r"(?P<variant>.+)-fold(?P<fold>\d)(-(?P<seed>\d+))?")


# --- what was trained -----------------------------------------------------------------------------------------------


def runs_of(
    directory: Path,
    data: Path,
    ready: Ready,
    *,
    split: str | None,
    device: str = "cpu",
    prior: str | None = None,
    among: Sequence[int] | None = None,
) -> list[Run]:
    """Every model VARIANT-SEED of a directory, or VARIANT, on the objects whose classes all of them have.

    With ``among``, told that each is of one of these classes.
    """
    models = _models(directory)
    if not models:
        return []
    classes = set.intersection(*(set(predictions.describe(model).taxonomy.class_ids) for model in models))
    selection = Selection.of(data, split=split, classes=sorted(classes))
    runs = []
    for model in models:
        found = predictions.of_model(model, selection, model / "predictions", ready=ready, device=device)
        runs.append(
            Run.of(model, found, named=answers.seed_of(model.name) or (model.name, None), prior=prior, among=among)
        )
    return runs


def folds_of(directory: Path, data: Path, ready: Ready, *, device: str = "cpu", prior: str | None = None) -> list[Run]:
    """Every variant VARIANT-foldK, or VARIANT-foldK-SEED, each fold's model on the fold that it has not seen; pooled.

    Raises InvalidData for a model that has seen its fold, or has folds of other data, and for a variant that lacks one
    which another has.
    """
    fingerprint = Dataset.open(data).index().fingerprint
    parts: dict[tuple[str, int | None], dict[int, Run]] = {}
    for model in _models(directory):
        named = _FOLD.fullmatch(model.name)
        if named is None:
            continue
        fold, seed = int(named["fold"]), None if named["seed"] is None else int(named["seed"])
        description = predictions.describe(model)
        left_out = description.provenance.get("training", {}).get("left_out")
        if left_out != fold:
            raise InvalidData(f"{model} was trained without fold {left_out}, not without {fold}: train --leave-out")
        if description.provenance.get("data") not in (None, fingerprint):
            raise InvalidData(f"{model} was trained on other data than {data}, which has other folds")
        selection = Selection.of(data, split=None, fold=fold, classes=description.taxonomy.class_ids)
        found = predictions.of_model(model, selection, model / "predictions", ready=ready, device=device)
        run = Run.of(model, found, named=(named["variant"], seed), prior=prior)
        parts.setdefault((named["variant"], seed), {})[fold] = run
    every = set().union(*parts.values())
    for (variant, _), folds in parts.items():
        if set(folds) != every:
            lacking = ", ".join(map(str, sorted(every - set(folds))))
            raise InvalidData(f"{directory}: {variant} lacks fold {lacking}, which another variant has")
    return [Run.pooled(list(folds.values())) for folds in parts.values()]


def _models(directory: Path) -> list[Path]:
    """The directories that hold a model, in order of name. Raises InvalidData for one that holds several."""
    if not directory.is_dir():
        raise InvalidData(f"{directory} is no directory of trained models")
    found = []
    for path in sorted(each for each in directory.iterdir() if each.is_dir()):
        if predictions.artifacts_in(path):
            predictions.find_artifact(path)
            found.append(path)
    return found


def keep(directory: Path, runs: Sequence[Run]) -> None:
    """Keep these runs' answers there, beside those of others.

    Raises InvalidData for two runs of one name, or if what is kept there is about other objects.
    """
    names = {run.name for run in runs}
    if len(names) < len(runs):
        raise InvalidData(f"two of the runs are called alike: {', '.join(sorted(run.name for run in runs))}")
    others = [run for run in kept(directory) if run.name not in names]
    if len({run.objects for run in (*others, *runs)}) > 1:
        raise InvalidData(f"{directory} keeps answers about other objects: remove it first")
    for run in runs:
        run.write(directory)


def kept(directory: Path) -> list[Run]:
    """All that has been kept there."""
    return [Run.read(path) for path in sorted(directory.glob(f"*{answers.SUFFIX}"))]


def unseen(directory: Path) -> list[Run]:
    """What has been kept there of real objects that ``compare`` has not set beside the simulation while it was made."""
    return [run.where(lambda ids: ~is_compared(ids)) for run in kept(directory)]


# --- the command ----------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument(
        "runs", type=Path, nargs="*", metavar="DIR", help="what python -m training experiments made, of any tier"
    )
    parser.add_argument("--data", type=Path, help="the simulated survey's test part, to try them and what ships on")
    parser.add_argument("--shipped", type=Path, default=DEFAULT_ARTIFACT, help="the model that ships")
    parser.add_argument(
        "--changes", type=Path, metavar="DIR", help="atat2-first and variants atat2-*, by experiments --steps"
    )
    parser.add_argument(
        "--time", type=Path, metavar="DIR", help="models of a tier, to be timed one after another: on an idle machine"
    )
    parser.add_argument(
        "--afresh", type=Path, metavar="DIR", help="models of a tier, to be tried on other test objects"
    )
    parser.add_argument("--afresh-data", type=Path, help="these objects: simulate --release NAME --seed NUMBER")
    parser.add_argument("--afresh-features", type=Path, nargs="+", default=[], help="their tables of features")
    parser.add_argument(
        "--afresh-alert-features", type=Path, nargs="+", default=[], help="the same, by features --alerts"
    )
    parser.add_argument("--plasticc", type=Path, help="what was trained on PLAsTiCC's folds, VARIANT-foldK each")
    parser.add_argument("--plasticc-data", type=Path, help="PLAsTiCC in the layout")
    parser.add_argument("--plasticc-features", type=Path, nargs="+", default=[], help="its tables of features")
    parser.add_argument(
        "--plasticc-alert-features", type=Path, nargs="+", default=[], help="the same, by features --alerts"
    )
    parser.add_argument("--elasticc", type=Path, help="what is to be tried on real ELAsTiCC alerts, VARIANT-SEED each")
    parser.add_argument("--elasticc-data", type=Path, help="those alerts in the layout; their test part is tried")
    parser.add_argument(
        "--elasticc-features", type=Path, nargs="+", default=[], help="their tables of features, by features --alerts"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent,
        help="directory for RESULTS.md (default: that of the jobs)",
    )
    evaluate.add_common_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    options.use_machine(arguments)
    if (arguments.runs or arguments.changes or arguments.time) and arguments.data is None:
        raise InvalidData("--data: what was trained is to be tried on the survey's test part")
    pictures, draws = arguments.output / "results", arguments.draws
    _keep_tiers(arguments, pictures)
    _keep_changes(arguments, pictures / CHANGES)
    _keep_shipped(arguments, pictures / SHIPPED)
    _keep_times(arguments, pictures / TIMES)
    keep(pictures / AFRESH, _afresh(arguments))
    keep(pictures / PLASTICC, _plasticc(arguments))
    keep(pictures / ELASTICC, _elasticc(arguments))
    tiers = [book_of(kept(pictures / tier), tier, draws=draws) for tier in TIERS]
    shipped = book_of(kept(pictures / SHIPPED), SHIPPED, draws=draws)
    changes = book_of(kept(pictures / CHANGES), _learned(pictures / CHANGES / OBJECTS), draws=draws)
    afresh, plasticc = (
        book_of(kept(pictures / name), tier, draws=draws)
        for name, tier in ((AFRESH, next(iter(TIERS))), (PLASTICC, "folds"))
    )
    elasticc = book_of(unseen(pictures / ELASTICC), SHIPPED, draws=draws)
    if not any(book.variants for book in (*tiers, changes, shipped, afresh, plasticc, elasticc)):
        raise InvalidData(f"{pictures} keeps no model's answers: name directories of runs, and --data")
    tiers = [book for book in tiers if book.variants] or tiers[:1]
    rows = [row for book in tiers for row in checks(book) if book is tiers[0] or row.verdict != "not run"]
    rows += [*calibration_checks(shipped), *plasticc_checks(plasticc), real_check(elasticc)]
    further = [*further_checks(tiers[0], afresh), *further_plasticc_checks(plasticc)]
    pictures.mkdir(parents=True, exist_ok=True)
    names = results_page.draw(pictures, tiers[0], shipped)
    text = results_page.page(
        rows,
        further,
        tiers,
        changes=changes,
        shipped=shipped,
        plasticc=plasticc,
        elasticc=elasticc,
        pictures=names,
        times=Times.read(pictures / TIMES),
        tried=pictures / TRIED,
    )
    (arguments.output / "RESULTS.md").write_text(text)
    (pictures / "checks.json").write_text(json.dumps([asdict(row) for row in (*rows, *further)], indent=1) + "\n")
    console = Console()
    for row in (*rows, *further):
        console.print(f"{row.verdict:8} {row.check}: {row.found or row.asked}", highlight=False)
    console.print(f"{arguments.output / 'RESULTS.md'}")
    return 0


def _keep_tiers(arguments: argparse.Namespace, pictures: Path) -> None:
    for directory in arguments.runs:
        told = json.loads(_record(directory))
        if not told.keys().isdisjoint(SHORTER):
            raise InvalidData(f"{directory} has runs shorter than the tier's: --changes compares them")
        _keep_experiments(arguments, directory, pictures / told["tier"])


def _keep_changes(arguments: argparse.Namespace, place: Path) -> None:
    if arguments.changes is not None:
        _keep_experiments(arguments, arguments.changes, place)


def _keep_experiments(arguments: argparse.Namespace, directory: Path, place: Path) -> None:
    ready, device, prior = evaluate.ready_of(arguments), arguments.device, arguments.prior
    _keep_record(_record(directory), place / OBJECTS)
    keep(place, runs_of(directory, arguments.data, ready, split="test", device=device, prior=prior))


def _record(directory: Path) -> str:
    """What ``python -m training experiments`` has recorded: the tier, and the steps if it was told."""
    path = directory / OBJECTS
    if not path.exists():
        raise InvalidData(f"{path} is not there: the runs of a tier are made by python -m training experiments")
    return path.read_text()


def _learned(path: Path) -> str:
    """For how long networks have learned, in words; empty where none are kept."""
    if not path.exists():
        return ""
    try:
        record = json.loads(path.read_text())
    except ValueError as error:
        raise InvalidData(f"{path}: {error}") from error
    if "minutes" in record:
        return f"tier {record['tier']}, {record['minutes']:g} minutes a network"
    steps = record.get("steps", TIERS[record["tier"]].training["steps"])
    return f"tier {record['tier']}, {steps:,} steps"


def _keep_record(record: str, place: Path) -> None:
    """Raises InvalidData if the answers there are of models of other objects."""
    if place.exists() and place.read_text() != record:
        raise InvalidData(f"{place.parent} keeps answers of models that learnt from other objects: remove it first")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(record)


def _keep_shipped(arguments: argparse.Namespace, place: Path) -> None:
    """In place of what had shipped before."""
    if arguments.data is None:
        return
    model, ready, device = arguments.shipped, evaluate.ready_of(arguments), arguments.device
    description = predictions.describe(model)
    selection = Selection.of(arguments.data, split="test", classes=description.taxonomy.class_ids)
    cache = arguments.runs[0] / "shipped-predictions" if arguments.runs else None
    found = predictions.of_model(model, selection, cache, ready=ready, device=device)
    for path in place.glob(f"*{answers.SUFFIX}"):
        path.unlink()
    keep(place, [Run.of(model, found, named=(description.name, None), prior=arguments.prior)])


def _keep_times(arguments: argparse.Namespace, place: Path) -> None:
    """Time one model a variant, and what ships, in place of what was timed before."""
    if arguments.time is None:
        return
    models = {(answers.seed_of(model.name) or (model.name,))[0]: model for model in _models(arguments.time)}
    models[predictions.describe(arguments.shipped).name] = arguments.shipped
    objects = predictions.some_of(Selection.of(arguments.data, split="test"))
    Times.of(models, objects, device=arguments.device).write(place)


def _both(arguments: argparse.Namespace, name: str) -> bool:
    """Whether there are models of that name, and data. Raises InvalidData for one of the two alone."""
    models, data = getattr(arguments, name), getattr(arguments, f"{name}_data")
    if (models is None) != (data is None):
        raise InvalidData(f"--{name} and --{name}-data go together")
    return models is not None


def _afresh(arguments: argparse.Namespace) -> list[Run]:
    if not _both(arguments, "afresh"):
        return []
    own = Ready(tuple(arguments.afresh_features), tuple(arguments.afresh_alert_features))
    answering: dict[str, Any] = {"split": "test", "device": arguments.device, "prior": arguments.prior}
    return runs_of(arguments.afresh, arguments.afresh_data, own, **answering)


def _plasticc(arguments: argparse.Namespace) -> list[Run]:
    if not _both(arguments, "plasticc"):
        return []
    own = Ready(tuple(arguments.plasticc_features), tuple(arguments.plasticc_alert_features))
    return folds_of(arguments.plasticc, arguments.plasticc_data, own, device=arguments.device, prior=arguments.prior)


def _elasticc(arguments: argparse.Namespace) -> list[Run]:
    if not _both(arguments, "elasticc"):
        return []
    ready, data = Ready(by_alert=tuple(arguments.elasticc_features)), arguments.elasticc_data
    answering: dict[str, Any] = {"split": "test", "device": arguments.device, "prior": arguments.prior}
    found = runs_of(arguments.elasticc, data, ready, **answering)
    labelled = sorted({class_id for run in found for class_id in run.by_age.class_id.tolist()})
    asked = {run.variant for run in found if set(run.classes) > set(labelled)}
    if not asked:
        return found
    narrow = runs_of(arguments.elasticc, data, ready, **answering, among=labelled)
    return found + [replace(run, variant=f"{run.variant}{AMONG}") for run in narrow if run.variant in asked]
