"""An ended session is refused at once by the revoking gateway, and soon by the other one, also during outages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.acceptance import waiting
from tests.acceptance.streams import Stream
from tests.acceptance.users import PASSWORD
from tests.security import users
from tests.security.conftest import NewPerson, Replicated
from tests.security.token_watch import TokenWatch
from tests.security.users import Person

SESSIONS_EACH = 10
CACHE_SECONDS = 5.0
SLACK_SECONDS = 20.0
"""For a busy machine. An active session would stay in the cache for a minute."""
OTHER_PASSWORD = "another-anvil-rowing"


async def end_all(person: Person) -> None:
    """End all sessions; repeat while a part of the system is down."""

    async def is_done() -> bool:
        answer = await person.post("/auth/sessions/revoke-all")
        # 401: the sessions ended, and the response was lost.
        assert answer.status_code in {204, 401, 503, 504}, answer.text
        return answer.status_code in {204, 401}

    await waiting.until(is_done, "the sessions are ended")


async def test_forty_warm_sessions_end_on_every_gateway(system: Replicated, new_person: NewPerson) -> None:
    owners = [await new_person() for _ in range(4)]
    tokens = [await owner.new_token() for owner in owners for _ in range(SESSIONS_EACH)]
    here, there = system.urls
    for url in (here, there):
        assert {await users.status(url, token) for token in tokens} == {200}
    async with TokenWatch(here, tokens) as at_once, TokenWatch(there, tokens) as soon:
        await asyncio.gather(*(end_all(owner) for owner in owners))
        at_once.require_refusals()
        await at_once.wait_until_refused()
        await soon.wait_until_refused(seconds=CACHE_SECONDS + SLACK_SECONDS)


async def test_ended_sessions_are_refused_without_nats(system: Replicated, person: Person) -> None:
    tokens = [await person.new_token() for _ in range(SESSIONS_EACH)]
    here, there = system.urls
    async with TokenWatch(here, tokens) as at_once, TokenWatch(there, tokens) as soon:
        await at_once.wait_for_status(200)
        await soon.wait_for_status(200)
        async with system.down("nats"):
            await end_all(person)
            at_once.require_refusals()
            await at_once.wait_until_refused()
            await soon.wait_until_refused(seconds=CACHE_SECONDS + SLACK_SECONDS)
        await waiting.until(system.is_healthy, "NATS is heard again")
        assert {await users.status(url, token) for token in tokens for url in (here, there)} == {401}


async def test_sessions_ended_during_an_outage_of_auth_are_refused(system: Replicated, person: Person) -> None:
    tokens = [await person.new_token() for _ in range(SESSIONS_EACH)]
    here, there = system.urls
    # The gateway has cached the revoking session, so only the revocation itself waits for auth.
    assert (await person.get("/auth/me")).status_code == 200
    async with system.paused("auth") as wake, TokenWatch(here, tokens) as at_once, TokenWatch(there, tokens) as soon:
        ending = asyncio.create_task(end_all(person))
        # No gateway accepts a session without validation, and each has validations in flight.
        for watch in (at_once, soon):
            await watch.wait_for_status(503, 504)
            assert not watch.statuses[200]
        wake()
        await ending
        at_once.require_refusals()
        await at_once.wait_until_refused()
        await soon.wait_until_refused(seconds=CACHE_SECONDS + SLACK_SECONDS)


async def test_a_stream_sends_nothing_after_its_session(system: Replicated, person: Person) -> None:
    here, there = system.urls
    doomed = [Person(url, email=person.email) for url in (here, there)]
    for browser in doomed:
        assert (await browser.post("/auth/login", json=browser.credentials)).status_code == 200
    async with (
        Stream(person) as lives,
        Stream(doomed[0], reconnects=False) as first,
        Stream(doomed[1], reconnects=False) as second,
    ):
        response = await person.post("/auth/sessions/revoke-all", json={"keep_current": True})
        assert response.status_code == 204
        await second.has("bye", seconds=CACHE_SECONDS + SLACK_SECONDS)
        await person.enable({"niche": "tech_reviews", "interaction_count": 10})
        await lives.has("demo", lambda data: data["status"] == "enabled")
        for stream, browser in ((first, doomed[0]), (second, doomed[1])):
            await waiting.until(_ended(stream), "the stream has ended", seconds=CACHE_SECONDS + SLACK_SECONDS)
            assert stream.events[-1].name == "bye"
            assert stream.events[-1].data == {"reason": "session_expired"}
            assert not [event for event in stream.events if event.name == "job"]
            again = await browser.get("/events", headers={"Accept": "text/event-stream"})
            assert again.status_code == 401
            await browser.close()


async def change(system: Replicated, admin: Person, person: Person) -> None:
    before = person.token
    fields = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    answer = await person.post("/auth/password", json=fields)
    assert answer.status_code == 200, answer.text
    # The session continues under a new token.
    assert person.token != before
    assert [await users.status(url, person.token) for url in system.urls] == [200, 200]
    await refused_everywhere(system, before)
    assert (await person.post("/auth/token", json=person.credentials)).status_code == 401


async def reset(system: Replicated, admin: Person, person: Person) -> None:
    assert (await person.post("/auth/password/forgot", json={"email": person.email})).status_code == 202
    token = await users.mailed_token(system.mails, person.email, "reset-password")
    answer = await person.post("/auth/password/reset", json={"token": token, "password": OTHER_PASSWORD})
    assert answer.status_code == 204, answer.text
    assert "set-cookie" not in answer.headers
    again = await person.post("/auth/password/reset", json={"token": token, "password": OTHER_PASSWORD})
    assert (again.status_code, again.json()["code"]) == (422, "token_invalid")
    assert (await person.post("/auth/token", json=person.credentials)).status_code == 401


async def disable(system: Replicated, admin: Person, person: Person) -> None:
    assert (await admin.post(f"/admin/users/{person.user_id}/disable")).status_code == 200
    response = await person.post("/auth/token", json=person.credentials)
    assert (response.status_code, response.json()["code"]) == (401, "invalid_credentials")


async def promote(system: Replicated, admin: Person, person: Person) -> None:
    answer = await admin.post(f"/admin/users/{person.user_id}/role", json={"role": "admin"})
    assert answer.status_code == 200, answer.text
    assert await users.status(system.url, await person.new_token(), "/api/v1/admin/users") == 200


async def demote(system: Replicated, admin: Person, person: Person) -> None:
    assert (await admin.post(f"/admin/users/{person.user_id}/role", json={"role": "user"})).status_code == 200
    assert await users.status(system.url, await person.new_token(), "/api/v1/admin/users") == 403


async def refused_everywhere(system: Replicated, token: str) -> None:
    here, there = system.urls
    assert await users.status(here, token) == 401

    async def is_refused() -> bool:
        return await users.status(there, token) == 401

    await waiting.until(is_refused, "the other gateway refuses it", seconds=CACHE_SECONDS + SLACK_SECONDS)


@pytest.mark.parametrize("end", [change, reset, disable, promote, demote])
async def test_what_changes_an_account_ends_its_sessions(
    system: Replicated, admin: Person, person: Person, end: Callable[..., Awaitable[None]]
) -> None:
    if end is demote:
        await promote(system, admin, person)
    tokens = [await person.new_token() for _ in range(2)]
    for url in system.urls:
        assert [await users.status(url, token) for token in tokens] == [200, 200]
    await end(system, admin, person)
    for token in tokens:
        await refused_everywhere(system, token)


def _ended(stream: Stream) -> Callable[[], Awaitable[bool]]:
    async def probe() -> bool:
        return stream.has_ended

    return probe
