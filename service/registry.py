"""Schema ids -> schemas, remembered for ever: the bundled ones first, then a Confluent-compatible registry."""

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from urllib.parse import urlsplit, urlunsplit

from fastavro.schema import SchemaParseException, parse_schema
from fastavro.types import Schema

from models.inputs import schemas
from service.errors import Misconfigured, RegistryUnavailable

_TIMEOUT_SECONDS = 5.0
_PAUSE_SECONDS = 3.0
"""So long a registry that was not reached is not asked again: each partition would wait for its own time-out."""
_SCHEMA_NOT_FOUND = 40403
"""The registry's own code for "no such id"; any other 404 may be a wrong address."""


class Registry:
    """Looks up each id once. A schema id never changes its meaning, so an answer is kept for ever, "no such id" too."""

    def __init__(self, url: str | None, *, bundled: Callable[[int], Schema | None] = schemas.rubin) -> None:
        self._url: str | None = None
        self._headers: dict[str, str] = {}
        if url is not None:
            self._url, self._headers = _without_credentials(url)
        self._bundled = bundled
        self._known: dict[int, Schema | None] = {}
        self._unreached = ""
        self._ask_again = 0.0

    def schema(self, schema_id: int) -> Schema | None:
        """The schema with this id, parsed; None if there definitely is none.

        Raises RegistryUnavailable if only the registry can know and it does not answer.
        """
        if schema_id not in self._known:
            bundled = self._bundled(schema_id)
            self._known[schema_id] = bundled if bundled is not None or self._url is None else self._ask(schema_id)
        return self._known[schema_id]

    def _ask(self, schema_id: int) -> Schema | None:
        if time.monotonic() < self._ask_again:
            raise RegistryUnavailable(self._unreached)
        request = urllib.request.Request(f"{self._url}/schemas/ids/{schema_id}", headers=self._headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310 - checked below
                data = response.read()
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404 and _code(error) == _SCHEMA_NOT_FOUND:
                    return None
            raise RegistryUnavailable(f"the schema registry answers {error.code} for id {schema_id}") from error
        except HTTPException as error:
            raise RegistryUnavailable(f"the schema registry breaks off for id {schema_id}: {error!r}") from error
        except (OSError, ValueError) as error:  # ValueError: a host that is no name
            self._unreached = f"the schema registry cannot be reached: {error}"
            self._ask_again = time.monotonic() + _PAUSE_SECONDS
            raise RegistryUnavailable(self._unreached) from error
        try:
            return parse_schema(json.loads(json.loads(data)["schema"]))
        except (LookupError, TypeError, ValueError, SchemaParseException) as error:
            reason = f"the schema registry answers for id {schema_id} with no schema: {type(error).__name__}"
            raise RegistryUnavailable(reason) from error


def _code(error: urllib.error.HTTPError) -> int | None:
    try:
        code: int | None = json.load(error).get("error_code")
    except (OSError, HTTPException, ValueError, AttributeError):  # cut short, or another kind of page
        return None
    return code


def _without_credentials(url: str) -> tuple[str, dict[str, str]]:
    """A registry's address without user and password, and the headers that carry them."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Misconfigured("SCHEMA_REGISTRY_URL is no http(s) address")
    headers = {"Accept": "application/vnd.schemaregistry.v1+json"}
    if parts.username:
        token = base64.b64encode(f"{parts.username}:{parts.password or ''}".encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    host = parts.hostname + (f":{parts.port}" if parts.port else "")
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", "")), headers
