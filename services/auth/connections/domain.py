"""What a platform connection is and how it may change. Pure: no clock, no database, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from chassis import errors

AUTHORIZATION_LIFETIME = timedelta(minutes=10)
"""How long a user may be away at the platform; and after how long without return the attempt counts as abandoned."""
SYNC_AFTER = timedelta(days=1)
"""After how long what a connection shows of its account is read again."""


class State(StrEnum):
    """Where a connection stands. Secrets are kept in connecting, connected and disconnecting only."""

    DISCONNECTED = "disconnected"
    """There is no access. BeginConnect moves it out. Nothing runs here."""
    CONNECTING = "connecting"
    """Without a job the user is at the platform: FinishConnect moves it on, or, after ten minutes, a schedule or a read
    moves it out. With a job, that one moves it out; its end unheard is learned by events, reads and the reconciler."""
    CONNECTED = "connected"
    """There is access. Refresh jobs renew it, and move it to failed when the platform refuses; Disconnect moves it out."""
    DISCONNECTING = "disconnecting"
    """A job takes the access back; its end moves it to disconnected, whatever the end is: then the secrets are gone."""
    FAILED = "failed"
    """The last step ended without success; `error` says why. BeginConnect and Disconnect move it out. No secret is kept:
    what cannot be had again without the user's consent is not worth keeping."""


class JobKind(StrEnum):
    """The jobs that move a connection on. `auth.refresh` is none of them: it works beside the state."""

    CONNECT = "auth.connect"
    DISCONNECT = "auth.disconnect"


class Action(StrEnum):
    """What can happen to a connection. The value is the reason its event gives."""

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
    # By the user. BEGIN and DISCONNECT take a new generation, so that whatever was under way changes nothing any more.
    Action.BEGIN: (frozenset({State.DISCONNECTED, State.FAILED, State.CONNECTING}), State.CONNECTING),
    Action.DISCONNECT: (frozenset({State.CONNECTING, State.CONNECTED, State.FAILED}), State.DISCONNECTING),
    # By an admin who disables the account, or a deployment that no longer offers the platform; a new generation too.
    Action.CLOSE: (frozenset({State.CONNECTING, State.CONNECTED}), State.DISCONNECTING),
    Action.WITHDRAW: (frozenset({State.CONNECTING, State.CONNECTED}), State.DISCONNECTING),
    # By what the platform sent the user's browser back with; a job takes over, or it ends here.
    Action.RETURN: (frozenset({State.CONNECTING}), State.CONNECTING),
    Action.DENY: (frozenset({State.CONNECTING}), State.DISCONNECTED),
    Action.REFUSE: (frozenset({State.CONNECTING}), State.FAILED),
    # By time: the user did not come back.
    Action.ABANDON: (frozenset({State.CONNECTING}), State.DISCONNECTED),
    # By the connect job's handler, or, for the two ends without success, by whoever learns first that the job has ended.
    Action.COMPLETE_CONNECT: (frozenset({State.CONNECTING}), State.CONNECTED),
    Action.CANCEL_CONNECT: (frozenset({State.CONNECTING}), State.DISCONNECTED),
    Action.FAIL_CONNECT: (frozenset({State.CONNECTING}), State.FAILED),
    # By refresh jobs, beside the job of the transition.
    Action.REFRESH: (frozenset({State.CONNECTED}), State.CONNECTED),
    Action.SYNC: (frozenset({State.CONNECTED}), State.CONNECTED),
    Action.FAIL_REFRESH: (frozenset({State.CONNECTED}), State.FAILED),
    # By the disconnect job's handler; or, if the job ended without success, by whoever learns that first.
    Action.COMPLETE_DISCONNECT: (frozenset({State.DISCONNECTING}), State.DISCONNECTED),
    Action.FORCE_DISCONNECT: (frozenset({State.DISCONNECTING}), State.DISCONNECTED),
}
"""Action -> (from these states, to that state). The storage's guarded updates take their states from here; the CHECK
`connections_transition_known` and the README say the same."""

KEEPS_SECRETS = frozenset({State.CONNECTING, State.CONNECTED, State.DISCONNECTING})
"""Whatever moves to another state deletes the secrets in its transaction."""

ENDING = frozenset({Action.DISCONNECT, Action.CLOSE, Action.WITHDRAW})
"""What submits a job that takes the access back."""

LEAVES_TOKENS = frozenset({Action.CANCEL_CONNECT, Action.FAIL_CONNECT, Action.FORCE_DISCONNECT})
"""What may end while the platform still honours tokens that are kept: these are set aside until a job has given them back."""

TARGETS: Mapping[JobKind, tuple[State, State]] = {
    JobKind.CONNECT: (State.CONNECTING, State.CONNECTED),
    JobKind.DISCONNECT: (State.DISCONNECTING, State.DISCONNECTED),
}
"""The state in which the job of a kind works, and the one it leads to."""


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
    ErrorCode.PLATFORM_UNAVAILABLE: "The platform does not answer at the moment. Please connect again later.",
    ErrorCode.PLATFORM_REFUSED: "The platform has refused the connection. Please connect again.",
    ErrorCode.REAUTHORIZATION_REQUIRED: "The platform has ended our access. Please connect again.",
    ErrorCode.ACCOUNT_ALREADY_CONNECTED: "This account is connected to another user here.",
    ErrorCode.PERMISSIONS_MISSING: "A permission that we need was not given. Please connect again and leave all boxes ticked.",
    ErrorCode.JOB_REJECTED: "The job for this could not be created. Please connect again.",
    ErrorCode.INTERNAL: "Something went wrong on our side. Please connect again.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """Why a connection failed: a stable code, and a sentence for the user. Neither ever has a word of the platform's."""

    code: ErrorCode
    message: str


def error(code: ErrorCode) -> Error:
    """Give the error of a code."""
    return Error(code=code, message=_MESSAGES[code])


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whom the platform knows the user as."""

    external_id: str
    name: str = ""
    url: str = ""
    picture_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something the account has published."""

    external_id: str
    title: str
    url: str
    published_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What a platform gave: access, and what renews it. Its parts are never shown."""

    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    """Empty where there is none."""
    lifetime: timedelta | None = None
    """How long the access lasts from when it was given; None: the platform does not say."""
    subject: str = ""
    """Whom the platform's signed statement names; empty where there is no such statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A user's connection to a platform as it stands."""

    user_id: UUID
    platform: str
    state: State = State.DISCONNECTED
    generation: int = 0
    version: int = 0
    attempt: int = 0
    """The highest attempt of the job that began or is known to have ended: what a lower one still writes is refused."""
    job_id: UUID | None = None
    job_kind: JobKind | None = None
    job_version: int = 0
    """The newest snapshot of the job that was taken into account; older ones, which come late, are not."""
    account: Account | None = None
    error: Error | None = None
    item_count: int = 0
    connected_at: datetime | None = None
    synced_at: datetime | None = None
    access_expires_at: datetime | None = None
    refresh_at: datetime | None = None
    """When the access is to be renewed; None: never."""
    changed_at: datetime | None = None

    @property
    def is_away(self) -> bool:
        """Whether the user is at the platform."""
        return self.state is State.CONNECTING and self.job_id is None

    @property
    def is_moving(self) -> bool:
        """Whether a job has to move it on."""
        return self.state is State.DISCONNECTING or (self.state is State.CONNECTING and self.job_id is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """What a handler's write must match: one attempt of the job of one generation."""

    user_id: UUID
    platform: str
    job_id: UUID
    generation: int
    attempt: int


class Beginning(StrEnum):
    """What an attempt that begins has to do."""

    WORK = "work"
    DONE = "done"
    """Nothing: an earlier attempt moved the state, and died before it could say so."""
    SUPERSEDED = "superseded"
    """Nothing, for ever: the job is not of the present generation, it has ended, or a later attempt has begun."""


def begin(connection: Connection, fence: Fence, kind: JobKind) -> Beginning:
    """Say what an attempt of a job finds when it begins. A job that has ended is not taken up again by a retry."""
    known = (connection.job_id, connection.generation, connection.job_kind)
    if known != (fence.job_id, fence.generation, kind):
        return Beginning.SUPERSEDED
    working, done = TARGETS[kind]
    if connection.state is done:
        return Beginning.DONE
    if connection.state is working and fence.attempt >= connection.attempt:
        return Beginning.WORK
    return Beginning.SUPERSEDED


def leaves_tokens(action: Action, error_code: str | None) -> bool:
    """Whether tokens that are kept when `action` ends a connection are to be given back to the platform.

    Not those of an account that is another user's here: revoking them would end that one's access.
    """
    return action in LEAVES_TOKENS and error_code != ErrorCode.ACCOUNT_ALREADY_CONNECTED


def shares_grant(present: Connection, generation: int) -> bool:
    """Whether the user has begun anew since `generation`, so that revoking what that one got would end the new access too.

    Platforms revoke by the grant, which is the account's for us as a whole, not by the token.
    """
    return present.generation > generation and present.state in {State.CONNECTING, State.CONNECTED}


def refresh_time(tokens: Tokens, issued_at: datetime, *, is_renewable: bool) -> datetime | None:
    """Say when access is to be renewed: after three quarters of its life; or, where it cannot be, when it has ended."""
    if tokens.lifetime is None:
        return None
    return issued_at + (tokens.lifetime * 0.75 if is_renewable else tokens.lifetime)


class JobPhase(StrEnum):
    """What a job's state means to a connection."""

    UNDER_WAY = "under_way"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobNews:
    """What a snapshot of a job says, from an event or from an answer of the jobs service."""

    job_id: UUID
    user_id: UUID
    platform: str
    generation: int
    phase: JobPhase
    attempt: int
    version: int
    error_code: str = ""


def settle(connection: Connection, news: JobNews) -> tuple[Action, Error | None] | None:
    """Say what news of a job does to a connection: an action, with the error of a failure; None for nothing.

    News may come late, twice and in any order; it counts only if it is about the job of the present generation, and newer than
    what is known of it. That a job is under way never matters: connections do not come back to a job that has ended.
    """
    is_current = connection.job_id == news.job_id and connection.generation == news.generation
    if not is_current or news.version <= connection.job_version or news.attempt < connection.attempt:
        return None
    if news.phase is JobPhase.UNDER_WAY or not connection.is_moving:
        return None
    if connection.state is State.DISCONNECTING:
        # The handler moves the state before its job completes. Without that: what matters is that the secrets are gone.
        return Action.FORCE_DISCONNECT, None
    match news.phase:
        case JobPhase.CANCELLED:
            return Action.CANCEL_CONNECT, None
        case JobPhase.FAILED if news.error_code in set(ErrorCode):
            return Action.FAIL_CONNECT, error(ErrorCode(news.error_code))
        case _:
            return Action.FAIL_CONNECT, error(ErrorCode.INTERNAL)


def refusal(state: State) -> errors.FailedPrecondition:
    """Give the error that says why BeginConnect is not possible."""
    if state is State.CONNECTED:
        return errors.FailedPrecondition("This platform is connected already.", code="connection_connected")
    message = "The connection is being taken back; connect again when that is done."
    return errors.FailedPrecondition(message, code="connection_disconnecting")


class StateInvalid(errors.InvalidArgument):
    """This answer of the platform belongs to no connection that you have begun here; begin anew."""

    default_code = "state_invalid"


RETURN_TO_LIMIT = 500
RETURN_TO_DEFAULT = "/settings/connections"


def clean_return_to(path: str) -> str:
    """Give where to go after connecting: a path of ours. Raises `InvalidArgument` for whatever may lead elsewhere."""
    if not path:
        return RETURN_TO_DEFAULT
    is_path = path[0] == "/" and path[1:2] not in ("/", "\\") and "\\" not in path and len(path) <= RETURN_TO_LIMIT
    # Browsers drop tabs and line ends from addresses before they read them, so `/<tab>/elsewhere` is `//elsewhere`.
    if not is_path or not path.isascii() or not path.isprintable() or " " in path:
        raise errors.InvalidArgument(
            f"return_to must be a path of at most {RETURN_TO_LIMIT} characters that begins with one `/`.",
            code="return_to",
            field="return_to",
        )
    return path
