"""The dead-letter topic at work: looked through, shown, and sent through the input topics again, once."""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from models.classifier import Classifier
from models.inputs.errors import InvalidAlert
from service.__main__ import main
from service.errors import Fenced
from service.kafka.messages import Message, Output
from service.kafka.publishers import TransactionalPublisher
from service.publishing import dead_letter
from service.reasons import kind_of
from service.settings import Settings, process_environment
from tests import alerts
from tests.service.stream import Topics, running, toy_alerts

Command = Callable[..., tuple[int, list[dict[str, Any]]]]

LONG = 2**53 + 1
BAND = alerts.datum(
    alerts.elasticc(alerts.source(1, alerts.FIRST_MJD, band="w"), object_=alerts.dia_object(7), alert_id=LONG)
)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """``python -m service deadletters ...`` within this process: exit code, and the lines of standard output."""

    def run(topics: Topics, *words: str) -> tuple[int, list[dict[str, Any]]]:
        for name, value in topics.environment().items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = main(["deadletters", *words])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def _put(topics: Topics, *outputs: Output) -> None:
    """Publish to the topics as something else would."""
    producer = Producer({"bootstrap.servers": topics.servers})
    for output in outputs:
        producer.produce(output.topic, output.value, key=output.key, headers=output.headers, partition=0)
    producer.flush(20)


def _letter(topics: Topics, offset: int, value: bytes = b"nothing", reason: str = "empty") -> Output:
    message = Message(topic=topics.alerts, partition=0, offset=offset, timestamp_ms=1_700_000_000_000, value=value)
    return dead_letter(message, InvalidAlert(reason), topic=topics.dead_letters)


def _note(topics: Topics, name: str) -> Output:
    """Says that a dead letter was requeued."""
    return Output(topic=topics.dead_letters, key=None, value=b"", headers=[("requeued", name.encode())], partition=0)


def test_a_dead_letter_is_listed_shown_and_answered_again_when_it_is_requeued(
    kafka: str, classifier: Classifier, command: Command, tmp_path: Path
) -> None:
    topics = Topics(kafka)
    values, keys = toy_alerts(6, objects=1)
    topics.send([*values[:3], BAND, b"no alert", *values[3:]], keys=[keys[0]] * 8)
    with running(topics, classifier):
        topics.wait_for(8)
    code, lines = command(topics, "list")
    assert code == 0
    band, other = lines
    assert (band["reason"], band["requeued"]) == ("unknown band 'w'; known are u, g, r, i, z, y", False)
    assert (band["origin"]["topic"], band["origin"]["offset"], band["bytes"]) == (topics.alerts, 3, len(BAND))
    assert [line["id"] for line in command(topics, "list", "--reason", "schema")[1]] == [other["id"]]
    assert [line["id"] for line in command(topics, "list", "--reason", "unknown band; known")[1]] == [band["id"]]
    assert command(topics, "list", "--to", "2020-01-01") == (0, [])
    _, counts = command(topics, "list", "--counts")
    known = "unknown band; known are u, g, r, i, z, y"
    assert {line["reason"]: line["count"] for line in counts} == {known: 1, "bytes that no ELAsTiCC schema reads": 1}

    _, (shown,) = command(topics, "show", band["id"], "--raw", str(tmp_path / "raw"))
    assert (tmp_path / "raw").read_bytes() == BAND
    assert shown["key"] == keys[0]
    assert shown["decoded"]["v0_9_1"]["diaSource"]["filterName"] == "w"
    assert shown["decoded"]["v0_9_1"]["alertId"] == str(LONG)  # as text: JSON's readers round it
    assert shown["problem"] == band["reason"]
    _, (shown,) = command(topics, "show", other["id"])
    assert (shown["decoded"], shown["begins"]) == (None, b"no alert".hex())

    assert command(topics, "requeue", band["id"]) == (0, [{"id": band["id"], "requeued": band["origin"]}])
    code, again = command(topics, "requeue", "--all")
    assert code == 0
    assert again[0] == {"id": band["id"], "skipped": "it was requeued before"}
    assert again[1]["requeued"] == other["origin"]
    assert {line["skipped"] for line in command(topics, "requeue", "--all")[1]} == {"it was requeued before"}
    assert [line["requeued"] for line in command(topics, "list")[1]] == [True, True]

    with running(topics, classifier):  # each comes again to its own partition, is answered, and is a dead letter again
        seen = topics.wait_for(8 + 2 + 2)  # the notes beside the dead letters are messages, too
    answers = [one for one in seen if "origin-offset" in one.headers]
    assert len({one.origin for one in answers}) == len(answers) == 10
    assert {one.origin[1] for one in answers} == {band["origin"]["partition"]}
    assert len(command(topics, "list")[1]) == 4
    code, forced = command(topics, "requeue", band["id"], "--force")
    assert (code, forced) == (0, [{"id": band["id"], "requeued": band["origin"]}])


def test_a_requeued_message_says_so_and_from_where(kafka: str, command: Command) -> None:
    topics = Topics(kafka, partitions=1)
    _put(topics, _letter(topics, 41, b"value"))
    assert command(topics, "requeue", "0:0")[0] == 0
    (sent,) = topics.read_topic(topics.alerts)
    assert sent.value == b"value"
    assert sent.headers["requeued-from"] == f"{topics.dead_letters}/0:0"
    assert sent.headers["origin-offset"] == "41"
    assert sent.headers["requeued-at"].startswith("20")


def test_what_cannot_be_requeued_says_why_and_the_rest_goes_on(kafka: str, command: Command) -> None:
    topics = Topics(kafka, partitions=1)
    stub = _letter(topics, 1)
    stub.headers.extend([("size", b"5000000"), ("sha256", b"00")])
    elsewhere = _letter(topics, 2)
    elsewhere.headers[:] = [
        ("origin-topic", b"nowhere") if name == "origin-topic" else (name, value) for name, value in elsewhere.headers
    ]
    nobodys = Output(topic=topics.dead_letters, key=None, value=b"?", headers=[("reason", b"none")])
    _put(topics, stub, elsewhere, nobodys, _letter(topics, 4))
    code, lines = command(topics, "requeue", "--all")
    assert code == 1
    assert [line["id"] for line in lines] == ["0:0", "0:1", "0:2", "0:3"]
    problems = [line.get("error") for line in lines]
    assert problems[0] == "a stub: the message was too large for this topic, and only its size and hash are here"
    assert problems[1:] == [
        "no topic nowhere that this client may see; none is created by itself",
        "its headers do not say where it is from",
        None,
    ]
    assert [line["stub"] for line in command(topics, "list")[1]] == [True, False, False, False]
    assert len(topics.read_topic(topics.alerts)) == 1


def test_one_that_its_topic_no_longer_takes_holds_up_no_other(kafka: str, command: Command) -> None:
    topics = Topics(kafka, partitions=1, config={"in": {"max.message.bytes": "3000"}})
    _put(topics, _letter(topics, 0), _letter(topics, 1, random.Random(0).randbytes(2900)), _letter(topics, 2))
    code, lines = command(topics, "requeue", "--all")
    assert code == 1
    assert [line.get("error") for line in lines] == [
        None,
        f"{topics.alerts} does not take a message of that length",
        None,
    ]
    assert len(topics.read_topic(topics.alerts)) == 2
    assert [line["requeued"] for line in command(topics, "list")[1]] == [True, False, True]


def test_a_dead_letter_that_is_longer_than_a_worker_may_send_is_requeued_all_the_same(
    kafka: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was a message of this topic: that the topic takes it is all that counts."""
    topics = Topics(kafka, partitions=1)
    monkeypatch.setenv("KAFKA_CONFIG_MESSAGE_MAX_BYTES", "2000")
    _put(topics, _letter(topics, 0, random.Random(0).randbytes(2900)), _letter(topics, 1))
    assert command(topics, "requeue", "--all")[0] == 0
    assert [len(message.value) for message in topics.read_topic(topics.alerts)] == [2900, len(b"nothing")]


def test_more_are_requeued_than_kafkas_client_has_room_for(
    kafka: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = Topics(kafka, partitions=1)
    _put(topics, *(_letter(topics, number) for number in range(100)))
    monkeypatch.setenv("KAFKA_CONFIG_QUEUE_BUFFERING_MAX_MESSAGES", "20")
    code, lines = command(topics, "requeue", "--all")
    assert (code, ["requeued" in line for line in lines]) == (0, [True] * 100)


@given(st.text(max_size=16))
def test_a_reasons_kind_is_the_same_whatever_the_message_said(band: str) -> None:
    assert kind_of(f"unknown band {band!r}; known are u, g") == "unknown band; known are u, g"


def test_a_requeue_keeps_its_rate(kafka: str, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses are asked for, not the speed measured."""
    topics = Topics(kafka, partitions=1)
    _put(topics, *(_letter(topics, number) for number in range(6)))
    slept: list[float] = []
    monkeypatch.setattr("service.pace.time.sleep", slept.append)
    assert command(topics, "requeue", "--all", "--rate", "0.1")[0] == 0
    assert len(slept) == 6
    assert slept[-1] == pytest.approx(50, abs=30)


def test_a_second_requeue_ends_the_first_before_it_looks_what_is_done(
    kafka: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = Topics(kafka, partitions=1)
    _put(topics, _letter(topics, 0), _letter(topics, 1))
    first = TransactionalPublisher(topics.settings(), "requeue")

    class Second(TransactionalPublisher):
        """Begins when the first one has just finished a letter."""

        def __init__(self, settings: Settings, name: str) -> None:
            first.publish([_note(topics, "0:0")])
            super().__init__(settings, name)

    monkeypatch.setattr("service.deadletters.TransactionalPublisher", Second)
    code, (done, sent) = command(topics, "requeue", "--all")
    assert code == 0
    assert done == {"id": "0:0", "skipped": "it was requeued before"}
    assert (sent["id"], sent["requeued"]["offset"]) == ("0:1", 1)
    with pytest.raises(Fenced):
        first.publish([_note(topics, "0:1")])
    assert len(topics.read_topic(topics.alerts)) == 1


def test_a_requeue_that_is_interrupted_holds_up_no_reader(kafka: str) -> None:
    def interrupted() -> Iterator[Output]:
        yield _letter(topics, 0)
        raise KeyboardInterrupt

    topics = Topics(kafka, partitions=1)
    publisher = TransactionalPublisher(topics.settings(), "requeue")
    with pytest.raises(KeyboardInterrupt):
        publisher.publish(interrupted())
    _put(topics, _letter(topics, 1))
    assert len(topics.wait_for(1, seconds=5)) == 1


def test_columns_are_for_people(kafka: str) -> None:
    topics = Topics(kafka, partitions=1)
    _put(topics, _letter(topics, 0, reason="unknown band 'w'"), _letter(topics, 1, reason="unknown band 'x'"))
    environment = process_environment(**topics.environment())
    words = [sys.executable, "-m", "service", "deadletters", "list", "--counts", "--table"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=True)
    head, row = done.stdout.splitlines()
    assert head.split() == ["reason", "count", "requeued", "first", "last"]
    assert row.split()[:4] == ["unknown", "band", "2", "0"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show", "0:99"], "has no dead letter 0:99"),
        (["show", "7:0"], "has no dead letter 7:0"),
        (["requeue"], "name dead letters, or select them"),
        (["requeue", "0:0", "--all"], "name dead letters, or select them"),
        (["show", "0:0", "--raw", "/nowhere/at/all"], "/nowhere/at/all cannot be written"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_one_line(
    kafka: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    topics = Topics(kafka, partitions=1)
    _put(topics, _letter(topics, 0))
    for name, value in topics.environment().items():
        monkeypatch.setenv(name, value)
    assert main(["deadletters", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["list", "--from", "yesterday"], "'yesterday' is no time in ISO 8601"),
        (["show", "x"], "'x' is not PARTITION:OFFSET"),
        ([], "ACTION"),
    ],
)
def test_words_that_are_none_are_usage(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["deadletters", *words])
    assert exit_.value.code == 2
    assert told in capsys.readouterr().err
