"""Bodies and responses of accounts, sessions and their security."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from gateway.api.schemas import Body, Text
from gateway.views import Session, User

_PASSWORD = Field(description="10 to 128 characters.", json_schema_extra={"minLength": 10, "maxLength": 128})
_CODE = "Six digits of the authenticator app, or a recovery code."


class Email(Body):
    """An address."""

    email: Text = Field(examples=["mina@example.com"])


class Credentials(Email):
    """Address and password."""

    password: Text = Field(examples=["correct horse battery staple"])


class Login(Credentials):
    """A sign-in."""

    remember: bool = Field(False, description="Stay signed in when the browser is closed.")
    code: Text = Field("", description=f"{_CODE} Only for accounts with a second factor; may be sent in a second step.")


class TokenLogin(Credentials):
    """A sign-in for a bearer token."""

    code: Text = Field("", description=f"{_CODE} Only for accounts with a second factor, and then required.")


class Registration(Credentials):
    """A new account."""

    password: Text = _PASSWORD
    name: Text = Field("", examples=["Mina Okafor"])
    remember: bool = Field(False, description="Stay signed in when the browser is closed.")


class Code(Body):
    """A code."""

    code: Text = Field(description=_CODE, examples=["123456"])


class ChallengeAnswer(Code):
    """The second step of signing in."""

    challenge: Text = Field(description="From the response to the first step.")


class Proof(Body):
    """A proof of identity."""

    password: Text
    code: Text = Field("", description=f"{_CODE} Only for accounts with a second factor.")


class NewPassword(Body):
    """A change of the password."""

    current_password: Text
    new_password: Text = _PASSWORD


class PasswordReset(Body):
    """A new password by an emailed link."""

    token: Text = Field(description="From the link.")
    password: Text = _PASSWORD


class MailToken(Body):
    """The token of an emailed link."""

    token: Text = Field(description="From the link.")


class RevokeAll(Body):
    """Which sessions to end."""

    keep_current: bool = Field(False, description="Keep the session of this request.")


class Registered(TypedDict):
    """The new account."""

    user: User


class Message(TypedDict):
    """A sentence for the user."""

    message: str


class SignedIn(Registered):
    """The account and its new session."""

    session: Session


class Challenge(TypedDict):
    """A second step is needed."""

    status: Literal["second_factor_required"]
    challenge: Annotated[str, Field(description="To be sent with the code; a secret.")]
    expires_at: str | None


class Token(TypedDict):
    """A bearer token, shown only once."""

    token: str
    expires_at: str | None


class Refreshed(TypedDict):
    """The session has a new token: in `Set-Cookie` for cookie callers, in `token` for bearer callers."""

    session: Session
    token: NotRequired[str | None]
    expires_at: NotRequired[str | None]


class PasswordChanged(Refreshed):
    """The same, after a new password."""

    revoked_count: Annotated[int, Field(description="How many other sessions ended.")]


class RecoveryCodes(TypedDict):
    """Single-use codes, shown only once."""

    recovery_codes: list[str]


class SecondFactorEnabled(Refreshed):
    """The same, after a second factor was turned on."""

    recovery_codes: list[str]


class TotpSecret(TypedDict):
    """The secret for an authenticator app, returned only once."""

    secret: str
    uri: Annotated[str, Field(description="`otpauth://`, for a QR code.")]
    expires_at: Annotated[str | None, Field(description="When it must have been confirmed.")]


class Sessions(TypedDict):
    """Active sessions, most recently used first."""

    sessions: list[Session]
