"""``python -m tests.benchmarks.capacity bench.json``: workers, partitions, Redis and GPUs that a survey needs.

What it computes, and how to read it: ``deploy/CAPACITY.md``.
"""

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOM = 2
"""Partitions for each worker at its peak: a partition more later would move objects to other workers."""
_GIBI = 2**30
_MICRO = 1e-6
_CUDA = "cuda_float32_per_second"


@dataclass(frozen=True)
class Survey:
    """What is to be borne."""

    alerts: float = 10e6
    """A night."""
    hours: float = 10.0
    """Of a night."""
    burst: float = 40_000
    """Alerts at once ..."""
    visit_seconds: float = 37.0
    """... and until the next may come."""
    objects: float = 10e9
    """With an alert within HISTORY_DAYS."""
    points: float = 20.0
    """Of an object, in the mean."""
    use: float = 0.7
    """Of what is measured, so much is planned with."""
    redis_gibibytes: float = 64.0
    """Of one Redis server's memory, what histories may fill."""


@dataclass(frozen=True)
class Needs:
    """What a survey needs of one model."""

    workers_night: int
    """Workers for the night's mean rate, each with its share of the machine that was measured."""
    workers_burst: int
    """Workers for a burst within a visit."""
    partitions: int
    cores: Mapping[str, float]
    """At a burst, by process: service, kafka, redis."""
    gpus: int | None
    """For a burst; None where no rate of a GPU is known."""

    @property
    def workers(self) -> int:
        """For both."""
        return max(self.workers_night, self.workers_burst)


def needs(bench: Mapping[str, Any], model: str, survey: Survey) -> Needs:
    """Of ``thesis`` or ``shipped``. Raises KeyError where the benchmark ``stream`` is not in ``bench``."""
    stream = bench["stream"]
    rate = stream[f"{model}_all_per_second"] / stream["workers"]
    seconds = stream[f"{model}_all_burst_40000_seconds"] * stream["workers"]
    night = survey.alerts / (survey.hours * 3600)
    burst = survey.burst / survey.visit_seconds
    usable = survey.use * rate
    # A burst was measured as a whole, with what it waits for in the beginning and at the end.
    usable_burst = survey.use * min(rate, 40_000 / seconds)
    workers = [math.ceil(night / usable), math.ceil(burst / usable_burst)]
    peak = max(night, burst)
    cuda = bench.get("inference", {}).get(f"{model}_all_{_CUDA}")
    return Needs(
        workers_night=workers[0],
        workers_burst=workers[1],
        partitions=ROOM * max(workers),
        cores={
            name: peak * _MICRO * stream[f"{model}_all_{name}_cpu_microseconds"] / survey.use
            for name in ("service", "kafka", "redis")
        },
        gpus=None if cuda is None else math.ceil(peak / (survey.use * cuda)),
    )


def redis_bytes(bench: Mapping[str, Any], objects: float, points: float) -> float:
    """Histories and latest classifications of so many objects."""
    measured = bench["history"]
    return float(objects * (points * measured["bytes_per_point"] + measured["bytes_per_latest"]))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.capacity", description=__doc__)
    parser.add_argument("bench", type=Path, help="what make bench wrote")
    for name, value in vars(Survey()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value, help="default: %(default)g")
    arguments = vars(parser.parse_args())
    bench = json.loads(arguments.pop("bench").read_text())
    survey = Survey(**arguments)
    console = Console()
    try:
        for table in _tables(bench, survey):
            console.print(table)
    except KeyError as error:
        raise SystemExit(f"the benchmarks stream and history are needed, and this has no {error}") from error


def _tables(bench: Mapping[str, Any], survey: Survey) -> list[Table]:
    models = ("shipped", "thesis")
    found = [needs(bench, model, survey) for model in models]
    machine = bench["machine"]
    cores = machine["cores"] / bench["stream"]["workers"]
    workers = Table(f"a worker has {cores:g} core{'' if cores == 1 else 's'} of {machine['processor']}", *models)
    rows: dict[str, list[Any]] = {
        f"workers for {survey.alerts:,.0f} alerts in {survey.hours:g} h": [one.workers_night for one in found],
        f"workers for {survey.burst:,.0f} alerts in {survey.visit_seconds:g} s": [one.workers_burst for one in found],
        "partitions": [one.partitions for one in found],
        **{
            f"cores of {name} in a burst": [f"{one.cores[name]:.1f}" for one in found]
            for name in ("service", "kafka", "redis")
        },
        "GPUs in a burst": ["not measured" if one.gpus is None else one.gpus for one in found],
    }
    for what, values in rows.items():
        workers.add_row(what, *map(str, values))
    redis = Table("Redis", "GiB", f"servers of {survey.redis_gibibytes:g} GiB")
    for what, objects in (("objects", survey.objects), ("objects, one an alert of a night", survey.alerts)):
        gibibytes = redis_bytes(bench, objects, survey.points) / _GIBI
        servers = math.ceil(gibibytes / survey.redis_gibibytes)
        redis.add_row(f"{objects:,.0f} {what}, {survey.points:g} points each", f"{gibibytes:,.1f}", f"{servers:,}")
    return [workers, redis]


if __name__ == "__main__":
    main()
