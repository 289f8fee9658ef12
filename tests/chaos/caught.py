"""The check put to the test: workers that are wrong on purpose run until it says what is wrong with them."""

import random
import time
from collections.abc import Sequence
from pathlib import Path
from signal import SIGKILL

from tests.chaos import check
from tests.chaos.ground import Worker, until
from tests.chaos.reader import Reader, inputs
from tests.chaos.worker import AFTER_OFFSETS, AFTER_PRODUCE
from tests.service.stream import Topics, toy_alerts

POINT = {"sends-first": AFTER_PRODUCE, "commits-first": AFTER_OFFSETS}
"""Where each kind of worker without transactions is wrong."""
_ALERTS = 300


def caught(
    kind: str, servers: str, directory: Path, *, model: Path, seed: int, anywhere: int = 0, tries: int = 20
) -> tuple[int, Sequence[str]]:
    """How many tries it took, and what the check then said; nothing if it never did.

    ``kind`` is a worker without transactions. It is killed once a try: the first ``anywhere`` times at any moment, then
    at the point where it is wrong.
    """
    rng = random.Random(seed)
    topics = Topics(servers)
    reader = Reader(topics, committed=True)
    reader.start()
    environment = topics.environment(MODEL_DIR=str(model), KAFKA_CONFIG_SESSION_TIMEOUT_MS="1500", BATCH_ALERTS="25")
    environment["KAFKA_CONFIG_HEARTBEAT_INTERVAL_MS"] = "300"
    values, keys = toy_alerts(_ALERTS)
    try:
        for number in range(1, tries + 1):
            before = len(reader.answers)
            first, second = (
                Worker(directory / f"{kind}.{number}.{which}", environment, kind=kind) for which in ("first", "second")
            )
            topics.send(values, keys=keys)
            with first:
                if number > anywhere:
                    first.order(POINT[kind], SIGKILL)
                    first.wait()
                else:
                    until(lambda: len(reader.answers) > before, what="the first answers")  # noqa: B023 - called at once
                    time.sleep(rng.uniform(0, 0.3))
                    first.kill()
            with second:
                _let_it_finish(topics, reader, expected=number * _ALERTS)
            asked = inputs(topics)
            if wrong := check.wrong_counts(asked, reader.answers):
                return number, wrong
    finally:
        reader.stop()
    return tries, []


def _let_it_finish(topics: Topics, reader: Reader, *, expected: int) -> None:
    """Until everything is committed: a worker that loses something would be waited for in vain."""
    until(lambda: topics.committed() >= expected, what=f"{expected} messages committed")
    reader.count_when_still(at_most=expected, seconds=3)
