"""A user who performs random operations and checks the visible state in between."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from dev import fake_provider
from tests.acceptance.users import AWAY, PASSWORD, User
from tests.chaos.journal import Answer, Journal

REFUSALS = frozenset({404, 409})
CONNECTION = f"/connections/{fake_provider.NAME}"
REVOKED_SECONDS = 30.0
"""Time until every gateway refuses an ended session, also one that missed its revocation."""
SIGN_OUT_SECONDS = 120.0
REPEATS = (0.3, 1.0, 2.0, 4.0)
"""Pauses before the repetitions of a call that was not answered."""
REPEATED_SHARE = 0.1
"""The share of answered calls that are repeated nevertheless."""


class Actor:
    """Acts for one user; one action at a time."""

    def __init__(self, user: User, seed: int, journal: Journal | None = None, *, has_platform: bool = False) -> None:
        self.user = user
        self.accepted: set[str] = set()
        """Ids of accepted jobs."""
        self.answers: Counter[str] = Counter()
        self._journal = journal
        self._random = random.Random(seed)
        self._actions = [
            "enable",
            "enable",
            "disable",
            "dismiss",
            "cancel",
            "retry",
            "retry any",
            "click twice",
            "export",
        ]
        if has_platform:
            self._actions += ["connect", "disconnect", "sign in and out"]

    async def act(self, stop: asyncio.Event) -> None:
        """Act until `stop` is set."""
        while not stop.is_set():
            await self._check()
            await self._choose()
            await asyncio.sleep(self._random.uniform(0.2, 3.0))

    async def _choose(self) -> None:
        job_id = self._random.choice(sorted(self.accepted)) if self.accepted else ""
        newest = max(self.accepted, default="")
        match self._random.choice(self._actions):
            case "enable":
                await self._change("/demo/enable", json=self._wish())
            case "disable":
                await self._change("/demo/disable")
            case "dismiss":
                await self._post("/demo/dismiss")
            case "cancel" if newest:
                await self._post(f"/jobs/{newest}/cancel")
            case "retry" if newest:
                await self._post(f"/jobs/{newest}/retry")
            case "retry any" if job_id:
                await self._post(f"/jobs/{job_id}/retry")
            case "click twice":
                await self._click_twice()
            case "export":
                await self._change("/exports")
            case "connect":
                await self._connect()
            case "disconnect":
                await self._post(f"{CONNECTION}/disconnect")
            case "sign in and out":
                await self._sign_in_and_out()

    async def _click_twice(self) -> None:
        key, options = _new_key(), self._wish()
        await asyncio.gather(*(self._change("/demo/enable", key=key, json=options) for _ in range(2)))

    async def _connect(self) -> None:
        """Consent at the platform, as a browser does."""
        answer = await self._post(f"{CONNECTION}/connect")
        if answer is None or answer.status_code != 202:
            return
        url = answer.json()["authorization_url"]
        form = dict(parse_qsl(urlsplit(url).query)) | {"choice": "allow", "name": self.user.email}
        async with httpx.AsyncClient() as platform:
            consented = await platform.post(url.partition("?")[0], data=form)
        assert consented.status_code == 303, consented.text
        back = urlsplit(consented.headers["location"])
        await self._send("GET", f"{back.path}?{back.query}", expected={303})

    async def _sign_in_and_out(self) -> None:
        """Sign in at another browser and out again: the session is refused then."""
        other = User(str(self.user.http.base_url), email=self.user.email)
        try:
            credentials = {"email": self.user.email, "password": PASSWORD}
            if not await self._succeeds(other, "POST", "/auth/login", json=credentials):
                return
            cookies = dict(other.http.cookies)
            if not await self._succeeds(other, "POST", "/auth/logout"):
                return
            other.http.cookies.update(cookies)
            signed_out = time.monotonic()
            async with asyncio.timeout(SIGN_OUT_SECONDS):
                while True:
                    elapsed = time.monotonic() - signed_out
                    answer = await self._send("GET", "/auth/me", user=other, expected={200, 401})
                    if answer is not None and answer.status_code == 401:
                        return
                    assert answer is None or answer.status_code in AWAY or elapsed < REVOKED_SECONDS, elapsed
                    await asyncio.sleep(0.5)
        finally:
            await other.close()

    async def _succeeds(self, user: User, method: str, path: str, **options: Any) -> bool:
        answer = await self._send(method, path, user=user, expected={200, 204}, **options)
        return answer is not None and answer.status_code not in AWAY

    async def _change(self, path: str, *, key: str = "", **options: Any) -> None:
        """Send a call with an idempotency key and repeat it until it is answered, as a careful client does."""
        key = key or _new_key()
        for pause in REPEATS:
            began = time.monotonic()
            answer = await self._post(path, headers={"Idempotency-Key": key}, **options)
            status = answer.status_code if answer is not None else 0
            job_id = answer.json()["job_id"] if answer is not None and status == 202 else ""
            if self._journal:
                self._journal.answer(self.user.user_id, path, key, Answer(began, time.monotonic(), status, job_id))
            if job_id:
                self.accepted.add(job_id)
                if self._journal:
                    self._journal.accept(self.user.user_id, job_id, time.monotonic() - began)
            if status not in AWAY | {0} and self._random.random() > REPEATED_SHARE:
                return
            await asyncio.sleep(pause)

    async def _post(self, path: str, **options: Any) -> httpx.Response | None:
        return await self._send("POST", path, expected=REFUSALS | {200, 202}, **options)

    async def _send(
        self, method: str, path: str, *, expected: frozenset[int] | set[int], user: User | None = None, **options: Any
    ) -> httpx.Response | None:
        """Send a request and record the answer; None if the connection broke. Other answers than expected fail."""
        user, began = user or self.user, time.monotonic()
        try:
            answer = await (user.get(path, **options) if method == "GET" else user.post(path, **options))
        except httpx.TransportError as error:
            self._record(method, path, began, "broken", cause=type(error).__name__)
            return None
        code = answer.json().get("code", "") if answer.status_code >= 400 and answer.content else ""
        self._record(method, path, began, str(answer.status_code), code=code)
        assert answer.status_code in AWAY | expected, f"{path}: {answer.status_code} {answer.text}"
        return answer

    def _record(self, method: str, path: str, began: float, status: str, **more: str) -> None:
        self.answers[status] += 1
        if self._journal:
            self._journal.call(self.user.user_id, method, path.partition("?")[0], began, status, **more)

    async def _check(self) -> None:
        """Check that rows are visible if and only if demo mode is enabled; skipped if its state changes meanwhile."""
        before = await self.user.probe("/demo/status")
        rows = await self.user.probe("/interactions?page_size=1")
        after = await self.user.probe("/demo/status")
        if not (before and rows and after) or before["version"] != after["version"]:
            return
        is_enabled = after["status"] == "enabled"
        assert bool(rows["interactions"]) == is_enabled, (rows, after)
        assert after["demo_mode"] == is_enabled

    def _wish(self) -> dict[str, object]:
        return {"content_count": self._random.choice([1, 60]), "interaction_count": self._random.choice([1, 300, 1500])}


def _new_key() -> str:
    """Return an idempotency key. No seed decides it: it would be the same in every run of one database."""
    return secrets.token_urlsafe(12)
