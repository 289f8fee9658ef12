"""How many light curves a second the simulated survey makes."""

import os
from time import perf_counter

from training.survey import survey
from training.survey.population import TRAINING

OBJECTS = 20_000


def measure() -> dict[str, float]:
    """On every core, in shards as the command makes them; starting the processes is counted in."""
    processes = os.cpu_count() or 1
    started = perf_counter()
    made = survey.simulate(OBJECTS, seed=11, population=TRAINING, processes=processes)
    points = sum(len(shard.objects.light_curves.mjd) for shard in made)
    seconds = perf_counter() - started
    return {"light_curves_per_second": OBJECTS / seconds, "points_per_light_curve": points / OBJECTS}
