"""Settings of the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from chassis import settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(settings.Process):
    """What the gateway is told."""

    listen: str = "0.0.0.0:8080"
    auth_target: str
    demo_target: str
    jobs_target: str
    public_url: str = "http://127.0.0.1:8080"
    """How browsers reach us; https makes the cookie Secure."""
    trusted_proxies: str = ""
    """Addresses whose X-Forwarded-For and X-Forwarded-Proto count, comma-separated; empty: nobody's."""

    @property
    def is_https(self) -> bool:
        """Whether browsers reach us over TLS."""
        return urlsplit(self.public_url).scheme == "https"

    @property
    def public_origin(self) -> str:
        """Scheme, host and port of the public URL, as browsers write them into `Origin`."""
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        host, _, port = self.listen.rpartition(":")
        return host, int(port)
