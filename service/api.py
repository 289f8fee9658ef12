"""The HTTP API: the stream's road for objects in JSON and alerts in Avro; health, metrics and the model beside it."""

import asyncio
import functools
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Annotated, Any, Literal, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline
from fastavro.types import Schema
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    FiniteFloat,
    ValidationError,
    field_validator,
    model_validator,
    with_config,
)
from pydantic_core import from_json
from starlette.requests import ClientDisconnect
from typing_extensions import TypedDict

from models.inputs import avro
from models.inputs.alert import alert_batch, object_batch
from models.inputs.alert_batch import AlertBatch, Decoded, joined
from models.inputs.errors import InvalidAlert, NotAnAlert, TooLarge
from models.inputs.metadata import COLUMNS
from models.scoring import NoEmbedding
from service import pipeline, reconcile
from service.auth import Limits, Tokens
from service.errors import HistoryUnavailable, Overloaded, RegistryUnavailable, ServiceError
from service.health import Health
from service.history import Completed, History
from service.inference import Inference, Priority
from service.metrics import Metrics
from service.outputs import DOCUMENTED, Result, read_result
from service.registry import Registry
from service.settings import Settings

_STALLED_SECONDS = 60.0
"""A loop that has not turned for so long is dead: no call in it waits longer."""

_BODY_SECONDS = 30.0
"""A request whose body has not come by then is given up: a slow client must not hold what others need."""

_BODIES_AT_ONCE = 8
"""Bodies that are held at once may have so many times the bytes that one may have; then others must wait."""

_OTHER_THREADS = 40
"""For what does not wait for the model, and for telling those that may not wait that they may not."""

RECONCILIATION_SECONDS = 300.0

_UNPACKED_PER_BYTE = 4
"""A compressed body may unpack to so many times what a plain one may have: as much as alerts compress."""

_EXAMPLE: dict[str, Any] = {
    "objects": [
        {
            "diaObjectId": "1344072",
            "mjd": [60918.1, 60918.3, 60921.2],
            "band": ["r", "i", "r"],
            "psfFlux": [2630.1, 2410.0, 3105.5],
            "psfFluxErr": [162.4, 190.2, 158.0],
            "detected": [True, True, True],
            "metadata": {"mwebv": 0.07, "hostgal_zphot": 0.34, "hostgal_zphot_err": 0.04},
        }
    ]
}

# What is wrong is told once: of a million wrong numbers a list of problems would take more memory than a pod has.
Item = TypeVar("Item")
Many = Annotated[list[Item], FailFast()]
Band = Annotated[str, Field(max_length=16, description="u, g, r, i, z or y")]
DiaObjectId = Annotated[str, Field(pattern=r"^-?\d{1,19}$", description="64-bit id as a decimal string")]


class _Body(BaseModel):
    """What has these fields and no other."""

    model_config = ConfigDict(extra="forbid")

    # ``extra`` says so in the schema; here it is told once, however many there are.
    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, values: Any) -> Any:
        if isinstance(values, dict):
            _must_be_among(cls.model_fields, values, what="field")
        return values


class ObjectBody(_Body):
    """One object: its light curve in nJy, and what is known of its host by ELAsTiCC's column names."""

    diaObjectId: DiaObjectId | None = None  # noqa: N815 - the wire's spelling
    mjd: Many[FiniteFloat] = Field(min_length=1, description="TAI days")
    band: Many[Band]
    psfFlux: Many[float | None] = Field(description="difference flux [nJy]; null: not measured")  # noqa: N815
    psfFluxErr: Many[float | None] = Field(description="[nJy]")  # noqa: N815
    detected: Many[bool]
    metadata: dict[str, float | None] = Field(default_factory=dict, description="empty: light curve only")

    @field_validator("metadata", mode="before")
    @classmethod
    def _known_columns(cls, values: Any) -> Any:
        if isinstance(values, dict):
            _must_be_among(COLUMNS, values, what="metadata column")
        return values

    @model_validator(mode="after")
    def _equally_long(self) -> "ObjectBody":
        lengths = {name: len(getattr(self, name)) for name in ("mjd", "band", "psfFlux", "psfFluxErr", "detected")}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the lists must be equally long: {lengths}")
        return self


class ClassifyBody(_Body):
    """What ``POST /v1/classify`` takes as JSON."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _EXAMPLE})

    objects: Many[ObjectBody]


@with_config(DOCUMENTED)
class Failed(TypedDict):
    """In place of a result: of an object or alert that cannot be classified."""

    index: int
    """Its place in the request."""
    error: str
    """Why."""


class ClassifyAnswer(TypedDict):
    """One entry an object or alert of the request, in their order."""

    results: list[Result | Failed]


@with_config(DOCUMENTED)
class Readiness(TypedDict):
    """Whether the service can take work, and what stands in its way."""

    status: Literal["ready", "degraded", "unready"]
    reasons: list[str]
    history: str
    """``ok``, or what is the matter with it."""


_TOLD = 5
"""Unknown names, of many."""


def _must_be_among(known: Collection[str], values: Mapping[str, Any], *, what: str) -> None:
    unknown = sorted(values.keys() - set(known))
    if unknown:
        told = ", ".join(f"{name:.50}" for name in unknown[:_TOLD]) + (", ..." if len(unknown) > _TOLD else "")
        raise ValueError(f"no such {what}: {told}")


class Api:
    """What the endpoints need, and what they do; ``create_app`` gives them their addresses."""

    def __init__(
        self, settings: Settings, *, inference: Inference, history: History | None, metrics: Metrics, health: Health
    ) -> None:
        self.settings = settings
        self.inference = inference
        self.history = history
        self.metrics = metrics
        self.health = health
        self._registry = Registry(settings.schema_registry_url)  # its own: the worker's is for the worker's thread
        self._asking = threading.Lock()
        self._decoding = CapacityLimiter(1)
        self._undecoded = 0
        """Requests that are being decoded, or wait for it."""
        self._held = 0
        """Bytes of bodies that are being read or answered."""
        self._reconciling = threading.Lock()

    def classify(self, decoded: Decoded, *, with_history: bool, embed: bool) -> list[Result | Failed]:
        """Results in order; an object that cannot be classified says why in its place."""
        classifier = self.inference.classifier
        complete = self._with_history if with_history else pipeline.alone
        if embed:
            try:
                classifier.must_embed()
            except NoEmbedding as error:
                raise HTTPException(422, str(error)) from error
        infer = functools.partial(self._infer, embed=embed)
        answers = pipeline.answer(classifier, decoded, complete=complete, infer=infer)
        return [
            Failed(index=index, error=str(result)) if isinstance(result, InvalidAlert) else result
            for index, result in enumerate(answers.results)
        ]

    def _infer(self, alerts: AlertBatch, *, embed: bool) -> Any:
        return self.inference.classify(alerts, Priority.HTTP, embed=embed).result()

    def _with_history(self, alerts: AlertBatch) -> Completed:
        if self.history is None:
            raise HTTPException(503, "there is no history: REDIS_URL is not set")
        try:
            return self.history.look_up(alerts)
        except HistoryUnavailable as error:
            raise HTTPException(503, f"the history cannot be read: {error}") from error

    def latest(self, dia_object_id: int) -> Result:
        """The latest classification that the stream committed."""
        if self.history is None:
            raise HTTPException(503, "there is no history: REDIS_URL is not set")
        try:
            datum = self.history.latest(dia_object_id)
        except HistoryUnavailable as error:
            raise HTTPException(503, "the history cannot be read now") from error
        if datum is None:
            raise HTTPException(404, f"no classification of object {dia_object_id} is known")
        return read_result(datum, dia_object_id)

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The request's body, refused as soon as it is too long, or too slow, or more than there is room for."""
        data = bytearray()
        try:
            await self._read(request, data)
            yield bytes(data)
        finally:
            self._held -= len(data)

    async def _read(self, request: Request, data: bytearray) -> None:
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                async for chunk in request.stream():
                    data += chunk
                    self._held += len(chunk)
                    if len(data) > self.settings.http_max_bytes:
                        raise HTTPException(413, f"more than {self.settings.http_max_bytes} bytes")
                    if self._held > _BODIES_AT_ONCE * self.settings.http_max_bytes:
                        raise Overloaded("too many bytes of other requests are waiting for the model")
        except TimeoutError as error:
            raise HTTPException(408, f"the body has not come in {_BODY_SECONDS:.0f} s") from error
        except ClientDisconnect as error:  # nobody reads this; but it is not a fault of the service
            raise HTTPException(400, "the client has gone") from error

    def reconciliation(self, begin: datetime, end: datetime) -> dict[str, Any]:
        """The accounts of a window, made apart from the worker, one at a time."""
        if not self._reconciling.acquire(blocking=False):
            raise Overloaded("a reconciliation is under way: one at a time")
        try:
            return reconcile.apart(self.settings.renewed(), begin, end, seconds=RECONCILIATION_SECONDS)
        except ServiceError as error:
            raise HTTPException(503, str(error)) from error
        finally:
            self._reconciling.release()

    async def decoded(self, data: bytes, content_type: str) -> Decoded:
        """A request's alerts, in Avro or JSON. One request's at a time: until then they take many times their bytes.

        Those that wait for it take no thread, and are no more than may wait for the model.
        """
        if self._undecoded > self.settings.http_queue:
            raise Overloaded("too many requests are waiting to be read")
        self._undecoded += 1
        try:
            return await to_thread.run_sync(self._decoded, data, content_type, limiter=self._decoding)
        finally:
            self._undecoded -= 1

    def _decoded(self, data: bytes, content_type: str) -> Decoded:
        kind = content_type.split(";", maxsplit=1)[0].strip().lower()
        if kind == "application/avro":
            return self._alerts(data)
        if kind not in {"application/json", ""}:
            raise HTTPException(415, "application/json or application/avro")
        try:
            plain = from_json(data)
        except ValueError as error:
            raise HTTPException(422, f"no JSON: {error}") from error
        if isinstance(plain, dict) and isinstance(plain.get("objects"), list):
            self._check_number(len(plain["objects"]))
        try:
            objects = ClassifyBody.model_validate(plain).objects
        except ValidationError as error:
            raise HTTPException(422, _problems(error)) from error
        return object_batch([body.model_dump() for body in objects])

    def _alerts(self, data: bytes) -> Decoded:
        """Alerts in Avro, a few at a time, and no further than there are too many."""
        most = _UNPACKED_PER_BYTE * self.settings.http_max_bytes
        parts = [alert_batch([])]
        for readings in avro.parts(data, schema_by_id=self._schema, max_bytes=most):
            self._check_number(sum(part.count for part in parts) + len(readings))
            for reading in readings:
                if isinstance(reading, TooLarge):
                    raise HTTPException(413, str(reading))
            parts.append(alert_batch(readings))
        decoded = joined(parts)
        reasons = list(decoded.invalid.values())
        if len(reasons) == decoded.count and all(isinstance(reason, NotAnAlert) for reason in reasons):
            raise HTTPException(422, f"no alert in it: {reasons[0]}" if reasons else "no alert in it")
        return decoded

    def _schema(self, schema_id: int) -> Schema | None:
        try:
            with self._asking:
                return self._registry.schema(schema_id)
        except RegistryUnavailable as error:
            raise HTTPException(503, str(error)) from error

    def _check_number(self, count: int) -> None:
        if count > self.settings.http_max_objects:
            raise HTTPException(413, f"more than {self.settings.http_max_objects} objects in one request")


def create_app(api: Api, *, tokens: Tokens | None = None) -> FastAPI:
    """The application. Everything it talks to is in ``api``; with ``tokens``, /v1/* is for their holders alone."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = api.settings.http_queue + _OTHER_THREADS
        yield

    # The page of /docs with all that it loads: from elsewhere, a script could read the tokens that are typed there.
    app = FastAPIOffline(
        title="ATAT Broker",
        summary="Class probabilities of survey alerts",
        redoc_url=None,
        lifespan=lifespan,
        description="Fluxes are difference fluxes in nJy (AB zero point 31.4), times TAI MJD, ids decimal strings.",
    )

    @app.middleware("http")
    async def count(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        status = 500  # of whatever is raised
        try:
            response = await call_next(request)
            status = response.status_code
        finally:
            path = getattr(request.scope.get("route"), "path", "other")
            api.metrics.http_requests.labels(path, status).inc()
        return response

    @app.exception_handler(Overloaded)
    async def overloaded(_: Request, error: Overloaded) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=429, headers={"Retry-After": "1"})

    app.include_router(_versioned(api, tokens))
    app.include_router(_probes(api))
    return app


def _versioned(api: Api, tokens: Tokens | None) -> APIRouter:
    """What scripts and people ask."""
    v1 = APIRouter(
        prefix="/v1",
        dependencies=[] if tokens is None else [Depends(_holder_of(tokens))],
        responses={} if tokens is None else {401: _DETAIL, 429: _DETAIL},
    )

    @v1.post("/classify", openapi_extra=_CLASSIFY_REQUEST, responses=_CLASSIFY_RESPONSES, response_model=None)
    async def classify(request: Request, history: bool = False, embedding: bool = False) -> ClassifyAnswer:
        """Classify objects (JSON) or alerts (Avro: container, Confluent-framed or bare), in order.

        Writes nothing. With ``history=true``, completed with what the stream has seen of the same objects. With
        ``embedding=true``, each result has the model's representation of the object, too: a list of numbers, always of
        the same length, in which alike objects lie near each other (compare cosines, within the same ``branches``).
        """
        if not api.health.warm or api.health.draining:
            raise HTTPException(503, "not ready" if not api.health.draining else "shutting down")
        async with api.body(request) as data:
            decoded = await api.decoded(data, request.headers.get("content-type", ""))
            results = await run_in_threadpool(api.classify, decoded, with_history=history, embed=embedding)
            return ClassifyAnswer(results=results)

    @v1.get("/objects/{diaObjectId}", responses={404: _DETAIL, 503: _DETAIL})
    def latest(diaObjectId: Annotated[int, Path(ge=-(2**63), lt=2**63, examples=["1344072"])]) -> Result:  # noqa: N803
        """The latest classification of an object that the stream has published; of alerts that it declined, none."""
        return api.latest(diaObjectId)

    @v1.get("/model")
    def model() -> dict[str, Any]:
        """The model that answers: classes, architecture, calibration and its prior, provenance, metrics."""
        return api.inference.classifier.describe()

    @v1.get("/reconciliation", responses={403: _DETAIL, 429: _DETAIL, 503: _DETAIL})
    def reconciliation(
        begin: Annotated[datetime, Query(alias="from", description="ISO 8601; UTC where it does not say")],
        end: Annotated[datetime, Query(alias="to", description="not included")],
    ) -> dict[str, Any]:
        """What became of every message that Kafka dated within a window: see the command ``reconcile``.

        For holders of a token, and one at a time: it reads the topics, in a process apart from the worker.
        """
        if tokens is None:
            raise HTTPException(403, "only for holders of a token: HTTP_TOKENS_FILE is not set")
        begin, end = _aware(begin), _aware(end)
        if begin >= end:
            raise RequestValidationError([{"loc": ("query", "to"), "msg": "is not after from", "type": "value_error"}])
        return api.reconciliation(begin, end)

    return v1


def _probes(api: Api) -> APIRouter:
    """What orchestrators and Prometheus ask. None waits for a thread: they must be answered when all are taken, too."""
    probes = APIRouter()

    @probes.get("/healthz", responses={503: _DETAIL})
    async def healthz() -> dict[str, str]:
        """Alive: the worker's loop turns. Says nothing of Kafka or Redis: restarting would not mend those."""
        still = monotonic() - api.health.turned
        if still > _STALLED_SECONDS:
            raise HTTPException(503, f"the loop has not turned for {still:.0f} s")
        return {"status": "alive"}

    @probes.get("/readyz", responses={503: {"description": "not ready, and why", "model": Readiness}})
    async def readyz(response: Response) -> Readiness:
        """Ready: the model is warm and partitions are assigned.

        Degraded, and ready: without its history, or while some partitions wait for a schema or for an operator.
        """
        unready, waiting, history = api.health.unready(), api.health.waiting(), api.health.history
        response.status_code = 503 if unready else 200
        return Readiness(
            status="unready" if unready else "degraded" if waiting or history else "ready",
            reasons=unready + waiting,
            history=history or "ok",
        )

    @probes.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Prometheus metrics."""
        api.metrics.ready.set(not api.health.unready())
        return Response(generate_latest(api.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return probes


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _holder_of(tokens: Tokens) -> Callable[..., Awaitable[str]]:
    """A dependency: the name of whoever asks, if not too often."""
    bearer = HTTPBearer(auto_error=False, description="a token whose hash is in HTTP_TOKENS_FILE")
    limits = Limits(tokens)

    async def holder(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> str:
        name = None if credentials is None else tokens.holder(credentials.credentials)
        if name is None:
            raise HTTPException(401, "a bearer token is needed", headers={"WWW-Authenticate": "Bearer"})
        wait = limits.ask(name)
        if wait > 0:
            raise HTTPException(
                429, f"more than {tokens.rate(name):g} requests a second", headers={"Retry-After": str(math.ceil(wait))}
            )
        return name

    return holder


def _problems(error: ValidationError) -> list[dict[str, Any]]:
    return [{"loc": list(one["loc"]), "msg": one["msg"], "type": one["type"]} for one in error.errors()]


_DETAIL: dict[str, Any] = {
    "description": "why not",
    "content": {"application/json": {"schema": {"type": "object", "properties": {"detail": {"type": "string"}}}}},
}

_CLASSIFY_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": ClassifyBody.model_json_schema(), "example": _EXAMPLE},
            "application/avro": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}

_CLASSIFY_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": ClassifyAnswer},  # told, and tested: to check every answer would cost more than to make it
    413: {"description": "too many bytes or objects"},
    415: {"description": "neither JSON nor Avro"},
    422: {"description": "JSON that is not of this form, nothing that is an alert, or a model without embeddings"},
    408: {"description": "the body came too slowly"},
    429: {"description": "too many requests or bytes wait for the model, or too many requests of this token"},
    503: {"description": "not ready, shutting down, or no history to read"},
}
