"""Settings: the only reader of the environment."""

import functools
import logging
import os
import socket
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

from dotenv import dotenv_values
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError

from models.selection import DEFAULT_ARTIFACT, PRIORS, Precision
from service.errors import Misconfigured

log = logging.getLogger(__name__)

_CENTURY, _DAY = 36_525.0, 86_400.0
"""The most days, and the most seconds, that make sense."""
_KAFKA_CONFIG = "KAFKA_CONFIG_"
_OF_SERVERS = ("KAFKA_", "REDIS_", "SCHEMA_REGISTRY_", "HTTP_")
_FILE = "_FILE"
_ALIKE = 0.9
_OF_LIBRDKAFKA = {"SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE", "SASL_OAUTHBEARER_ASSERTION_JWT_TEMPLATE_FILE"}


def _named(name: str, default: Any, description: str, **more: Any) -> Any:
    return Field(default, validation_alias=AliasChoices(name), description=description, **more)


class Settings(BaseModel):
    """What an operator sets, by environment variable or in a ``.env`` file.

    ``NAME_FILE`` gives any of them from a file, for secrets, which is read again where a server no longer takes what it
    said (``renewed``); ``KAFKA_CONFIG_X_Y`` is passed to Kafka's clients as ``x.y``. Nothing here is ever logged,
    and what may hold a password is not in the text that a traceback or a debugger shows of it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kafka_bootstrap_servers: str | None = _named("KAFKA_BOOTSTRAP_SERVERS", None, "Kafka's addresses, host:port,...")
    kafka_input_topics: str = _named("KAFKA_INPUT_TOPICS", "alerts", "topics of alerts to read, separated by commas")
    kafka_output_topic: str = _named("KAFKA_OUTPUT_TOPIC", "classifications", "topic to publish classifications to")
    kafka_dead_letter_topic: str = _named("KAFKA_DEAD_LETTER_TOPIC", "dead-letters", "topic for what is no alert")
    kafka_group_id: str = _named("KAFKA_GROUP_ID", "atat-broker", "consumer group that shares the work")
    kafka_transactional_id: str = _named(
        "KAFKA_TRANSACTIONAL_ID",
        f"atat-broker-{socket.gethostname()}",
        "name of this worker's transactions: its own among the workers, and the same after a restart",
    )
    redis_url: str | None = _named(
        "REDIS_URL", None, "Redis or Valkey for the history; none: every alert is alone", repr=False
    )
    history_days: float = _named(
        "HISTORY_DAYS", 395.0, "how long an object's history outlives its last alert", gt=0, le=_CENTURY
    )
    history_points: int = _named("HISTORY_POINTS", 2000, "at most this many points of history an object", ge=10)
    schema_registry_url: str | None = _named(
        "SCHEMA_REGISTRY_URL",
        None,
        "registry for ids that are not bundled; a password in it percent-encoded",
        repr=False,
    )
    model_dir: Path = _named("MODEL_DIR", DEFAULT_ARTIFACT, "directory of the model")
    model_prior: str | None = _named("MODEL_PRIOR", None, f"how common classes are: {PRIORS}; none: the model's own")
    model_precision: Precision = _named(
        "MODEL_PRECISION", "float32", "float32, or bfloat16: faster, and probabilities change by a hundredth or two"
    )
    device: Literal["cpu", "cuda"] = _named("DEVICE", "cpu", "where the model runs; cuda without a GPU is an error")
    broker_name: str = _named("BROKER_NAME", "ATAT Broker", "brokerName of the classifications")
    alert_days_ahead: float = _named(
        "ALERT_DAYS_AHEAD", 1500.0, "an alert dated more days after its Kafka timestamp is refused", gt=0, le=_CENTURY
    )
    batch_tokens: int = _named("BATCH_TOKENS", 16_384, "a transaction closes at this many points", ge=1)
    batch_alerts: int = _named("BATCH_ALERTS", 1024, "... or at this many alerts", ge=1)
    batch_seconds: float = _named("BATCH_SECONDS", 0.05, "... or this long after its first alert came", gt=0, le=_DAY)
    drain_seconds: float = _named(
        "DRAIN_SECONDS", 20.0, "at most this long from a stop signal to the end", gt=0, le=_DAY
    )
    http_host: str = _named("HTTP_HOST", "127.0.0.1", "address that the HTTP API listens on")
    http_port: int | None = _named("HTTP_PORT", 8000, "its port; none for a worker without HTTP", ge=0, le=65_535)
    http_tokens_file: Path | None = _named(
        "HTTP_TOKENS_FILE", None, "who may use it: a line name:sha256-of-the-token each; none: whoever reaches it"
    )
    http_open: bool = _named(
        "HTTP_OPEN", False, "listen beyond loopback without tokens: only where the network is closed"
    )
    http_queue: int = _named(
        "HTTP_QUEUE",
        32,
        "HTTP requests that may wait for the model, each in a thread; more are told 429",
        ge=1,
        le=1000,
    )
    http_max_objects: int = _named("HTTP_MAX_OBJECTS", 1000, "objects in one HTTP request; more are told 413", ge=1)
    http_max_bytes: int = _named("HTTP_MAX_BYTES", 16 * 2**20, "bytes of one HTTP request; more are told 413", ge=1)
    kafka_config: dict[str, SecretStr] = Field(default_factory=dict, description="KAFKA_CONFIG_*, as x.y")
    _variables: Mapping[str, str] = PrivateAttr(default_factory=dict)
    """What they were made of."""

    @property
    def input_topics(self) -> list[str]:
        """The topics to read."""
        return [topic.strip() for topic in self.kafka_input_topics.split(",") if topic.strip()]

    @property
    def history_ttl(self) -> timedelta:
        """How long a history outlives its last alert."""
        return timedelta(days=self.history_days)

    def kafka_clients(self) -> dict[str, Any]:
        """What every Kafka client is configured with, less what the service itself must decide."""
        passed = {name: secret.get_secret_value() for name, secret in self.kafka_config.items()}
        return {**passed, "bootstrap.servers": self.kafka_bootstrap_servers}

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Settings from these variables, or from ``.env`` and the process's own. Raises Misconfigured."""
        variables = _given() if environment is None else environment
        given = _with_files(variables)
        _must_be_spelt_right(given)
        values: dict[str, Any] = {name: value for name, value in given.items() if value != ""}
        if values.get("HTTP_PORT") == "none":
            values["HTTP_PORT"] = None
        values["kafka_config"] = {
            _option(name.removeprefix(_KAFKA_CONFIG).lower()): value
            for name, value in values.items()
            if name.startswith(_KAFKA_CONFIG)
        }
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:  # its own text would quote the values, secrets among them
            wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise Misconfigured(wrong) from None
        settings._must_have_topics_apart()
        settings._variables = {name: value for name, value in variables.items() if _is_own(name)}
        return settings

    def renewed(self) -> Self:
        """With the log-ins of Kafka and Redis that the files of their variables have by now, if they have any."""
        try:
            found = type(self).from_env(self._variables)
        except Misconfigured as error:
            log.warning("log-ins are not read again: %s", error)
            return self
        redis_url = self.redis_url and (found.redis_url or self.redis_url)
        return self.model_copy(update={"kafka_config": self.kafka_config | found.kafka_config, "redis_url": redis_url})

    def _must_have_topics_apart(self) -> None:
        """A dead letter that is read again would become another one, for ever."""
        if not self.input_topics:
            raise Misconfigured("KAFKA_INPUT_TOPICS names no topic")
        topics = [*self.input_topics, self.kafka_output_topic, self.kafka_dead_letter_topic]
        twice = sorted({topic for topic in topics if topics.count(topic) > 1})
        if twice:
            raise Misconfigured(
                f"{', '.join(twice)}: named twice by KAFKA_INPUT_TOPICS, KAFKA_OUTPUT_TOPIC, KAFKA_DEAD_LETTER_TOPIC"
            )

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Every environment variable and what it is for."""
        named = {name: field for name, field in cls.model_fields.items() if name != "kafka_config"}
        return {name.upper(): field.description or "" for name, field in named.items()}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """What a variable is when it is not set, of those that are anything then."""
        found = {name: cls.model_fields[name.lower()].default for name in cls.variables()}
        return {name: default for name, default in found.items() if default is not None}


def process_environment(**values: str) -> dict[str, str]:
    """The environment for a process that is to use these servers and no others, whatever is set here or in ``.env``."""
    others = [name for name in _given() if name.startswith(_OF_SERVERS)]
    return {**os.environ, **dict.fromkeys(others, ""), **values}


def _must_be_spelt_right(given: Mapping[str, str]) -> None:
    """Raises Misconfigured for a variable that is nearly one of these: its setting would stay as it is by default."""
    known = _names()
    for name, value in given.items():
        own = name.removesuffix(_FILE)
        if not value or _is_own(name):
            continue
        first, underscore, _ = own.partition("_")
        family = [each for each in known if underscore and each.startswith(first + underscore)]
        meant = get_close_matches(own, family, n=1, cutoff=_ALIKE)
        if meant:
            raise Misconfigured(f"{name} is no setting: is {meant[0]} meant?")


def _is_own(variable: str) -> bool:
    """Whether it is one of these, or names the file of one."""
    return bool({variable, variable.removesuffix(_FILE)} & _names()) or variable.startswith(_KAFKA_CONFIG)


@functools.cache  # asked for with every variable, and log-ins are read again with every connection
def _names() -> frozenset[str]:
    return frozenset(Settings.variables())


def _option(name: str) -> str:
    """Of librdkafka, by what follows KAFKA_CONFIG_. One alone has an underscore of its own."""
    return name if name == "log_level" else name.replace("_", ".")


def _given() -> dict[str, str]:
    """The process's own variables, and those of ``.env`` that it does not have itself, as NAME or as NAME_FILE."""
    own = {name.removesuffix(_FILE) for name in os.environ}
    written = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return {**{name: value for name, value in written.items() if name.removesuffix(_FILE) not in own}, **os.environ}


def _names_a_file(variable: str) -> bool:
    """Whether its value is in a file. Some options of librdkafka are themselves the names of files."""
    return variable.endswith(_FILE) and variable.removeprefix(_KAFKA_CONFIG) not in _OF_LIBRDKAFKA


def _with_files(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables, each NAME_FILE replaced by NAME with what is in the file. Raises Misconfigured if both are set."""
    values = dict(environment)
    for variable, path in environment.items():
        name = variable.removesuffix(_FILE)
        if path and _names_a_file(variable) and (name in _names() or name.startswith(_KAFKA_CONFIG)):
            if environment.get(name):
                raise Misconfigured(f"{name} and {variable} are both set")
            try:
                values[name] = Path(path).read_text().strip()
            except (OSError, ValueError) as error:
                raise Misconfigured(f"{variable}: {path} cannot be read: {error}") from error
            values.pop(variable)
    return values
