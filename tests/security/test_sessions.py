"""New and renewed sessions: old tokens are refused, and use alone causes almost no writes."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from tests.acceptance import waiting
from tests.integration.gateway.html import Page, submit
from tests.security import users
from tests.security.conftest import Replicated
from tests.security.users import Person

TOGETHER = 10
_COUNTING = """
    CREATE TABLE public.session_writes (session_id uuid);
    CREATE FUNCTION public.note_session_write() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
        'BEGIN INSERT INTO public.session_writes VALUES (NEW.session_id); RETURN NEW; END';
    CREATE TRIGGER counting AFTER UPDATE ON auth.sessions FOR EACH ROW EXECUTE FUNCTION public.note_session_write();
"""
_NOT_COUNTING = """
    DROP TRIGGER counting ON auth.sessions;
    DROP FUNCTION public.note_session_write;
    DROP TABLE public.session_writes;
"""
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'auth' AND wait_event_type = 'Lock'"
_AGE = """
    UPDATE auth.sessions SET
        created_at = created_at - interval '6 minutes', last_seen_at = last_seen_at - interval '6 minutes',
        authenticated_at = authenticated_at - interval '6 minutes',
        idle_expires_at = idle_expires_at - interval '6 minutes',
        absolute_expires_at = absolute_expires_at - interval '6 minutes'
    WHERE session_id = %s
"""


@pytest.mark.parametrize("path", ["/auth/login", "/auth/register"])
async def test_a_planted_token_is_invalid_before_and_after_sign_in(
    system: Replicated, person: Person, path: str
) -> None:
    planted = f"rpv_{secrets.token_urlsafe(32)}"
    async with users.at(system.url) as browser:
        browser.cookies.set("session", planted, domain="127.0.0.1")
        email = person.email if path == "/auth/login" else f"new-{person.email}"
        answer = await browser.post(f"/api/v1{path}", json={**person.credentials, "email": email})
        assert answer.is_success, answer.text
        token = answer.cookies["session"]
    assert token != planted
    for url in system.urls:
        assert await users.status(url, token) == 200
        assert await users.status(url, planted) == 401


@pytest.mark.parametrize("path", ["/auth/login", "/auth/register"])
async def test_signing_in_over_a_session_ends_it(system: Replicated, person: Person, path: str) -> None:
    before = person.token
    email = person.email if path == "/auth/login" else f"new-{person.email}"
    answer = await person.post(path, json={**person.credentials, "email": email})
    assert answer.is_success, answer.text
    assert person.token != before
    assert await users.status(system.url, before) == 401
    assert (await person.get("/auth/me")).status_code == 200
    # A request for a bearer token ends no session, also with a cookie.
    assert await users.status(system.url, await person.new_token() if path == "/auth/login" else person.token) == 200
    assert (await person.get("/auth/me")).status_code == 200


async def test_the_page_ends_the_session_before_too(system: Replicated, person: Person) -> None:
    before = person.token
    async with users.at(system.url) as browser:
        page = Page(await browser.get("/login", headers={"Accept": "text/html"}))
        browser.cookies.set("session", before, domain="127.0.0.1", path="/")
        answer = await submit(browser, page, "/login", **person.credentials)
        assert answer.status_code == 303
        assert await users.status(system.url, answer.cookies["session"]) == 200
    assert await users.status(system.url, before) == 401


async def wait_for_renewals(system: Replicated) -> bool:
    """Wait until renewals wait for each other; return whether they do in time: a service waits three seconds for a lock."""

    async def wait() -> bool:
        [waiting_now] = await system.query(_WAITING)
        return int(waiting_now["count"]) > 1

    try:
        return await waiting.until(wait, "renewals wait for each other", seconds=2.0)
    except AssertionError:
        return False


async def writes_of_use(system: Replicated, person: Person) -> list[str] | None:
    """Use a session that is due for a renewal. Return the sessions that were written, relative to it.

    Both gateways renew at once, without a cached session, while the row is locked until several renewals wait. None if a busy
    machine was too slow for that.
    """
    token = await person.new_token()
    [session] = await system.query(
        "SELECT session_id FROM auth.sessions WHERE user_id = %s ORDER BY created_at DESC LIMIT 1", person.user_id
    )
    await system.execute(_AGE, session["session_id"])
    await system.execute(_COUNTING)
    try:
        async with users.at(system.urls[0], token) as here, users.at(system.urls[1], token) as there:
            async with system.locked_row("auth.sessions", "session_id", session["session_id"]):
                asking = [asyncio.ensure_future(http.get("/api/v1/auth/me")) for http in (here, there) * TOGETHER]
                are_waiting = await wait_for_renewals(system)
            statuses = {answer.status_code for answer in await asyncio.gather(*asking)}
            # The service gives up a lock that the test has held for too long.
            if not are_waiting or 503 in statuses:
                return None
            assert statuses == {200}
            for _ in range(100):
                assert (await here.get("/api/v1/auth/me")).status_code == 200
        writes = await system.query("SELECT session_id FROM public.session_writes")
    finally:
        await system.execute(_NOT_COUNTING)
    return ["its own" if row["session_id"] == session["session_id"] else "another" for row in writes]


async def test_use_renews_a_session_by_one_write(system: Replicated, person: Person) -> None:
    tries = 0
    while (writes := await writes_of_use(system, person)) is None and tries < 10:
        tries += 1
    assert writes == ["its own"]
