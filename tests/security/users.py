"""Users with browsers and programs, each on their own network."""

from __future__ import annotations

import asyncio
import itertools
import re
import ssl
from collections.abc import Mapping
from pathlib import Path

import httpx

from tests.acceptance import waiting
from tests.acceptance.users import AWAY, PASSWORD, REPEAT_SECONDS, User
from tests.mails import emails_to, text_of

_TLS = ssl.create_default_context()
"""Not used, since tests call gateways without TLS; without it httpx would slowly create one for each client."""
_LINK = re.compile(r"https?://\S+[?&]token=(rpl_[A-Za-z0-9_-]{43})")


_addresses = itertools.count()


def new_address() -> str:
    """Return another loopback address for each client, so that clients are throttled separately."""
    network, host = divmod(next(_addresses), 254)
    return f"127.{1 + (network >> 8)}.{network & 255}.{1 + host}"


class Person(User):
    """A user with an account and optionally their own network address."""

    def __init__(self, url: str, *, email: str = "", address: str = "") -> None:
        super().__init__(url, email=email)
        self.address = address or new_address()
        transport = httpx.AsyncHTTPTransport(local_address=self.address, verify=_TLS)
        self.http = httpx.AsyncClient(base_url=url, timeout=60.0, transport=transport)

    @property
    def credentials(self) -> Mapping[str, str]:
        """Email and password."""
        return {"email": self.email, "password": PASSWORD}

    @property
    def token(self) -> str:
        """The token of their cookie."""
        return self.http.cookies["session"]

    async def new_token(self) -> str:
        """Begin a session of a program."""
        answer = await self.post("/auth/token", json=self.credentials)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["token"]
        return token


def at(url: str, token: str = "", *, address: str = "") -> httpx.AsyncClient:
    """Return a client with a bearer token, if any, and a local address."""
    transport = httpx.AsyncHTTPTransport(local_address=address or None, verify=_TLS)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(base_url=url, timeout=60.0, transport=transport, headers=headers)


async def status(url: str, token: str, path: str = "/api/v1/auth/me") -> int:
    """Send a token to a gateway and return the status of the response. On a busy machine a request may end at its deadline."""
    async with at(url, token) as http, asyncio.timeout(REPEAT_SECONDS):
        while (answer := await http.get(path)).status_code in AWAY:
            pass
        return answer.status_code


async def mailed_token(folder: Path, email: str, word: str) -> str:
    """Wait for an email to an address whose text has this word, and return the secret of its link."""

    def find() -> str | None:
        for text in map(text_of, reversed(emails_to(folder, email))):
            if word in text:
                link = _LINK.search(text)
                return link[1] if link else None
        return None

    return await waiting.until(lambda: asyncio.to_thread(find), f"an email to {email} about {word}")
