"""Passkeys: managing them, and sign-in and reauthentication with them."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway import views
from gateway.api import schemas_auth, schemas_passkeys
from gateway.api.auth import SIGNED_IN, signed_in_by
from gateway.api.dependencies import Gateway, PasskeyId, SignedIn
from gateway.api.responses import PUBLIC, answer, route
from gateway.api.security import FRESH, refreshed
from gateway.identity.client_info import client_info

router = APIRouter(prefix="/auth", tags=["passkeys"])

_BEGUN = "For `PublicKeyCredential.parse…OptionsFromJSON`; the answer is due in five minutes."
_NOT_HERE = "409 `passkeys_unavailable` where the address can have none."


@router.get("/passkeys", **route("List passkeys", views.Passkeys, "Oldest first."))
async def list_passkeys(session: SignedIn, gateway: Gateway) -> Response:
    """Return the user's passkeys, and whether passkeys are available."""
    return answer(views.passkeys(await gateway.passkeys.list_passkeys(session.identity)))


@router.post("/passkeys/options", **route("Begin to add a passkey", views.Ceremony, f"{_BEGUN} {_NOT_HERE}", 403, 409))
async def begin_adding(session: SignedIn, gateway: Gateway) -> Response:
    """Return the options for a new passkey. 403 `reauthentication_required`."""
    return answer(views.ceremony((await gateway.passkeys.begin_adding(session.identity)).ceremony))


@router.post(
    "/passkeys",
    **route(
        "Add a passkey", schemas_passkeys.AddedPasskey, "It can be used to sign in.", 400, 403, 409, 429, status=201
    ),
)
async def finish_adding(body: schemas_passkeys.NewPasskey, session: SignedIn, gateway: Gateway) -> Response:
    """Add the new passkey. 401 `challenge_invalid`: begin again. 403 `reauthentication_required`."""
    added = (
        await gateway.passkeys.finish_adding(
            session.identity, ceremony=body.ceremony, credential=_json(body.credential), name=body.name
        )
    ).passkey
    return answer({"passkey": views.passkey(added)}, 201)


@router.patch(
    "/passkeys/{passkey_id}",
    **route("Rename a passkey", schemas_passkeys.AddedPasskey, "With its new name.", 400, 403, 404),
)
async def rename(
    passkey_id: PasskeyId, body: schemas_passkeys.PasskeyName, session: SignedIn, gateway: Gateway
) -> Response:
    """Rename a passkey of the user."""
    renamed = (await gateway.passkeys.rename(session.identity, passkey_id=passkey_id, name=body.name)).passkey
    return answer({"passkey": views.passkey(renamed)})


@router.delete(
    "/passkeys/{passkey_id}",
    **route(
        "Remove a passkey", None, "It cannot be used any more; sessions that it started continue.", 403, 404, status=204
    ),
)
async def remove(passkey_id: PasskeyId, session: SignedIn, gateway: Gateway) -> Response:
    """Remove a passkey of the user. 403 `reauthentication_required`."""
    await gateway.passkeys.remove(session.identity, passkey_id=passkey_id)
    return Response(status_code=204)


@router.post(
    "/login/passkey/options",
    **route("Begin to sign in with a passkey", views.Ceremony, f"{_BEGUN} {_NOT_HERE}", 403, 409, extra=PUBLIC),
)
async def begin_login(request: Request, gateway: Gateway) -> Response:
    """Return the options for a sign-in. They are the same for all users: none is identified yet."""
    return answer(views.ceremony((await gateway.passkeys.begin_login(client=client_info(request))).ceremony))


@router.post(
    "/login/passkey", **route("Sign in with a passkey", schemas_auth.SignedIn, SIGNED_IN, 400, 403, 409, extra=PUBLIC)
)
async def finish_login(body: schemas_passkeys.PasskeyLogin, request: Request, gateway: Gateway) -> Response:
    """Start a session and set its cookie; no code is required. 401 `passkey_invalid`, or `challenge_invalid`: begin again."""
    response = await gateway.passkeys.finish_login(
        ceremony=body.ceremony,
        credential=_json(body.credential),
        remember=body.remember,
        client=gateway.device_cookie.client(request),
    )
    return await signed_in_by(request, gateway, response)


@router.post(
    "/reauthenticate/passkey/options",
    **route("Begin to prove who you are with a passkey", views.Ceremony, f"{_BEGUN} {_NOT_HERE}", 403, 404, 409),
)
async def begin_reauthentication(session: SignedIn, gateway: Gateway) -> Response:
    """Return the options for a proof with a passkey of the user. 404 `passkey_not_found`: there is none."""
    return answer(views.ceremony((await gateway.passkeys.begin_reauthentication(session.identity)).ceremony))


@router.post(
    "/reauthenticate/passkey", **route("Prove who you are with a passkey", schemas_auth.Refreshed, FRESH, 400, 403, 409)
)
async def finish_reauthentication(
    body: schemas_passkeys.PasskeyProof, request: Request, session: SignedIn, gateway: Gateway
) -> Response:
    """Prove the user's identity: sensitive calls are allowed for ten minutes. 401 `passkey_invalid`."""
    proved = await gateway.passkeys.finish_reauthentication(
        session.identity, ceremony=body.ceremony, credential=_json(body.credential), client=client_info(request)
    )
    return refreshed(request, gateway, proved)


def _json(credential: schemas_passkeys.NewCredential | schemas_passkeys.UsedCredential) -> str:
    return credential.model_dump_json(exclude_none=True)
