"""``make bench``: every benchmark, one after the other, as a table and as ``bench.json``.

Run it on an idle machine: nothing here asserts a speed.
"""

import argparse
import importlib
import json
import os
import platform
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import real, stream

BENCHMARKS = ("simulation", "features", "decoding", "inference", "history", "memory", "stream")
OF_REAL_ALERTS = {"decoding", "inference", "memory", "stream"}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=BENCHMARKS, help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument(
        "--minutes", type=float, default=stream.MINUTES, help="each rate of stream; default: %(default)g"
    )
    parser.add_argument(
        "--models", nargs="+", choices=stream.MODELS, default=stream.MODELS, help="of stream; default: all"
    )
    parser.add_argument("--output", type=Path, default=Path("bench.json"))
    arguments = parser.parse_args()
    if OF_REAL_ALERTS & set(arguments.names):
        real.files()  # now, and not after minutes of the others
    console = Console()
    machine = {"processor": _processor(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    report: dict[str, object] = {"machine": machine}
    table = Table("benchmark", "figure", "value")
    for name in arguments.names:
        console.print(f"{name} ...")
        options = {"minutes": arguments.minutes, "models": arguments.models} if name == "stream" else {}
        figures = importlib.import_module(f"tests.benchmarks.{name}").measure(**options)
        report[name] = figures
        for figure, value in figures.items():
            table.add_row(name, figure, f"{value:,.4g}")
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    console.print(table)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


if __name__ == "__main__":
    main()
