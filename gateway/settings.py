"""Settings of the gateway."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from chassis import addresses, public_url, settings
from gateway.middleware import rate_limits

NO_PROXIES = "none"
MAX_WORKERS = 64
_LOCAL_URL = re.compile(r"http://127\.0\.0\.1:[0-9]{1,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(settings.Process):
    listen: str = "0.0.0.0:8080"
    gateway_workers: int = 1
    """The number of processes, at most 64. They are independent of each other, like replicas."""
    auth_target: str
    demo_target: str
    jobs_target: str
    public_url: str = "http://127.0.0.1:8080"
    """The URL that browsers use; https makes the cookie Secure."""
    trusted_proxies: str = ""
    """Addresses whose X-Forwarded-For and X-Forwarded-Proto count, comma-separated; none if empty or `none`."""
    trust_traceparent: bool = False
    """Whether requests continue the trace of their `traceparent`; only behind a proxy that sets or removes this header."""
    trace_url: str = ""
    """The address of a trace in the trace backend, with `{trace_id}`; empty: pages show ids of traces without a link."""
    max_guests: int = 200
    """As for auth; 0: the front page offers no demo without an account."""
    rate_limit_user: str = "6000/60"
    """The rate limit of each user, as requests/seconds; `off` for none. Each replica counts on its own."""
    rate_limit_network: str = "6000/60"
    """The same for callers without a session, by address, or /64 of IPv6."""
    rate_limit_sign_in: str = "600/60"
    """The same for sign-ins, registrations and password resets, by address, or /64 of IPv6."""

    break_url: str = ""
    """The control endpoint of `make up`, `http://127.0.0.1:<port>`; empty: there is no page *Break it yourself*."""
    break_token: str = ""
    """The token of that endpoint."""

    def __post_init__(self) -> None:
        if self.break_url and self.environment == "production":
            raise settings.SettingsError("BREAK_URL is for development: production has no page that breaks the system")
        if self.break_url and not _LOCAL_URL.fullmatch(self.break_url):
            raise settings.SettingsError("BREAK_URL must be http://127.0.0.1:<port>")
        if self.break_url and not self.break_token:
            raise settings.SettingsError("BREAK_TOKEN is missing: BREAK_URL needs it")
        try:
            object.__setattr__(self, "public_url", public_url.normalize(self.public_url))
        except ValueError as error:
            raise settings.SettingsError(f"PUBLIC_URL cannot be used: {error}") from error
        for proxy in filter(None, map(str.strip, self.proxies.split(","))):
            try:
                ipaddress.ip_network(proxy)
            except ValueError as error:
                message = f"TRUSTED_PROXIES must have addresses or networks: {error}"
                raise settings.SettingsError(message) from error
        if not 1 <= self.gateway_workers <= MAX_WORKERS:
            raise settings.SettingsError(f"GATEWAY_WORKERS must be between 1 and {MAX_WORKERS}")
        if self.trace_url and (
            "{trace_id}" not in self.trace_url or urlsplit(self.trace_url).scheme not in ("http", "https")
        ):
            raise settings.SettingsError("TRACE_URL must be an http or https URL that contains {trace_id}")
        for name in ("user", "network", "sign_in"):
            if (quota := getattr(self, f"rate_limit_{name}")) != rate_limits.OFF:
                rate_limits.Bucket(name, quota)
        if self.environment != "production":
            return
        if not self.is_https and urlsplit(self.public_url).hostname not in ("localhost", "127.0.0.1"):
            raise settings.SettingsError(
                "PUBLIC_URL must begin with https:// in production, unless it is of this very machine: "
                "over plain http browsers would send the session's cookie in the clear"
            )
        if self.is_https and not self.trusted_proxies.strip():
            raise settings.SettingsError(
                "TRUSTED_PROXIES is missing: production behind TLS needs the proxy's addresses, or all clients would "
                f"seem to come from the proxy and be throttled as one; `{NO_PROXIES}` if no proxy stands before the gateway"
            )

    @property
    def is_https(self) -> bool:
        return urlsplit(self.public_url).scheme == "https"

    @property
    def proxies(self) -> str:
        """The trusted proxies, comma-separated; empty when there are none."""
        return "" if self.trusted_proxies.strip() == NO_PROXIES else self.trusted_proxies

    @property
    def rate_limits(self) -> rate_limits.RateLimits:
        return rate_limits.RateLimits(
            user=self.rate_limit_user, network=self.rate_limit_network, sign_in=self.rate_limit_sign_in
        )

    @property
    def public_origin(self) -> str:
        """Scheme, host and port of the public URL, as in the `Origin` header."""
        return self.public_url

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        return addresses.host_and_port(self.listen)
