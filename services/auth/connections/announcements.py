"""What leaves with a transition, in the transaction that makes it true: its event, its security event, its job."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import outbox, streams
from services.auth import audit, schema
from services.auth import domain as accounts
from services.auth.connections import convert, domain, secrets
from services.auth.connections.domain import Action, Connection
from worker import outbox as worker_outbox

_RECORDED: Mapping[Action, audit.Kind] = {
    Action.BEGIN: audit.Kind.CONNECTION_BEGUN,
    Action.COMPLETE_CONNECT: audit.Kind.CONNECTED,
    Action.DENY: audit.Kind.CONNECTION_FAILED,
    Action.REFUSE: audit.Kind.CONNECTION_FAILED,
    Action.ABANDON: audit.Kind.CONNECTION_FAILED,
    Action.CANCEL_CONNECT: audit.Kind.CONNECTION_FAILED,
    Action.FAIL_CONNECT: audit.Kind.CONNECTION_FAILED,
    Action.FAIL_REFRESH: audit.Kind.CONNECTION_FAILED,
    # Asked for, by whom and from where; and done.
    Action.DISCONNECT: audit.Kind.DISCONNECTED,
    Action.CLOSE: audit.Kind.DISCONNECTED,
    Action.WITHDRAW: audit.Kind.DISCONNECTED,
    Action.COMPLETE_DISCONNECT: audit.Kind.DISCONNECTED,
    Action.FORCE_DISCONNECT: audit.Kind.DISCONNECTED,
}
_SUBMITTING = frozenset({Action.RETURN, *domain.ENDING})


class Announcements:
    """Writes them, with the titles that platforms have in the settings."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        self._titles = titles

    def title(self, platform: str) -> str:
        """Give what people call a platform; its name if it is no longer in the settings."""
        return self._titles.get(platform, platform)

    async def announce(
        self,
        conn: AsyncConnection,
        connection: Connection,
        action: Action,
        *,
        session_id: UUID | None = None,
        admin: accounts.Actor | None = None,
    ) -> list[outbox.Message]:
        """Write what the transition that led to `connection` makes true; gives what to send after the commit.

        `session_id` is the session of the user who did it; or `admin` did.
        """
        told = convert.event_to_proto(connection, action, title=self.title(connection.platform))
        subject = streams.events_subject("auth", f"connections.{connection.user_id}")
        messages = [outbox.Message(subject=subject, payload=told.SerializeToString(), delay=outbox.RELAY_DELAY)]
        if action in _SUBMITTING:
            messages.append(worker_outbox.submit_message(convert.submit_to_proto(connection)))
        of = (connection.user_id, connection.platform, connection.generation)
        if action in domain.LEAVES_TOKENS and await secrets.has_leftover(conn, *of):
            messages.append(worker_outbox.submit_message(convert.give_back_to_proto(connection)))
        await outbox.add(conn, schema.outbox, messages)
        if kind := _RECORDED.get(action):
            user_id = connection.user_id
            by = accounts.Actor(user_id=user_id, session_id=session_id) if session_id else admin
            origin = audit.Origin(
                user_id=user_id, actor_id=by.user_id if by else None, session_id=by.session_id if by else None
            )
            reason = connection.error.code.value if connection.error else action.value
            await audit.record(conn, kind, origin, platform=connection.platform, reason=reason)
        return messages
