"""Clients of Redis that give up quickly: of one server, or of a cluster."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterPipeline, RedisCluster
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from service.errors import Misconfigured

FAULTS = (redis.RedisError, RedisClusterException, OSError)
"""What a call raises where Redis cannot be used."""

_SECONDS = 2.0
_CLUSTER = "+cluster"


def connect(url: str, *, seconds: float = _SECONDS, renewed: Callable[[], str | None] | None = None) -> "Client":
    """A client that gives up quickly: a slow history must not hold the stream.

    Addresses are ``redis://host:port/0``, or ``redis+cluster://host:port`` of any server of a cluster; ``rediss`` with
    TLS. Where the address has a password, each new connection asks ``renewed`` for the address as it is by then, and
    logs in with what that says. Raises Misconfigured.
    """
    scheme, found, rest = url.partition("://")
    is_cluster = scheme.endswith(_CLUSTER)
    url = scheme.removesuffix(_CLUSTER) + found + rest
    options: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    try:
        parts = urlsplit(url)
        if parts.password is not None and renewed is not None:
            options["credential_provider"] = _Credentials(url, renewed)
            url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        return Cluster(url, options) if is_cluster else redis.Redis.from_url(url, **options)
    except ValueError as error:
        forms = "redis://host:port/0 or redis+cluster://host:port"
        raise Misconfigured(f"REDIS_URL is no address of the form {forms}") from error


class _Credentials(redis.CredentialProvider):
    """User name and password of an address, asked for anew by every connection."""

    def __init__(self, url: str, renewed: Callable[[], str | None]) -> None:
        self._url = url
        self._renewed = renewed

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """The password, behind the user's name if there is one; else those of before."""
        renewed, before = _parts(self._renewed() or ""), _parts(self._url)
        parts = before if renewed.password is None else renewed
        password = unquote(parts.password or "")
        return (unquote(parts.username), password) if parts.username else (password,)


def _parts(url: str) -> SplitResult:
    """Of an address; of what is none, as where its file is half written, none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


class Cluster:
    """A Redis Cluster, looked for when it is first asked: redis-py's own client wants one that answers when it is made.

    It has of a client's methods those that the history needs, each command of one key.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
        self._url = url
        self._options = options
        self._found: RedisCluster | None = None

    def _cluster(self) -> RedisCluster:
        if self._found is None:
            self._found = RedisCluster.from_url(self._url, retry=Retry(NoBackoff(), 1), **self._options)
        return self._found

    def pipeline(self, *, transaction: bool = False) -> ClusterPipeline:
        """Commands to be sent together, to each server its own."""
        if transaction:
            raise NotImplementedError("a transaction would be of one server")
        found: ClusterPipeline = self._cluster().pipeline()  # type: ignore[no-untyped-call]
        return found

    def set(self, name: str, value: bytes, *, px: int) -> Any:
        """As Redis's."""
        return self._cluster().set(name, value, px=px)

    def getex(self, name: str, *, px: int) -> Any:
        """As Redis's."""
        return self._cluster().getex(name, px=px)

    def hget(self, name: str, key: str) -> Any:
        """As Redis's."""
        return self._cluster().hget(name, key)

    def memory_of_servers(self) -> list[dict[str, Any]]:
        """``INFO memory`` of each that holds keys."""
        told: dict[str, dict[str, Any]] = self._cluster().info("memory", target_nodes=RedisCluster.PRIMARIES)
        return list(told.values())

    def close(self) -> None:
        """Leave the servers."""
        if self._found is not None:
            self._found.close()


Client = redis.Redis | Cluster


def eviction_policies(client: Client) -> set[str]:
    """``maxmemory-policy`` of every server that holds keys."""
    servers = client.memory_of_servers() if isinstance(client, Cluster) else [client.info("memory")]
    return {server.get("maxmemory_policy", "noeviction") for server in servers}
