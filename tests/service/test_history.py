"""The history cache: a set of points, each known since some alert's epoch, that no fault can make wrong."""

import contextlib
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import redis

from models.inputs import avro
from models.inputs.alert import alert_batch
from models.inputs.alert_batch import AlertBatch, concatenated
from models.inputs.light_curve import merged
from models.inputs.photometry import BANDS
from service.errors import HistoryUnavailable, Misconfigured
from service.history import POINT, History, _order, _Points, _told
from service.redis_client import connect
from tests import alerts
from tests.alerts import FIRST_MJD, batch, elasticc, forced, source
from tests.servers import LOOPBACK, free_ports
from tests.servers.valkey import ValkeyServer

DAY = timedelta(days=1)
DAY_MS = 86_400_000

NJY = 36.3078
"""One FLUXCAL in nJy."""


@pytest.fixture
def client(valkey: ValkeyServer) -> Iterator[redis.Redis]:
    """A client of a server with nothing in it."""
    with redis.Redis.from_url(valkey.url, socket_timeout=2, socket_connect_timeout=2) as connection:
        yield connection


def _history(client: redis.Redis, *, max_points: int = 1000, window_days: float = 395) -> History:
    history = History(client, ttl=DAY, max_points=max_points, window_days=window_days)
    assert history.check() is None
    return history


def _keys(client: redis.Redis) -> set[bytes | str]:
    """The keys that last: a check leaves one for a second."""
    return set(client.keys("*")) - {b"probe"}


def _times(history: History, alert: AlertBatch) -> list[float]:
    """The days of the light curve that an alert is classified by."""
    completed = history.complete(alert)
    assert completed.full.all()
    days: list[float] = (merged(completed.alerts).until(alert.epoch)[0].mjd - FIRST_MJD).tolist()
    return days


def _curve(history: History, alert: AlertBatch) -> list[tuple[float, str, float, float, bool]]:
    """The light curve that an alert is classified by: day, band, flux and its error [nJy], whether detected."""
    completed = history.complete(alert)
    assert completed.full.all()
    curve = merged(completed.alerts).until(alert.epoch)[0]
    days = (curve.mjd - FIRST_MJD).tolist()
    bands = [BANDS[code] for code in curve.band]
    fluxes, errors = ((NJY * values.astype(float)).round(1).tolist() for values in (curve.flux, curve.flux_err))
    return list(zip(days, bands, fluxes, errors, curve.detected.tolist(), strict=True))


def _object(*, day: float, id_: int, previous: list[alerts.Record] | None = None, **more: object) -> AlertBatch:
    return batch(elasticc(source(id_, FIRST_MJD + day), previous=previous, **more))  # type: ignore[arg-type]


def test_an_alert_is_completed_with_what_earlier_alerts_of_its_object_carried(client: redis.Redis) -> None:
    history = _history(client)
    seen = source(1, FIRST_MJD, band="g", flux=900, flux_err=40)
    measured = forced(5, FIRST_MJD - 9, band="z", flux=-30, flux_err=25)
    history.complete(batch(elasticc(seen, forced=[measured])))
    other = batch(elasticc(source(7, FIRST_MJD + 1) | {"diaObjectId": 8}, object_=alerts.dia_object(8)))
    assert _times(history, other) == [1]
    assert _curve(history, _object(day=4, id_=2)) == [
        (-9, "z", -30, 25, False),
        (0, "g", 900, 40, True),
        (4, "r", 1000, 50, True),
    ]


def test_a_batch_costs_at_most_two_round_trips_however_many_its_objects(client: redis.Redis) -> None:
    history = _history(client)
    objects = [batch(elasticc(source(n, FIRST_MJD) | {"diaObjectId": n})) for n in range(1, 40)]

    def round_trips() -> int:
        before = client.info("stats")["total_reads_processed"]
        assert history.complete(concatenated(objects)).full.all()
        return int(client.info("stats")["total_reads_processed"] - before - 1)  # one of which asks

    assert round_trips() == 2
    assert round_trips() == 1  # nothing is new


def test_what_a_later_alert_brought_is_not_known_to_an_earlier_one(client: redis.Redis) -> None:
    """Forced photometry of earlier epochs arrives with later alerts: cutting by the point's own time would leak it."""
    history = _history(client)
    late = _object(day=9, id_=3, forced=[forced(5, FIRST_MJD - 9)])
    early = _object(day=4, id_=2)
    _times(history, late)
    assert _times(history, early) == [4]
    assert _times(history, late) == [-9, 4, 9]


def test_the_order_of_arrival_and_doing_it_again_do_not_change_the_set(client: redis.Redis) -> None:
    made = [
        _object(day=0, id_=1),
        _object(day=4, id_=2, forced=[forced(5, FIRST_MJD - 9), forced(6, FIRST_MJD + 2)]),
        _object(day=9, id_=3, previous=[source(1, FIRST_MJD, flux=1234)]),
    ]
    seen = []
    for order in itertools.permutations(made):
        client.flushall()
        history = _history(client)
        for alert in (*order, *order):
            history.complete(alert)
        seen.append(_curve(history, _object(day=20, id_=9)))
    expected = [
        (-9, "r", 10, 50, False),
        (0, "r", 1000, 50, True),
        (2, "r", 10, 50, False),
        *((day, "r", 1000, 50, True) for day in (4, 9, 20)),
    ]
    assert seen == [expected] * 6


def test_two_alerts_of_one_object_in_a_batch_see_each_other_in_order_of_epoch(client: redis.Redis) -> None:
    both = batch(elasticc(source(2, FIRST_MJD + 4), alert_id=2), elasticc(source(1, FIRST_MJD), alert_id=1))
    curves = merged(_history(client).complete(both).alerts).until(both.epoch)
    assert curves.lengths.tolist() == [2, 1]


def test_the_alerts_own_values_win(client: redis.Redis) -> None:
    history = _history(client)
    _times(history, _object(day=0, id_=1))
    changed = _object(day=4, id_=2, previous=[source(1, FIRST_MJD, flux=36_307.8)])
    curve = merged(history.complete(changed).alerts)[0]
    assert curve.flux[0] == pytest.approx(1000, rel=1e-4)


def test_two_writers_at_once_lose_nothing(valkey: ValkeyServer) -> None:
    def write(offset: int) -> None:
        with redis.Redis.from_url(valkey.url) as connection:
            history = _history(connection)
            for number in range(100):
                completed = history.complete(_object(day=number * 0.1, id_=offset + number))
                assert completed.full.all()

    writers = [threading.Thread(target=write, args=(offset,)) for offset in (1000, 2000)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with redis.Redis.from_url(valkey.url) as connection:
        completed = _history(connection).complete(_object(day=50, id_=1)).alerts
    ids = set(completed.source_id.tolist())
    assert ids == {1, *range(1000, 1100), *range(2000, 2100)}


class _Interrupted(redis.Redis):
    """Between what it reads and what it writes somebody else gets in."""

    pipelines = 0
    somebody: Callable[[], object]

    def pipeline(self, *args: Any, **options: Any) -> Any:
        self.pipelines += 1
        if self.pipelines == 2:
            self.somebody()
        return super().pipeline(*args, **options)


def test_a_history_that_is_rewritten_keeps_what_another_has_written_meanwhile(
    valkey: ValkeyServer, client: redis.Redis
) -> None:
    history = _history(client, max_points=20)
    for number in range(20):
        history.complete(_object(day=number, id_=number + 1))
    assert client.strlen("points:7") == 20 * POINT.itemsize  # with one more it is rewritten
    with _Interrupted.from_url(valkey.url) as interrupted:
        own = _history(interrupted, max_points=20)
        interrupted.somebody = lambda: history.complete(_object(day=20.5, id_=99))
        interrupted.pipelines = 0
        assert own.complete(_object(day=21, id_=21)).full.all()
        assert interrupted.pipelines == 2
    completed = history.complete(_object(day=30, id_=500)).alerts
    assert {99, 21} <= set(completed.source_id.tolist())


def test_an_object_keeps_at_most_so_many_points_the_newest(client: redis.Redis) -> None:
    history = _history(client, max_points=20)
    for number in range(60):
        history.complete(_object(day=number, id_=number + 1))
    size = client.strlen("points:7")
    assert size <= 20 * POINT.itemsize
    days = _times(history, _object(day=60, id_=99))
    assert len(days) >= 15
    assert days == list(range(61 - len(days), 61))


def test_a_history_outlives_its_objects_last_alert_by_its_time(client: redis.Redis) -> None:
    history = _history(client, max_points=10)
    history.complete(_object(day=0, id_=1))
    assert 0 < client.pttl("points:7") <= DAY_MS
    client.pexpire("points:7", 60_000)
    history.look_up(_object(day=1, id_=2))
    assert client.pttl("points:7") <= 60_000
    history.complete(_object(day=0, id_=1))  # nothing new
    assert 60_000 < client.pttl("points:7") <= DAY_MS
    for day in range(1, 11):
        history.complete(_object(day=day, id_=day + 1))
    assert client.strlen("points:7") < 10 * POINT.itemsize  # the last one had it rewritten
    assert 0 < client.pttl("points:7") <= DAY_MS


def test_nothing_older_than_the_models_window_is_added(client: redis.Redis) -> None:
    history = _history(client, window_days=10)
    _times(history, _object(day=0, id_=1))
    completed = history.complete(_object(day=11, id_=2))
    assert set(completed.alerts.source_id.tolist()) == {2}


def test_an_alert_without_object_has_no_history_and_is_no_key(client: redis.Redis) -> None:
    trigger = source(1, FIRST_MJD) | {"diaObjectId": 0}
    completed = _history(client).complete(batch(elasticc(trigger, object_=None)))
    assert not completed.full.any()
    assert _keys(client) == set()


def test_reading_alone_leaves_no_trace(client: redis.Redis) -> None:
    history = _history(client)
    assert history.look_up(_object(day=0, id_=1)).full.all()
    assert _keys(client) == set()
    history.complete(_object(day=0, id_=1))
    assert set(history.look_up(_object(day=4, id_=2)).alerts.source_id.tolist()) == {2, 1}


def test_rows_of_a_reader_outside_of_the_stream_tell_each_other_nothing(client: redis.Redis) -> None:
    history = _history(client)
    history.complete(_object(day=0, id_=1))
    both = concatenated([_object(day=4, id_=2), _object(day=9, id_=3)])
    looked_up = history.look_up(both).alerts
    assert [set(looked_up[row].source_id.tolist()) for row in (0, 1)] == [{1, 2}, {1, 3}]


def test_redis_away_degrades_and_heals_by_itself(valkey: ValkeyServer, client: redis.Redis) -> None:
    history = _history(client)
    assert history.check() is None
    valkey.kill()
    completed = history.complete(_object(day=0, id_=1))
    assert not completed.full.any()
    assert completed.alerts.source_id.tolist() == [1]
    assert history.fault is not None
    valkey.restart()
    assert history.check() is None
    assert history.complete(_object(day=0, id_=1)).full.all()


def _fill(connection: redis.Redis) -> None:
    for size in (100_000, 1_000, 10):
        with contextlib.suppress(redis.RedisError):
            for number in range(100_000):
                connection.set(f"ballast:{size}:{number}", bytes(size))


def test_a_full_redis_degrades_until_it_has_room_again(tmp_path: Path) -> None:
    with (
        ValkeyServer(tmp_path / "small", maxmemory="3mb") as server,
        redis.Redis.from_url(server.url) as connection,
    ):
        history = _history(connection)
        _fill(connection)
        assert not history.complete(_object(day=0, id_=1)).full.any()
        assert "maxmemory" in str(history.fault)
        assert "maxmemory" in str(history.check())
        connection.execute_command("FLUSHALL", "SYNC")  # else Valkey gives the memory back a moment later
        assert history.check() is None
        assert history.complete(_object(day=0, id_=1)).full.all()


def test_a_fault_is_told_in_words_without_the_data_that_was_sent(client: redis.Redis) -> None:
    history = _history(client)
    client.sadd("points:7", "not a string")
    assert not history.complete(_object(day=0, id_=1)).full.any()
    assert history.fault is not None
    assert history.fault.isprintable()
    assert "WRONGTYPE" in history.fault
    assert "points:7" not in history.fault
    client.delete("points:7")
    client.config_set("maxmemory", "1")
    assert history.check() is not None
    with pytest.raises(HistoryUnavailable, match="maxmemory"):
        history.look_up(_object(day=0, id_=1))


def test_what_batches_fail_on_though_no_check_does_stays_known_until_one_succeeds(
    client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """As of a cluster in which one server is full: here, one object's key is of another kind."""
    history = _history(client)
    client.sadd("points:7", "not a string")
    for _ in range(3):
        assert not history.complete(_object(day=0, id_=1)).full.any()
        assert history.check() is None
        assert "WRONGTYPE" in str(history.trouble)
    assert len([record for record in caplog.records if "history is not used" in record.getMessage()]) == 1
    client.delete("points:7")
    assert history.complete(_object(day=0, id_=1)).full.all()
    assert history.trouble is None


def test_while_there_is_a_fault_only_the_check_asks_redis(valkey: ValkeyServer) -> None:
    with redis.Redis.from_url(valkey.url, socket_timeout=0.2) as connection:
        history = _history(connection)
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            assert not history.complete(_object(day=0, id_=1)).full.any()
            assert "Timeout" in str(history.check())
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        assert not history.complete(_object(day=1, id_=2)).full.any()  # it answers, and was not asked
        with pytest.raises(HistoryUnavailable):
            history.look_up(_object(day=1, id_=2))
        until = time.monotonic() + 30
        while history.check() is not None:
            assert time.monotonic() < until
        assert history.complete(_object(day=2, id_=3)).full.all()


def test_a_redis_that_accepts_and_never_answers_is_not_asked_again_by_the_stream() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        patient, impatient = (connect(url, seconds=seconds) for seconds in (30, 0.1))
        assert isinstance(patient, redis.Redis)
        assert isinstance(impatient, redis.Redis)
        with patient, impatient:
            history = History(patient, prober=impatient, ttl=DAY, max_points=10, window_days=395)
            assert "Timeout" in str(history.check())
            assert _asked(silent)
            assert not history.complete(_object(day=0, id_=1)).full.any()
            history.remember([(7, 60_000.0, b"Ia")])
            assert not _asked(silent)
            assert "Timeout" in str(history.fault)


def _asked(listening: socket.socket) -> bool:
    """Whether somebody has connected since this was last asked; and takes those connections away."""
    listening.setblocking(False)
    asked = False
    with contextlib.suppress(BlockingIOError):
        while True:
            listening.accept()[0].close()
            asked = True
    return asked


def test_a_reader_outside_of_the_stream_leaves_no_fault(valkey: ValkeyServer, client: redis.Redis) -> None:
    history = _history(client)
    valkey.kill()
    with pytest.raises(HistoryUnavailable):
        history.look_up(_object(day=0, id_=1))
    assert history.fault is None


def test_a_redis_that_evicts_is_misconfigured(tmp_path: Path) -> None:
    with (
        ValkeyServer(tmp_path / "lru", maxmemory="10mb", maxmemory_policy="allkeys-lru") as server,
        redis.Redis.from_url(server.url) as connection,
    ):
        history = History(connection, ttl=DAY, max_points=1000, window_days=395)
        assert "maxmemory-policy is allkeys-lru" in str(history.check())
        assert not history.complete(_object(day=0, id_=1)).full.any()
        assert "maxmemory-policy is allkeys-lru" in str(history.fault)
        connection.config_set("maxmemory-policy", "noeviction")
        assert history.check() is None
        assert history.complete(_object(day=0, id_=1)).full.all()


def test_a_point_costs_at_most_45_bytes(client: redis.Redis) -> None:
    history, rng = _history(client), np.random.default_rng(0)
    empty = client.info("memory")["used_memory"]
    n_objects = 2000
    for first in range(0, n_objects, 500):
        records = [alerts.random_elasticc(rng, 20, alert_id=first + place + 1) for place in range(500)]
        for record in records:
            record["diaObject"]["diaObjectId"] = 10**9 + record["alertId"]
        history.complete(batch(*records))
        for night in range(1, 4):  # in which each has a point more
            trigger = [alerts.source(night, alerts.FIRST_MJD + 100 + night)] * len(records)
            history.complete(
                batch(
                    *(
                        {**one, "diaSource": new, "prvDiaSources": [], "prvDiaForcedSources": []}
                        for one, new in zip(records, trigger, strict=True)
                    )
                )
            )
    used = client.info("memory")["used_memory"] - empty
    assert used / (23 * n_objects) <= 45


def test_the_latest_classification_is_the_one_of_the_greatest_epoch(client: redis.Redis) -> None:
    history = _history(client)
    history.remember([(7, 60_001.0, b"Ia")])
    history.remember([(7, 60_000.0, b"II")])
    assert history.latest(7) == b"Ia"
    assert history.latest(8) is None
    assert 0 < client.pttl("latest:7") <= DAY_MS


@pytest.mark.parametrize("contradicted", [False, True])
@pytest.mark.parametrize("kind", ["generated", "real"])
def test_points_are_sorted_by_all_that_may_decide_even_where_less_is_looked_at(
    request: pytest.FixtureRequest, kind: str, *, contradicted: bool
) -> None:
    told = _told_of(_generated() if kind == "generated" else _real(request.getfixturevalue("data")))
    points = np.concatenate([told.points[::2], told.points, told.points[::3]])  # stored, told, and told again
    names = 2 * np.concatenate([told.object[::2], told.object, told.object[::3]]) + (points["kind_and_band"] >= 8)
    if contradicted:
        points["flux"][-1] -= 1  # the smallest stands, though it came last
    keys = ("flux_err", "flux", "mjd", "kind_and_band", "known_since", "source_id")
    plainly = np.lexsort((*(points[name] for name in keys), names))
    assert (_order(names, points) == plainly).all()


def _generated() -> AlertBatch:
    """Two alerts each of twenty objects, the later one first, which carries again what the earlier one did."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(1, 21):
        object_ = alerts.dia_object(number)
        early = alerts.random_elasticc(rng, 2 + number, alert_id=number) | {"diaObject": object_}
        before = {"previous": [early["diaSource"], *early["prvDiaSources"]], "forced": early["prvDiaForcedSources"]}
        made += [elasticc(source(number, FIRST_MJD + 100), object_=object_, **before), early]
    return batch(*made)


def _real(data: Path) -> AlertBatch:
    files = sorted((data / "elasticc" / "alerts").glob("*.avro"))
    return alert_batch(
        [avro.unread(cast(bytes, one)) for path in files for one in avro.messages(path.read_bytes())]
    ).alerts


def _told_of(batch: AlertBatch) -> _Points:
    _, object_of_row = np.unique(batch.dia_object_id, return_inverse=True)
    return _told(batch, object_of_row)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[ValkeyServer]]:
    """Two servers that share the keys."""
    with contextlib.ExitStack() as stack:
        buses = free_ports(2)
        servers = [stack.enter_context(_of_cluster(tmp_path / str(bus), bus)) for bus in buses]
        clients = [stack.enter_context(redis.Redis.from_url(server.url)) for server in servers]
        clients[0].execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        clients[1].execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        clients[0].execute_command("CLUSTER", "MEET", LOOPBACK, servers[1].port, buses[1])
        until = time.monotonic() + 30
        while not all(b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO") for client in clients):
            assert time.monotonic() < until, "the cluster does not form"
            time.sleep(0.1)
        yield servers


def _of_cluster(directory: Path, bus: int) -> ValkeyServer:
    options = {"cluster-enabled": "yes", "cluster-port": str(bus), "cluster-node-timeout": "2000"}
    return ValkeyServer(directory, options=options)


def _address(cluster: list[ValkeyServer]) -> str:
    return f"redis+cluster://{LOOPBACK}:{cluster[0].port}"


def test_a_cluster_serves_as_one_server_does(cluster: list[ValkeyServer]) -> None:
    client = connect(_address(cluster))
    with contextlib.closing(client):
        history = History(client, ttl=DAY, max_points=4, window_days=395)
        assert history.check() is None
        objects = range(1, 41)
        for day in range(6):  # more than a history may have: it is rewritten
            tonight = batch(
                *(
                    elasticc(source(100 * number + day, FIRST_MJD + day), object_=alerts.dia_object(number))
                    for number in objects
                )
            )
            completed = history.complete(tonight)
            assert completed.full.all()
        lengths = merged(completed.alerts).until(tonight.epoch).lengths
        assert set(lengths.tolist()) <= {4, 5}
        history.remember([(number, 1.0, b"%d" % number) for number in objects])
        assert [history.latest(number) for number in objects] == [b"%d" % number for number in objects]
        assert history.fault is None
    for server in cluster:
        with redis.Redis.from_url(server.url) as one:
            assert 20 <= one.dbsize() <= 60


def test_without_one_of_its_servers_a_cluster_is_not_used(cluster: list[ValkeyServer]) -> None:
    client = connect(_address(cluster), seconds=0.5)
    with contextlib.closing(client):
        history = History(client, ttl=DAY, max_points=1000, window_days=395)
        assert history.check() is None
        cluster[1].kill()
        night = batch(
            *(elasticc(source(number, FIRST_MJD), object_=alerts.dia_object(number)) for number in range(1, 20))
        )
        assert not history.complete(night).full.any()
        assert history.fault
        assert history.check()


def test_a_cluster_that_is_not_there_is_a_fault() -> None:
    (free,) = free_ports(1)
    client = connect(f"redis+cluster://{LOOPBACK}:{free}", seconds=0.5)
    history = History(client, ttl=DAY, max_points=1000, window_days=395)
    assert history.check()
    assert not history.complete(_object(day=0, id_=1)).full.any()
    with pytest.raises(Misconfigured):
        connect("nowhere+cluster://a")
