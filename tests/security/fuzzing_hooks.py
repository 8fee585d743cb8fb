"""Hooks for schemathesis: the user of each case. A user signed out by a case signs in again."""

from __future__ import annotations

import gc
import os
import secrets
from typing import Any

import httpx
import schemathesis

_BY = os.environ["FUZZ_BY"]

# schemathesis, its schemas and its generators stay until the end: no collection needs to look at them.
gc.freeze()
gc.set_threshold(100_000, 20, 20)


class Somebody:
    """The account that the cases belong to, by bearer token or by cookie."""

    def get(self, case: schemathesis.Case[Any], context: schemathesis.AuthContext) -> str:
        """Sign in."""
        fields = {"email": os.environ["FUZZ_EMAIL"], "password": os.environ["FUZZ_PASSWORD"]}
        # From a new address each time: cases guess passwords too, which is throttled.
        elsewhere = {"X-Forwarded-For": f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.1"}
        url = f"{os.environ['FUZZ_URL']}/api/v1/auth/token"
        answer = httpx.post(url, json=fields, headers=elsewhere, timeout=20.0)
        answer.raise_for_status()
        token: str = answer.json()["token"]
        return token

    def set(self, case: schemathesis.Case[Any], data: str, context: schemathesis.AuthContext) -> None:
        """Set the token in the request."""
        if _BY == "bearer":
            case.headers["Authorization"] = f"Bearer {data}"
        else:
            case.cookies["session"] = data


if _BY != "nothing":
    schemathesis.auth(refresh_interval=300)(Somebody)
