"""The Avro schemas that an alert without one may have been written with.

ELAsTiCC's are built here from their field names. Rubin's come from its own package ``lsst-alert-packet`` (the extra
``rubin``): a Confluent-framed message names its schema by id, major * 100 + minor.
"""

import functools
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from fastavro.schema import parse_schema
from fastavro.types import Schema

from models.inputs.metadata import COLUMNS

_NULL_FLOAT = ["null", "float"]
_NULL_LONG = ["null", "long"]


def _fields(**types: Any) -> list[dict[str, Any]]:
    return [{"name": name, "type": kind} for name, kind in types.items()]


def _record(name: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": fields}


def _nullable_array(items: Any) -> list[Any]:
    return ["null", {"type": "array", "items": items}]


_HOST_POSITION = ("ra", "dec")


def _dia_object(host_names: Mapping[str, None], *, sim_version: bool) -> dict[str, Any]:
    head = _fields(diaObjectId="long") + (_fields(simVersion=["null", "string"]) if sim_version else [])
    head += _fields(ra="double", decl="double")
    names = ["mwebv", "mwebv_err", "z_final", "z_final_err"]
    names += [f"{host}_{name}" for host in ("hostgal", "hostgal2") for name in host_names]
    return _record("diaObject", head + _fields(**dict.fromkeys(names, _NULL_FLOAT)))


def _host_names() -> list[str]:
    """The fields of one host galaxy in v0_9_1's order: its metadata columns, the position before the separation."""
    names = [name.removeprefix("hostgal_") for name in COLUMNS if name.startswith("hostgal_")]
    at = names.index("snsep")
    return [*names[:at], *_HOST_POSITION, *names[at:]]


def _point(*, extra_before: dict[str, Any], extra_after: dict[str, Any], forced: bool) -> list[dict[str, Any]]:
    identity = {"diaForcedSourceId" if forced else "diaSourceId": "long"} | extra_before
    position = {} if forced else {"ra": "double", "decl": "double"}
    return _fields(
        **identity,
        midPointTai="double",
        filterName="string",
        **position,
        psFlux="float",
        psFluxErr="float",
        **extra_after,
    )


def _elasticc_v0_9_1() -> dict[str, Any]:
    source = _point(extra_before={"diaObjectId": _NULL_LONG}, extra_after={"snr": "float"}, forced=False)
    forced = _point(extra_before={"diaObjectId": "long"}, extra_after={}, forced=True)
    return _record(
        "elasticc.v0_9_1.alert",
        _fields(
            alertId="long",
            diaSource=_record("diaSource", source),
            prvDiaSources=_nullable_array("diaSource"),
            prvDiaForcedSources=_nullable_array(_record("diaForcedSource", forced)),
            diaObject=["null", _dia_object(dict.fromkeys(_host_names()), sim_version=True)],
        ),
    )


def _elasticc_v0_9(version: str, dia_object: dict[str, Any]) -> dict[str, Any]:
    source = _point(
        extra_before={"ccdVisitId": "long", "diaObjectId": _NULL_LONG, "parentDiaSourceId": _NULL_LONG},
        extra_after={"snr": "float", "nobs": _NULL_FLOAT},
        forced=False,
    )
    forced = _point(
        extra_before={"ccdVisitId": "long", "diaObjectId": "long"},
        extra_after={"totFlux": "float", "totFluxErr": "float"},
        forced=True,
    )
    limit = _fields(ccdVisitId="long", midPointTai="double", filterName="string", diaNoise="float")
    return _record(
        f"elasticc.{version}.alert",
        _fields(
            alertId="long",
            diaSource=_record("diaSource", source),
            prvDiaSources=_nullable_array("diaSource"),
            prvDiaForcedSources=_nullable_array(_record("diaForcedSource", forced)),
            prvDiaNondetectionLimits=_nullable_array(_record("diaNondetectionLimit", limit)),
            diaObject=["null", dia_object],
            cutoutDifference=["null", "bytes"],
            cutoutTemplate=["null", "bytes"],
        ),
    )


def _v0_9_object() -> dict[str, Any]:
    names = _host_names()
    at = names.index("zphot_q100") + 1
    return _dia_object(dict.fromkeys([*names[:at], "zphot_p50", *names[at:]]), sim_version=True)


def _pre_challenge_object() -> dict[str, Any]:
    quantiles = [f"zphot_q{percent}" for percent in (*range(10, 91, 10), 99)]
    names = [name for name in _host_names() if not name.startswith("z")]
    at = names.index("sqradius") + 1
    return _dia_object(dict.fromkeys([*names[:at], "z", "z_err", *quantiles, *names[at:]]), sim_version=False)


@functools.cache
def elasticc() -> Mapping[str, dict[str, Any]]:
    """ELAsTiCC's alert schemas by version, parsed: ``v0_9_1`` (the challenge), ``v0_9``, ``pre-challenge``."""
    raw = {
        "v0_9_1": _elasticc_v0_9_1(),
        "v0_9": _elasticc_v0_9("v0_9", _v0_9_object()),
        "pre-challenge": _elasticc_v0_9("pre", _pre_challenge_object()),
    }
    return {version: cast(dict[str, Any], parse_schema(schema)) for version, schema in raw.items()}


def rubin(schema_id: int) -> Schema | None:
    """Rubin's alert schema with this id (1101 is v11.1), parsed; None if there is no such version, or no package."""
    version = divmod(schema_id, 100)  # of any number that a broken message may begin with: what is absent is not kept
    return _rubin(*version) if "alert" in _rubin_files().get(version, {}) else None


@functools.cache
def _rubin(major: int, minor: int) -> Schema:
    prefix = f"lsst.v{major}_{minor}"
    raw = {name: json.loads(path.read_text()) for name, path in _rubin_files()[major, minor].items()}
    return parse_schema(_inlined(raw.pop("alert"), {f"{prefix}.{name}": schema for name, schema in raw.items()}))


@functools.cache
def _rubin_files() -> Mapping[tuple[int, int], Mapping[str, Path]]:
    """The schemas' files by version and name; none without the package.

    Found without importing it: its imports pull in half of the Rubin software stack.
    """
    try:
        files = metadata.files("lsst-alert-packet") or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[tuple[int, int], dict[str, Path]] = {}
    for file in files:
        *_, schema, major, minor, name = ("", "", "", *file.parts)
        if schema == "schema" and file.suffix == ".avsc" and major.isdecimal() and minor.isdecimal():
            found.setdefault((int(major), int(minor)), {})[name.split(".")[-2]] = Path(str(file.locate()))
    return found


def _inlined(schema: Any, named: dict[str, Any]) -> Any:
    """The schema with each named type spelled out where it is first used."""
    if isinstance(schema, str):
        return _inlined(named.pop(schema), named) if schema in named else schema
    if isinstance(schema, list):
        return [_inlined(branch, named) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    inlined = dict(schema)
    for key in ("type", "items"):
        if key in inlined:
            inlined[key] = _inlined(inlined[key], named)
    if "fields" in inlined:
        inlined["fields"] = [_inlined(field, named) for field in inlined["fields"]]
    return inlined
