"""What was freed goes back to the system."""

import ctypes
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
