"""One run of the kill test: a load, workers, faults drawn by a seed, and what the check says in the end."""

import contextlib
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from models.classifier import Classifier
from models.selection import DEFAULT_ARTIFACT
from tests.chaos import check
from tests.chaos.check import Comparison
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.ground import LIMIT, Failed, Ground
from tests.chaos.load import Load, Publisher, load
from tests.chaos.reader import Answer, Reader, inputs
from tests.chaos.worker import AFTER_COMMIT, AFTER_OFFSETS, AFTER_PRODUCE, DURING_COMMIT
from tests.service.stream import Topics

_MARGIN = 1.3
"""The load should last this much longer than the faults are expected to."""
_SLOWEST, _FIRST, _FASTEST = 3.0, 15.0, 2000.0
"""Alerts a second."""
_TOGETHER = 2
"""So many faults may be under way at once."""


@dataclass(frozen=True)
class Plan:
    """What is to happen. ``faults`` says how often each; ``together`` how probably one strikes while another lasts."""

    alerts: int
    faults: Mapping[str, int]
    together: float
    fault_seconds: float
    """How long a fault is expected to last, until the first have shown it."""
    partitions: int = 6
    workers: int = 3
    session_seconds: float = 6.0
    model: Path = DEFAULT_ARTIFACT
    least_aborted: int = 5

    def environment(self) -> dict[str, str]:
        """The workers' settings."""
        return {
            "MODEL_DIR": str(self.model),
            "BATCH_SECONDS": "0.2",  # at the load's pace: batches of many alerts, where much may break
            "KAFKA_CONFIG_SESSION_TIMEOUT_MS": str(int(self.session_seconds * 1000)),
            "KAFKA_CONFIG_HEARTBEAT_INTERVAL_MS": str(int(self.session_seconds * 1000 / 6)),
        }


FULL = Plan(
    alerts=50_000,
    faults={
        "kill -9": 4,
        "SIGTERM": 2,
        "a new worker, an old one leaves": 2,
        "frozen past its time-outs": 1,
        "frozen and replaced": 2,
        "Kafka killed and restarted": 2,
        "Redis restarted empty": 1,
        "Redis full": 1,
        f"kill -9 {AFTER_PRODUCE}": 3,
        f"kill -9 {AFTER_OFFSETS}": 3,
        f"kill -9 {DURING_COMMIT}": 2,
        f"kill -9 {AFTER_COMMIT}": 2,
    },
    together=0.3,
    fault_seconds=15.0,
)

QUICK = Plan(
    alerts=6_000,
    faults={
        "SIGTERM": 1,
        "frozen past its time-outs": 1,
        "frozen and replaced": 1,
        "Kafka killed and restarted": 1,
        "Redis restarted empty": 1,
        f"kill -9 {AFTER_PRODUCE}": 1,
        f"kill -9 {AFTER_OFFSETS}": 1,
        f"kill -9 {DURING_COMMIT}": 1,
        f"kill -9 {AFTER_COMMIT}": 1,
    },
    together=1.0,
    fault_seconds=4.0,
    partitions=4,
    workers=2,
    session_seconds=4.0,
    least_aborted=2,
)


@dataclass
class Struck:
    """One fault that struck."""

    name: str
    at: float
    """Seconds after the first worker was started."""
    published: int
    """How many alerts were published when it struck."""
    answered: int
    """How many were answered when it struck."""
    recovered_in: float | None = None


@dataclass
class Report:
    """What came of a run; it holds if nothing is ``wrong``."""

    seed: int
    figures: dict[str, object] = field(default_factory=dict)
    struck: list[Struck] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def run(plan: Plan, *, seed: int, directory: Path, data: Path) -> Report:
    """The kill test. Raises Failed, or ServerError, if it could not be brought to its end."""
    report = Report(seed)
    alerts = load(plan.alerts, seed=seed, directory=directory / "simulated", data=data)
    _say(f"{len(alerts.values)} alerts, {len(alerts.poison)} of them poison")
    with Ground(directory, partitions=plan.partitions, environment=plan.environment()) as ground:
        try:
            _strike(plan, ground, alerts, report)
            _check(plan, ground, alerts, report)
        except BaseException:
            _say(ground.logs())
            raise
        if report.wrong:
            _say(ground.logs())
    return report


# --- what happens -------------------------------------------------------------------------------------------------


def _strike(plan: Plan, ground: Ground, alerts: Load, report: Report) -> None:
    """Publish the load while the faults strike, then wait until all that is in the input topic is answered."""
    started = time.monotonic()
    publisher = Publisher(ground.kafka.bootstrap_servers, ground.topics.alerts, alerts, rate=_FIRST)
    publisher.start()
    for number in range(plan.workers):
        ground.start(f"worker-{number}")
    ground.recovered(0, publisher)
    rng = random.Random(report.seed)
    names = [name for name, count in plan.faults.items() for _ in range(count)]
    rng.shuffle(names)
    with _paced(publisher, report, len(names), plan.fault_seconds), ThreadPoolExecutor(_TOGETHER) as pool:
        under_way: list[Future[None]] = []
        for name in names:
            own = random.Random(rng.getrandbits(64))
            together, pause = rng.random() < plan.together, rng.uniform(0.2, 2)
            while under_way and (len(under_way) == _TOGETHER or not together):
                under_way.pop(0).result()
            time.sleep(pause)
            answered = len(ground.committed.answers)
            struck = Struck(name, time.monotonic() - started, publisher.published, answered)
            report.struck.append(struck)
            under_way.append(pool.submit(_one, FAULTS[name], struck, ground, publisher, own))
        for future in under_way:
            future.result()
    still_to_come = publisher.left
    report.figures["alerts left when the last fault was over"] = still_to_come
    if failed := publisher.finish():
        raise Failed(f"{failed} alerts could not be published")
    ground.committed.count_when_still(at_most=plan.alerts, seconds=LIMIT)
    report.figures["seconds"] = round(time.monotonic() - started)
    codes = ground.drain()
    # One that has only begun to start knows no signals yet, and has nothing to drain.
    unclean = [code for code in codes if code not in (0, -signal.SIGTERM)]
    report.wrong += [f"workers ended with {unclean}"] if unclean else []


def _one(fault: Fault, struck: Struck, ground: Ground, publisher: Publisher, rng: random.Random) -> None:
    struck.recovered_in = fault(ground, publisher, rng)
    _say(f"{struck.name}: recovered in {struck.recovered_in:.1f} s, {publisher.left} alerts left")


@contextlib.contextmanager
def _paced(publisher: Publisher, report: Report, n_faults: int, fault_seconds: float) -> Iterator[None]:
    """Meanwhile the load is published at a rate that makes it last until the faults are over."""
    ending = threading.Event()
    started = time.monotonic()

    def pace() -> None:
        while not ending.wait(0.5):
            done = sum(one.recovered_in is not None for one in report.struck)
            each = (time.monotonic() - started + 3 * fault_seconds) / (done + 3)
            to_come = (n_faults - done) * each * _MARGIN
            publisher.rate = min(max(publisher.left / to_come, _SLOWEST), _FASTEST) if to_come else publisher.rate

    thread = threading.Thread(target=pace, name="pace", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


# --- what is found ------------------------------------------------------------------------------------------------


def _check(plan: Plan, ground: Ground, alerts: Load, report: Report) -> None:
    asked = inputs(ground.topics)
    committed, uncommitted = ground.committed, ground.uncommitted
    answers = list(committed.answers)
    undisturbed = _undisturbed(ground, len(asked))
    comparison = check.compared(
        asked, answers, undisturbed, classifier=Classifier.load(plan.model), losses=ground.losses
    )
    report.wrong += [
        *check.wrong_counts(asked, answers),
        *check.told_of_doubles(answers, uncommitted.answers),
        *check.out_of_order(answers),
        *check.torn(committed.transactions, uncommitted.transactions),
        *check.wrong_outcomes(asked, answers, poison=alerts.poison),
        *check.crashed(ground.ended),
        *(comparison.wrong or []),
        *(f"the undisturbed run: {wrong}" for wrong in check.wrong_counts(asked, undisturbed)),
    ]
    report.wrong += check.ends_left_out(ground.kafka.log.read_text(errors="replace")) if report.wrong else []
    _count(plan, ground, report, asked=len(asked), answers=answers, comparison=comparison)


def _undisturbed(ground: Ground, count: int) -> Sequence[Answer]:
    """What one worker, as it is shipped, says of the same messages when nothing happens."""
    _say("the undisturbed run")
    ground.valkey.restart()
    topics = Topics(ground.kafka.bootstrap_servers, ground.topics.partitions)
    reader = Reader(topics, committed=True)
    reader.start()
    values = {name: value for name, value in topics.environment().items() if name != "KAFKA_INPUT_TOPICS"}
    worker = ground.made("undisturbed", kind="plain", **values, REDIS_URL=ground.valkey.url)
    with worker:
        reader.count_when_still(at_most=count, seconds=LIMIT)
    reader.stop()
    return reader.answers


def _count(
    plan: Plan, ground: Ground, report: Report, *, asked: int, answers: Sequence[Answer], comparison: Comparison
) -> None:
    """The figures; and whether the faults bit."""
    committed, uncommitted = ground.committed.transactions, ground.uncommitted.transactions
    aborted = uncommitted.keys() - committed.keys()
    by_kills = [name for name in aborted if int(name.partition("-")[0]) in ground.killed]
    more = len(ground.uncommitted.answers) - len(answers)
    histories = Counter(answer.history or "dead letter" for answer in answers)
    report.figures |= {
        "messages": asked,
        "answers": len(answers),
        "answers, as messages": len({answer.origin for answer in answers}),
        **{f"answers, {history}": count for history, count in sorted(histories.items())},
        "seen by the uncommitted reader only": more,
        "transactions committed": len(committed),
        "transactions aborted": len(aborted),
        "transactions aborted by kills": len(by_kills),
        "zombies refused": len(ground.fenced),
        "workers that ended by themselves": len(ground.ended),
        "compared with the undisturbed run": comparison.full,
        "compared with the alert alone": comparison.alone,
        "excused: Redis had lost their history": comparison.excused,
        "largest difference of a probability": float(f"{comparison.largest:.2g}"),
    }
    for ended in ground.ended:
        _say(f"ended by itself: {ended}")
    bites = {
        f"the uncommitted reader saw {more} more": more > 0,
        f"kills aborted {len(by_kills)} transactions, not {plan.least_aborted}": len(by_kills) >= plan.least_aborted,
        "no zombie was refused": bool(ground.fenced),
        "half of the answers were not compared": comparison.full + comparison.alone > len(answers) / 2,
    }
    report.wrong += [f"the faults did not bite: {what}" for what, held in bites.items() if not held]


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)
