"""The HTTP API, through a real server where that matters: what it answers, and how it refuses."""

import contextlib
import threading
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from models.atat import ATAT, ATATConfig
from models.calibration import UNCALIBRATED
from models.classifier import Classifications, Classifier
from models.inputs.alert import AlertBatch
from models.network import Network
from models.taxonomy import Taxonomy
from service.api import Api, create_app
from service.health import Health
from service.inference import Inference, Priority
from service.metrics import Metrics
from service.settings import Settings
from tests import alerts


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
def _client(health: Health, classifier: Classifier, **values: str) -> Iterator[TestClient]:
    settings = Settings.from_env(values)
    metrics = Metrics()
    inference = Inference(classifier, metrics, max_waiting=settings.http_queue)
    api = Api(settings, inference=inference, history=None, metrics=metrics, health=health)
    with TestClient(create_app(api)) as client:
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
    assert client.get("/docs").status_code == 200


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
    objects = [_object(), _object(psfFluxErr=[0.0, 1.0, 1.0]), _object(psfFlux=[None] * 3)]
    good, negative, nothing = client.post("/v1/classify", json={"objects": objects}).json()["results"]
    assert good["predicted"]
    assert "not positive" in negative["error"]
    assert "no usable observation" in nothing["error"]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"objects": [_object(mjd=[1.0])]}, "equally long"),
        ({"objects": [_object(band=["w"] * 3)]}, "pattern"),
        ({"objects": [_object(metadata={"hostgal_ra": 1.0})]}, "no such metadata column: hostgal_ra"),
        ({"objects": [_object(diaObjectId="12x")]}, "pattern"),
        ({"objects": [_object(flux=[1])]}, "Extra inputs"),
        ({"things": []}, "objects"),
        ([], "object"),
    ],
)
def test_json_of_another_form_is_told_422_and_where(client: TestClient, body: object, where: str) -> None:
    answer = client.post("/v1/classify", json=body)
    assert answer.status_code == 422
    assert where in answer.text


def test_broken_json_and_other_content_are_refused(client: TestClient) -> None:
    json = {"content-type": "application/json"}
    assert client.post("/v1/classify", content=b"{", headers=json).status_code == 422
    assert client.post("/v1/classify", content=b"x", headers={"content-type": "text/csv"}).status_code == 415


def test_too_much_is_told_413() -> None:
    limits = {"HTTP_MAX_OBJECTS": "2", "HTTP_MAX_BYTES": "5000"}
    with _client(Health(warm=True, joined=True), _classifier(), **limits) as client:
        assert client.post("/v1/classify", json={"objects": [_object(1)] * 3}).status_code == 413
        assert client.post("/v1/classify", json={"objects": [_object(200)]}).status_code == 413
        assert client.post("/v1/classify", json={"objects": [_object(1)] * 2}).status_code == 200


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
        health.draining = True
        assert client.get("/readyz").status_code == 503


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


def test_history_that_is_not_there_is_503_and_an_unknown_address_404(client: TestClient) -> None:
    assert client.post("/v1/classify?history=true", json={"objects": [_object()]}).status_code == 503
    assert client.get("/v1/objects/7").status_code == 503
    assert client.get("/v1/objects/x").status_code == 422
    assert client.get("/nowhere").status_code == 404
