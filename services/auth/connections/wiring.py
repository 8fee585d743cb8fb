"""The wiring of connections, for `serve` and for `work`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import outbox
from chassis.rpc import server
from lifecycle.settler import Settler
from lifecycle.submitter import LifecycleSubmitter
from services.auth.connections import operations, secrets, servicer
from services.auth.connections.demo_client import DemoMode
from services.auth.connections.effects import Effects
from services.auth.connections.handlers import kinds
from services.auth.connections.handlers.dependencies import Dependencies
from services.auth.connections.platforms import Platform
from services.auth.connections.providers import outbound, registry
from services.auth.connections.schema import pending_revocations
from services.auth.connections.schema import secrets as table
from services.auth.encryption import key_rotation
from services.auth.encryption.keyring import Keyring
from worker import JobsClient


class Wiring:
    """Connections over one database, one relay, and calls to the platforms that are offered."""

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        jobs: JobsClient,
        submitter: LifecycleSubmitter,
        effects: Effects,
        relay: outbox.Relay,
        offered: Sequence[Platform],
        withdrawn: Sequence[Platform] = (),
        keyring: Keyring,
        public_url: str,
    ) -> None:
        """Build the parts. Users cannot connect `withdrawn` platforms, but jobs revoke the access to them."""
        self._engine = engine
        self.effects = effects
        self._relay = relay
        self._public_url = public_url
        self._vault = secrets.Vault(keyring)
        self._outbound = outbound.Outbound()
        self._providers = registry.providers(offered, self._outbound)
        self._withdrawn = registry.providers(withdrawn, self._outbound)
        self.settler = Settler(effects.lifecycle(), engine=engine, relay=relay, jobs=jobs, submitter=submitter)

    def service(self, demo: DemoMode) -> server.Service:
        connections = operations.Operations(
            engine=self._engine,
            providers=self._providers,
            vault=self._vault,
            settler=self.settler,
            effects=self.effects,
            relay=self._relay,
            demo=demo,
            public_url=self._public_url,
        )
        return server.Service.from_servicer(
            servicer.ConnectionsServicer(connections), servicer.CALLERS, servicer.SCOPES
        )

    def kinds(self, jobs: worker.JobsClient) -> list[worker.Kind[Any]]:
        """Return the kinds that the worker runs; their schedules are `kinds.SCHEDULES`."""
        dependencies = Dependencies(
            engine=self._engine,
            lifecycle=self.settler.lifecycle,
            providers={**self._withdrawn, **self._providers},
            vault=self._vault,
            effects=self.effects,
            relay=self._relay,
            public_url=self._public_url,
            offered=frozenset(self._providers),
        )
        return kinds.kinds(dependencies, self.settler, jobs.submit_many)

    async def close(self) -> None:
        await self._outbound.close()


def encrypted_columns() -> list[key_rotation.EncryptedColumn]:
    """Return the encrypted columns. Those of authorizations are not rotated: they expire within ten minutes."""
    return [
        key_rotation.EncryptedColumn(
            column=table.c[name],
            key=(table.c.user_id, table.c.platform),
            associated_data=lambda row, name=name: secrets.associated_data(name, row.user_id, row.platform),  # type: ignore[misc]
        )
        for name in secrets.SEALED_COLUMNS
    ] + [
        key_rotation.EncryptedColumn(
            column=pending_revocations.c[name],
            key=(pending_revocations.c.user_id, pending_revocations.c.platform, pending_revocations.c.generation),
            associated_data=lambda row, name=name: secrets.associated_data(name, row.user_id, row.platform),  # type: ignore[misc]
        )
        for name in ("sealed_access_token", "sealed_refresh_token")
    ]
