"""The faults. Each strikes, sees to it that what ended is started again, and waits until every partition goes on.

A fault is a function of the ground, the load's publisher and the fault's own random numbers; it returns the seconds
from the blow to the first answer to something newer from every partition.
"""

import random
import signal
import time
from collections.abc import Callable
from functools import partial

import redis

from service.kafka.client import TRANSACTION_SECONDS
from tests.chaos.check import Loss
from tests.chaos.ground import LIMIT, Failed, Ground, Worker, now_ms, until
from tests.chaos.load import Publisher
from tests.chaos.worker import AFTER_COMMIT, AFTER_OFFSETS, AFTER_PRODUCE, DURING_COMMIT, REFUSED

Fault = Callable[[Ground, Publisher, random.Random], float]

_ZOMBIE_SECONDS = TRANSACTION_SECONDS + 5


def killed(ground: Ground, publisher: Publisher, rng: random.Random) -> float:
    """SIGKILL, anywhere."""
    with ground.victim(rng) as name:
        since = now_ms()
        ground.kill(ground.worker(name))
        ground.start(name)
        return _recovered(ground, publisher, since)


def terminated(ground: Ground, publisher: Publisher, rng: random.Random) -> float:
    """SIGTERM: the worker drains."""
    with ground.victim(rng) as name:
        since = now_ms()
        _drain(ground, ground.worker(name))
        ground.start(name)
        return _recovered(ground, publisher, since)


def joined(ground: Ground, publisher: Publisher, rng: random.Random) -> float:
    """A new worker joins, and when it has answered something another one leaves for good."""
    with ground.victim(rng) as name:
        since = now_ms()
        newcomer = ground.start(f"new-{rng.getrandbits(32):08x}")
        at_work = f"{newcomer.pid}-"
        until(
            lambda: any(one.startswith(at_work) for one in list(ground.committed.transactions)),
            what="the new one works",
        )
        seconds = _recovered(ground, publisher, since)
        _drain(ground, ground.release(name))
        return seconds


def frozen(ground: Ground, publisher: Publisher, rng: random.Random) -> float:
    """SIGSTOP within a transaction, past the time-outs of group and transaction; then the zombie goes on."""
    with ground.victim(rng) as name:
        zombie = ground.worker(name)
        since = _freeze(zombie)
        seconds = _recovered(ground, publisher, since)
        time.sleep(max(_ZOMBIE_SECONDS - (now_ms() - since) / 1000, 0))
        again = now_ms()
        zombie.send(signal.SIGCONT)
        _recovered(ground, publisher, again)
        _note_refusal(ground, zombie)
        return seconds


def replaced(ground: Ground, publisher: Publisher, rng: random.Random) -> float:
    """SIGSTOP within a transaction, and another worker of the same name; the zombie goes on, and one must be refused.

    The zombie, whose transaction is over; or, if its group told it first, so that it began anew and took the name back,
    the other.
    """
    with ground.victim(rng) as name:
        zombie = ground.worker(name)
        since = _freeze(zombie)
        other = ground.start(name)
        seconds = _recovered(ground, publisher, since)
        again = now_ms()
        zombie.send(signal.SIGCONT)
        _recovered(ground, publisher, again)
        until(lambda: not (zombie.is_running and ground.worker(name).is_running), what="one of two of a name ends")
        _note_refusal(ground, zombie, other)
        if zombie.is_running:  # one of the two is enough
            zombie.send(signal.SIGTERM)
            zombie.wait()
        return seconds


def crashed(point: str, ground: Ground, publisher: Publisher, rng: random.Random) -> float:
    """SIGKILL at a named point."""
    with ground.victim(rng) as name:
        worker = ground.worker(name)
        while (code := _ended_at(point, ground, worker)) != -signal.SIGKILL:
            # Another fault, of Kafka, can end it before it comes by the point: nobody else starts a victim again.
            ground.note_ended(worker, code)
            worker = ground.start(name)
        since = now_ms()
        ground.start(name)
        return _recovered(ground, publisher, since)


def _ended_at(point: str, ground: Ground, worker: Worker) -> int:
    """How a worker ended that was to be killed at a point."""
    pid = worker.pid
    worker.order(point, signal.SIGKILL)
    code = worker.wait(LIMIT)
    if code == -signal.SIGKILL:
        ground.killed.add(pid)
    return code


def kafka_restarted(ground: Ground, publisher: Publisher, rng: random.Random) -> float:
    """Kafka is killed, and started again."""
    with ground.kafka_lock:
        since = now_ms()
        ground.kafka.kill()
        time.sleep(rng.uniform(0, 2))
        ground.kafka.start()
        return _recovered(ground, publisher, since)


def redis_emptied(ground: Ground, publisher: Publisher, rng: random.Random) -> float:
    """Redis is killed, and comes back with nothing."""
    since = now_ms()
    ground.valkey.kill()
    time.sleep(rng.uniform(0, 2))
    ground.valkey.start()
    ground.losses.append(Loss(since, now_ms()))
    return _recovered(ground, publisher, since, history="full")


def redis_full(ground: Ground, publisher: Publisher, _: random.Random) -> float:
    """Redis takes no more, until alerts are classified alone for that; then it does again."""
    client = redis.Redis.from_url(ground.valkey.url)
    try:
        since = now_ms()
        client.config_set("maxmemory", "1")
        partitions = range(ground.topics.partitions)
        until(
            lambda: max(ground.committed.latest(n, history="alert_only") for n in partitions) > since,
            what="alerts classified alone while Redis is full",
        )
        since = now_ms()
        client.config_set("maxmemory", "0")
        return _recovered(ground, publisher, since, history="full")
    finally:
        client.close()


FAULTS: dict[str, Fault] = {
    "kill -9": killed,
    "SIGTERM": terminated,
    "a new worker, an old one leaves": joined,
    "frozen past its time-outs": frozen,
    "frozen and replaced": replaced,
    "Kafka killed and restarted": kafka_restarted,
    "Redis restarted empty": redis_emptied,
    "Redis full": redis_full,
    **{
        f"kill -9 {point}": partial(crashed, point)
        for point in (AFTER_PRODUCE, AFTER_OFFSETS, DURING_COMMIT, AFTER_COMMIT)
    },
}


def _freeze(worker: Worker) -> int:
    """Stop it with its outputs sent and nothing committed; when that was."""
    worker.order(AFTER_PRODUCE, signal.SIGSTOP)
    worker.wait_for(AFTER_PRODUCE)
    return now_ms()


def _note_refusal(ground: Ground, *workers: Worker) -> None:
    ground.fenced += [worker.directory.name for worker in workers if REFUSED in worker.events()]


def _drain(ground: Ground, worker: Worker) -> None:
    worker.send(signal.SIGTERM)
    code = worker.wait()
    if code and not ground.kafka_lock.locked():
        raise Failed(f"{worker.directory.name} was to drain, and ended with {code}")


def _recovered(ground: Ground, publisher: Publisher, since_ms: int, *, history: str | None = None) -> float:
    ground.recovered(since_ms, publisher, history=history)
    return (now_ms() - since_ms) / 1000
