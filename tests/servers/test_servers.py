"""The servers themselves: what the tests that build on them take for granted."""

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from redis import Redis
from redis.exceptions import OutOfMemoryError

from tests.servers import LOOPBACK, ServerError, free_ports
from tests.servers.kafka import KafkaServer, skip_without_kafka
from tests.servers.valkey import ValkeyServer, skip_without_valkey

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    skip_without_valkey()
    with ValkeyServer(tmp_path, maxmemory="4mb") as server:
        yield server


def new_topic(servers: str) -> str:
    topic = f"topic-{uuid.uuid4()}"
    admin = AdminClient({"bootstrap.servers": servers})  # named, since the request is lost with its client
    admin.create_topics([NewTopic(topic, num_partitions=1)])[topic].result(timeout=30.0)
    return topic


def produce_in_a_transaction(producer: Producer, topic: str, value: str) -> None:
    producer.begin_transaction()
    producer.produce(topic, value)
    producer.flush(30.0)  # the broker has it, whatever becomes of the transaction


def read_to_the_end(servers: str, topic: str, *, isolation: str) -> list[str]:
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": "unused", "isolation.level": isolation, "enable.partition.eof": True}
    )
    values: list[str] = []
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    while True:
        message = consumer.poll(30.0)
        assert message is not None, f"no message in 30 s after {values}"
        error, value = message.error(), message.value()
        if error is not None and error.code() == KafkaError._PARTITION_EOF:
            consumer.close()
            return values
        assert error is None
        assert value is not None
        values.append(value.decode())


def write_four_mebibytes(client: Redis) -> None:
    for number in range(64):
        client.set(f"object {number}", bytes(65_536))


def test_an_aborted_transaction_is_hidden_from_readers_of_committed_messages_only(kafka: str) -> None:
    topic = new_topic(kafka)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic})
    producer.init_transactions(30.0)
    produce_in_a_transaction(producer, topic, "aborted")
    producer.abort_transaction(30.0)
    produce_in_a_transaction(producer, topic, "committed")
    producer.commit_transaction(30.0)

    assert read_to_the_end(kafka, topic, isolation="read_committed") == ["committed"]
    assert read_to_the_end(kafka, topic, isolation="read_uncommitted") == ["aborted", "committed"]


def test_a_killed_kafka_comes_back_on_its_ports_with_its_messages(tmp_path: Path) -> None:
    skip_without_kafka()
    with KafkaServer(tmp_path) as server:
        topic = new_topic(server.bootstrap_servers)
        producer = Producer({"bootstrap.servers": server.bootstrap_servers, "acks": "all"})
        producer.produce(topic, "before the crash")
        assert producer.flush(30.0) == 0
        server.kill()
        server.restart()
        producer.produce(topic, "after the crash")  # the same client, so the same port
        assert producer.flush(30.0) == 0
        values = read_to_the_end(server.bootstrap_servers, topic, isolation="read_committed")

    assert values == ["before the crash", "after the crash"]


def test_a_valkey_server_answers(valkey: ValkeyServer) -> None:
    with Redis.from_url(valkey.url, decode_responses=True) as client:
        client.set("object", "points")
        assert client.get("object") == "points"


def test_a_full_valkey_server_refuses_writes_and_still_reads(valkey: ValkeyServer) -> None:
    with Redis.from_url(valkey.url) as client:
        client.set("first", "kept")
        with pytest.raises(OutOfMemoryError):
            write_four_mebibytes(client)
        assert client.get("first") == b"kept"


def test_a_killed_valkey_server_comes_back_empty_on_its_port(valkey: ValkeyServer) -> None:
    with Redis.from_url(valkey.url) as client:
        client.set("object", "points")
        valkey.kill()
        valkey.restart()
        assert client.get("object") is None


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    skip_without_valkey()
    server = ValkeyServer(tmp_path, maxmemory_policy="no-such-policy")
    with pytest.raises(ServerError, match="no-such-policy"):
        server.start()
    assert not server.is_running


def test_a_server_ends_with_the_process_that_started_it_even_if_that_is_killed(tmp_path: Path) -> None:
    skip_without_valkey()
    (port,) = free_ports(1)
    program = (
        "import os, pathlib, signal, tests.servers.valkey as valkey\n"
        f"valkey.ValkeyServer(pathlib.Path({str(tmp_path)!r}), port={port}).start()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    crashed = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, timeout=60, check=False)

    assert crashed.returncode == -9
    wait_until_nobody_listens(port)


def wait_until_nobody_listens(port: int) -> None:
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) != 0:
                return
        time.sleep(0.05)
    pytest.fail(f"port {port} is still listened on")
