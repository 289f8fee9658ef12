"""A command's rate is a maximum, whatever comes between."""

import pytest

from service.pace import Pace


class _Clock:
    """Of time that passes only where somebody sleeps, or where a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr("service.pace.time", clock)
    return clock


def test_the_first_goes_at_once_and_the_others_after_their_share_of_a_second(clock: _Clock) -> None:
    pace, went = Pace(4.0), []
    for count in (1, 1, 8, 1):
        pace.wait(count)
        went.append(clock.now - 100)
    assert went == [0, 0.25, 0.5, 2.5]


def test_what_a_stall_has_not_used_is_not_made_up_for(clock: _Clock) -> None:
    pace, went = Pace(1.0), []
    for stalled in (0, 60, 0, 0):
        clock.now += stalled
        pace.wait()
        went.append(clock.now - 100)
    assert went == [0, 60, 61, 62]
