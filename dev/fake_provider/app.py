"""The fake provider over HTTP: OpenID Connect Core 1.0 for confidential clients with PKCE."""

from __future__ import annotations

import base64
import html
import secrets
import time
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlencode

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from dev import fake_provider
from dev.fake_provider.grants import ACCESS_SECONDS, Grant, Grants, OAuthError

_PARAMETERS = ("client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge")
_NAME_LIMIT = 60
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }}
body {{ display: grid; place-items: center; min-height: 100vh; margin: 0; background: light-dark(#f4f1fb, #17131f) }}
main {{ display: grid; gap: 1rem; max-width: 24rem; padding: 2rem; border-radius: 1rem; background: light-dark(#fff, #221c2e) }}
h1, p {{ margin: 0 }} h1 {{ font-size: 1.375rem }} form {{ display: grid; gap: .75rem }} label {{ display: grid; gap: .25rem }}
input, button {{ font: inherit; padding: .5rem .75rem; border-radius: .5rem; border: 1px solid #8b7fa6 }}
button[value=allow] {{ background: #5b34a5; color: #fff; border-color: transparent; font-weight: 600 }}
</style><main><h1>{title}</h1>
<p><strong>Repruv</strong> wants to read your profile. This is a local platform for trying connections:
no account is needed, and nothing leaves this machine.</p>
<form method="post">{hidden}<label>Who do you want to be?
<input name="name" value="Ada Practice" maxlength="60" required></label>
<button name="choice" value="allow">Allow</button>
<button name="choice" value="deny" formnovalidate>Deny</button></form></main></html>"""


class FakeProvider:
    """The provider with the URL `issuer`. It redirects only to URLs that begin with `redirect_prefix`."""

    def __init__(self, issuer: str, redirect_prefix: str) -> None:
        self._issuer = issuer
        self._redirect_prefix = redirect_prefix
        self._key = RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig", "alg": "RS256"})
        self._grants = Grants()

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.describe),
                Route("/jwks", self.keys),
                Route("/authorize", self.ask),
                Route("/authorize", self.decide, methods=["POST"]),
                Route("/token", self.token, methods=["POST"]),
                Route("/userinfo", self.userinfo),
                Route("/revoke", self.revoke, methods=["POST"]),
                Route("/favicon.ico", _no_icon),
            ]
        )

    async def describe(self, request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self._issuer,
                "authorization_endpoint": f"{self._issuer}/authorize",
                "token_endpoint": f"{self._issuer}/token",
                "userinfo_endpoint": f"{self._issuer}/userinfo",
                "revocation_endpoint": f"{self._issuer}/revoke",
                "jwks_uri": f"{self._issuer}/jwks",
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                "code_challenge_methods_supported": ["S256"],
                "scopes_supported": ["openid", "profile", "offline_access"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def keys(self, request: Request) -> Response:
        return JSONResponse(KeySet([self._key]).as_dict(private=False))

    async def ask(self, request: Request) -> Response:
        parameters = {name: request.query_params.get(name, "") for name in _PARAMETERS}
        if (message := self._invalid_request(parameters, request.query_params)) is not None:
            return Response(message, 400)
        hidden = "".join(
            f'<input type="hidden" name="{name}" value="{html.escape(value)}">' for name, value in parameters.items()
        )
        return HTMLResponse(_PAGE.format(title=fake_provider.TITLE, hidden=hidden))

    async def decide(self, request: Request) -> Response:
        """Redirect the browser back with a code or an error."""
        form_fields = await _form(request)
        parameters = {name: form_fields.get(name, "") for name in _PARAMETERS}
        if (
            message := self._invalid_request(parameters, {"response_type": "code", "code_challenge_method": "S256"})
        ) is not None:
            return Response(message, 400)
        answer = {"state": parameters["state"], "iss": self._issuer}
        if form_fields.get("choice") != "allow":
            return RedirectResponse(
                f"{parameters['redirect_uri']}?{urlencode({**answer, 'error': 'access_denied'})}", 303
            )
        grant = Grant(
            name=form_fields.get("name", "").strip()[:_NAME_LIMIT] or "Nobody",
            redirect_uri=parameters["redirect_uri"],
            scope=parameters["scope"],
            nonce=parameters["nonce"],
            challenge=parameters["code_challenge"],
        )
        return RedirectResponse(
            f"{parameters['redirect_uri']}?{urlencode({**answer, 'code': self._grants.consent(grant)})}", 303
        )

    async def token(self, request: Request) -> Response:
        """Return tokens for a code or a refresh token."""
        if not _is_client_authenticated(request.headers.get("authorization", "")):
            return JSONResponse({"error": "invalid_client"}, 401, headers={"WWW-Authenticate": "Basic"})
        try:
            grant = self._redeem_grant(await _form(request))
        except OAuthError as refusal:
            return JSONResponse({"error": str(refusal)}, 400)
        access, refresh = self._grants.tokens(grant)
        answer = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": ACCESS_SECONDS,
            "refresh_token": refresh,
            "scope": grant.scope,
            "id_token": self._id_token(grant),
        }
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    async def userinfo(self, request: Request) -> Response:
        """Return the account of an access token."""
        try:
            grant = self._grants.by_access_token(request.headers.get("authorization", "").removeprefix("Bearer "))
        except OAuthError:
            return JSONResponse({"error": "invalid_token"}, 401, headers={"WWW-Authenticate": "Bearer"})
        return JSONResponse({"sub": grant.subject, "name": grant.name})

    async def revoke(self, request: Request) -> Response:
        if not _is_client_authenticated(request.headers.get("authorization", "")):
            return JSONResponse({"error": "invalid_client"}, 401, headers={"WWW-Authenticate": "Basic"})
        self._grants.revoke((await _form(request)).get("token", ""))
        return Response(status_code=200)

    def _invalid_request(self, parameters: Mapping[str, str], flow: Mapping[str, str]) -> str | None:
        if parameters["client_id"] != fake_provider.CLIENT_ID or not parameters["redirect_uri"].startswith(
            self._redirect_prefix
        ):
            return "The client or its redirect URI is unknown."
        if (
            flow.get("response_type") != "code"
            or flow.get("code_challenge_method") != "S256"
            or not parameters["code_challenge"]
        ):
            return "Only the code flow with PKCE (S256) is supported."
        return None

    def _redeem_grant(self, form_fields: Mapping[str, str]) -> Grant:
        match form_fields.get("grant_type"):
            case "authorization_code":
                return self._grants.redeem(
                    form_fields.get("code", ""),
                    redirect_uri=form_fields.get("redirect_uri", ""),
                    verifier=form_fields.get("code_verifier", ""),
                )
            case "refresh_token":
                return self._grants.refresh(form_fields.get("refresh_token", ""))
            case _:
                raise OAuthError("unsupported_grant_type")

    def _id_token(self, grant: Grant) -> str:
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": fake_provider.CLIENT_ID,
            "sub": grant.subject,
            "name": grant.name,
            "nonce": grant.nonce,
            "iat": now,
            "exp": now + ACCESS_SECONDS,
        }
        return jwt.encode({"alg": "RS256", "kid": self._key.kid}, claims, self._key)


async def _no_icon(request: Request) -> Response:
    return Response(status_code=204)


async def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=20))


def _is_client_authenticated(authorization: str) -> bool:
    try:
        name, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
    except ValueError:
        return False
    return secrets.compare_digest(
        f"{unquote(name)}:{unquote(secret)}", f"{fake_provider.CLIENT_ID}:{fake_provider.CLIENT_SECRET}"
    )
