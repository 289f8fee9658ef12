"""``make soak``: one worker at 80 % of the most it can do, for minutes, and whether it grows.

Exit code 1 if, after the warm-up, its memory grows by more than 1 MB a minute, its descriptors or threads grow at all,
or it does not keep up.
"""

import argparse
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.chaos.feed import Feed
from tests.chaos.ground import LIMIT, Worker, until
from tests.chaos.load import Load, load
from tests.conftest import DATA
from tests.servers import LOOPBACK, free_ports
from tests.servers.kafka import KafkaServer
from tests.servers.valkey import ValkeyServer
from tests.service.stream import Topics

ALERTS = 4_000
"""So many different ones, again and again."""
SHARE = 0.8
LIMIT_MB_PER_MINUTE = 1.0
_MEASURED_SECONDS = 60.0
_SAMPLE_SECONDS = 2.0
_WINDOW_SECONDS = 60.0
_WARM_UP_SHARE = 0.25
_BEHIND_SECONDS = 10.0
"""A worker that keeps up is never this far behind."""


@dataclass(frozen=True)
class Sample:
    """One look at the process."""

    at: float
    """Seconds."""
    rss_mb: float
    descriptors: int
    threads: int
    behind: int
    """Messages published and not answered."""


@dataclass(frozen=True)
class Soaked:
    """What a run came to, after its warm-up."""

    maximum: float
    """Alerts a second."""
    rate: float
    samples: list[Sample]

    @property
    def mb_per_minute(self) -> float:
        """The slope of the memory, by least squares: of the least in each minute, which batches come on top of."""
        at = np.array([sample.at for sample in self.samples])
        rss = np.array([sample.rss_mb for sample in self.samples])
        windows = [at // _WINDOW_SECONDS == window for window in np.unique(at // _WINDOW_SECONDS)]
        least = [rss[window].min() for window in windows]
        return float(np.polyfit([at[window].mean() for window in windows], least, 1)[0]) * 60

    def growth(self, name: str) -> float:
        """The median of a figure in the last third of the samples, less that in the first."""
        values = [getattr(sample, name) for sample in self.samples]
        third = len(values) // 3
        return float(np.median(values[-third:]) - np.median(values[:third]))

    def wrong(self) -> list[str]:
        """What is not as it should be; empty if nothing."""
        behind = float(np.median([sample.behind for sample in self.samples[-len(self.samples) // 3 :]]))
        verdicts = {
            f"memory grows by {self.mb_per_minute:.2f} MB a minute": self.mb_per_minute > LIMIT_MB_PER_MINUTE,
            f"descriptors grow by {self.growth('descriptors'):.0f}": self.growth("descriptors") > 0,
            f"threads grow by {self.growth('threads'):.0f}": self.growth("threads") > 0,
            f"it is {behind:.0f} messages behind": behind > self.rate * _BEHIND_SECONDS,
        }
        return [what for what, is_so in verdicts.items() if is_so]


def soak(alerts: Load, *, minutes: float, directory: Path) -> Soaked:
    """Measure the maximum rate, then run at a share of it; samples of after the warm-up."""
    (port,) = free_ports(1)
    with KafkaServer(directory / "kafka") as kafka, ValkeyServer(directory / "valkey") as valkey:
        topics = Topics(kafka.bootstrap_servers, config={"in": {"retention.bytes": "500000000"}})
        environment = topics.environment(REDIS_URL=valkey.url, HTTP_PORT=str(port))
        feed = Feed(topics, alerts.values, alerts.keys, answered=topics.committed)
        feed.start()
        with Worker(directory / "worker", environment, kind="plain") as worker:
            until(lambda: feed.answered > len(alerts.values) // 10, what="the worker is warm")
            began, before = time.monotonic(), feed.answered
            time.sleep(_MEASURED_SECONDS)
            maximum = (feed.answered - before) / (time.monotonic() - began)
            rate = SHARE * maximum
            _say(f"at most {maximum:.0f} alerts/s; {minutes:g} minutes at {rate:.0f}")
            feed.rate = 0.0
            until(lambda: feed.answered == feed.published, what="the backlog is worked off", seconds=10 * LIMIT)
            feed.rate = rate
            samples = list(_samples(worker.pid, port, feed, seconds=minutes * 60))
            feed.stop()
    warm = [sample for sample in samples if sample.at > _WARM_UP_SHARE * minutes * 60]
    return Soaked(maximum, rate, warm)


def _samples(pid: int, port: int, feed: Feed, *, seconds: float) -> Iterator[Sample]:
    began = reported = time.monotonic()
    while (at := time.monotonic() - began) < seconds:
        for path in ("readyz", "metrics"):  # as Kubernetes and Prometheus ask
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/{path}", timeout=10) as answer:
                answer.read()
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        sample = Sample(
            at=at,
            rss_mb=int(status["VmRSS"].split()[0]) / 1000,
            descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
            threads=int(status["Threads"]),
            behind=feed.published - feed.answered,
        )
        if time.monotonic() - reported > 30:
            reported = time.monotonic()
            _say(
                f"{at:4.0f} s  {sample.rss_mb:.0f} MB, {sample.descriptors} descriptors, {sample.threads} threads, "
                f"{sample.behind} behind"
            )
        yield sample
        time.sleep(_SAMPLE_SECONDS)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="at the steady rate; default: 10")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        alerts = load(ALERTS, seed=0, directory=Path(directory) / "simulated", data=DATA)
        soaked = soak(alerts, minutes=arguments.minutes, directory=Path(directory))
    table = Table("after the warm-up", "value")
    table.add_row("maximum, alerts/s", f"{soaked.maximum:.0f}")
    table.add_row("rate, alerts/s", f"{soaked.rate:.0f}")
    table.add_row("memory, MB", " to ".join(f"{soaked.samples[place].rss_mb:.0f}" for place in (0, -1)))
    table.add_row("memory grows, MB a minute", f"{soaked.mb_per_minute:.2f}")
    for name in ("descriptors", "threads"):
        row = " to ".join(str(getattr(soaked.samples[place], name)) for place in (0, -1))
        table.add_row(name, f"{row}, median grows by {soaked.growth(name):.0f}")
    table.add_row("behind, messages", f"at most {max(sample.behind for sample in soaked.samples)}")
    console = Console(width=110)
    console.print(table)
    wrong = soaked.wrong()
    for what in wrong:
        console.print(f"[red]wrong:[/] {what}")
    return 1 if wrong else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
