"""The states of a platform connection, their transitions, and what its jobs do to them. Pure: no clock, no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from chassis import errors
from lifecycle import machine
from lifecycle.machine import Ending, Error, Step, Wait

AUTHORIZATION_LIFETIME = timedelta(minutes=10)
"""How long a user may take at the platform. After that the authorization has expired, and the connection is abandoned."""
ASSUMED_LIFETIME = timedelta(hours=1)
"""The lifetime of an access token if the platform states none (RFC 6749 5.1 only recommends it)."""
SYNC_AFTER = timedelta(days=1)
"""The age at which the account and the items of a connection are read again."""


class State(StrEnum):
    """The state of a connection. Secrets are stored in connecting, connected and disconnecting only."""

    DISCONNECTED = "disconnected"
    """There is no access. BeginConnect ends this state. Nothing runs here."""
    CONNECTING = "connecting"
    """Without a job the user is at the platform: FinishConnect submits the job; after ten minutes a schedule or a read ends
    this state. With a job, the job ends it; a lost end of the job is found by events, reads and the sweep."""
    CONNECTED = "connected"
    """There is access. Refresh jobs renew it; if the platform refuses, the state becomes failed. Disconnect ends this state,
    and so does a connect job that ends without success because its worker could not report the last write."""
    DISCONNECTING = "disconnecting"
    """A job revokes the access. However it ends, the state becomes disconnected and the secrets are deleted."""
    FAILED = "failed"
    """The last step ended without success; `error` says why. BeginConnect and Disconnect end this state. No secret is
    stored: without a new consent of the user it could not be used."""


class JobKind(StrEnum):
    """The jobs that change the state of a connection. `auth.refresh` is not one of them."""

    CONNECT = "auth.connect"
    DISCONNECT = "auth.disconnect"


class Action(StrEnum):
    """What can happen to a connection. The value is the reason in its event."""

    BEGIN = "connect_begun"
    RETURN = "consent_given"
    DENY = "access_denied"
    REFUSE = "platform_refused"
    ABANDON = "abandoned"
    COMPLETE_CONNECT = "connected"
    CANCEL_CONNECT = "connect_cancelled"
    FAIL_CONNECT = "connect_failed"
    REFRESH = "refreshed"
    SYNC = "synced"
    FAIL_REFRESH = "refresh_failed"
    DISCONNECT = "disconnect_accepted"
    CLOSE = "account_disabled"
    WITHDRAW = "platform_withdrawn"
    COMPLETE_DISCONNECT = "disconnected"
    FORCE_DISCONNECT = "disconnected_unconfirmed"


TRANSITIONS: Mapping[Action, tuple[frozenset[State], State]] = {
    # By the user. BEGIN and DISCONNECT take a new generation, so that writes of an earlier job are refused.
    Action.BEGIN: (frozenset({State.DISCONNECTED, State.FAILED, State.CONNECTING}), State.CONNECTING),
    Action.DISCONNECT: (frozenset({State.CONNECTING, State.CONNECTED, State.FAILED}), State.DISCONNECTING),
    # By an admin who disables the account, or a deployment that no longer offers the platform; a new generation too.
    Action.CLOSE: (frozenset({State.CONNECTING, State.CONNECTED}), State.DISCONNECTING),
    Action.WITHDRAW: (frozenset({State.CONNECTING, State.CONNECTED}), State.DISCONNECTING),
    # By the answer that the platform sent the user's browser back with: a job takes over, or the connection ends here.
    Action.RETURN: (frozenset({State.CONNECTING}), State.CONNECTING),
    Action.DENY: (frozenset({State.CONNECTING}), State.DISCONNECTED),
    Action.REFUSE: (frozenset({State.CONNECTING}), State.FAILED),
    # By time: the user did not come back.
    Action.ABANDON: (frozenset({State.CONNECTING}), State.DISCONNECTED),
    # By the connect job's handler; the two ends without success also by the first update of an ended job. Also in
    # `connected`, if the worker could not report the last write.
    Action.COMPLETE_CONNECT: (frozenset({State.CONNECTING}), State.CONNECTED),
    Action.CANCEL_CONNECT: (frozenset({State.CONNECTING, State.CONNECTED}), State.DISCONNECTED),
    Action.FAIL_CONNECT: (frozenset({State.CONNECTING, State.CONNECTED}), State.FAILED),
    # By refresh jobs, which run independently of the job of the transition.
    Action.REFRESH: (frozenset({State.CONNECTED}), State.CONNECTED),
    Action.SYNC: (frozenset({State.CONNECTED}), State.CONNECTED),
    Action.FAIL_REFRESH: (frozenset({State.CONNECTED}), State.FAILED),
    # By the disconnect job's handler; or by the first update of a job that ended without success.
    Action.COMPLETE_DISCONNECT: (frozenset({State.DISCONNECTING}), State.DISCONNECTED),
    Action.FORCE_DISCONNECT: (frozenset({State.DISCONNECTING}), State.DISCONNECTED),
}
"""Action -> (from these states, to that state). Guarded updates take their states from here; the CHECK
`connections_transition_known` and the README's diagram must say the same."""

KEEPS_SECRETS = frozenset({State.CONNECTING, State.CONNECTED, State.DISCONNECTING})
"""A transition to another state deletes the secrets in its transaction."""

DISCONNECTS = frozenset({Action.DISCONNECT, Action.CLOSE, Action.WITHDRAW})
"""The actions that submit a job that revokes the access."""

LEAVES_TOKENS = frozenset({Action.BEGIN, Action.CANCEL_CONNECT, Action.FAIL_CONNECT, Action.FORCE_DISCONNECT})
"""The actions after which the platform may still honour stored tokens: these are set aside until a job has revoked them."""


class ErrorCode(StrEnum):
    """Why a connection failed."""

    CONSENT_EXPIRED = "consent_expired"
    PLATFORM_UNAVAILABLE = "platform_unavailable"
    PLATFORM_REFUSED = "platform_refused"
    REAUTHORIZATION_REQUIRED = "reauthorization_required"
    ACCOUNT_ALREADY_CONNECTED = "account_already_connected"
    PERMISSIONS_MISSING = "permissions_missing"
    JOB_REJECTED = "job_rejected"
    INTERNAL = "internal"


_MESSAGES: Mapping[ErrorCode, str] = {
    ErrorCode.CONSENT_EXPIRED: "Your consent could not be used in time. Please connect again.",
    ErrorCode.PLATFORM_UNAVAILABLE: "The platform isn't responding. Connect again later.",
    ErrorCode.PLATFORM_REFUSED: "The platform has refused the connection. Please connect again.",
    ErrorCode.REAUTHORIZATION_REQUIRED: "The platform has ended our access. Please connect again.",
    ErrorCode.ACCOUNT_ALREADY_CONNECTED: "This account is connected to another user here.",
    ErrorCode.PERMISSIONS_MISSING: "A permission that we need was not given. Please connect again and leave all boxes ticked.",
    ErrorCode.JOB_REJECTED: "The job for this could not be created. Please connect again.",
    ErrorCode.INTERNAL: "Something went wrong on our side. Please connect again.",
}


def error(code: ErrorCode) -> Error:
    """Return the error of a code. No text of a platform is ever part of it."""
    return Error(code=code.value, message=_MESSAGES[code])


def _job_error(error_: Error) -> Error | None:
    return error(ErrorCode(error_.code)) if error_.code in set(ErrorCode) else None


_FORCED: Ending[Action] = Ending(Action.FORCE_DISCONNECT)
_FAILED = Ending(Action.FAIL_CONNECT, error(ErrorCode.INTERNAL))

MACHINE = machine.Machine(
    initial=State.DISCONNECTED,
    transitions=TRANSITIONS,
    new_generation=frozenset({Action.BEGIN, *DISCONNECTS}),
    steps={
        # Without `resume`: the code of a job that has ended is used up, so the user begins again.
        JobKind.CONNECT: Step(
            working=State.CONNECTING,
            done=State.CONNECTED,
            failed=_FAILED,
            cancelled=Ending(Action.CANCEL_CONNECT),
            completed=_FAILED,
            rejected=Ending(Action.FAIL_CONNECT, error(ErrorCode.JOB_REJECTED)),
        ),
        # However it ends, the secrets are deleted.
        JobKind.DISCONNECT: Step(
            working=State.DISCONNECTING,
            done=State.DISCONNECTED,
            failed=_FORCED,
            cancelled=_FORCED,
            completed=_FORCED,
            rejected=_FORCED,
        ),
    },
    wait=Wait(state=State.CONNECTING, limit=AUTHORIZATION_LIFETIME, action=Action.ABANDON),
    job_error=_job_error,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The account of the user at the platform."""

    external_id: str
    name: str = ""
    url: str = ""
    picture_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An item that the account has published."""

    external_id: str
    title: str
    url: str
    published_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The tokens of a platform. They are never shown or logged."""

    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    """Empty if the platform issued none."""
    lifetime: timedelta | None = None
    """How long the access lasts from its issue; None: the platform does not say."""
    subject: str = ""
    """The subject of the platform's id token; empty if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection(machine.Resource):
    user_id: UUID
    platform: str
    state: State = State.DISCONNECTED
    job_kind: JobKind | None = None
    account: Account | None = None
    item_count: int = 0
    connected_at: datetime | None = None
    synced_at: datetime | None = None
    access_expires_at: datetime | None = None
    refresh_at: datetime | None = None
    """The time at which the access is to be renewed; None: never."""

    @property
    def key(self) -> machine.Key:
        return (self.user_id, self.platform)

    @property
    def awaits_consent(self) -> bool:
        """Whether the user is at the platform."""
        return MACHINE.is_waiting(self)

    @property
    def has_pending_job(self) -> bool:
        return MACHINE.has_pending_job(self)


def leaves_tokens(connection: Connection, action: Action) -> bool:
    """Return whether the tokens of a connection that `action` has ended or begun again are to be revoked.

    Not those of an account that is connected to another user here: revoking them would end that user's access.
    """
    error_code = connection.error.code if connection.error else ""
    return action in LEAVES_TOKENS and error_code != ErrorCode.ACCOUNT_ALREADY_CONNECTED


def shares_grant(current: Connection, generation: int) -> bool:
    """Return whether the user has connected again since `generation`: revoking its tokens would end the new access too.

    Platforms revoke the grant, which is all access of the account to us, not the single token.
    """
    return current.generation > generation and current.state in {State.CONNECTING, State.CONNECTED}


def refresh_time(tokens: Tokens, issued_at: datetime, *, is_renewable: bool) -> datetime | None:
    """Return when access is to be renewed: after three quarters of its life; or, if it cannot be, at its end.

    Without a lifetime a platform may still end access: what can be renewed is renewed as if it had `ASSUMED_LIFETIME`.
    """
    if is_renewable:
        return issued_at + (tokens.lifetime or ASSUMED_LIFETIME) * 0.75
    return issued_at + tokens.lifetime if tokens.lifetime is not None else None


def refusal(state: State) -> errors.FailedPrecondition:
    """Return the error of a BeginConnect that the state forbids."""
    if state is State.CONNECTED:
        return errors.FailedPrecondition("This platform is already connected.", code="connection_connected")
    message = "This platform is still disconnecting. Connect again when it is done."
    return errors.FailedPrecondition(message, code="connection_disconnecting")


class StateInvalid(errors.InvalidArgument):
    """The platform's response doesn't match a connection you started here. Connect again."""

    default_code = "state_invalid"


RETURN_TO_LIMIT = 500
RETURN_TO_DEFAULT = "/settings/connections"


def clean_return_to(path: str) -> str:
    """Return the path to go to after connecting. Raises `InvalidArgument` for one that may lead to another site."""
    if not path:
        return RETURN_TO_DEFAULT
    is_path = path[0] == "/" and path[1:2] not in ("/", "\\") and "\\" not in path and len(path) <= RETURN_TO_LIMIT
    # Browsers drop tabs and line ends from addresses before they read them, so `/<tab>/elsewhere` is `//elsewhere`.
    if not is_path or not path.isascii() or not path.isprintable() or " " in path:
        raise errors.InvalidArgument(
            f"return_to must be a path of at most {RETURN_TO_LIMIT} characters that begins with one `/`.",
            code="return_to_invalid",
            field="return_to",
        )
    return path
