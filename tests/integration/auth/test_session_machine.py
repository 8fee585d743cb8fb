"""Model-based test of sessions: in any order of actions, an ended session stays ended and is published once."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pyotp
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from chassis import errors, identity, outbox
from chassis.rpc import client
from repruv.auth.v1 import auth_events_pb2, auth_pb2
from services.auth import domain
from services.auth.admin import seed
from services.auth.context import Context
from tests.integration.auth.client import PASSWORD, Gateway, new_address, new_email
from tests.integration.auth.conftest import served

_SHIFT_ALL = """
    UPDATE auth.sessions SET
        created_at = created_at - :by, last_seen_at = last_seen_at - :by, authenticated_at = authenticated_at - :by,
        idle_expires_at = idle_expires_at - :by, absolute_expires_at = absolute_expires_at - :by
    WHERE user_id = :user_id
"""
_SPENT = "UPDATE auth.second_factors SET last_step = last_step - 100 WHERE user_id = :user_id"
EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "8"))
JUMPS = [timedelta(minutes=4), timedelta(minutes=11), timedelta(hours=11), timedelta(hours=13), timedelta(days=13)]


@dataclass(slots=True)
class Model:
    """The expected state of a session."""

    session_id: str
    identity: str
    lifetimes: domain.Lifetimes
    age: timedelta = timedelta()
    unused: timedelta = timedelta()
    proven: timedelta = timedelta()

    def pass_time(self, by: timedelta) -> None:
        self.age, self.unused, self.proven = self.age + by, self.unused + by, self.proven + by

    @property
    def is_over(self) -> bool:
        return self.unused >= self.lifetimes.idle or self.age >= self.lifetimes.absolute


class Machine(RuleBasedStateMachine):
    """One user and an admin, with every action on the user's sessions."""

    gateway: Gateway
    context: Context
    sql: Any
    loop: asyncio.AbstractEventLoop
    published: list[bytes]

    def __init__(self) -> None:
        super().__init__()
        self.living: dict[str, Model] = {}
        self.dead: set[str] = set()
        self.newly_dead: set[str] = set()
        self.revoked: dict[str, str] = {}
        self.password = PASSWORD
        self.secret = ""
        self.is_disabled = False
        self.email, self.ip_address = new_email(), new_address()
        self.admin = self.run(self._make_admin())
        login = self.run(self.gateway.register(self.email, ip_address=self.ip_address, remember=True))
        self.user_id = login.user.user_id
        self._began(login, domain.REMEMBERED)

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(call, self.loop).result(60)

    async def _make_admin(self) -> str:
        email = new_email()
        await seed.ensure_admin(self.context, email=email, password=PASSWORD, beside_others=True)
        login = await self.gateway.login(email, ip_address=new_address())
        return str((await self.gateway.validate(login.token)).identity)

    def _began(self, login: Any, lifetimes: domain.Lifetimes) -> None:
        signed = self.run(self.gateway.validate(login.token)).identity
        self.living[login.token] = Model(login.session.session_id, signed, lifetimes)
        if len(self.living) > domain.SESSIONS_PER_USER:
            self._ended(min(self.living, key=lambda token: self.living[token].session_id), "revoked")

    def _ended(self, token: str, reason: str = "") -> None:
        model = self.living.pop(token)
        self._died(token)
        if reason:
            self.revoked[model.session_id] = reason

    def _died(self, token: str) -> None:
        self.dead.add(token)
        self.newly_dead.add(token)

    def _rotated(self, old: str, new: str, *, is_proof: bool = True) -> None:
        model = self.living.pop(old)
        self._died(old)
        model.unused = timedelta()
        if is_proof:
            model.proven = timedelta()
        self.living[new] = model

    async def _validities(self, tokens: set[str]) -> list[bool]:
        # At the same time: the service looks all of them up in one statement.
        return await asyncio.gather(*(self.gateway.is_valid(token) for token in tokens))

    def _pick(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.living, key=lambda token: self.living[token].session_id)))

    def _code(self) -> str:
        self.run(self.sql(_SPENT, user_id=self.user_id))
        return pyotp.TOTP(self.secret).at(int(time.time())) if self.secret else ""

    def _fresh(self, data: st.DataObject) -> tuple[str, Model]:
        """Return a fresh session."""
        token = self._pick(data)
        model = self.living[token]
        if model.proven >= domain.FRESH_FOR:
            with pytest.raises(errors.PermissionDenied):
                self.run(self.gateway.revoke_all(user=model.identity))
            token = self._reauthenticate(token)
        return token, self.living[token]

    def _reauthenticate(self, token: str) -> str:
        call = self.gateway.auth(
            "Reauthenticate",
            user=self.living[token].identity,
            password=self.password,
            code=self._code(),
            ip_address=self.ip_address,
        )
        new = self.run(call).token
        self._rotated(token, new)
        return str(new)

    @rule(remember=st.booleans())
    def login(self, remember: bool) -> None:
        # From another network while disabled, because failures are counted per network.
        ip_address = new_address() if self.is_disabled else self.ip_address
        call = self.gateway.login(self.email, password=self.password, ip_address=ip_address, remember=remember)
        if self.is_disabled:
            with pytest.raises(errors.Unauthenticated):
                self.run(call)
            return
        new_login = self.run(call)
        if self.secret:
            assert new_login.token == ""
            new_login = self.run(
                self.gateway.auth(
                    "FinishLogin", challenge=new_login.challenge, code=self._code(), ip_address=self.ip_address
                )
            )
        self._began(new_login, domain.REMEMBERED if remember else domain.NOT_REMEMBERED)

    @precondition(lambda self: not self.is_disabled)
    @rule()
    def login_many_times(self) -> None:
        for _ in range(7):
            self.login(remember=True)

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        token = self._pick(data)
        model = self.living[token]
        validated = self.run(self.gateway.validate(token))
        assert validated.is_renewed is (model.unused >= domain.RENEW_AFTER)
        if validated.is_renewed:
            model.unused = timedelta()

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def reauthenticate(self, data: st.DataObject) -> None:
        self._reauthenticate(self._pick(data))

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def logout(self, data: st.DataObject) -> None:
        token = self._pick(data)
        model = self.living[token]
        self.run(self.gateway.revoke(model.session_id, user=model.identity, reason="logout"))
        self._ended(token, "logout")

    @precondition(lambda self: len(self.living) > 1)
    @rule(data=st.data())
    def revoke_another(self, data: st.DataObject) -> None:
        token, model = self._fresh(data)
        other = data.draw(st.sampled_from([living for living in self.living if living != token]))
        self.run(self.gateway.revoke(self.living[other].session_id, user=model.identity))
        self._ended(other, "revoked")

    @precondition(lambda self: self.living)
    @rule(data=st.data(), keeps=st.booleans())
    def revoke_all(self, data: st.DataObject, keeps: bool) -> None:
        kept_session, model = self._fresh(data)
        ending = [token for token in self.living if not keeps or token != kept_session]
        count = self.run(self.gateway.revoke_all(user=model.identity, keep=model.session_id if keeps else ""))
        assert count == len(ending)
        for token in ending:
            self._ended(token, "revoked_all")

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def change_password(self, data: st.DataObject) -> None:
        token = self._pick(data)
        new = f"orchid-lantern-{len(self.dead)}-{len(self.password) % 7}"
        call = self.gateway.auth(
            "ChangePassword",
            user=self.living[token].identity,
            current_password=self.password,
            new_password=new,
            ip_address=self.ip_address,
        )
        changed = self.run(call)
        assert changed.revoked_count == len(self.living) - 1
        for other in [living for living in self.living if living != token]:
            self._ended(other, "password_changed")
        # The password alone proves nothing for an account with a second factor.
        self._rotated(token, changed.token, is_proof=not self.secret)
        self.password = new

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def switch_second_factor(self, data: st.DataObject) -> None:
        token, model = self._fresh(data)
        if self.secret:
            call = self.gateway.auth("DisableTotp", user=model.identity, code=self._code())
            self._rotated(token, self.run(call).token)
            self.secret = ""
            return
        secret = self.run(self.gateway.auth("BeginTotp", user=model.identity)).secret
        code = pyotp.TOTP(secret).at(int(time.time()))
        self._rotated(token, self.run(self.gateway.auth("ConfirmTotp", user=model.identity, code=code)).token)
        self.secret = secret

    @rule()
    def disable_or_enable(self) -> None:
        rpc = "EnableUser" if self.is_disabled else "DisableUser"
        self.run(self.gateway.admin(rpc, user=self.admin, user_id=self.user_id))
        self.is_disabled = not self.is_disabled
        for token in list(self.living):
            self._ended(token, "account_disabled")

    @rule(role=st.sampled_from([auth_pb2.USER_ROLE_ADMIN, auth_pb2.USER_ROLE_USER]))
    def set_role(self, role: int) -> None:
        before = self.run(self.gateway.admin("GetUser", user=self.admin, user_id=self.user_id)).user.role
        self.run(self.gateway.admin("SetUserRole", user=self.admin, user_id=self.user_id, role=role))
        if role != before:
            for token in list(self.living):
                self._ended(token, "role_changed")

    @rule()
    def revoke_by_admin(self) -> None:
        answer = self.run(self.gateway.admin("RevokeUserSessions", user=self.admin, user_id=self.user_id))
        assert answer.revoked_count == len(self.living)
        for token in list(self.living):
            self._ended(token, "revoked_by_admin")

    @rule(by=st.sampled_from(JUMPS))
    def time_passes(self, by: timedelta) -> None:
        self.run(self.sql(_SHIFT_ALL, by=by, user_id=self.user_id))
        for token, model in list(self.living.items()):
            model.pass_time(by)
            if model.is_over:
                self._ended(token)

    @invariant()
    def the_living_are_those_that_should_be(self) -> None:
        rows = self.run(
            self.sql(
                "SELECT session_id::text AS id FROM auth.sessions WHERE user_id = :user_id AND revoked_at IS NULL"
                " AND idle_expires_at > now() AND absolute_expires_at > now()",
                user_id=self.user_id,
            )
        )
        assert {row.id for row in rows} == {model.session_id for model in self.living.values()}
        assert len(rows) <= domain.SESSIONS_PER_USER

    @invariant()
    def what_ended_or_was_replaced_is_dead(self) -> None:
        assert not any(self.run(self._validities(self.newly_dead)))
        self.newly_dead.clear()

    def teardown(self) -> None:
        # All of them once: a session that came back to life meanwhile would have been among the living.
        assert not any(self.run(self._validities(self.dead)))
        published: dict[str, list[str]] = {}
        for payload in self.published:
            event = auth_events_pb2.SessionsRevoked.FromString(payload)
            if event.user_id == self.user_id and event.reason != domain.REFRESHED:
                for session_id in event.session_ids:
                    published.setdefault(session_id, []).append(event.reason)
        assert published == {session_id: [reason] for session_id, reason in self.revoked.items()}


@pytest.mark.timeout(1_200)
async def test_sessions_match_the_model(
    context: Context,
    verifier: identity.Verifier,
    signer: Callable[[str], identity.Signer],
    sql: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The steps of one example may change the password more often than an account may in 15 minutes.
    monkeypatch.setattr("services.auth.throttling.CHANGES_PER_ACCOUNT", 1_000)
    published: list[bytes] = []

    class RecordingRelay(outbox.Sender):
        def send(self, messages: Iterable[outbox.Message]) -> None:
            sent = list(messages)
            published.extend(message.payload for message in sent if message.subject.startswith("auth.events."))
            assert context.relay is not None
            context.relay.send(sent)

    Machine.sql, Machine.published, Machine.context = staticmethod(sql), published, context
    Machine.loop = asyncio.get_running_loop()
    limits = settings(
        max_examples=EXAMPLES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
    async with served(replace(context, relay=RecordingRelay()), verifier) as channel:
        Machine.gateway = Gateway(channel, client.Caller(signer("gateway")))
        await asyncio.to_thread(run_state_machine_as_test, Machine, settings=limits)
