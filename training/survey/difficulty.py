"""Whether the simulated survey is as hard as ELAsTiCC: a forest's scores on it beside the thesis's forest on ELAsTiCC.

    python -m training.survey.difficulty runs/forests/report/metrics.json

takes what ``python -m training evaluate`` wrote for the flat forest on the release's test part. By these figures alone
the simulation was frozen, before any transformer had been trained on it.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

THESIS_F1 = {
    "CART": 0.5539,
    "Iax": 0.5265,
    "91bg": 0.7844,
    "Ia": 0.6474,
    "Ib/c": 0.4052,
    "II": 0.4478,
    "SN-like/Other": 0.5151,
    "SLSN": 0.8855,
    "PISN": 0.8917,
    "TDE": 0.7744,
    "ILOT": 0.8235,
    "KN": 0.8712,
    "M-dwarf Flare": 0.8632,
    "uLens": 0.8834,
    "Dwarf Novae": 0.8012,
    "AGN": 0.9721,
    "Delta Scuti": 0.9448,
    "RR Lyrae": 0.9512,
    "Cepheid": 0.9533,
    "EB": 0.9511,
}
"""F1 by class of the thesis's forest on metadata and features (table 4.1)."""

MACRO_F1 = {"2048 days": (0.75, 0.81), "8 days": (0.56, 0.66)}
"""Within which the flat forest's macro F1 should lie, by length."""
LEAST_ORDER = 0.6
"""Rank correlation with the thesis's order of the classes."""
MOST_OFF = 0.25
"""A class further from the thesis's than this needs a cause."""


def verdicts(views: Mapping[str, Mapping[str, object]]) -> list[tuple[str, str, bool]]:
    """What was asked, what was found, and whether that passes."""
    found: list[tuple[str, str, bool]] = []
    for view, (low, high) in MACRO_F1.items():
        score = float(views[view]["macro_f1"])  # type: ignore[arg-type]
        found.append((f"macro F1 at {view}, {low} to {high}", f"{score:.3f}", low <= score <= high))
    classes = views["2048 days"]["classes"]
    ours = {name: float(values["f1"]) for name, values in classes.items()}  # type: ignore[attr-defined]
    order = float(spearmanr([ours[name] for name in THESIS_F1], list(THESIS_F1.values())).statistic)
    asked = f"rank correlation with the thesis's forest, at least {LEAST_ORDER}"
    found.append((asked, f"{order:.2f}", order >= LEAST_ORDER))
    off = {name: ours[name] - score for name, score in THESIS_F1.items() if abs(ours[name] - score) > MOST_OFF}
    told = ", ".join(f"{name} {difference:+.2f}" for name, difference in off.items()) or "none"
    found.append((f"classes off by more than {MOST_OFF}", told, not off))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metrics", type=Path, help="metrics.json of the flat forest")
    (forest,) = json.loads(parser.parse_args(argv).metrics.read_text())["models"].values()
    table = Table("check", "found", "passes")
    for check, found, passes in verdicts(forest["views"]):
        table.add_row(check, found, "yes" if passes else "no")
    Console().print(table)


if __name__ == "__main__":
    main()
