"""The container's health: 0 if /healthz says that the worker's loop turns. Needs nothing but Python."""

import os
import sys
from urllib.request import ProxyHandler, build_opener


def main() -> int:
    """Exit code for HEALTHCHECK. A worker without HTTP is not asked."""
    port = os.environ.get("HTTP_PORT") or "8000"
    if port == "none":
        return 0
    try:  # no proxy, whatever the environment says: this is the same container
        build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
    except OSError as error:
        print(error, file=sys.stderr)  # noqa: T201 - what `docker inspect` shows
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
