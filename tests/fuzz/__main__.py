"""``make fuzz``: the decoder under a million broken inputs, held against a second decoder.

A failure names the seed and the batch; ``--first BATCH --inputs 1`` with the same seed repeats it.
"""

import argparse
import multiprocessing
import multiprocessing.queues
import os
import sys
import time
from collections import Counter
from random import SystemRandom
from typing import Any

from tests.conftest import DATA
from tests.fuzz.check import BATCH
from tests.fuzz.work import work


def main() -> int:
    """The command line. Exit code 1 for a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(2**31), help="default: another each time")
    parser.add_argument("--first", type=int, default=0, metavar="BATCH", help=f"begin here; {BATCH} inputs each")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    last = arguments.first + -(-arguments.inputs // BATCH)
    print(f"seed {arguments.seed}, {'real and simulated' if DATA.is_dir() else 'simulated'} alerts", flush=True)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    current = context.Array("q", [-1] * arguments.workers)
    workers = []
    for number in range(arguments.workers):
        batches = range(arguments.first + number, last, arguments.workers)
        target = (arguments.seed, batches, current, number, results)
        workers.append(context.Process(target=work, args=target))
    for worker in workers:
        worker.start()
    failures = _watch(workers, results, (last - arguments.first) * BATCH)
    for number, worker in enumerate(workers):
        worker.join()
        if worker.exitcode:
            failures.append(f"a process ends with {worker.exitcode} in batch {current[number]}: a crash, or it hangs")
            print(f"FAILED: {failures[-1]}")
    print(f"seed {arguments.seed}: {len(failures)} failures")
    return 1 if failures else 0


def _watch(workers: list[Any], results: "multiprocessing.queues.Queue[Any]", total: int) -> list[str]:
    started, shown, done = time.monotonic(), 0.0, 0
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    while any(worker.is_alive() for worker in workers) or not results.empty():
        try:
            result = results.get(timeout=1)
        except multiprocessing.queues.Empty:  # type: ignore[attr-defined]
            continue
        if isinstance(result, str):
            failures.append(result)
            print(f"FAILED: {result}", flush=True)
            continue
        done += BATCH
        outcomes += result
        elapsed = time.monotonic() - started
        if elapsed - shown > 5 or done == total:
            shown = elapsed
            rate = f"{done / elapsed:,.0f}/s"
            print(f"{done:,} of {total:,} inputs, {rate}, {len(failures)} failures: {dict(outcomes)}", flush=True)
    return failures


if __name__ == "__main__":
    sys.exit(main())
