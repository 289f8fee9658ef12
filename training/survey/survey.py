"""Draws objects and observes them: the same for a seed, whatever the number of processes."""

import functools
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import BoolArray, FloatArray
from models.inputs.extinction import MILKY_WAY
from models.inputs.light_curve import FORCED_DAYS, LightCurves
from models.inputs.ragged import offsets_of
from training.data.layout import Objects
from training.data.splits import fold_of, split_of
from training.survey import dust, hosts, photometry
from training.survey.cadence import SightLine
from training.survey.classes import CLASSES
from training.survey.population import EVERYTHING, SOURCES, Population, sight_lines

SHARD = 1000
"""Objects that are made, and stored, together; whatever the number of processes."""

MAX_OBJECTS = 10**8
MAX_SEED = 10**7
"""Object ids are the seed and the object's number in one; a larger one would not leave room for its sources' ids."""


@dataclass(frozen=True)
class Found:
    """One object of the survey: from 30 days before its first detection to its last. Points (L,), FLUXCAL."""

    class_id: int
    source: str
    ra: float
    dec: float
    metadata: NDArray[np.float32]
    mjd: FloatArray
    band: NDArray[np.int8]
    flux: FloatArray
    flux_err: FloatArray
    detected: BoolArray
    period: float | None
    """[d], as drawn; None for what does not pulsate."""


@dataclass(frozen=True)
class Simulated:
    """N objects, and where they lie [deg]; the layout keeps no places."""

    objects: Objects
    ra: FloatArray
    """(N,)"""
    dec: FloatArray
    """(N,)"""


def simulate(
    n: int, *, seed: int, population: Population = EVERYTHING, processes: int = 1, shard_size: int = SHARD
) -> Iterator[Simulated]:
    """``n`` objects in order, in shards."""
    ranges = [range(start, min(start + shard_size, n)) for start in range(0, n, shard_size)]
    make = functools.partial(shard, seed=seed, population=population)
    processes = min(processes, len(ranges))
    if processes <= 1:
        yield from map(make, ranges)
        return
    # Spawned, not forked: this process may run other threads.
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawned) as workers:
        yield from workers.map(make, ranges)


def shard(numbers: Sequence[int], *, seed: int, population: Population = EVERYTHING) -> Simulated:
    """The objects with these numbers."""
    found = [find(seed, number, population) for number in numbers]
    object_id = np.array([seed * MAX_OBJECTS + number + 1 for number in numbers], dtype=np.int64)
    lengths = np.array([len(one.mjd) for one in found], dtype=np.int64)
    mjd = np.concatenate([one.mjd for one in found])
    detected = np.concatenate([one.detected for one in found])
    objects = Objects(
        object_id=object_id,
        class_id=np.array([one.class_id for one in found], dtype=np.int32),
        source=np.array([one.source for one in found]),
        split=np.array(split_of(object_id.tolist())),
        fold=fold_of(object_id.tolist()),
        metadata=np.stack([one.metadata for one in found]),
        light_curves=LightCurves(
            offsets=offsets_of(lengths),
            first_alert_mjd=np.array([one.mjd[one.detected][0] for one in found]),
            mjd=mjd,
            band=np.concatenate([one.band for one in found]),
            flux=np.concatenate([one.flux for one in found]).astype(np.float32),
            flux_err=np.concatenate([one.flux_err for one in found]).astype(np.float32),
            detected=detected,
        ),
    )
    return Simulated(objects, ra=np.array([one.ra for one in found]), dec=np.array([one.dec for one in found]))


def find(seed: int, number: int, population: Population = EVERYTHING) -> Found:
    """The object with this number: of its class, drawn again until the survey finds one."""
    rng = np.random.default_rng((seed, number))
    class_id, lines = population.draw(rng, number)
    found = None
    while found is None:
        found = observe(rng, class_id, sight_lines(lines).draw(rng), named=SOURCES[lines])
    return found


def observe(
    rng: np.random.Generator, class_id: int, sight_line: SightLine, *, named: str = SOURCES["all"]
) -> Found | None:
    """One draw of a class as the survey sees it; None if it does not find it."""
    drawn = CLASSES[class_id]
    source = drawn.physics(rng, sight_line)
    visits = source.visits
    reddening = dust.milky_way_reddening(rng, sight_line.latitude)
    extinction = MILKY_WAY * reddening
    transmission = 10 ** (-0.4 * extinction)
    flux = source.flux * transmission[visits.band]
    # Most draws are too far away: they are gone before anything else is computed.
    limit = photometry.limits(visits.m5, visits.band)
    if np.count_nonzero(np.abs(flux) > photometry.LEAST_SNR * photometry.sky_noise(limit)) < (1 if drawn.once else 2):
        return None

    host = None
    if source.host is not None and source.redshift is not None:
        host = hosts.draw(rng, source.redshift, source.host)
    beneath = source.steady if host is None else source.steady + host.beneath
    catalogued = None if host is None else host.with_nucleus(source.steady)
    flux_err = photometry.flux_errors(flux, limit, (beneath * transmission)[visits.band])
    detected = rng.random(len(flux)) < photometry.detection_probability(flux / flux_err)
    detections = visits.mjd[detected]
    if not photometry.triggers(detections, once=drawn.once):
        return None

    measured = flux + flux_err * rng.standard_normal(len(flux))
    kept = slice(*np.searchsorted(visits.mjd, (detections[0] - FORCED_DAYS, np.nextafter(detections[-1], np.inf))))
    ra, dec = _somewhere_in_the_field(rng, sight_line)
    return Found(
        class_id=class_id,
        source=named,
        ra=ra,
        dec=dec,
        metadata=hosts.metadata(rng, reddening=reddening, host=catalogued, dust=extinction),
        mjd=visits.mjd[kept],
        band=visits.band[kept],
        flux=measured[kept],
        flux_err=flux_err[kept],
        detected=detected[kept],
        period=source.period,
    )


def _somewhere_in_the_field(rng: np.random.Generator, sight_line: SightLine) -> tuple[float, float]:
    """Right ascension and declination [deg] within a degree of the sight line."""
    dec = sight_line.dec + rng.uniform(-0.7, 0.7)
    ra = sight_line.ra + rng.uniform(-0.7, 0.7) / np.cos(np.radians(dec))
    return float(ra % 360), float(dec)
