"""Recent history by diaObjectId, in Redis or anything that speaks its protocol: one server, or a cluster.

An object's history is a set of points. In Redis it is a string of fixed-size records, one a point: writers append what
the set does not hold yet, and a reader that finds a point twice keeps what was known first. Appending commutes, so two
workers need no lock, and doing a batch again changes nothing.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from models.arrays import BoolArray, IntArray
from models.inputs import ragged
from models.inputs.alert_batch import NO_OBJECT, AlertBatch
from service.errors import HistoryUnavailable
from service.redis_client import FAULTS, Client, eviction_policies

log = logging.getLogger(__name__)

POINT = np.dtype(
    [
        ("known_since", "<f8"),
        ("source_id", "<i8"),
        ("mjd", "<f8"),
        ("flux", "<f4"),
        ("flux_err", "<f4"),
        ("kind_and_band", "u1"),
    ]
)
"""One point in Redis, 33 bytes. ``kind_and_band``: band code, plus 8 for a detection."""

_DETECTED = 8
_NOT_ASKED = "not asked yet"
CHECK_SECONDS = 0.3
"""The check is made every second while Redis is away: it must not take the stream's time."""

_TROUBLED_SECONDS = 60.0
"""So long a batch's failure tells of the history, where no batch has come since."""

_FAULT_CHARACTERS = 200

_PROBE_KEY = "probe"
_PROBE_MS = 1000

# Appending as APPEND does, but for its room: that makes a string twice as long as it has to be, and histories grow by a
# point or two at a time.
_APPEND = """
return redis.call('SET', KEYS[1], (redis.call('GET', KEYS[1]) or '') .. ARGV[1], 'PX', ARGV[2])
"""

_REPLACE_IF_UNCHANGED = """
local known = redis.call('GET', KEYS[1])
local new = known == ARGV[1] and ARGV[2] or (known or '') .. ARGV[3]
return redis.call('SET', KEYS[1], new, 'PX', ARGV[4])
"""

_SET_IF_LATER = """
local known = redis.call('HGET', KEYS[1], 'epoch')
if known and tonumber(known) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'datum', ARGV[2])
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
"""


@dataclass(frozen=True)
class Completed:
    """Alerts with the points that earlier alerts of their objects had carried, and whose history could be read."""

    alerts: AlertBatch
    full: BoolArray
    """(N,), False where an alert is as it came: Redis did not answer, or the alert names no object."""


class History:
    """Reads and merges in at most two pipelined round trips a batch. A fault of Redis degrades, and never raises.

    A fault stays until ``check`` finds Redis fit to be used, and until then the stream does not ask: a Redis that hangs
    would cost it a time-out each batch, and one that forgets or refuses to write must not be called a full history.
    """

    def __init__(
        self,
        client: Client,
        *,
        ttl: timedelta,
        max_points: int,
        window_days: float,
        prober: Client | None = None,
    ) -> None:
        """``prober`` is a client of the same server that ``check`` asks through: one with less patience, if given."""
        self._client = client
        self._prober = prober or client
        self._ttl_ms = int(ttl.total_seconds() * 1000)
        self._max_points = max_points
        self._window_days = window_days
        self.fault: str | None = _NOT_ASKED
        """Why the history cannot be used now; None if it can. Written by the stream's thread alone."""
        self._failure: tuple[float, str] | None = None
        """When a batch last failed, and on what, while none has succeeded since."""

    @property
    def trouble(self) -> str | None:
        """Why the history is not to be relied on: its fault, or what batches fail on though ``check`` finds none.

        Of a cluster one server may be full, and the others answer.
        """
        if self.fault is not None or self._failure is None:
            return self.fault
        when, reason = self._failure
        return reason if time.monotonic() - when < _TROUBLED_SECONDS else None

    def check(self) -> str | None:
        """Ask Redis whether it can be used, and written to; returns and remembers the reason if not."""
        client = self._client if self.fault is None else self._prober  # one that works may be slow for once
        try:
            policies = eviction_policies(client)
            client.set(_PROBE_KEY, b"", px=_PROBE_MS)
            client.getex(_PROBE_KEY, px=_PROBE_MS)  # which a Redis before 6.2 does not know
        except FAULTS as error:
            self._failed(error)
            return self.fault
        evicting = ", ".join(sorted(policies - {"noeviction"}))
        before, self.fault = self.fault, None
        if evicting:
            self.fault = f"maxmemory-policy is {evicting}: it must be noeviction, or histories vanish"
        elif before not in {None, _NOT_ASKED}:
            log.info("the history can be used again")
        return self.fault

    def complete(self, alerts: AlertBatch) -> Completed:
        """Each alert with what was known of its object at its epoch; remembers what these alerts tell.

        A cached point counts for an alert if an alert of its epoch or earlier had carried it (``known_since``). The
        alert's own points come first, so where the two differ its own values stand.
        """
        if self.fault is None:
            try:
                completed = self._completed(alerts, write=True)
            except FAULTS as error:
                self._failed(error)
            else:
                self._failure = None
                return completed
        return Completed(alerts, np.zeros(len(alerts), dtype=np.bool_))

    def look_up(self, alerts: AlertBatch) -> Completed:
        """As ``complete``, for others than the stream: remembers nothing, not even a fault.

        No row tells another anything, though they be of one object. Raises HistoryUnavailable.
        """
        if self.fault is not None:
            raise HistoryUnavailable(self.fault)
        try:
            return self._completed(alerts, write=False)
        except FAULTS as error:
            raise HistoryUnavailable(_in_words(error)) from error

    def _completed(self, alerts: AlertBatch, *, write: bool) -> Completed:
        ids, object_of_row = alerts.dia_object_id, np.arange(len(alerts))
        if write:
            ids, object_of_row = np.unique(alerts.dia_object_id, return_inverse=True)
        blobs = self._read(ids, for_longer=write)
        stored = _parsed(blobs)
        known, fresh = _union(stored, _told(alerts, object_of_row))
        if write:
            self._write(ids, blobs, stored, known, fresh)
        offsets = np.searchsorted(known.object, np.arange(len(ids) + 1))
        extended = _extended(alerts, known.points, offsets, object_of_row, self._window_days)
        return Completed(extended, alerts.dia_object_id != NO_OBJECT)

    def remember(self, published: Sequence[tuple[int, float, bytes]]) -> None:
        """Keep the latest classification of each object: (dia_object_id, epoch, datum); the greatest epoch wins.

        To be called when the classifications are committed. A fault loses only this convenience.
        """
        if self.fault is not None:
            return
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for dia_object_id, epoch, datum in published:
                    pipeline.execute_command(
                        "EVAL", _SET_IF_LATER, 1, _latest_key(dia_object_id), repr(epoch), datum, self._ttl_ms
                    )
                pipeline.execute()
        except FAULTS as error:
            self._failed(error)

    def latest(self, dia_object_id: int) -> bytes | None:
        """The latest classification of an object as ``remember`` got it, None if there is none.

        Raises HistoryUnavailable.
        """
        try:
            datum = self._client.hget(_latest_key(dia_object_id), "datum")
        except FAULTS as error:
            raise HistoryUnavailable(_in_words(error)) from error
        return None if datum is None else cast(bytes, datum)

    def _read(self, ids: IntArray, *, for_longer: bool) -> list[bytes]:
        """What is stored of each object, "" if nothing; ``for_longer``: its life begins anew."""
        with self._client.pipeline(transaction=False) as pipeline:
            for dia_object_id in ids.tolist():
                if for_longer:
                    pipeline.getex(_points_key(dia_object_id), px=self._ttl_ms)
                else:
                    pipeline.get(_points_key(dia_object_id))
            return [blob or b"" for blob in pipeline.execute()]

    def _write(self, ids: IntArray, blobs: list[bytes], stored: "_Points", known: "_Points", fresh: "_Points") -> None:
        """Append what is new, and rewrite a history that has grown past its cap or holds too much twice."""
        objects = np.arange(len(ids) + 1)
        n_stored, known_at, fresh_at = (np.searchsorted(points.object, objects) for points in (stored, known, fresh))
        n_known, n_fresh = np.diff(known_at), np.diff(fresh_at)
        n_records = np.diff(n_stored) + n_fresh
        overgrown = (n_records > self._max_points) | (n_records > 2 * n_known)
        with self._client.pipeline(transaction=False) as pipeline:
            for place in np.flatnonzero((overgrown | (n_fresh > 0)) & (ids != NO_OBJECT)).tolist():
                key = _points_key(int(ids[place]))
                new = fresh.points[fresh_at[place] : fresh_at[place + 1]]
                if overgrown[place]:
                    all_known = known.points[known_at[place] : known_at[place + 1]]
                    kept = all_known[np.argsort(all_known["mjd"])[-self._max_points * 3 // 4 :]]
                    records = (kept.tobytes(), new.tobytes(), self._ttl_ms)
                    pipeline.execute_command("EVAL", _REPLACE_IF_UNCHANGED, 1, key, blobs[place], *records)
                    continue
                pipeline.execute_command("EVAL", _APPEND, 1, key, new.tobytes(), self._ttl_ms)
            pipeline.execute()

    def _failed(self, error: Exception) -> None:
        reason = _in_words(error)
        if self.trouble is None or self.fault == _NOT_ASKED:
            log.warning("history is not used until Redis answers again: %s", reason)
        if self.fault is None:  # what only ``check`` goes on failing on is told by the fault
            self._failure = (time.monotonic(), reason)
        self.fault = reason


def _in_words(error: Exception) -> str:
    """What went wrong, fit to be shown: of a pipeline's error, which quotes the command with its data, only the end."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(error).rpartition("caused error: ")[2])
    return f"{type(error).__name__}: {' '.join(text.split())[:_FAULT_CHARACTERS]}"


@dataclass(frozen=True)
class _Points:
    """Points (P,) of POINT, and which object each is of, by its place among the batch's objects; sorted by it."""

    object: IntArray
    points: NDArray[np.void]


def _points_key(dia_object_id: int) -> str:
    return f"points:{dia_object_id}"


def _latest_key(dia_object_id: int) -> str:
    return f"latest:{dia_object_id}"


def _parsed(blobs: list[bytes]) -> _Points:
    counts = np.array([len(blob) // POINT.itemsize for blob in blobs], dtype=np.int64)
    whole = b"".join(blob[: count * POINT.itemsize] for blob, count in zip(blobs, counts.tolist(), strict=True))
    return _Points(np.repeat(np.arange(len(blobs)), counts), np.frombuffer(whole, dtype=POINT))


def _told(alerts: AlertBatch, object_of_row: IntArray) -> _Points:
    """What the alerts themselves carry, known since their epochs."""
    rows = ragged.row_of_each(alerts.offsets)
    points = np.empty(len(rows), dtype=POINT)
    points["known_since"] = alerts.epoch[rows]
    points["source_id"] = alerts.source_id
    points["mjd"] = alerts.mjd
    points["flux"] = alerts.flux
    points["flux_err"] = alerts.flux_err
    points["kind_and_band"] = alerts.band + _DETECTED * alerts.detected.astype(np.int8)
    order = np.argsort(object_of_row[rows], kind="stable")
    return _Points(object_of_row[rows][order], points[order])


def _union(stored: _Points, told: _Points) -> tuple[_Points, _Points]:
    """Every point once, as the earliest alert told it, and those among them that are not stored like that yet.

    Of two alerts of one epoch that differ, the smaller values stand: any rule will do that needs no order of arrival.
    """
    objects = np.concatenate([stored.object, told.object])
    points = np.concatenate([stored.points, told.points])
    names = 2 * objects + (points["kind_and_band"] >= _DETECTED)
    order = _order(names, points)
    kept = order[ragged.first_of_each(names[order], points["source_id"][order])]
    fresh = kept[kept >= len(stored.points)]
    return _Points(objects[kept], points[kept]), _Points(objects[fresh], points[fresh])


def _order(names: IntArray, points: NDArray[np.void]) -> IntArray:
    """Points (P,) by name (P,) and id, those of one id by what was known first; of equal ones in the order given.

    Sorting takes most of the time that a history does, and values decide only where two alerts of one epoch differ.
    """
    known = (points["known_since"], points["source_id"], names)
    order = np.lexsort(known)
    same = np.logical_and.reduce([key[order][1:] == key[order][:-1] for key in known])
    values = [points[name] for name in ("flux_err", "flux", "mjd", "kind_and_band")]
    if any((same & (value[order][1:] != value[order][:-1])).any() for value in values):
        return np.lexsort((*values, *known))
    return order


def _extended(
    alerts: AlertBatch, known: NDArray[np.void], offsets: IntArray, object_of_row: IntArray, window_days: float
) -> AlertBatch:
    """Alerts with the known points of their objects behind their own, as far as they were known and are recent."""
    candidates, candidate_offsets = ragged.take(offsets, object_of_row)
    candidate_rows = ragged.row_of_each(candidate_offsets)
    points = known[candidates]
    epoch = alerts.epoch[candidate_rows]
    age = epoch - points["mjd"]
    usable = (points["known_since"] <= epoch) & (age >= 0) & (age <= window_days)
    usable &= alerts.dia_object_id[candidate_rows] != NO_OBJECT
    points, rows = points[usable], np.concatenate([ragged.row_of_each(alerts.offsets), candidate_rows[usable]])
    order = np.argsort(rows, kind="stable")

    def behind(own: NDArray[Any], cached: NDArray[Any]) -> NDArray[Any]:
        joined: NDArray[Any] = np.concatenate([own, cached.astype(own.dtype)])[order]
        return joined

    return replace(
        alerts,
        offsets=ragged.offsets_of(np.bincount(rows, minlength=len(alerts)).astype(np.int64)),
        mjd=behind(alerts.mjd, points["mjd"]),
        band=behind(alerts.band, points["kind_and_band"] % _DETECTED),
        flux=behind(alerts.flux, points["flux"]),
        flux_err=behind(alerts.flux_err, points["flux_err"]),
        detected=behind(alerts.detected, points["kind_and_band"] >= _DETECTED),
        source_id=behind(alerts.source_id, points["source_id"]),
    )
