"""The shapes of accounts, sessions, and how both are protected."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from gateway.api.schemas import Body, Text

Role = Literal["user", "admin"]
_PASSWORD = Field(description="10 to 128 characters.", json_schema_extra={"minLength": 10, "maxLength": 128})
_CODE = "Six digits of the authenticator app, or a recovery code."


class Email(Body):
    """An address."""

    email: Text = Field(examples=["mina@example.com"])


class Credentials(Email):
    """Who wants to sign in."""

    password: Text = Field(examples=["correct horse battery staple"])


class Login(Credentials):
    """Who wants to sign in, and how."""

    remember: bool = Field(False, description="Stay signed in when the browser is closed.")
    code: Text = Field("", description=f"{_CODE} Only for accounts with a second factor; may be sent in a second step.")


class TokenLogin(Credentials):
    """Who wants a bearer token."""

    code: Text = Field("", description=f"{_CODE} Only for accounts with a second factor, and then required.")


class Registration(Credentials):
    """Who wants an account."""

    password: Text = _PASSWORD
    name: Text = Field("", examples=["Mina Okafor"])
    remember: bool = Field(False, description="Stay signed in when the browser is closed.")


class Code(Body):
    """A code."""

    code: Text = Field(description=_CODE, examples=["123456"])


class ChallengeAnswer(Code):
    """The second step of signing in."""

    challenge: Text = Field(description="As the first step gave it.")


class Proof(Body):
    """Who the user is, once more."""

    password: Text
    code: Text = Field("", description=f"{_CODE} Only for accounts with a second factor.")


class NewPassword(Body):
    """A password instead of another."""

    current_password: Text
    new_password: Text = _PASSWORD


class PasswordReset(Body):
    """A password by a mailed link."""

    token: Text = Field(description="From the link.")
    password: Text = _PASSWORD


class MailToken(Body):
    """What a mailed link carries."""

    token: Text = Field(description="From the link.")


class RevokeAll(Body):
    """Which sessions to end."""

    keep_current: bool = Field(False, description="Spare the session that asks.")


class User(BaseModel):
    """A person with an account."""

    user_id: str
    email: str
    name: str
    role: Role
    created_at: str | None
    email_verified: bool
    has_second_factor: bool
    disabled_at: str | None


class Me(BaseModel):
    """The signed-in user, and where to go after signing in."""

    user_id: str
    email: str
    name: str
    role: Role
    can_access_dashboard: bool = Field(description="The address is verified, or the account is still new.")
    redirect_path: str = Field(examples=["/dashboard"])


class Session(BaseModel):
    """One login."""

    session_id: str
    user_agent: str
    client_name: str = Field(examples=["Firefox on Linux"])
    ip_address: str
    remembered: bool
    created_at: str | None
    last_seen_at: str | None
    authenticated_at: str | None = Field(description="When its user last proved who they are.")
    idle_expires_at: str | None = Field(description="When it ends unless it is used before.")
    expires_at: str | None = Field(description="When it ends at the latest.")
    current: bool


class Registered(BaseModel):
    """The new account."""

    user: User


class Message(BaseModel):
    """A sentence for the user."""

    message: str


class SignedIn(Registered):
    """The account and its new session."""

    session: Session


class Challenge(BaseModel):
    """A second step is needed."""

    status: Literal["second_factor_required"]
    challenge: str = Field(description="To be sent with the code; a secret.")
    expires_at: str | None


class Token(BaseModel):
    """A bearer token, told only once."""

    token: str
    expires_at: str | None


class Refreshed(BaseModel):
    """The session goes on under a new token: in `Set-SessionCookie` for cookie callers, in `token` for bearer callers."""

    session: Session
    token: str | None = None
    expires_at: str | None = None


class PasswordChanged(Refreshed):
    """The same, after a new password."""

    revoked_count: int = Field(description="How many other sessions ended.")


class RecoveryCodes(BaseModel):
    """Codes that count once each, told only once."""

    recovery_codes: list[str]


class SecondFactorEnabled(Refreshed):
    """The same, after a second factor was turned on."""

    recovery_codes: list[str]


class TotpSecret(BaseModel):
    """What an authenticator app needs, told only once."""

    secret: str
    uri: str = Field(description="`otpauth://`, for a QR code.")
    expires_at: str | None = Field(description="When it must have been confirmed.")


class Sessions(BaseModel):
    """Living sessions, most recently used first."""

    sessions: list[Session]


class SecurityEvent(BaseModel):
    """Something that happened to an account."""

    event_id: str
    kind: str = Field(examples=["login_failed"])
    user_id: str | None
    actor_id: str | None
    session_id: str | None
    ip_address: str
    client_name: str
    details: dict[str, str]
    occurred_at: str | None


class Security(BaseModel):
    """How an account is protected."""

    user: User
    password_changed_at: str | None
    second_factor_enabled_at: str | None
    recovery_codes_left: int
    fresh_until: str | None = Field(description="Until when sensitive calls need no new proof; in the past if they do.")
    events: list[SecurityEvent] = Field(description="The last 20, newest first.")
