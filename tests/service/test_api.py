"""The HTTP API, through a real server where that matters: what it answers, and how it refuses."""

import contextlib
import gzip
import io
import re
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

import fastavro
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from models.atat import ATAT, ATATConfig
from models.calibration import UNCALIBRATED
from models.classifier import Classifications, Classifier
from models.inputs import avro, schemas
from models.inputs.alert_batch import AlertBatch
from models.network import Network
from models.taxonomy import Taxonomy
from service import auth
from service.api import Api, create_app
from service.auth import Tokens
from service.errors import Misconfigured
from service.health import Health
from service.history import History
from service.inference import Inference, Priority
from service.metrics import Metrics
from service.redis_client import connect
from service.settings import Settings
from tests import alerts
from tests.servers.valkey import ValkeyServer
from tests.service.confluent import Confluent, answer


class _Slow(Classifier):
    """A model that waits until it is let go."""

    gate = threading.Event()

    def classify(self, batch: AlertBatch) -> Classifications:
        self.gate.wait(30)
        return super().classify(batch)


def _classifier(kind: type[Classifier] = Classifier) -> Classifier:
    torch.manual_seed(5)
    config = ATATConfig.from_dict({"n_classes": 3, "d_lc": 16, "d_tab": 16, "harmonics": 4, "flux_encoding": "asinh"})
    taxonomy = Taxonomy((2222, 2224, 2332))
    return kind(Network(ATAT(config)), taxonomy=taxonomy, calibration=UNCALIBRATED, name="toy", version="1")


@contextlib.contextmanager
def _client(
    health: Health,
    classifier: Classifier,
    *,
    tokens: Tokens | None = None,
    history: History | None = None,
    **values: str,
) -> Iterator[TestClient]:
    settings = Settings.from_env(values)
    metrics = Metrics()
    inference = Inference(classifier, metrics, max_waiting=settings.http_queue)
    api = Api(settings, inference=inference, history=history, metrics=metrics, health=health)
    with TestClient(create_app(api, tokens=tokens), raise_server_exceptions=False) as client:
        yield client
    inference.close()


@pytest.fixture
def client() -> Iterator[TestClient]:
    """The API of a ready service without history."""
    with _client(Health(warm=True, joined=True), _classifier()) as client:
        yield client


def _object(n: int = 3, **values: object) -> dict[str, object]:
    return {
        "diaObjectId": "9007199254740993",
        "mjd": [60_000.0 + place for place in range(n)],
        "band": ["g"] * n,
        "psfFlux": [1000.0] * n,
        "psfFluxErr": [50.0] * n,
        "detected": [True] * n,
        "metadata": {"mwebv": 0.05},
        **values,
    }


def test_every_example_of_the_openapi_document_works(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    tried = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "example" in body:
                answer = client.request(method, path, json=body["example"])
                assert answer.status_code == 200, answer.text
                assert len(answer.json()["results"]) == len(body["example"]["objects"])
                tried += 1
    assert tried


def test_the_page_of_the_document_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert any(address.endswith(".js") for address in loaded)
    for address in loaded:
        assert address.startswith("/")
        assert client.get(address).status_code == 200
    assert client.get("/redoc").status_code == 404


def test_the_document_says_what_each_field_of_a_result_is(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert "decimal strings" in schemas["Result"]["description"]
    assert "in the taxonomy" in schemas["Result"]["properties"]["probabilities"]["description"]
    assert "embedding" not in schemas["Result"]["required"]


def test_objects_are_answered_in_order_with_ids_as_strings(client: TestClient) -> None:
    objects = [_object(n, diaObjectId=str(2**60 + n)) for n in (5, 1, 3)]
    results = client.post("/v1/classify", json={"objects": objects}).json()["results"]
    assert [one["diaObjectId"] for one in results] == [str(2**60 + n) for n in (5, 1, 3)]
    assert [one["nObservations"] for one in results] == [5, 1, 3]
    assert all(one["alertId"] is None and one["diaSourceId"] is None for one in results)
    assert all(sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-6) for one in results)


def test_without_metadata_the_light_curve_answers(client: TestClient) -> None:
    (result,) = client.post("/v1/classify", json={"objects": [_object(metadata={})]}).json()["results"]
    assert result["branches"] == "lc"


def test_an_embedding_comes_only_if_it_is_asked_for(client: TestClient) -> None:
    body = {"objects": [_object(5), _object(1, metadata={})]}
    plain = client.post("/v1/classify", json=body).json()["results"]
    asked = client.post("/v1/classify?embedding=true", json=body).json()["results"]
    assert [{k: v for k, v in one.items() if k != "embedding"} for one in asked] == plain
    assert [len(one["embedding"]) for one in asked] == [32, 32]
    assert not any("embedding" in one for one in plain)
    operation = client.get("/openapi.json").json()["paths"]["/v1/classify"]["post"]
    assert "embedding" in {each["name"] for each in operation["parameters"]}


def test_a_model_without_embeddings_says_so() -> None:
    class Forest(Classifier):
        @property
        def d_embedding(self) -> None:
            return None

    with _client(Health(warm=True, joined=True), _classifier(Forest)) as client:
        refused = client.post("/v1/classify?embedding=true", json={"objects": [_object()]})
        assert refused.status_code == 422
        assert "has no embeddings" in refused.json()["detail"]
        assert client.post("/v1/classify", json={"objects": [_object()]}).status_code == 200


def test_alerts_in_avro_are_answered_as_the_command_line_does(client: TestClient) -> None:
    rng = np.random.default_rng(0)
    records = [alerts.random_elasticc(rng, 7, alert_id=number) for number in (1, 2)]
    broken = alerts.elasticc(alerts.source(3, alerts.FIRST_MJD, band="w"), alert_id=3)
    data = alerts.container([*records, broken])
    answer = client.post("/v1/classify", content=data, headers={"content-type": "application/avro"})
    first, second, failed = answer.json()["results"]
    assert (first["alertId"], second["alertId"]) == ("1", "2")
    assert failed == {"index": 2, "error": "unknown band 'w'; known are u, g, r, i, z, y"}


def test_an_object_that_cannot_be_classified_says_why_in_its_place(client: TestClient) -> None:
    wrong = ({"psfFluxErr": [0.0, 1.0, 1.0]}, {"psfFlux": [None] * 3}, {"band": ["g", "w", "g"]}, {"diaObjectId": "-5"})
    objects = [_object(), *(_object(**fields) for fields in wrong)]
    good, negative, nothing, band, id_ = client.post("/v1/classify", json={"objects": objects}).json()["results"]
    assert good["predicted"]
    assert band["error"] == "unknown band 'w'; known are u, g, r, i, z, y"
    assert id_["error"] == "diaObjectId is below zero: -5"
    assert "not positive" in negative["error"]
    assert "no usable observation" in nothing["error"]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"objects": [_object(mjd=[1.0])]}, "equally long"),
        ({"objects": [_object(metadata={"hostgal_ra": 1.0})]}, "no such metadata column: hostgal_ra"),
        ({"objects": [_object(diaObjectId="12x")]}, "pattern"),
        ({"objects": [_object(flux=[1])]}, "no such field: flux"),
        ({"things": []}, "no such field: things"),
        ({}, "objects"),
        ([], "dictionary"),
    ],
)
def test_json_of_another_form_is_told_422_and_where(client: TestClient, body: object, where: str) -> None:
    answer = client.post("/v1/classify", json=body)
    assert answer.status_code == 422
    assert where in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"objects": [{}] * 900},
        {"objects": [_object(mjd=["x"] * 30_000)]},
        {"objects": [_object(psfFlux=["x"] * 30_000)]},
        {"objects": [_object(metadata={f"column {number}": "x" for number in range(30_000)})]},
        {"objects": [_object() | {f"field {number}": "x" for number in range(30_000)}]},
        {"objects": [_object() | {30_000 * "x": 0}]},
        {f"field {number}": "x" for number in range(30_000)},
    ],
)
def test_what_is_wrong_many_times_is_told_in_few_words(client: TestClient, body: object) -> None:
    answer = client.post("/v1/classify", json=body)
    assert answer.status_code == 422
    assert 20 < len(answer.text) < 2000


def test_broken_json_and_other_content_are_refused(client: TestClient) -> None:
    json = {"content-type": "application/json"}
    broken = client.post("/v1/classify", content=b"{", headers=json)
    assert (broken.status_code, broken.json()["detail"][:8]) == (422, "no JSON:")
    assert client.post("/v1/classify", content=b"x", headers={"content-type": "text/csv"}).status_code == 415


def test_too_much_is_told_413() -> None:
    limits: dict[str, Any] = {"HTTP_MAX_OBJECTS": "2", "HTTP_MAX_BYTES": "5000"}
    with _client(Health(warm=True, joined=True), _classifier(), **limits) as client:
        assert client.post("/v1/classify", json={"objects": [_object(1)] * 3}).status_code == 413
        assert client.post("/v1/classify", json={"objects": [_object(200)]}).status_code == 413
        assert client.post("/v1/classify", json={"objects": [_object(1)] * 2}).status_code == 200


_NO_ALERT = {"type": "record", "name": "note", "fields": [{"name": "time", "type": "long"}]}
AVRO = {"content-type": "application/avro"}


def test_a_schema_that_only_the_registry_has_is_asked_for(confluent: Confluent) -> None:
    framed = alerts.confluent(alerts.datum(alerts.elasticc()), 31337)
    ready = Health(warm=True, joined=True)
    with _client(ready, _classifier(), SCHEMA_REGISTRY_URL=confluent.url) as client:
        confluent.status = 500
        refused = client.post("/v1/classify", content=framed, headers=AVRO)
        assert (refused.status_code, refused.json()["detail"]) == (503, "the schema registry answers 500 for id 31337")
        confluent.status, confluent.body = 200, answer(schemas.elasticc()["v0_9_1"])
        (result,) = client.post("/v1/classify", content=framed, headers=AVRO).json()["results"]
        assert result["alertId"] == "1"


def _answer(client: TestClient, body: bytes) -> tuple[int, Any]:
    answer = client.post("/v1/classify", content=body, headers=AVRO)
    return answer.status_code, answer.json()


def test_no_more_alerts_are_read_than_may_be_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    def counted(data: bytes, **options: Any) -> Iterator[Any]:
        nonlocal read
        for part in parts(data, **options):
            read += len(part)
            yield part

    parts = avro.parts
    monkeypatch.setattr("service.api.avro.parts", counted)
    body = alerts.container([alerts.elasticc()] * 5000)
    in_a_part = avro.PART_BYTES // len(alerts.datum(alerts.elasticc()))
    with _client(Health(warm=True, joined=True), _classifier(), HTTP_MAX_OBJECTS="20") as client:
        assert _answer(client, gzip.compress(body)) == (413, {"detail": "more than 20 objects in one request"})
    assert 20 < read <= in_a_part < 2500


def test_alerts_of_one_request_are_never_all_in_memory_as_they_were_read() -> None:
    """A byte of an array of records may become two hundred in memory."""
    item = {"type": "record", "name": "item", "fields": [{"name": "flag", "type": "boolean"}]}
    fields = [{"name": "flags", "type": {"type": "array", "items": item}}]
    body = alerts.container(
        [{"flags": [{"flag": True}] * 50_000}] * 20, {"type": "record", "name": "r", "fields": fields}
    )
    with _client(Health(warm=True, joined=True), _classifier()) as client:
        tracemalloc.start()
        try:
            status, _ = _answer(client, body)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert status == 422
    assert peak < 80 * 2**20  # 200 MB for all twenty


def test_a_body_may_not_unpack_to_many_times_what_a_plain_one_may_have() -> None:
    schema = {"type": "record", "name": "bomb", "fields": [{"name": "padding", "type": "bytes"}]}
    bomb = io.BytesIO()
    fastavro.writer(bomb, schema, [{"padding": bytes(400_000)}], codec="deflate")
    records = [alerts.random_elasticc(np.random.default_rng(0), 60, alert_id=number) for number in range(20)]
    with _client(Health(warm=True, joined=True), _classifier(), HTTP_MAX_BYTES="80000") as client:
        assert _answer(client, gzip.compress(bytes(400_000)))[0] == 413
        assert _answer(client, bomb.getvalue())[0] == 413
        assert _answer(client, gzip.compress(bomb.getvalue()))[0] == 413
        assert _answer(client, alerts.container(records))[0] == 200


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty message"),
        (b"mjd,flux", "no ELAsTiCC schema reads"),
        (alerts.container([]), "no alert in it"),
        (alerts.container([{"time": 1}], _NO_ALERT), "not an alert: no diaSource"),
        (gzip.compress(alerts.datum(alerts.elasticc()), mtime=0)[:-20], "broken gzip"),
    ],
)
def test_a_body_without_any_alert_is_told_422_and_why(client: TestClient, body: bytes, reason: str) -> None:
    status, answer = _answer(client, body)
    assert status == 422
    assert reason in answer["detail"]


def test_a_body_with_good_and_bad_alerts_is_answered_row_by_row(client: TestClient) -> None:
    records = [alerts.elasticc(alert_id=number) for number in range(2000)]
    whole = alerts.container(records)
    with _client(Health(warm=True, joined=True), _classifier(), HTTP_MAX_OBJECTS="3000") as roomy:
        status, answer = _answer(roomy, whole[: len(whole) * 3 // 4])
    *good, last = answer["results"]
    assert status == 200
    assert [one["alertId"] for one in good] == [str(number) for number in range(len(good))]
    assert "breaks off" in last["error"]
    unusable = alerts.elasticc(alerts.source(1, alerts.FIRST_MJD, flux_err=0.0))
    status, answer = _answer(client, alerts.datum(unusable))
    assert status == 200
    assert "not positive" in answer["results"][0]["error"]


def test_what_no_telescope_measures_is_an_error_and_never_a_probability(client: TestClient) -> None:
    absurd = _object(psfFlux=[1e30] * 3, psfFluxErr=[1e-30] * 3)
    first, second = client.post("/v1/classify", json={"objects": [absurd, _object()]}).json()["results"]
    assert "no telescope" in first["error"]
    assert second["predicted"]


def test_a_fault_of_the_service_is_500_and_counted() -> None:
    class Broken(Classifier):
        def describe(self) -> dict[str, Any]:
            raise RuntimeError("as if by a bug")

    with _client(Health(warm=True, joined=True), _classifier(Broken)) as client:
        assert client.get("/v1/model").status_code == 500
        assert 'classifier_http_requests_total{path="/v1/model",status="500"} 1.0' in client.get("/metrics").text


def test_history_is_read_for_http_and_a_fault_of_it_is_503(valkey: ValkeyServer) -> None:
    with contextlib.closing(connect(valkey.url)) as connection:
        history = History(connection, ttl=timedelta(days=1), max_points=100, window_days=395)
        history.check()
        history.complete(alerts.batch(alerts.elasticc(alerts.source(1, alerts.FIRST_MJD - 3))))
        with _client(Health(warm=True, joined=True), _classifier(), history=history) as client:
            body = alerts.datum(alerts.elasticc())
            asked = client.post("/v1/classify?history=true", content=body, headers=AVRO)
            assert asked.json()["results"][0]["nObservations"] == 2
            valkey.kill()
            asked = client.post("/v1/classify?history=true", content=body, headers=AVRO)
            assert asked.status_code == 503
            assert "history cannot be read" in asked.json()["detail"]
        assert history.fault is None


# --- tokens -------------------------------------------------------------------------------------------------------


TOKENS = Tokens({"alerce": sha256(b"first token").hexdigest(), "fink": sha256(b"second token").hexdigest()})


@pytest.fixture
def guarded() -> Iterator[TestClient]:
    """The API of a ready service that asks for a token."""
    with _client(Health(warm=True, joined=True), _classifier(), tokens=TOKENS) as client:
        yield client


def test_every_endpoint_of_the_api_asks_for_a_token_and_the_others_do_not(guarded: TestClient) -> None:
    paths = guarded.get("/openapi.json").json()["paths"]
    api = [path for path in paths if path.startswith("/v1/")]
    assert {"/v1/classify", "/v1/model"} < set(api)
    for path in api:
        for method in paths[path]:
            answer = guarded.request(method, path.replace("{diaObjectId}", "7"))
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
        assert guarded.get(path).status_code == 200, path


@pytest.mark.parametrize("token", ["first token", "second token"])
def test_a_known_token_opens_the_api(guarded: TestClient, token: str) -> None:
    headers = {"authorization": f"Bearer {token}"}
    assert guarded.get("/v1/model", headers=headers).status_code == 200
    assert guarded.post("/v1/classify", json={"objects": [_object()]}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "header",
    ["Bearer third token", "Bearer ", "Basic first token", f"Bearer {sha256(b'first token').hexdigest()}", "Bearer é"],
)
def test_anything_else_does_not(guarded: TestClient, header: str) -> None:
    answer = guarded.get("/v1/model", headers={b"authorization": header.encode()})
    assert answer.status_code == 401


def test_a_file_of_tokens_has_names_hashes_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# who, and the hash\n\nalerce:{sha256(b'secret').hexdigest().upper()}\n  \n")
    tokens = Tokens.read(path)
    assert tokens.holder("secret") == "alerce"
    assert tokens.holder("Secret") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no token"),
        ("# nobody\n", "has no token"),
        ("\nalerce:secret\n", "line 2 of .* is not name:sha256"),
        (f"{sha256(b'secret').hexdigest()}\n", "line 1 of .* is not name:sha256"),
        (f"a:{'0' * 64}\na:{'1' * 64}\n", "line 2 of .* names a again"),
    ],
)
def test_a_file_that_is_none_is_refused_without_quoting_it(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(Misconfigured, match=reason) as error:
        Tokens.read(tmp_path / "tokens")
    assert "secret" not in str(error.value)
    with pytest.raises(Misconfigured, match="cannot be read"):
        Tokens.read(tmp_path / "nowhere")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "broker.example.org"])  # noqa: S104 - not bound
def test_listening_beyond_this_machine_wants_tokens_or_a_word_that_the_network_is_closed(
    tmp_path: Path, host: str
) -> None:
    (tmp_path / "tokens").write_text(f"alerce:{'0' * 64}\n")
    with pytest.raises(Misconfigured, match="HTTP_TOKENS_FILE"):
        auth.tokens(Settings.from_env({"HTTP_HOST": host}))
    assert auth.tokens(Settings.from_env({"HTTP_HOST": host, "HTTP_OPEN": "true"})) is None
    file = str(tmp_path / "tokens")
    assert auth.tokens(Settings.from_env({"HTTP_HOST": host, "HTTP_OPEN": "true", "HTTP_TOKENS_FILE": file}))
    for loopback in ("127.0.0.1", "::1", "localhost"):
        assert auth.tokens(Settings.from_env({"HTTP_HOST": loopback})) is None


# --- limits -------------------------------------------------------------------------------------------------------


def test_more_requests_than_may_wait_are_told_429() -> None:
    _Slow.gate.clear()
    with _client(Health(warm=True, joined=True), _classifier(_Slow), HTTP_QUEUE="2") as client:
        codes: list[int] = []

        def ask() -> None:
            codes.append(client.post("/v1/classify", json={"objects": [_object(1)]}).status_code)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        while codes.count(429) < 5:
            assert any(thread.is_alive() for thread in threads)
        _Slow.gate.set()
        for thread in threads:
            thread.join()
    assert codes.count(200) in {2, 3}
    assert codes.count(200) + codes.count(429) == 8


def test_the_stream_goes_before_http_on_the_shared_model() -> None:
    class Noting(_Slow):
        seen: ClassVar[list[int]] = []

        def classify(self, batch: AlertBatch) -> Classifications:
            self.seen.append(int(batch.alert_id[0]))
            return super().classify(batch)

    _Slow.gate.clear()
    inference = Inference(_classifier(Noting), Metrics(), max_waiting=10)
    made = [alerts.batch(alerts.elasticc(alert_id=number)) for number in range(5)]
    waiting = [inference.classify(made[0])]
    while not Noting.seen:
        pass
    waiting += [inference.classify(made[number], Priority.HTTP) for number in (1, 2)]
    waiting += [inference.classify(made[number], Priority.STREAM) for number in (3, 4)]
    _Slow.gate.set()
    for future in waiting:
        future.result(30)
    inference.close()
    assert Noting.seen == [0, 3, 4, 1, 2]


def test_a_long_request_lets_the_stream_go_between_and_is_answered_as_a_short_one() -> None:
    class Noting(_Slow):
        seen: ClassVar[list[int]] = []

        def classify(self, batch: AlertBatch) -> Classifications:
            self.seen.append(len(batch))
            return super().classify(batch)

    rng = np.random.default_rng(0)
    long = alerts.batch(*(alerts.random_elasticc(rng, 300, alert_id=number) for number in range(1, 101)))
    _Slow.gate.clear()
    inference = Inference(_classifier(Noting), Metrics(), max_waiting=1)
    http = inference.classify(long, Priority.HTTP)
    while not Noting.seen:
        pass
    stream = inference.classify(alerts.batch(alerts.elasticc()))
    _Slow.gate.set()
    answered = http.result(60)
    assert stream.done()
    inference.close()
    first, *others = Noting.seen
    assert (others[0], first + sum(others[1:])) == (1, 100)
    assert first < 100
    at_once = _classifier().classify(long).predictions
    np.testing.assert_allclose(answered.predictions.probabilities, at_once.probabilities, atol=1e-6)
    assert answered.alerts is long


def test_a_service_that_is_not_ready_says_so() -> None:
    health = Health()
    with _client(health, _classifier()) as client:
        assert client.post("/v1/classify", json={"objects": [_object()]}).status_code == 503
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["reasons"] == ["the model is not warm", "not joined to the group"]
        health.warm = health.joined = True
        assert client.get("/readyz").json()["status"] == "ready"
        health.history = "connection refused"
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        health.history, health.stopped = None, {"alerts/3": "removed"}
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert answer.json()["reasons"] == ["partition alerts/3: removed"]
        health.draining = True
        assert client.get("/readyz").status_code == 503
        answer = client.post("/v1/classify", json={"objects": [_object()]})
        assert (answer.status_code, answer.json()["detail"]) == (503, "shutting down")


def test_whatever_keeps_the_service_from_its_work_is_a_reason_not_to_be_ready() -> None:
    for fact, reason in (
        ({"turned": monotonic() - 20}, "the loop has not turned for 2"),  # 20 s, or a few more
        ({"kafka": "it does not answer"}, "Kafka: it does not answer"),
        ({"idle": True}, "every partition waits"),
        ({"draining": True}, "draining"),
    ):
        with _client(replace(Health(warm=True, joined=True), **fact), _classifier()) as client:
            answer = client.get("/readyz")
        (told,) = answer.json()["reasons"]
        assert (answer.status_code, answer.json()["status"]) == (503, "unready")
        assert told.startswith(reason)


def test_alive_means_that_the_loop_turns_and_nothing_of_kafka() -> None:
    health = Health(warm=True, joined=True, kafka="away")
    with _client(health, _classifier()) as client:
        assert client.get("/healthz").status_code == 200
        health.turned -= 120
        assert client.get("/healthz").status_code == 503


def test_the_model_and_the_metrics_can_be_read(client: TestClient) -> None:
    model = client.get("/v1/model").json()
    assert model["classes"][0] == {"id": 2222, "name": "Ia"}
    client.post("/v1/classify", json={"objects": [_object()]})
    text = client.get("/metrics").text
    assert 'classifier_http_requests_total{path="/v1/classify",status="200"} 1.0' in text
    assert "classifier_stage_seconds_bucket" in text


def test_the_metrics_say_whether_the_service_is_ready() -> None:
    health = Health()
    with _client(health, _classifier()) as client:
        assert "\nclassifier_ready 0.0\n" in client.get("/metrics").text
        health.warm = health.joined = True
        assert "\nclassifier_ready 1.0\n" in client.get("/metrics").text


def test_history_that_is_not_there_is_503_and_an_unknown_address_404(client: TestClient) -> None:
    assert client.post("/v1/classify?history=true", json={"objects": [_object()]}).status_code == 503
    assert client.get("/v1/objects/7").status_code == 503
    assert client.get("/v1/objects/x").status_code == 422
    assert client.get("/nowhere").status_code == 404
