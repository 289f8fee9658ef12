"""Who may use the HTTP API: bearer tokens, of which the service knows only the hashes."""

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from service.errors import Misconfigured
from service.settings import Settings

_LINE = re.compile(r"(?P<name>[^\s:]+):(?P<digest>[0-9a-fA-F]{64})")


class Tokens:
    """Tokens by the names of those who hold them."""

    def __init__(self, digests: Mapping[str, str]) -> None:
        """``digests``: SHA-256 of each token, in hexadecimal."""
        self._digests = {name: digest.lower() for name, digest in digests.items()}

    @classmethod
    def read(cls, path: Path) -> Self:
        """A file with a line ``name:sha256-of-the-token`` each; blank lines and # comments say nothing.

        Raises Misconfigured, with the line's number and never its text.
        """
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(f"HTTP_TOKENS_FILE: {path} cannot be read: {error}") from error
        digests: dict[str, str] = {}
        for number, line in enumerate(map(str.strip, lines), start=1):
            if not line or line.startswith("#"):
                continue
            entry = _LINE.fullmatch(line)
            if entry is None:
                raise Misconfigured(f"HTTP_TOKENS_FILE: line {number} of {path} is not name:sha256-of-the-token")
            if entry["name"] in digests:
                raise Misconfigured(f"HTTP_TOKENS_FILE: line {number} of {path} names {entry['name']} again")
            digests[entry["name"]] = entry["digest"]
        if not digests:
            raise Misconfigured(f"HTTP_TOKENS_FILE: {path} has no token: nobody could use the API")
        return cls(digests)

    def holder(self, token: str) -> str | None:
        """Whose token this is; None if nobody's. Takes as long for the one as for the other."""
        digest = sha256(token.encode()).hexdigest()
        found = None
        for name, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found


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
