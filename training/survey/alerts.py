"""Simulated objects -> ELAsTiCC alerts (schema v0_9_1, nJy), in the order in which a survey would send them.

Every detection is an alert, the first too. An alert carries the detections of the 365 days before it; half a day after
the first detection it also carries forced photometry, from 30 days before the first of those detections, which repeats
them under the same id, epoch and flux. alertId is diaSourceId. What is missing is written as ELAsTiCC writes it.
"""

import bisect
import csv
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
from numpy.typing import NDArray

from models.inputs import schemas
from models.inputs.light_curve import FORCED_DAYS, FORCED_DELAY_DAYS
from models.inputs.metadata import COLUMNS
from models.inputs.photometry import FLUXCAL_PER_NJY
from training.errors import InvalidData
from training.survey.survey import Simulated

Record = dict[str, Any]

SOURCE_DAYS = 365.0
"""How far back an alert's earlier detections reach."""

SOURCES_PER_OBJECT = 2000
"""A source's id is its object's times this, plus its place in the light curve: ELAsTiCC's own rule."""

ALERTS_PER_FILE = 10_000

_BANDS = ("u", "g", "r", "i", "z", "Y")


@dataclass(frozen=True)
class Packets:
    """The alerts of one object. Points (L,) in time order, in the wire's units; as lists, which records are made of."""

    dia_object: Record
    source_id: list[int]
    mjd: list[float]
    band: list[str]
    flux: list[float]
    flux_err: list[float]
    detections: list[int]
    """(D,), places of the detections."""

    @property
    def epochs(self) -> list[float]:
        """(D,), mjd of the detections: when the alerts are sent."""
        return [self.mjd[place] for place in self.detections]

    def alert(self, number: int) -> Record:
        """The alert of the ``number``-th detection, from 0."""
        place = self.detections[number]
        epoch = self.mjd[place]
        since = bisect.bisect_left(self.mjd, epoch - SOURCE_DAYS)
        oldest = bisect.bisect_left(self.detections, since)
        forced = None
        if epoch - self.mjd[self.detections[0]] >= FORCED_DELAY_DAYS:
            first_source = self.mjd[self.detections[oldest]]
            forced = self._forced(bisect.bisect_left(self.mjd, first_source - FORCED_DAYS), place)
        trigger = self._source(place)
        return {
            "alertId": trigger["diaSourceId"],
            "diaSource": trigger,
            "prvDiaSources": [self._source(earlier) for earlier in self.detections[oldest:number]] or None,
            "prvDiaForcedSources": forced,
            "diaObject": self.dia_object,
        }

    def _source(self, place: int) -> Record:
        return {
            "diaSourceId": self.source_id[place],
            "diaObjectId": self.dia_object["diaObjectId"],
            "midPointTai": self.mjd[place],
            "filterName": self.band[place],
            "ra": self.dia_object["ra"],
            "decl": self.dia_object["decl"],
            "psFlux": self.flux[place],
            "psFluxErr": self.flux_err[place],
            "snr": self.flux[place] / self.flux_err[place],
        }

    def _forced(self, begin: int, end: int) -> list[Record]:
        columns = (self.source_id, self.mjd, self.band, self.flux, self.flux_err)
        object_id = self.dia_object["diaObjectId"]
        return [
            {
                "diaForcedSourceId": source_id,
                "diaObjectId": object_id,
                "midPointTai": mjd,
                "filterName": band,
                "psFlux": flux,
                "psFluxErr": flux_err,
            }
            for source_id, mjd, band, flux, flux_err in zip(*(column[begin:end] for column in columns), strict=True)
        ]


def packets(simulated: Simulated, row: int) -> Packets:
    """One object's alerts."""
    objects = simulated.objects
    curve = objects.light_curves[row]
    object_id = int(objects.object_id[row])
    if len(curve.mjd) > SOURCES_PER_OBJECT:
        raise ValueError(f"object {object_id} has {len(curve.mjd)} points: their ids would be another object's")
    first_id = object_id * SOURCES_PER_OBJECT
    return Packets(
        dia_object=_dia_object(object_id, float(simulated.ra[row]), float(simulated.dec[row]), objects.metadata[row]),
        source_id=list(range(first_id, first_id + len(curve.mjd))),
        mjd=curve.mjd.tolist(),
        band=[_BANDS[code] for code in curve.band.tolist()],
        flux=(curve.flux / FLUXCAL_PER_NJY).tolist(),
        flux_err=(curve.flux_err / FLUXCAL_PER_NJY).tolist(),
        detections=np.flatnonzero(curve.detected).tolist(),
    )


def _missing(column: str) -> float:
    """How ELAsTiCC writes that there is no such value."""
    name = column.removeprefix("hostgal_").removeprefix("hostgal2_")
    if name.startswith("mag"):
        return 999.0
    if name in ("ellipticity", "sqradius"):
        return -9999.0
    if name in ("zspec", "zspec_err", "zphot", "zphot_err", "ra", "dec"):
        return -999.0
    return -9.0


_MISSING = {column: _missing(column) for column in COLUMNS}


def _dia_object(object_id: int, ra: float, dec: float, metadata: NDArray[np.float32]) -> Record:
    values = dict(zip(COLUMNS, metadata.tolist(), strict=True))
    columns = {name: _MISSING[name] if np.isnan(value) else value for name, value in values.items()}
    places: Record = {}
    # Hosts lie in any direction from the object; the layout keeps their separations only.
    directions = np.random.default_rng(object_id).uniform(0, 2 * np.pi, 2)
    for host, direction in zip(("hostgal", "hostgal2"), directions, strict=True):
        degrees = values[f"{host}_snsep"] / 3600
        host_ra, host_dec = (
            ra + degrees * np.sin(direction) / np.cos(np.radians(dec)),
            dec + degrees * np.cos(direction),
        )
        known = not np.isnan(degrees)
        places |= {
            f"{host}_ra": float(host_ra) if known else _missing("ra"),
            f"{host}_dec": float(host_dec) if known else _missing("dec"),
        }
    return {
        "diaObjectId": object_id,
        "simVersion": None,
        "ra": ra,
        "decl": dec,
        **columns,
        **places,
    }


# --- the stream ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """One alert of the stream, and the class of its object."""

    record: Record
    class_id: int


def stream(simulated: Iterable[Simulated]) -> Iterator[Sent]:
    """Every alert of these objects, in time order; holds all light curves, but only one alert at a time."""
    shards = list(simulated)
    all_packets = [packets(part, row) for part in shards for row in range(len(part.objects))]
    classes = [class_id for part in shards for class_id in part.objects.class_id.tolist()]
    mjd = np.concatenate([each.epochs for each in all_packets])
    counts = [len(each.detections) for each in all_packets]
    owner = np.repeat(np.arange(len(all_packets)), counts)
    number = np.concatenate([np.arange(count) for count in counts])
    for place in np.argsort(mjd, kind="stable"):
        sender = int(owner[place])
        yield Sent(record=all_packets[sender].alert(int(number[place])), class_id=classes[sender])


def write(directory: Path, alerts: Iterator[Sent]) -> int:
    """Write a stream as Avro container files of ALERTS_PER_FILE and ``truth.csv``; returns how many alerts there were.

    Raises InvalidData if the directory holds alerts already.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.glob("*.avro")):
        raise InvalidData(f"{directory} already holds alerts; name a new directory")
    truth: list[tuple[int, int, int]] = []
    for part in itertools.count():
        records = list(_noting(itertools.islice(alerts, ALERTS_PER_FILE), truth))
        if not records:
            break
        with (directory / f"alerts-{part:05d}.avro").open("wb") as container:
            fastavro.writer(container, schemas.elasticc()["v0_9_1"], records, codec="deflate")
    with (directory / "truth.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["alertId", "diaObjectId", "classId"])
        table.writerows(truth)
    return len(truth)


def _noting(alerts: Iterable[Sent], truth: list[tuple[int, int, int]]) -> Iterator[Record]:
    for sent in alerts:
        truth.append((sent.record["alertId"], sent.record["diaSource"]["diaObjectId"], sent.class_id))
        yield sent.record
