"""Notification settings: what a user is notified of on pages and by email."""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.auth import current_session, domain
from services.auth.context import Context, lock_account, publish_revocation
from services.auth.notifications import storage
from services.auth.sessions import storage as session_storage


@dataclass(frozen=True, slots=True)
class NotificationSettings:
    context: Context

    async def update(
        self,
        actor: domain.Actor,
        *,
        job_emails: domain.JobEmails | None,
        page_notices: bool | None,
        muted_notices: frozenset[domain.NoticeCategory] | None,
    ) -> domain.User:
        """Change the settings that are not None; caches of the user's sessions drop the old ones.

        Raises `SessionInvalid`, and `AccountRequired` for a guest.
        """
        async with self.context.transaction() as tx:
            (await current_session.get(tx.conn, actor)).require_account()
            user = (await lock_account(tx.conn, actor.user_id)).user
            changed = replace(
                user,
                job_emails=job_emails or user.job_emails,
                page_notices=user.page_notices if page_notices is None else page_notices,
                muted_notices=user.muted_notices if muted_notices is None else muted_notices,
            )
            if changed != user:
                await storage.set_settings(tx.conn, changed)
                publish_revocation(tx, await session_storage.refreshed(tx.conn, actor.user_id))
        return changed
