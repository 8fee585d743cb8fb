"""Email templates. Pure: an address and a link in, an email out."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable
from datetime import datetime, tzinfo
from enum import StrEnum

from services.auth import domain
from services.auth.email import layout
from services.auth.email.message import Email


class AccountChange(StrEnum):
    """A change that the account's owner is notified of, in case another person made it."""

    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a change, no password
    SECOND_FACTOR_ENABLED = "second_factor_enabled"
    SECOND_FACTOR_DISABLED = "second_factor_disabled"
    RECOVERY_CODES_REPLACED = "recovery_codes_replaced"
    PASSKEY_ADDED = "passkey_added"
    PASSKEY_REMOVED = "passkey_removed"
    DELETION_CANCELLED = "deletion_cancelled"
    DATA_EXPORT_REQUESTED = "data_export_requested"


_CHANGES = {
    AccountChange.PASSWORD_CHANGED: ("Your password was changed", "The password of your Repruv account was changed"),
    AccountChange.SECOND_FACTOR_ENABLED: (
        "Two-step verification is on",
        "Signing in to your Repruv account now requires a code from your authenticator app",
    ),
    AccountChange.SECOND_FACTOR_DISABLED: (
        "Two-step verification is off",
        "Signing in to your Repruv account no longer requires a code from your authenticator app",
    ),
    AccountChange.RECOVERY_CODES_REPLACED: (
        "Your recovery codes were replaced",
        "New recovery codes were made for your Repruv account. The ones you saved before are void",
    ),
    AccountChange.PASSKEY_ADDED: (
        "A passkey was added",
        "A passkey was added to your Repruv account. It allows signing in without the password",
    ),
    AccountChange.PASSKEY_REMOVED: ("A passkey was removed", "A passkey was removed from your Repruv account"),
    AccountChange.DATA_EXPORT_REQUESTED: (
        "A copy of your data was requested",
        "A copy of everything in your Repruv account was requested. Downloading it requires a recent sign-in",
    ),
    AccountChange.DELETION_CANCELLED: (
        "Your account will not be deleted",
        "The deletion of your Repruv account was cancelled",
    ),
}


def verify(to: str, *, public_url: str, token: str) -> Email:
    """Ask the owner of an address to verify it."""
    link = _link(public_url, "verify-email", token)
    return layout.email(
        to,
        "Verify your email address",
        ["Verify that this address is yours. The link works once and expires after 24 hours."],
        ("Verify email address", link),
        "If you didn't create a Repruv account, ignore this email and don't open the link.",
    )


def already_registered(to: str, *, public_url: str) -> Email:
    """Tell the owner of an account about a second registration with the same address."""
    return layout.email(
        to,
        "You already have an account",
        [
            "Someone tried to create a Repruv account with this address. You already have one: sign in instead.",
            f"Forgot your password? Set a new one: {public_url}/forgot-password",
        ],
        ("Sign in", f"{public_url}/login"),
        "If this wasn't you, you don't need to do anything. Nothing has changed.",
    )


def reset(to: str, *, public_url: str, token: str) -> Email:
    """Let the owner of an address set a new password."""
    link = _link(public_url, "reset-password", token)
    return layout.email(
        to,
        "Set a new password",
        [
            "You asked to set a new password. The link works once and expires after 30 minutes.",
            "Setting it signs you out on all devices and removes your passkeys.",
        ],
        ("Set a new password", link),
        "If this wasn't you, ignore this email. Your password stays the same.",
    )


def deletion(to: str, *, public_url: str, token: str, due_at: datetime, zone: tzinfo) -> Email:
    """Tell the owner that the account will be deleted, and how to keep it."""
    return layout.email(
        to,
        "Your account will be deleted",
        [
            f"Your Repruv account and all of its data will be deleted after {layout.local_time(due_at, zone)}.",
            "You can still sign in until then. Deleted data cannot be restored.",
        ],
        ("Keep my account", _link(public_url, "keep-account", token)),
        f"If this wasn't you, keep the account and set a new password: {public_url}/forgot-password",
    )


def account_change(to: str, change: AccountChange, *, public_url: str) -> Email:
    """Notify the owner of a change to the account."""
    subject, sentence = _CHANGES[change]
    return layout.email(
        to,
        subject,
        [f"{sentence}."],
        ("Review your security settings", f"{public_url}/settings/security"),
        f"If this wasn't you, set a new password now: {public_url}/forgot-password",
    )


def new_device(to: str, session: domain.Session, *, zone: tzinfo, public_url: str) -> Email:
    """Notify the owner of a sign-in from a device that the account has not seen before."""
    return layout.email(
        to,
        "New sign-in to your account",
        [
            "Someone signed in to your Repruv account from a new device.",
            f"When: {layout.local_time(session.created_at, zone)}",
            f"Device: {session.client_name or 'Unknown'}",
            f"IP address: {session.ip_address or 'Unknown'}",
        ],
        ("Review your sessions", f"{public_url}/settings/sessions"),
        f"If this wasn't you, sign that device out and set a new password now: {public_url}/forgot-password",
    )


def new_api_token(
    to: str, *, name: str, scopes: Iterable[str], expires_at: datetime, zone: tzinfo, public_url: str
) -> Email:
    """Notify the owner of a new API token."""
    return layout.email(
        to,
        "New API token",
        [
            "An API token was created for your Repruv account. Programs can use it without your password.",
            f"Name: {name}",
            f"Scopes: {' and '.join(scopes)}",
            f"Expires: {layout.local_time(expires_at, zone)}",
        ],
        ("Review your API tokens", f"{public_url}/settings/tokens"),
        f"If this wasn't you, set a new password now. That revokes all API tokens: {public_url}/forgot-password",
    )


def confirm_email_change(to: str, *, public_url: str, token: str) -> Email:
    """Ask the owner of a new address to confirm it."""
    return layout.email(
        to,
        "Confirm your new email address",
        ["Confirm this address to use it for your Repruv account. The link works once and expires after 24 hours."],
        ("Confirm email address", _link(public_url, "confirm-email", token)),
        "If you didn't ask for this, ignore this email and don't open the link.",
    )


def address_has_account(to: str, *, public_url: str) -> Email:
    """Tell the owner of an account that another account asked for its address."""
    return layout.email(
        to,
        "This address already has an account",
        [
            "Someone tried to use this address for another Repruv account. It belongs to yours, so nothing has changed.",
            f"Forgot your password? Set a new one: {public_url}/forgot-password",
        ],
        ("Sign in", f"{public_url}/login"),
        "If this wasn't you, you don't need to do anything.",
    )


def notice_of_email_change(to: str, new: str, *, public_url: str, token: str) -> Email:
    """Notify the address so far of a change to `new`, which is empty if the address was never verified."""
    target = f"to {new}" if new else "to another address"
    # Who never proved that the address is theirs cannot take the account back with it.
    lasting = (
        "The link works once and expires after 7 days. It keeps this address for your account"
        if new
        else "The link works once, until the new address is confirmed. It stops the change"
    )
    return layout.email(
        to,
        "Your email address is being changed",
        [
            f"You asked to change the email address of your Repruv account {target}.",
            "It changes when the new address is confirmed.",
            "If this was you, you don't need to do anything.",
        ],
        ("This wasn't me", _link(public_url, "revoke-email", token)),
        f"{lasting} and signs you out on all devices.",
    )


def _link(public_url: str, page: str, token: str) -> str:
    return f"{public_url}/{page}?token={urllib.parse.quote(token, safe='')}"
