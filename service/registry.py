"""Schema ids -> schemas: the bundled ones first, then a Confluent-compatible registry."""

import base64
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from urllib.parse import unquote, urlsplit, urlunsplit

from fastavro.schema import SchemaParseException, parse_schema
from fastavro.types import Schema

from models.inputs import schemas
from service.errors import Misconfigured, RegistryUnavailable

log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 2.0
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 3.0, 30.0
"""So long a registry that was not reached is not asked again, twice as long each time: each partition would wait for
its own time-out, and all the others with it."""
_ABSENT_SECONDS = 60.0
"""So long "no such id" is believed: a registry may lag behind the one that was written to."""
_MOST_ABSENT = 10_000
_IDS_END = 2**31
"""A registry's ids are less: of greater ones it says that it has no such page, as a wrong address does."""
_SCHEMA_NOT_FOUND = 40403
"""The registry's own code for "no such id"; any other 404 may be a wrong address."""


class Registry:
    """Looks up each id once: what an id means never changes. An id that there is not yet is asked for again later."""

    def __init__(self, url: str | None, *, bundled: Callable[[int], Schema | None] = schemas.rubin) -> None:
        self._url: str | None = None
        self._headers: dict[str, str] = {}
        if url is not None:
            self._url, self._headers = _without_credentials(url)
        self._bundled = bundled
        self._known: dict[int, Schema | None] = {}
        self._absent: dict[int, float] = {}
        """Ids that there were not, and until when that is believed."""
        self._unreached = ""
        self._ask_again = 0.0
        self._pause = _PAUSE_SECONDS

    def schema(self, schema_id: int) -> Schema | None:
        """The schema with this id, parsed; None if there is none, or none of Avro that can be read.

        Raises RegistryUnavailable if only the registry can know and it does not answer.
        """
        if schema_id in self._known:
            return self._known[schema_id]
        bundled = self._bundled(schema_id)
        if bundled is not None:
            self._known[schema_id] = bundled
            return bundled
        return None if self._url is None or schema_id >= _IDS_END else self._asked(schema_id)

    def _asked(self, schema_id: int) -> Schema | None:
        if time.monotonic() < self._absent.get(schema_id, 0.0):
            return None
        answer = self._ask(schema_id)
        if answer is not None:
            self._known[schema_id] = _parsed(answer, schema_id)
            return self._known[schema_id]
        if len(self._absent) >= _MOST_ABSENT:  # broken messages name any id
            self._absent.clear()
        self._absent[schema_id] = time.monotonic() + _ABSENT_SECONDS
        return None

    def _ask(self, schema_id: int) -> bytes | None:
        """The registry's own words about an id; None if there is no such id. Raises RegistryUnavailable."""
        if time.monotonic() < self._ask_again:
            raise RegistryUnavailable(self._unreached)
        request = urllib.request.Request(f"{self._url}/schemas/ids/{schema_id}", headers=self._headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310 - checked below
                data: bytes = response.read()
                self._pause = _PAUSE_SECONDS
                return data
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404 and _code(error) == _SCHEMA_NOT_FOUND:
                    return None
            raise RegistryUnavailable(f"the schema registry answers {error.code} for id {schema_id}") from error
        except HTTPException as error:
            raise RegistryUnavailable(f"the schema registry breaks off for id {schema_id}: {error!r}") from error
        except (OSError, ValueError) as error:  # ValueError: a host that is no name
            self._unreached = f"the schema registry cannot be reached: {error}"
            self._ask_again = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
            raise RegistryUnavailable(self._unreached) from error


def _parsed(answer: bytes, schema_id: int) -> Schema | None:
    """The schema in a registry's answer; None if it is none of Avro, or leans on others that are not in it.

    Raises RegistryUnavailable if the answer is not a registry's.
    """
    try:
        told = json.loads(answer)
        text, kind = told["schema"], told.get("schemaType", "AVRO")
        if not isinstance(text, str):
            raise TypeError("schema")
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        reason = f"the schema registry answers for id {schema_id} with no schema: {type(error).__name__}"
        raise RegistryUnavailable(reason) from error
    try:
        if kind == "AVRO":
            return parse_schema(json.loads(text))
        problem = f"it is of {kind}"
    except (LookupError, RecursionError, TypeError, ValueError, SchemaParseException) as error:
        problem = f"{type(error).__name__}: {error}"
    log.error("schema id %d cannot be used, its messages are dead letters: %s", schema_id, problem[:200])
    return None


def _code(error: urllib.error.HTTPError) -> int | None:
    try:
        code: int | None = json.load(error).get("error_code")
    except (OSError, HTTPException, ValueError, AttributeError):  # cut short, or another kind of page
        return None
    return code


def _without_credentials(url: str) -> tuple[str, dict[str, str]]:
    """A registry's address without user and password, and the headers that carry them.

    Raises Misconfigured for what is no address, quoting nothing of it.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is no number
    except ValueError:
        raise Misconfigured(
            "SCHEMA_REGISTRY_URL is no address: a password in it is percent-encoded, as %23 for #, %2F for /"
        ) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Misconfigured("SCHEMA_REGISTRY_URL is no http(s) address")
    headers = {"Accept": "application/vnd.schemaregistry.v1+json"}
    if parts.username:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        token = base64.b64encode(credentials.encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", "")), headers
