"""After the use of every feature, no secret is stored or logged in clear."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pyotp

from chassis import ids
from dev import fake_provider
from services.auth.connections import secrets as connection_secrets
from services.auth.encryption.keyring import Keyring
from services.auth.second_factor import codes
from tests import traces
from tests.acceptance.users import PASSWORD
from tests.security import connecting, secrets_seen, users
from tests.security.conftest import Replicated
from tests.security.connecting import CONNECTIONS
from tests.security.users import Person

CHANGED = "canary-changed-anvil-rowing"
RESET = "canary-reset-anvil-rowing"
GUESSED = "canary-guessed-anvil-rowing"


async def turn_second_factor_on(person: Person, secrets: dict[str, str]) -> None:
    enrolment = (await person.post("/auth/totp")).json()
    secrets["TOTP secret"] = enrolment["secret"]
    app = pyotp.TOTP(enrolment["secret"])
    secrets["confirming code"] = app.now()
    confirmed = await person.post("/auth/totp/confirm", json={"code": secrets["confirming code"]})
    assert confirmed.status_code == 200, confirmed.text
    secrets |= {f"recovery code {number}": code for number, code in enumerate(confirmed.json()["recovery_codes"])}
    secrets["token after the second factor"] = person.token


async def sign_in_by_two_steps(person: Person, secrets: dict[str, str], password: str) -> None:
    challenged = await person.post("/auth/login", json={"email": person.email, "password": password})
    assert challenged.status_code == 202, challenged.text
    secrets["challenge"] = challenged.json()["challenge"]
    wrong = await person.post("/auth/login/code", json={"challenge": secrets["challenge"], "code": "wrong-code"})
    assert wrong.status_code == 401
    fields = {"challenge": secrets["challenge"], "code": secrets["recovery code 0"]}
    answer = await person.post("/auth/login/code", json=fields)
    assert answer.status_code == 200, answer.text
    secrets["token after two steps"] = person.token


async def connect(system: Replicated, person: Person, secrets: dict[str, str]) -> None:
    async with connecting.connection(person) as authorization:
        secrets |= {name: authorization.parameters[name] for name in ("state", "nonce")}
        secrets |= await opened(system, person, "connection_authorizations", "sealed_verifier")
    secrets["authorization code"] = authorization.code
    for column in ("sealed_access_token", "sealed_refresh_token"):
        secrets |= await opened(system, person, "connection_secrets", column)


async def opened(system: Replicated, person: Person, table: str, column: str) -> dict[str, str]:
    """Return the decrypted secret of a column."""
    statement: Any = f"SELECT {column} AS ciphertext FROM auth.{table} WHERE user_id = %s"
    [row] = await system.query(statement, person.user_id)
    associated_data = connection_secrets.associated_data(column, uuid.UUID(person.user_id), fake_provider.NAME)
    return {
        f"the secret in {column}": Keyring.read(system.encryption_keys).decrypt(
            row["ciphertext"], associated_data=associated_data
        )
    }


async def reset_password(system: Replicated, person: Person, secrets: dict[str, str]) -> None:
    assert (await person.post("/auth/password/forgot", json={"email": person.email})).status_code == 202
    secrets["reset link"] = await users.mailed_token(system.mails, person.email, "reset-password")
    answer = await person.post("/auth/password/reset", json={"token": secrets["reset link"], "password": RESET})
    assert answer.status_code == 204, answer.text


async def test_no_secret_can_be_read_after_a_full_use(
    system: Replicated, person: Person, trace_backend: traces.Backend
) -> None:
    person.http.headers.update(traces.traceparent(ids.uuid7().hex))
    secrets = {"password": PASSWORD, "changed password": CHANGED, "reset password": RESET, "guessed password": GUESSED}
    secrets |= {"first token": person.token, "bearer token": await person.new_token()}
    secrets["verification link"] = await users.mailed_token(system.mails, person.email, "verify-email")
    assert (await person.post("/auth/email/verify", json={"token": secrets["verification link"]})).status_code == 204
    await person.post("/auth/login", json={"email": person.email, "password": GUESSED})
    await person.post("/auth/login", json={"email": person.email, "password": [GUESSED], "nonsense": GUESSED})
    await turn_second_factor_on(person, secrets)
    changed = {"current_password": PASSWORD, "new_password": CHANGED}
    assert (await person.post("/auth/password", json=changed)).status_code == 200
    secrets["token after the change"] = person.token
    await sign_in_by_two_steps(person, secrets, CHANGED)
    await connect(system, person, secrets)
    while_connected = await secrets_seen.tables(system.database_url)
    assert (await person.post(f"{CONNECTIONS}/disconnect")).status_code == 202
    await reset_password(system, person, secrets)

    places = {
        "tables while connected": while_connected,
        "tables": await secrets_seen.tables(system.database_url),
        "lines": await asyncio.to_thread(secrets_seen.lines, system.log),
        "NATS": await asyncio.to_thread(secrets_seen.files, Path(system.data_dir / "nats")),
        "spans": trace_backend.bodies,
        "metrics": b"".join([(await person.http.get(f"{url}/metrics")).content for url in system.urls]),
    }
    # The searched places contain data.
    assert person.email.encode() in places["tables"]
    assert person.user_id.encode() in places["tables while connected"]
    assert all(person.user_id.encode() in places[name] for name in ("lines", "NATS"))
    assert all(b"/auth/login" in places[name] for name in ("metrics", "spans"))
    assert b"INSERT auth.security_events" in places["spans"]
    # Nor attributes that could hold what a client has sent, as instrumentation libraries record them.
    assert not any(name in places["spans"] for name in (b"url.query", b"url.path"))
    secrets |= {f"{name}, as typed": codes_typed(code) for name, code in secrets.items() if name.startswith("recovery")}
    # Six digits alone would be found in any number; the app's code is not stored at all.
    del secrets["confirming code"]
    assert len(secrets) > 30
    assert not list(secrets_seen.leaks(secrets, places))


def codes_typed(code: str) -> str:
    """Return a recovery code without what only makes it readable."""
    typed = code.replace("-", "").lower()
    assert codes.is_recovery(typed)
    return typed
