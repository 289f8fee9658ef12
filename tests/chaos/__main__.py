"""``make chaos``: the kill test, in full. Exit code 0 if every promise held and the faults bit, 1 if not."""

import argparse
import dataclasses
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.caught import POINT, caught
from tests.chaos.ground import Failed
from tests.chaos.run import FULL, QUICK, Plan, Report, run
from tests.conftest import DATA
from tests.servers import ServerError, UnavailableError
from tests.servers.kafka import KafkaServer

_ANYWHERE = 10
"""A worker without transactions is killed so often at any moment, before it is at the moment when it is wrong."""


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="of the load and the faults; default: another one each time")
    parser.add_argument("--alerts", type=int, metavar="N", help=f"default: {FULL.alerts}, or {QUICK.alerts}")
    parser.add_argument("--quick", action="store_true", help="the shorter form")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1_000_000)
    plan = QUICK if arguments.quick else FULL
    plan = dataclasses.replace(plan, alerts=arguments.alerts or plan.alerts)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        try:
            report = run(plan, seed=seed, directory=Path(directory) / "run", data=DATA)
            _catch(plan, report, Path(directory))
        except (Failed, ServerError, UnavailableError, subprocess.TimeoutExpired) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    show(report)
    return 1 if report.wrong else 0


def _catch(plan: Plan, report: Report, directory: Path) -> None:
    """The check itself: does it catch workers without transactions?"""
    with KafkaServer(directory / "kafka") as kafka:
        for kind in POINT:
            tries, said = caught(
                kind, kafka.bootstrap_servers, directory, model=plan.model, seed=report.seed, anywhere=_ANYWHERE
            )
            report.figures[f"without transactions, {kind}: caught at try"] = tries if said else "never"
            report.wrong += [] if said else [f"a worker without transactions was not caught: {kind}"]


def show(report: Report) -> None:
    """Print a report."""
    console = Console(width=110)
    faults = Table("at [s]", "fault", "alerts published", "answered", "recovered in [s]", title=f"seed {report.seed}")
    for one in report.struck:
        recovered = "never" if one.recovered_in is None else f"{one.recovered_in:.1f}"
        faults.add_row(f"{one.at:.0f}", one.name, f"{one.published:,}", f"{one.answered:,}", recovered)
    console.print(faults)
    figures = Table("figure", "value")
    for name, value in report.figures.items():
        figures.add_row(name, f"{value:,}" if isinstance(value, (int, float)) else str(value))
    console.print(figures)
    for wrong in report.wrong:
        console.print(f"[red]wrong:[/] {wrong}")
    console.print("[red]the guarantee does not hold[/]" if report.wrong else "[green]nothing lost, nothing twice[/]")


if __name__ == "__main__":
    sys.exit(main())
