"""`sitecustomize` of the previous release, which Python runs first: what its processes need under this release's Compose file.

They read some settings by other names. auth and demo have no health check over HTTP: they get one that is good while they accept
connections. A release that has both needs no such file.
"""

from __future__ import annotations

import http.server
import os
import socket
import sys
import threading

OLD_NAMES = {"METRICS_ADDRESS": ("JOBS_METRICS_ADDRESS", "WORKER_METRICS_ADDRESS")}
WITHOUT_HEALTH = ("services.auth", "services.demo")
SECONDS = 1.0

for name, old_names in OLD_NAMES.items():
    for old_name in old_names:
        os.environ.setdefault(old_name, os.environ.get(name, ""))


class Health(http.server.BaseHTTPRequestHandler):
    """Answers 200 while the process accepts connections, else 503."""

    def do_GET(self) -> None:
        """Answer a probe."""
        host, _, port = os.environ["LISTEN"].rpartition(":")
        try:
            socket.create_connection((host, int(port)), SECONDS).close()
        except OSError:
            self.send_error(503)
        else:
            self.send_response(200)
            self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by http.server
        """Log nothing."""


if sys.orig_argv[-3:-1] in (["-m", module] for module in WITHOUT_HEALTH) and sys.orig_argv[-1] == "serve":
    address, _, number = os.environ["METRICS_ADDRESS"].rpartition(":")
    server = http.server.ThreadingHTTPServer((address, int(number)), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
