"""The effects of a transition, in its transaction: secrets, items, event, job and security event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from chassis import outbox
from lifecycle.declaration import Lifecycle
from services.auth import audit, channels, schema
from services.auth import domain as accounts
from services.auth.connections import convert, domain, jobs, pending_revocations, secrets, storage
from services.auth.connections.domain import Action, Connection, State
from worker import outbox as worker_outbox

_SECURITY_EVENTS: Mapping[Action, audit.Kind] = {
    Action.BEGIN: audit.Kind.CONNECTION_BEGUN,
    Action.COMPLETE_CONNECT: audit.Kind.CONNECTED,
    Action.DENY: audit.Kind.CONNECTION_FAILED,
    Action.REFUSE: audit.Kind.CONNECTION_FAILED,
    Action.ABANDON: audit.Kind.CONNECTION_FAILED,
    Action.CANCEL_CONNECT: audit.Kind.CONNECTION_FAILED,
    Action.FAIL_CONNECT: audit.Kind.CONNECTION_FAILED,
    Action.FAIL_REFRESH: audit.Kind.CONNECTION_FAILED,
    # Both the request, with who made it and from where, and its end.
    Action.DISCONNECT: audit.Kind.DISCONNECTED,
    Action.CLOSE: audit.Kind.DISCONNECTED,
    Action.WITHDRAW: audit.Kind.DISCONNECTED,
    Action.COMPLETE_DISCONNECT: audit.Kind.DISCONNECTED,
    Action.FORCE_DISCONNECT: audit.Kind.DISCONNECTED,
}
_SUBMITTING = frozenset({Action.RETURN, *domain.DISCONNECTS})


class Effects:
    """The effects of transitions. Events carry the titles that platforms have in the settings."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        self._titles = titles

    def title(self, platform: str) -> str:
        """Return the title of a platform; its name if it is no longer in the settings."""
        return self._titles.get(platform, platform)

    def lifecycle(self) -> Lifecycle[Connection, Action]:
        return Lifecycle(rows=storage.CONNECTIONS, outbox_table=schema.outbox, effects=self.apply, submit=jobs.move)

    async def apply(
        self,
        tx: outbox.Transaction,
        connection: Connection,
        action: Action,
        *,
        session_id: UUID | None = None,
        admin: accounts.Actor | None = None,
    ) -> None:
        """Apply the effects of the transition that led to `connection`.

        Secrets that the new state or generation does not keep are deleted, or set aside to be revoked; items go with a
        disconnect. `session_id` is the session of the user who acted; or `admin` acted.
        """
        event = convert.event_to_proto(connection, action, title=self.title(connection.platform))
        subject = channels.CONNECTIONS.subject(connection.user_id)
        tx.publish(outbox.Message(subject=subject, payload=event.SerializeToString()))
        if action in _SUBMITTING:
            tx.publish(worker_outbox.submit_message(jobs.move(connection)))
        if action is Action.BEGIN or connection.state not in domain.KEEPS_SECRETS:
            # A connect that is begun again leaves those of the generation before.
            ended = replace(connection, generation=connection.generation - (action is Action.BEGIN))
            if domain.leaves_tokens(connection, action) and await pending_revocations.set_aside(tx.conn, ended):
                tx.publish(worker_outbox.submit_message(jobs.revoke_tokens(ended)))
            await secrets.delete(tx.conn, connection.user_id, connection.platform)
        if connection.state is State.DISCONNECTED:
            await storage.delete_items(tx.conn, connection)
        if kind := _SECURITY_EVENTS.get(action):
            await self._record(tx, connection, action, kind, session_id=session_id, admin=admin)

    async def _record(
        self,
        tx: outbox.Transaction,
        connection: Connection,
        action: Action,
        kind: audit.Kind,
        *,
        session_id: UUID | None,
        admin: accounts.Actor | None,
    ) -> None:
        user_id = connection.user_id
        actor = accounts.Actor(user_id=user_id, session_id=session_id) if session_id else admin
        origin = audit.Origin(
            user_id=user_id, actor_id=actor.user_id if actor else None, session_id=actor.session_id if actor else None
        )
        reason = connection.error.code if connection.error else action.value
        await audit.record(tx.conn, kind, origin, platform=connection.platform, reason=reason)
