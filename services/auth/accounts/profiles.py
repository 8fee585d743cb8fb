"""Profiles: how a user is named and reads pages."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chassis import errors
from services.auth import current_session, domain, validation
from services.auth import storage as account_storage
from services.auth.context import Context, lock_account, publish_revocation
from services.auth.sessions import storage as session_storage


@dataclass(frozen=True, slots=True)
class Profiles:
    context: Context

    async def update(
        self, actor: domain.Actor, *, name: str | None, time_zone: str | None, theme: domain.Theme | None
    ) -> domain.User:
        """Change the fields that are not None; caches of the user's sessions drop the old ones.

        Raises `InvalidArgument` and `SessionInvalid`.
        """
        fields = errors.Validation()
        with fields.field():
            name = None if name is None else validation.clean_name(name)
        with fields.field():
            time_zone = None if time_zone is None else validation.check_time_zone(time_zone)
        fields.end()
        async with self.context.transaction() as tx:
            await current_session.get(tx.conn, actor)
            user = (await lock_account(tx.conn, actor.user_id)).user
            changed = replace(
                user,
                name=user.name if name is None else name,
                time_zone=user.time_zone if time_zone is None else time_zone,
                theme=theme or user.theme,
            )
            if changed != user:
                await account_storage.set_profile(
                    tx.conn, actor.user_id, name=changed.name, time_zone=changed.time_zone, theme=changed.theme
                )
                publish_revocation(tx, await session_storage.refreshed(tx.conn, actor.user_id))
        return changed
