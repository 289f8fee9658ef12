"""Replay: alerts from files and from a topic's past, published again as they were."""

import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.inputs import schemas
from service.__main__ import main
from tests import alerts
from tests.alerts import FIRST_MJD, elasticc, source
from tests.service.confluent import Confluent, answer
from tests.service.stream import Topics


def _read(topics: Topics) -> list[tuple[bytes | None, bytes, dict[str, str]]]:
    """All of the input topic: key, value, headers."""
    return [(one.key, one.value, one.headers) for one in topics.read_topic(topics.alerts)]


def _environment(monkeypatch: pytest.MonkeyPatch, topics: Topics) -> None:
    for name, value in topics.environment().items():
        monkeypatch.setenv(name, value)


def test_files_are_published_in_order_with_their_objects_as_keys(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = Topics(kafka, partitions=1)
    _environment(monkeypatch, topics)
    records = [elasticc(source(number, FIRST_MJD + number), alert_id=number) for number in range(5)]
    (tmp_path / "five.avro").write_bytes(alerts.container(records))
    (tmp_path / "poison").write_bytes(b"no alert")
    assert main(["replay", str(tmp_path / "five.avro"), str(tmp_path / "poison"), "--topic", topics.alerts]) == 0
    read = _read(topics)
    assert [value for _, value, _ in read] == [*(alerts.datum(record) for record in records), b"no alert"]
    assert [key for key, _, _ in read] == [b"7"] * 5 + [None]
    assert [float(headers["original-mjd"]) for _, _, headers in read[:5]] == [FIRST_MJD + n for n in range(5)]


def test_a_message_whose_schema_cannot_be_had_is_not_published_without_its_key(
    kafka: str, confluent: Confluent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = Topics(kafka, partitions=1)
    _environment(monkeypatch, topics)
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", confluent.url)
    confluent.body = answer(schemas.elasticc()["v0_9_1"])
    for number in (31337, 4711):
        framed = alerts.confluent(alerts.datum(elasticc(alert_id=number)), number)
        (tmp_path / str(number)).write_bytes(framed)
    assert main(["replay", str(tmp_path / "31337"), "--topic", topics.alerts]) == 0
    confluent.status = 500
    assert main(["replay", str(tmp_path / "4711"), "--topic", topics.alerts]) == 1
    assert [key for key, _, _ in _read(topics)] == [b"7"]


def test_a_window_of_a_topic_is_published_again_with_its_time(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    past, again = Topics(kafka, partitions=2), Topics(kafka, partitions=1)
    _environment(monkeypatch, again)
    values = [alerts.datum(elasticc(alert_id=number)) for number in range(4)]
    keys = ["a", "b", "c", "d"]
    past.send([b"before"] * 4, keys=keys, seconds_ago=7200)
    sent_ms = past.send(values, keys=keys, seconds_ago=3600)
    past.send([b"after"] * 4, keys=keys)
    sent = datetime.fromtimestamp(sent_ms / 1000, UTC)
    window = ["--from", sent.isoformat(), "--to", (sent + timedelta(milliseconds=1)).isoformat()]
    assert main(["replay", "--from-topic", past.alerts, *window, "--topic", again.alerts]) == 0
    headers = {"original-timestamp": str(sent_ms)}
    read = sorted(_read(again), key=lambda one: one[0] or b"")
    assert read == [(key.encode(), value, headers) for key, value in zip(keys, values, strict=True)]
    before = ["--from", "2020-01-01", "--to", "2020-01-02"]
    assert main(["replay", "--from-topic", past.alerts, *before, "--topic", again.alerts]) == 0
    assert len(_read(again)) == len(values)


def test_what_a_topic_does_not_take_is_counted_and_the_rest_is_published(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    topics = Topics(kafka, partitions=1, config={"in": {"max.message.bytes": "2000000"}})
    _environment(monkeypatch, topics)
    sizes = (10, 1_500_000, 3_000_000, 20)
    for place, size in enumerate(sizes):
        (tmp_path / str(place)).write_bytes(os.urandom(size))
    files = [str(tmp_path / str(place)) for place in range(len(sizes))]
    assert main(["replay", *files, "--topic", topics.alerts]) == 1
    assert "3 published, 1 failed" in caplog.text
    assert [len(value) for _, value, _ in _read(topics)] == [10, 1_500_000, 20]


def test_a_topic_that_is_not_there_is_not_created(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = Topics(kafka)
    _environment(monkeypatch, topics)
    (tmp_path / "one").write_bytes(b"no alert")
    assert main(["replay", str(tmp_path / "one"), "--topic", f"{topics.alerts}-misspelt"]) == 2
    assert f"no topic {topics.alerts}-misspelt" in capsys.readouterr().err


def test_wrong_usage_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert main(["replay", "--topic", "x"]) == 2
    assert main(["replay", "--topic", "x", "--from-topic", "y"]) == 2
    assert "name files" in capsys.readouterr().err


@pytest.mark.parametrize("rate", ["0", "-3", "nan", "inf", "fast"])
def test_a_rate_is_a_number_above_zero(rate: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["replay", "x", "--topic", "y", "--rate", rate])
    assert exit_.value.code == 2
    assert "argument --rate: " in capsys.readouterr().err


def test_an_option_that_kafkas_client_does_not_have_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("KAFKA_CONFIG_FOO", "1")
    assert main(["replay", "x", "--topic", "y"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == 'error: Kafka\'s client: No such configuration property: "foo"'


@pytest.mark.parametrize("source", [["--from-topic", "x", "--from", "2020-01-01", "--to", "2020-01-02"], ["x.avro"]])
def test_kafka_away_is_one_line(source: list[str]) -> None:
    command = [sys.executable, "-m", "service", "replay", *source, "--topic", "y"]
    environment = os.environ | {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: Kafka does not answer: 127.0.0.1:1/bootstrap: Connect to")
    assert "Connection refused" in line


def test_a_rate_is_kept(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses are asked for, not the speed measured."""
    topics = Topics(kafka, partitions=1)
    _environment(monkeypatch, topics)
    slept: list[float] = []
    monkeypatch.setattr("service.pace.time.sleep", slept.append)
    (tmp_path / "ten.avro").write_bytes(alerts.container([elasticc()] * 10))
    assert main(["replay", str(tmp_path / "ten.avro"), "--topic", topics.alerts, "--rate", "0.1"]) == 0
    assert len(slept) == 10
    assert slept[-1] == pytest.approx(90, abs=30)
