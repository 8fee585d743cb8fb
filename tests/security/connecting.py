"""A person connects to the fake platform."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx

from dev import fake_provider
from tests.acceptance import waiting
from tests.security.users import Person

CONNECTIONS = f"/connections/{fake_provider.NAME}"


@dataclass(slots=True)
class Authorization:
    """The parameters of the authorization request, and the platform's code."""

    parameters: dict[str, str]
    code: str = ""


@asynccontextmanager
async def connection(person: Person) -> AsyncIterator[Authorization]:
    """Begin to connect. The end of the context consents, returns from the platform, and waits until it is connected."""
    response = await person.post(f"{CONNECTIONS}/connect", json={"return_to": "/settings/connections"})
    assert response.status_code == 202, response.text
    url = response.json()["authorization_url"]
    authorization = Authorization(dict(parse_qsl(urlsplit(url).query)))
    yield authorization
    consent = {**authorization.parameters, "choice": "allow", "name": person.email}
    async with httpx.AsyncClient() as browser:
        consented = await browser.post(url.partition("?")[0], data=consent)
    back = urlsplit(consented.headers["location"])
    authorization.code = parse_qs(back.query)["code"][0]
    assert (await person.get(f"{back.path}?{back.query}")).status_code == 303

    async def is_connected() -> bool:
        return bool((await person.get(CONNECTIONS)).json()["status"] == "connected")

    await waiting.until(is_connected, "the platform is connected")
