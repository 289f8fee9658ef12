"""Kafka and Redis behind passwords and TLS: let in, refused in one line, and never quoted."""

import contextlib
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from models.classifier import Classifier
from service.history import History
from service.redis_client import connect
from service.settings import Settings
from tests import alerts
from tests.servers import LOOPBACK, free_ports
from tests.servers.kafka import KafkaServer, skip_without_kafka
from tests.servers.valkey import ValkeyServer, skip_without_valkey
from tests.service.stream import Topics, running, served, toy_alerts, until

USER, PASSWORD = "atat", "correct-horse-battery"
REDIS_PASSWORD = "staple-of-redis"  # noqa: S105 - of this test
REGISTRY_PASSWORD = "staple-of-registry"  # noqa: S105
TOKEN = "staple-of-http"  # noqa: S105


# --- certificates -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Authority:
    """Signs certificates for this machine."""

    directory: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, directory: Path) -> "Authority":
        """A new one, whose certificate clients are given as ``ca.pem``."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("test authority")
        certificate = _certificate(name, name, key, key, days=10, is_authority=True)
        (directory / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(directory, key, certificate)

    @property
    def ca(self) -> str:
        """What clients are to trust."""
        return str(self.directory / "ca.pem")

    def signed(self, name: str, *, days: float = 10) -> Path:
        """Key and certificate of a server on loopback, in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(_name(name), self.certificate.subject, key, self.key, days=days)
        path = self.directory / f"{name}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    days: float,
    is_authority: bool = False,
) -> x509.Certificate:
    """Valid up to so many days from now, which may be over."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=is_authority,
                crl_sign=is_authority,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(signer, hashes.SHA256())
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs for this module's servers."""
    return Authority.make(tmp_path_factory.mktemp("certificates"))


# --- Kafka --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secured(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A Kafka server with SCRAM over TLS, on which some may do everything, and the others what they are granted."""
    skip_without_kafka()
    listener = "listener.name.client"
    server = KafkaServer(
        tmp_path_factory.mktemp("kafka"),
        client_protocol="SASL_SSL",
        properties={
            f"{listener}.ssl.keystore.type": "PEM",
            f"{listener}.ssl.keystore.location": str(authority.signed("kafka")),
            f"{listener}.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            f"{listener}.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:ANONYMOUS;User:{USER};User:rotated",
        },
    )
    with server:
        _give_password(server, USER, PASSWORD)
        yield server


def _give_password(server: KafkaServer, user: str, password: str) -> None:
    admin = AdminClient({"bootstrap.servers": server.plaintext_servers})
    how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    change = UserScramCredentialUpsertion(user, how, password.encode())
    for future in admin.alter_user_scram_credentials([change]).values():
        future.result(20)


def _client(server: KafkaServer, authority: Authority, **values: str) -> dict[str, str]:
    """What an operator sets for it."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": server.bootstrap_servers,
        "KAFKA_CONFIG_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_CONFIG_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_CONFIG_SASL_USERNAME": USER,
        "KAFKA_CONFIG_SASL_PASSWORD": PASSWORD,
        "KAFKA_CONFIG_SSL_CA_LOCATION": authority.ca,
        **values,
    }


def test_alerts_are_classified_over_scram_and_tls(
    secured: KafkaServer, authority: Authority, classifier: Classifier
) -> None:
    topics = Topics(secured.plaintext_servers)
    topics.send(toy_alerts(20)[0])
    with running(topics, classifier, **_client(secured, authority)):  # type: ignore[arg-type]
        topics.wait_for(20)


def test_workers_go_on_when_their_password_is_changed_in_kafka_and_in_its_file(
    secured: KafkaServer, authority: Authority, classifier: Classifier, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("of-yesterday\n")
    _give_password(secured, "rotated", "of-yesterday")
    topics = Topics(secured.plaintext_servers, partitions=1)
    topics.send(toy_alerts(20)[0])
    client = _client(secured, authority, KAFKA_CONFIG_SASL_USERNAME="rotated")
    client["KAFKA_CONFIG_SASL_PASSWORD_FILE"] = str(password)
    client.pop("KAFKA_CONFIG_SASL_PASSWORD")
    second = {**client, "KAFKA_TRANSACTIONAL_ID": f"{topics.name}-2"}
    with (
        running(topics, classifier, **client) as up,  # type: ignore[arg-type]
        running(topics, classifier, **second) as other,  # type: ignore[arg-type]
    ):
        topics.wait_for(20)
        until(lambda: up.health.unready() == other.health.unready() == [], seconds=30)  # one of them without work
        _give_password(secured, "rotated", "of-today")
        secured.stop()
        secured.start()
        for each in (up, other):
            until(lambda each=each: "Authentication failed" in str(each.health.kafka), seconds=90)  # type: ignore[misc]
        password.write_text("of-today\n")
        topics.send(toy_alerts(40)[0][20:])
        topics.wait_for(40)
        until(lambda: up.health.unready() == other.health.unready() == [], seconds=90)


def test_a_worker_outlives_a_certificate_that_is_being_replaced_while_kafka_is_away(
    secured: KafkaServer, authority: Authority, classifier: Classifier, tmp_path: Path
) -> None:
    replaced = tmp_path / "ca.pem"
    replaced.write_text(Path(authority.ca).read_text())
    topics = Topics(secured.plaintext_servers, partitions=1)
    topics.send(toy_alerts(20)[0])
    client = _client(secured, authority, KAFKA_CONFIG_SSL_CA_LOCATION=str(replaced))
    with running(topics, classifier, **client) as up:  # type: ignore[arg-type]
        topics.wait_for(20)
        secured.stop()
        replaced.write_text("-----BEGIN CERT")
        until(lambda: "ssl.ca.location" in str(up.health.kafka), seconds=90)
        secured.start()
        replaced.write_text(Path(authority.ca).read_text())
        topics.send(toy_alerts(40)[0][20:])
        topics.wait_for(40)
        assert up.failure == []


def test_the_rights_that_are_granted_by_the_script_are_enough(
    secured: KafkaServer,
    authority: Authority,
    classifier: Classifier,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    topics = Topics(secured.plaintext_servers)
    _give_password(secured, "worker", PASSWORD)
    topics.send([*toy_alerts(20)[0], b"no alert"])
    client = _client(secured, authority, KAFKA_CONFIG_SASL_USERNAME="worker")
    client["KAFKA_TRANSACTIONAL_ID"] = f"{topics.name}-0"
    command = [sys.executable, "-m", "service", "deadletters", "requeue", "--all"]
    environment = os.environ | topics.environment(**client)
    denied = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert denied.returncode != 0
    assert "uthorization failed" in denied.stderr
    _grant(secured, topics, tmp_path)
    with running(topics, classifier, **client) as up:  # type: ignore[arg-type]
        topics.wait_for(21)
        until(lambda: up.health.unready() == [], seconds=30, what="ready")
    assert "settings cannot be read" not in caplog.text
    for words in (["deadletters", "list"], ["deadletters", "requeue", "--all"], ["reconcile", *WINDOW]):
        done = subprocess.run(
            [sys.executable, "-m", "service", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def _grant(server: KafkaServer, topics: Topics, directory: Path) -> None:
    """What deploy/kafka/grant.sh asks Kafka's own tool for."""
    record, stub = directory / "granted", directory / "kafka-acls.sh"
    stub.write_text('#!/bin/bash\necho "$@" >> "$RECORD"\n')
    stub.chmod(0o755)
    environment = {
        "PATH": f"{directory}:{os.environ['PATH']}",
        "RECORD": str(record),
        "BOOTSTRAP_SERVERS": server.plaintext_servers,
        "KAFKA_USER": "worker",
        "INPUT_TOPIC": topics.alerts,
        "OUTPUT_TOPIC": topics.classifications,
        "DEAD_LETTER_TOPIC": topics.dead_letters,
        "GROUP_ID": topics.name,
        "TRANSACTIONAL_IDS": f"{topics.name}-",
        "COMMANDS": "yes",
    }
    subprocess.run(["/bin/bash", "deploy/kafka/grant.sh"], env=environment, check=True)
    kinds = {"topic": "TOPIC", "group": "GROUP", "transactional-id": "TRANSACTIONAL_ID"}
    rights = []
    for line in record.read_text().splitlines():
        (kind, name), *_ = re.findall(r"--(topic|group|transactional-id) (\S+)", line)
        pattern = "PREFIXED" if "--resource-pattern-type prefixed" in line else "LITERAL"
        (principal,) = re.findall(r"--allow-principal (\S+)", line)
        rights += [
            AclBinding(
                ResourceType[kinds[kind]],
                name,
                ResourcePatternType[pattern],
                principal,
                "*",
                AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()],
                AclPermissionType.ALLOW,
            )
            for operation in re.findall(r"--operation (\S+)", line)
        ]
    admin = AdminClient({"bootstrap.servers": server.plaintext_servers})
    for future in admin.create_acls(rights).values():
        future.result(20)


WINDOW = ["--from", "2026-01-01", "--to", "2026-01-02"]
COMMANDS = {
    "serve": ["serve"],
    "requeue": ["deadletters", "requeue", "--all"],
    "reconcile": ["reconcile", *WINDOW],
}


@pytest.mark.parametrize(
    ("command", "values", "told"),
    [
        ("serve", {"KAFKA_CONFIG_SASL_PASSWORD": "wr0ng-horse"}, "Authentication failed during authentication"),
        ("reconcile", {"KAFKA_CONFIG_SASL_PASSWORD": "wr0ng-horse"}, "Authentication failed during authentication"),
        ("requeue", {"KAFKA_CONFIG_SASL_USERNAME": "nobody"}, "Authentication failed during authentication"),
        ("serve", {"KAFKA_CONFIG_SSL_CA_LOCATION": "other"}, "unable to get local issuer certificate"),
    ],
)
def test_a_wrong_password_or_an_authority_that_is_not_known_is_one_line_and_ends_it(  # noqa: PLR0917
    secured: KafkaServer, authority: Authority, tmp_path: Path, command: str, values: dict[str, str], told: str
) -> None:
    other = Authority.make(tmp_path)
    environment = _client(secured, authority, **values)
    if environment["KAFKA_CONFIG_SSL_CA_LOCATION"] == "other":
        environment["KAFKA_CONFIG_SSL_CA_LOCATION"] = other.ca
    _refused(COMMANDS[command], environment, told)


def test_an_expired_certificate_is_one_line_and_ends_it(authority: Authority) -> None:
    with _tls(authority.signed("expired", days=-1), None) as port:
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{port}",
            "KAFKA_CONFIG_SECURITY_PROTOCOL": "SSL",
            "KAFKA_CONFIG_SSL_CA_LOCATION": authority.ca,
        }
        _refused(COMMANDS["serve"], environment, "certificate has expired")


def _refused(words: list[str], environment: dict[str, str], told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service", *words],
        env=os.environ | {"HTTP_PORT": "none"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "Kafka" in line or "rdkafka" in line]
    assert told in line
    assert "Traceback" not in done.stderr
    assert "horse" not in done.stdout + done.stderr


# --- Redis --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _tls(certificate: Path, behind: int | None) -> Iterator[int]:
    """A port that ends TLS, as stunnel does, before one that does not speak it: the wheel's Valkey is built without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server((LOOPBACK, 0))

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(connection: socket.socket) -> None:
        try:
            with connection, context.wrap_socket(connection, server_side=True) as client:
                if behind is None:
                    client.recv(1)
                    return
                with socket.create_connection((LOOPBACK, behind)) as server:
                    back = threading.Thread(target=copy, args=(server, client), daemon=True)
                    back.start()
                    copy(client, server)
                    back.join()
        except OSError:  # a client that does not trust us
            return

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A Valkey server that asks for a password."""
    skip_without_valkey()
    with ValkeyServer(tmp_path_factory.mktemp("valkey"), options={"requirepass": REDIS_PASSWORD}) as server:
        yield server


def test_the_history_is_kept_behind_a_password_and_tls(
    kafka: str, classifier: Classifier, guarded: ValkeyServer, authority: Authority
) -> None:
    topics = Topics(kafka, partitions=1)
    topics.send(toy_alerts(5)[0])
    with _tls(authority.signed("valkey"), guarded.port) as port:
        url = f"rediss://:{REDIS_PASSWORD}@{LOOPBACK}:{port}/0?ssl_ca_certs={authority.ca}"
        with running(topics, classifier, redis_url=url) as up:
            assert {one.headers["history"] for one in topics.wait_for(5)} == {"full"}
            assert up.metric("classifier_history_up") == 1


@pytest.mark.parametrize(
    ("password", "days", "told"),
    [("wr0ng-staple", 10, "invalid username-password pair"), (REDIS_PASSWORD, -1, "certificate has expired")],
)
def test_a_redis_that_refuses_degrades_in_one_line_and_the_stream_goes_on(  # noqa: PLR0917
    kafka: str,
    classifier: Classifier,
    guarded: ValkeyServer,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    password: str,
    days: float,
    told: str,
) -> None:
    topics = Topics(kafka, partitions=1)
    topics.send(toy_alerts(5)[0])
    with _tls(authority.signed("old", days=days), guarded.port) as port:
        url = f"rediss://:{password}@{LOOPBACK}:{port}/0?ssl_ca_certs={authority.ca}"
        with running(topics, classifier, redis_url=url) as up:
            assert {one.headers["history"] for one in topics.wait_for(5)} == {"alert_only"}
            time.sleep(3)  # it asks again every second, and says nothing new
            assert up.health.unready() == []
            assert told in (up.health.history or "")
    (line,) = [record.getMessage() for record in caplog.records if "history" in record.getMessage()]
    assert told in line
    assert "staple" not in caplog.text


def test_the_history_goes_on_when_its_password_is_changed_in_redis_and_in_its_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    skip_without_valkey()
    address = tmp_path / "address"
    with ValkeyServer(tmp_path, options={"requirepass": "of-yesterday"}) as server:
        address.write_text(f"redis://:of-yesterday@{LOOPBACK}:{server.port}/0")
        settings = Settings.from_env({"REDIS_URL_FILE": str(address)})
        assert settings.redis_url is not None
        client = connect(settings.redis_url, renewed=lambda: settings.renewed().redis_url)
        history = History(client, ttl=timedelta(days=1), max_points=100, window_days=395)
        assert history.check() is None
        with contextlib.closing(redis.Redis.from_url(settings.redis_url)) as operator:
            operator.config_set("requirepass", "of-today")
            operator.client_kill_filter(_type="normal", skipme=False)
        assert "invalid username-password pair" in str(history.check())
        address.write_text(f"redis://:of-today@{LOOPBACK}:{server.port}/0")
        assert history.check() is None
        client.close()
    with ValkeyServer(tmp_path, options={"requirepass": "of-yesterday"}) as server:
        broken = connect(f"redis://:of-yesterday@{LOOPBACK}:{server.port}/0", renewed=lambda: "redis://:of[today@")
        assert History(broken, ttl=timedelta(days=1), max_points=100, window_days=395).check() is None
        broken.close()
    told = [record.getMessage() for record in caplog.records if "history" in record.getMessage()]
    assert len(told) == 2  # once of the fault, once of its end
    assert told[1] == "the history can be used again"


# --- nothing is quoted --------------------------------------------------------------------------------------------


def test_no_secret_is_in_logs_metrics_answers_or_errors(
    secured: KafkaServer, authority: Authority, classifier: Classifier, guarded: ValkeyServer, tmp_path: Path
) -> None:
    topics = Topics(secured.plaintext_servers, partitions=1)
    topics.send([b"poison", *toy_alerts(6)[0][1:]])  # the first begins with a zero, and would be the registry's
    (port,) = free_ports(1)
    tokens = tmp_path / "tokens"
    tokens.write_text(f"operator:{sha256(TOKEN.encode()).hexdigest()}\n")
    values = _client(
        secured,
        authority,
        REDIS_URL=f"redis://:{REDIS_PASSWORD}@{LOOPBACK}:{guarded.port}/0",
        SCHEMA_REGISTRY_URL=f"http://me:{REGISTRY_PASSWORD}@{LOOPBACK}:1",
        HTTP_PORT=str(port),
        HTTP_TOKENS_FILE=str(tokens),
        DRAIN_SECONDS="2",
    )
    with served(topics, classifier, tmp_path, **values) as process:
        topics.wait_for(6, seconds=200)
        paths = ("/v1/model", "/metrics", "/readyz", "/healthz", "/openapi.json", "/v1/objects/1", "/v1/objects/x")
        said = "".join(_get(port, path) for path in paths)
        window = "from=2026-01-01T00:00:00&to=2126-01-02T00:00:00"
        account = json.loads(_get(port, f"/v1/reconciliation?{window}"))
        assert (account["messages"], account["complete"]) == (6, True)
        topics.send([alerts.confluent(b"of a schema that the registry is asked for", 4711)])
        said += _readyz_when(port, lambda told: any("registry" in reason for reason in told["reasons"]))
        guarded.stop()  # so that its errors are seen, too
        said += _readyz_when(port, lambda told: told["history"] != "ok") + _get(port, "/v1/objects/1")
        secured.kill()  # and Kafka's
        said += _readyz_when(port, lambda told: any("Kafka" in reason for reason in told["reasons"]))
        process.terminate()
        process.wait(60)
    said += (tmp_path / "service.log").read_text()
    assert "toy" in said
    assert "history is not used until Redis answers again" in said
    for secret in (PASSWORD, REDIS_PASSWORD, REGISTRY_PASSWORD, TOKEN, sha256(TOKEN.encode()).hexdigest()):
        assert secret not in said


def _readyz_when(port: int, true: Callable[[dict[str, Any]], bool]) -> str:
    """What is answered as soon as it says so."""
    until = time.monotonic() + 60
    while not true(json.loads(answer := _get(port, "/readyz"))):
        assert time.monotonic() < until, answer
        time.sleep(0.2)
    return answer


def _get(port: int, path: str) -> str:
    """What is answered, with whatever status."""
    request = urllib.request.Request(f"http://{LOOPBACK}:{port}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=200) as answer:  # noqa: S310 - http
            body: bytes = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
    return body.decode()
