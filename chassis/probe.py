"""Check whether a process is ready: `python -m chassis.probe http://127.0.0.1:9090/healthz`; exit 0 if so.

It is the health check of the containers and of the local launcher. The URL is that of the metrics server of a process, which
listens while the process serves; it runs every few seconds in each container, so it imports little.
"""

from __future__ import annotations

import http.client
import sys
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 2.0


def is_ready(url: str) -> bool:
    """Return whether a GET of `url` (scheme http) returns 200 within `TIMEOUT_SECONDS`."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        raise ValueError(f"cannot probe {url!r}: the scheme must be http")
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_ready(sys.argv[1]) else 1)
