"""Calls that come back in time."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from service.bounded import Hanging, bounded


def test_a_call_gives_what_it_returns_or_raises() -> None:
    def fails() -> None:
        raise TimeoutError("the call's own")

    assert bounded(lambda: 7, 5) == 7
    with pytest.raises(TimeoutError, match="the call's own"):
        bounded(fails, 5)


def test_a_call_that_does_not_come_back_is_left_behind() -> None:
    never = threading.Event()
    with pytest.raises(Hanging, match="no answer in 0 s"):
        bounded(never.wait, 0.01)
    never.set()


def test_a_process_that_was_frozen_past_the_limit_still_hears_the_answer() -> None:
    """Kafka's refusal of a zombie: one that took it for a hanging call would begin anew, under its successor's name."""
    program = (
        "import time\n"
        "from service.bounded import bounded\n"
        "def call():\n"
        "    print('begun', flush=True)\n"
        "    for _ in range(10):\n"
        "        time.sleep(0.05)\n"
        "    return 'refused'\n"
        "print(bounded(call, 1.0), flush=True)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == "refused\n"
