"""Times of several ways to do one thing, taken in turns: whatever else the machine does falls on all of them."""

from collections.abc import Callable, Mapping
from time import perf_counter


def best_seconds(ways: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """The shortest time of each, by name. Each is done once before, unmeasured."""
    for way in ways.values():
        way()
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            started = perf_counter()
            way()
            best[name] = min(best[name], perf_counter() - started)
    return best
