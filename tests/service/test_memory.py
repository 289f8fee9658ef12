"""What was freed goes back to the system, and what is not needed is not loaded."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from service.memory import give_back


def _resident_mb() -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1000


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library")
def test_what_was_freed_between_what_is_still_used_goes_back() -> None:
    blocks = [bytes(20_000) for _ in range(5_000)]
    kept = blocks[::50]
    blocks.clear()
    before = _resident_mb()
    give_back()
    assert _resident_mb() < before - 50
    assert len(kept) == 100


@pytest.mark.parametrize("command", ["deadletters", "reconcile", "replay"])
def test_a_command_that_classifies_nothing_does_not_load_torch(command: str) -> None:
    # Seconds and hundreds of megabytes, for who waits at night, and for the worker's own reconciliation beside it.
    program = f"import sys, service.{command}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
