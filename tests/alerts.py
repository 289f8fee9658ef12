"""Alerts made for tests: plausible ELAsTiCC and Rubin records, and hypothesis strategies for them."""

import io
import itertools
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import fastavro
import numpy as np
from fastavro.types import Schema
from hypothesis import strategies as st

from models.inputs import schemas
from models.inputs.alert import alert_batch
from models.inputs.alert_batch import AlertBatch
from models.inputs.metadata import COLUMNS

FIRST_MJD = 60_500.0

Record = dict[str, Any]


def source(id_: int, mjd: float, *, band: str = "r", flux: float = 1000.0, flux_err: float = 50.0) -> Record:
    """An ELAsTiCC diaSource, nJy."""
    return {
        "diaSourceId": id_,
        "diaObjectId": 7,
        "midPointTai": mjd,
        "filterName": band,
        "ra": 10.0,
        "decl": -30.0,
        "psFlux": flux,
        "psFluxErr": flux_err,
        "snr": flux / flux_err if flux_err else 0.0,
    }


def forced(id_: int, mjd: float, *, band: str = "r", flux: float = 10.0, flux_err: float = 50.0) -> Record:
    """An ELAsTiCC diaForcedSource, nJy."""
    point = source(id_, mjd, band=band, flux=flux, flux_err=flux_err)
    return {"diaForcedSourceId": id_} | {
        name: point[name] for name in ("diaObjectId", "midPointTai", "filterName", "psFlux", "psFluxErr")
    }


def dia_object(id_: int = 7, **values: float | None) -> Record:
    """An ELAsTiCC diaObject with a host of redshift 0.3 and no second one, unless told otherwise."""
    known = dict.fromkeys(COLUMNS, -9.0) | {
        "mwebv": 0.05,
        "z_final": 0.3,
        "hostgal_zphot": 0.3,
        "hostgal_zphot_err": 0.02,
    }
    positions = {f"{host}_{name}": -999.0 for host in ("hostgal", "hostgal2") for name in ("ra", "dec")}
    return {"diaObjectId": id_, "simVersion": None, "ra": 10.0, "decl": -30.0, **positions, **known, **values}


def elasticc(
    trigger: Record | None = None,
    *,
    previous: Sequence[Record] | None = None,
    forced: Sequence[Record] | None = None,
    alert_id: int = 1,
    object_: Record | str | None = "default",
) -> Record:
    """An ELAsTiCC v0_9_1 alert."""
    return {
        "alertId": alert_id,
        "diaSource": trigger or source(100, FIRST_MJD),
        "prvDiaSources": previous,
        "prvDiaForcedSources": forced,
        "diaObject": dia_object() if object_ == "default" else object_,
    }


def rubin_point(id_: int, mjd: float, **values: Any) -> Record:
    """What Rubin's diaSource and diaForcedSource have in common, and both their ids, nJy."""
    point = {"midpointMjdTai": mjd, "band": "r", "psfFlux": 1000.0, "psfFluxErr": 50.0, "diaObjectId": 7}
    return {"diaSourceId": id_, "diaForcedSourceId": id_} | point | values


def rubin(trigger: Record | None = None, **values: Any) -> Record:
    """A Rubin alert, with the fields that matter here."""
    record = {"diaSource": trigger or rubin_point(100, FIRST_MJD), "prvDiaSources": None, "prvDiaForcedSources": None}
    return {"diaSourceId": 100, "diaObject": {"diaObjectId": 7, "ra": 10.0, "dec": -30.0}} | record | values


def batch(*records: Mapping[str, Any]) -> AlertBatch:
    """Records as one AlertBatch; every one must be good."""
    decoded = alert_batch([{"test": record} for record in records])
    assert not decoded.invalid, decoded.invalid
    return decoded.alerts


def datum(record: Mapping[str, Any], schema: Schema | None = None) -> bytes:
    """A bare Avro datum, ELAsTiCC v0_9_1 unless told otherwise."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema or schemas.elasticc()["v0_9_1"], record)
    return stream.getvalue()


def container(records: Sequence[Mapping[str, Any]], schema: Schema | None = None) -> bytes:
    """An Avro object container file."""
    stream = io.BytesIO()
    fastavro.writer(stream, schema or schemas.elasticc()["v0_9_1"], records, codec="deflate")
    return stream.getvalue()


def confluent(datum_: bytes, schema_id: int) -> bytes:
    """Confluent's framing."""
    return struct.pack(">BI", 0, schema_id) + datum_


def filled(schema: Any, **values: Any) -> Any:
    """A record of an expanded Avro schema with zeros and nulls everywhere but in ``values``."""
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(kind, list):
        return None if "null" in kind else filled(kind[0])
    if isinstance(kind, dict):
        return filled(kind, **values)
    if kind == "record":
        return {field["name"]: values.get(field["name"], filled(field["type"])) for field in schema["fields"]}
    if kind == "array":
        return []
    return {"string": "", "bytes": b"", "boolean": False, "float": 0.0, "double": 0.0}.get(kind, 0)


def random_elasticc(rng: np.random.Generator, n_points: int, *, alert_id: int = 1) -> Record:
    """An alert of ``n_points`` points: a trigger, detections and forced photometry before it, in every band."""
    mjd = np.sort(FIRST_MJD + 60 * rng.random(n_points))
    is_detection = rng.random(n_points) < 0.5
    is_detection[[0, -1]] = True
    points = [
        (source if detected else forced)(
            1000 * alert_id + place,
            float(when),
            band=str(rng.choice(list("ugrizY"))),
            flux=float(rng.normal(500, 800)),
            flux_err=float(rng.uniform(20, 200)),
        )
        for place, (when, detected) in enumerate(zip(mjd, is_detection, strict=True))
    ]
    earlier = points[:-1]
    return elasticc(
        points[-1],
        previous=list(itertools.compress(earlier, is_detection)),
        forced=list(itertools.compress(earlier, ~is_detection)),
        alert_id=alert_id,
        object_=dia_object(hostgal_zphot=float(rng.uniform(0, 1))),
    )


_ANOTHER_BAND = dict(zip("ugrizY", "grizYu", strict=True))


def crowded_elasticc(rng: np.random.Generator, n_points: int) -> Record:
    """Such an alert with a few more points: detections within half a day of others, visits in two bands at one time,
    detections told again as forced photometry, and forced photometry of the month before the first of them.
    """
    record, ids = random_elasticc(rng, n_points), itertools.count(100)

    def some(points: list[Record]) -> list[tuple[float, str]]:
        chosen = [points[place] for place in rng.permutation(len(points))[: rng.integers(0, 4)]]
        return [(point["midPointTai"], point["filterName"]) for point in chosen]

    detections = [*record["prvDiaSources"], record["diaSource"]]
    detections += [source(next(ids), mjd - rng.uniform(0, 0.5), band=band) for mjd, band in some(detections)]
    detections += [source(next(ids), mjd, band=_ANOTHER_BAND[band]) for mjd, band in some(detections)]
    first = min(point["midPointTai"] for point in detections)
    visits = [
        *some(detections),
        *((mjd, _ANOTHER_BAND[band]) for mjd, band in some([*detections, *record["prvDiaForcedSources"]])),
        *((first - rng.uniform(0, 30), "r") for _ in range(rng.integers(0, 4))),
    ]
    return record | {
        "prvDiaSources": [point for point in detections if point is not record["diaSource"]],
        "prvDiaForcedSources": [
            *record["prvDiaForcedSources"],
            *(forced(next(ids), mjd, band=band) for mjd, band in visits),
        ],
    }


records = st.builds(
    lambda make, seed, n_points: make(np.random.default_rng(seed), n_points),
    st.sampled_from([random_elasticc, crowded_elasticc]),
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
)
"""Hypothesis strategy: plausible ELAsTiCC alerts of 1 to 60 points, or a few more."""
