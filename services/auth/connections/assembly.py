"""How the parts of connections are put together, for `serve` and for `work`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import outbox
from chassis.rpc import server
from repruv.auth.v1 import connections_service_pb2_grpc as pb_grpc
from services.auth.connections import (
    announcements,
    handlers,
    operations,
    secrets,
    servicer,
    settling,
    tasks,
)
from services.auth.connections.platforms import Platform
from services.auth.connections.providers import choose, outbound
from services.auth.connections.schema import leftovers
from services.auth.connections.schema import secrets as table
from services.auth.encryption import key_rotation
from services.auth.encryption.keyring import Keyring
from worker import JobsClient
from worker.outbox import Submitter


class Assembly:
    """Connections over one database, one relay, and calls to the platforms that are offered."""

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        jobs: JobsClient,
        submits: Submitter,
        announced: announcements.Announcements,
        relay: outbox.Relay,
        offered: Sequence[Platform],
        withdrawn: Sequence[Platform] = (),
        keyring: Keyring,
        public_url: str,
    ) -> None:
        """At `withdrawn` platforms nobody connects any more, but jobs give access back."""
        self._engine = engine
        self.announced = announced
        self._relay = relay
        self._public_url = public_url
        self._vault = secrets.Vault(keyring)
        self._outbound = outbound.Outbound()
        self._providers = choose.providers(offered, self._outbound)
        self._withdrawn = choose.providers(withdrawn, self._outbound)
        self.settlement = settling.Settlement(
            engine=engine, jobs=jobs, submits=submits, announced=announced, relay=relay
        )

    def service(self, demo: operations.Gate) -> server.Service:
        """Give what answers calls."""
        served = operations.Operations(
            engine=self._engine,
            providers=self._providers,
            vault=self._vault,
            settlement=self.settlement,
            announced=self.announced,
            relay=self._relay,
            demo=demo,
            public_url=self._public_url,
        )
        return server.Service(
            name=servicer.SERVICE,
            register=partial(pb_grpc.add_ConnectionsServiceServicer_to_server, servicer.ConnectionsServicer(served)),
            callers=servicer.CALLERS,
        )

    def kinds(self, jobs: worker.JobsClient) -> list[worker.Kind[Any]]:
        """Give what the worker serves; its schedules are `handlers.SCHEDULES`."""
        dependencies = tasks.Dependencies(
            engine=self._engine,
            providers={**self._withdrawn, **self._providers},
            vault=self._vault,
            announced=self.announced,
            relay=self._relay,
            public_url=self._public_url,
            offered=frozenset(self._providers),
        )
        return handlers.kinds(dependencies, self.settlement, jobs.submit_many)

    async def close(self) -> None:
        """Close the connections to platforms."""
        await self._outbound.close()


def encrypted_columns() -> list[key_rotation.EncryptedColumn]:
    """Return the encrypted columns. Authorizations are not rotated: they end within ten minutes."""
    return [
        key_rotation.EncryptedColumn(
            column=table.c[name],
            key=(table.c.user_id, table.c.platform),
            associated_data=lambda row, name=name: secrets.associated_data(name, row.user_id, row.platform),  # type: ignore[misc]
        )
        for name in secrets.SEALED_COLUMNS
    ] + [
        key_rotation.EncryptedColumn(
            column=leftovers.c[name],
            key=(leftovers.c.user_id, leftovers.c.platform, leftovers.c.generation),
            associated_data=lambda row, name=name: secrets.associated_data(name, row.user_id, row.platform),  # type: ignore[misc]
        )
        for name in ("sealed_access_token", "sealed_refresh_token")
    ]
