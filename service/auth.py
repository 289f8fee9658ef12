"""Who may use the HTTP API, and how often: bearer tokens, of which the service knows only the hashes."""

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from typing import Self

from service.errors import Misconfigured
from service.settings import Settings

_LINE = re.compile(r"(?P<name>[^\s:]+):(?P<digest>[0-9a-fA-F]{64})(:(?P<rate>\d{1,6}(\.\d{1,3})?))?")

DEFAULT_RATE = 100.0
"""Requests a second that a token is good for, where its line does not say."""

_BURST_SECONDS = 2.0
"""Whoever has asked for nothing may ask for so many seconds' requests at once."""


class Tokens:
    """Tokens by the names of those who hold them."""

    def __init__(self, digests: Mapping[str, str], rates: Mapping[str, float] | None = None) -> None:
        """``digests``: SHA-256 of each token, in hexadecimal; ``rates``: requests a second, where not the default."""
        self._digests = {name: digest.lower() for name, digest in digests.items()}
        self._rates = dict(rates or {})

    @classmethod
    def read(cls, path: Path) -> Self:
        """A file with a line ``name:sha256-of-the-token`` or ``name:sha256-of-the-token:requests-a-second`` each.

        Blank lines and # comments say nothing.

        Raises Misconfigured, with the line's number and never its text.
        """
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(f"HTTP_TOKENS_FILE: {path} cannot be read: {error}") from error
        digests: dict[str, str] = {}
        rates: dict[str, float] = {}
        for number, line in enumerate(map(str.strip, lines), start=1):
            if not line or line.startswith("#"):
                continue
            entry = _LINE.fullmatch(line)
            if entry is None or float(entry["rate"] or DEFAULT_RATE) == 0:
                raise Misconfigured(
                    f"HTTP_TOKENS_FILE: line {number} of {path} is not name:sha256-of-the-token[:requests-a-second]"
                )
            if entry["name"] in digests:
                raise Misconfigured(f"HTTP_TOKENS_FILE: line {number} of {path} names {entry['name']} again")
            digests[entry["name"]] = entry["digest"]
            if entry["rate"] is not None:
                rates[entry["name"]] = float(entry["rate"])
        if not digests:
            raise Misconfigured(f"HTTP_TOKENS_FILE: {path} has no token: nobody could use the API")
        return cls(digests, rates)

    def holder(self, token: str) -> str | None:
        """Whose token this is; None if nobody's. Takes as long for the one as for the other."""
        digest = sha256(token.encode()).hexdigest()
        found = None
        for name, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def rate(self, name: str) -> float:
        """Requests a second that this holder may make."""
        return self._rates.get(name, DEFAULT_RATE)


class Limits:
    """How often each holder of a token asks. To be used by one thread."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._free_at: dict[str, float] = {}
        """When each holder's requests so far are paid for, at the rate of its token."""

    def ask(self, name: str) -> float:
        """Seconds until this holder may ask again; 0 if it may now, and then this counts."""
        rate = self._tokens.rate(name)
        now = monotonic()
        free_at = max(self._free_at.get(name, now), now)
        wait = free_at + 1 / rate - now - max(_BURST_SECONDS, 1 / rate)
        if wait <= 0:
            self._free_at[name] = free_at + 1 / rate
        return max(wait, 0.0)


def tokens(settings: Settings) -> Tokens | None:
    """The tokens that the API asks for; None where it may be open.

    Raises Misconfigured for a file that is none, and for an API that listens beyond this machine without tokens.
    """
    if settings.http_tokens_file is not None:
        return Tokens.read(settings.http_tokens_file)
    if not (settings.http_open or _is_loopback(settings.http_host)):
        raise Misconfigured(
            f"HTTP_HOST is {settings.http_host}, beyond this machine: set HTTP_TOKENS_FILE, "
            "or HTTP_OPEN=true where the network is closed"
        )
    return None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name: it may be any machine's
        return False
