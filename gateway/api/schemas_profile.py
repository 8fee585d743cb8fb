"""Bodies of the user's profile and notification settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway import views
from gateway.api.schemas import Body, Text


class ProfileChanges(Body):
    """The fields to change; null or missing: unchanged."""

    name: Text | None = Field(None, description="At most 100 characters.", examples=["Mina Okafor"])
    time_zone: Text | None = Field(
        None, description="An IANA time zone; empty: the browser's.", examples=["Europe/Berlin"]
    )
    theme: views.Theme | None = Field(None, description="`system` follows the settings of the browser.")


class NotificationSettingsChanges(Body):
    """The settings to change; null or missing: unchanged."""

    page_notices: bool | None = Field(None, description="Whether pages show finished jobs that are unread.")
    muted_notices: Annotated[list[views.NoticeCategory], Field(max_length=len(views.NOTICE_CATEGORIES))] | None = Field(
        None, description="Kinds of jobs of which pages show none; replaces the list."
    )
    job_emails: views.JobEmails | None = Field(
        None, description="`failed` and `all`: long jobs that end while the user is away, to a verified address."
    )
