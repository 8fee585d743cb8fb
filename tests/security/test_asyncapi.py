"""Every message that the system publishes in use matches docs/asyncapi.json."""

from __future__ import annotations

import contextlib
import json
import re
from contextlib import AsyncExitStack

import jsonschema_rs
import nats
from google.protobuf import json_format, message_factory
from nats.aio.msg import Msg

from chassis import streams
from dev.launcher.stack import ROOT
from repruv.auth.v1 import auth_events_pb2
from repruv.demo.v1 import demo_events_pb2, exports_service_pb2
from repruv.jobs.v1 import job_events_pb2
from tests.acceptance import waiting
from tests.security import connecting
from tests.security.conftest import Replicated
from tests.security.users import Person

DOCUMENT = json.loads((ROOT / "docs" / "asyncapi.json").read_text())
TYPES = {
    message.full_name: message_factory.GetMessageClass(message)
    for module in (auth_events_pb2, demo_events_pb2, exports_service_pb2, job_events_pb2)
    for message in module.DESCRIPTOR.message_types_by_name.values()
}
# What the permissions of NATS let each service read; together it is everything.
READERS = {
    "gateway": ("auth.events.>", "demo.events.>", "jobs.events.>", "jobs.*.*"),
    "jobs": ("jobs.wake.>", "jobs.cancel"),
}
PUBLISHED = {
    "auth.events",
    "auth.events.connections",
    "demo.events",
    "jobs.events",
    "jobs.live_events",
    "jobs.progress",
}
"""Channels that the use below must have used; others may have been."""


class Channel:
    """A channel of the document."""

    def __init__(self, name: str) -> None:
        described = DOCUMENT["channels"][name]
        # Kinds have dots; ids have none.
        tokens = {"kind": "[^ ]+"}
        self.pattern = re.compile(
            re.sub(r"\{(\w+)\}", lambda match: tokens.get(match[1], "[^. ]+"), described["address"].replace(".", r"\."))
        )
        message = DOCUMENT["components"]["messages"][described["messages"]["Message"]["$ref"].rpartition("/")[2]]
        self.type = TYPES[message["x-protobuf-message"]]
        schemas = {
            key: {"additionalProperties": False, **schema} for key, schema in DOCUMENT["components"]["schemas"].items()
        }
        self.schema = jsonschema_rs.validator_for({**message["payload"], "components": {"schemas": schemas}})


CHANNELS = {name: Channel(name) for name in DOCUMENT["channels"]}


def names(subject: str) -> list[str]:
    """Name the channels of a subject."""
    return [name for name, channel in CHANNELS.items() if channel.pattern.fullmatch(subject)]


async def use(person: Person) -> None:
    """Enable and disable demo mode, connect to a platform, cancel a job and sign out everywhere."""
    chosen = {"profile_type": "creator", "niche": "beauty", "interaction_count": 200}
    for action, body, status in (("enable", chosen, "enabled"), ("disable", None, "disabled")):
        assert (await person.post(f"/demo/{action}", json=body)).status_code == 202

        async def has_ended(status: str = status) -> bool:
            return bool((await person.get("/demo/status")).json()["status"] == status)

        await waiting.until(has_ended, f"demo mode is {status}")
    async with connecting.connection(person):
        pass
    accepted = (await person.post("/demo/enable", json={**chosen, "interaction_count": 100_000})).json()
    assert (await person.post(f"/jobs/{accepted['job_id']}/cancel")).status_code == 202
    assert (await person.post("/auth/sessions/revoke-all")).status_code == 204


async def test_every_message_is_on_a_channel_and_has_its_schema(system: Replicated, person: Person) -> None:
    received: list[Msg] = []

    async def receive(message: Msg) -> None:
        received.append(message)

    async with AsyncExitStack() as stack:
        for reader, subjects in READERS.items():
            url = system.nats_url_of(reader)
            client = await nats.connect(
                streams.servers(url), tls=system.certificate(reader).client_context(), tls_handshake_first=True
            )
            stack.push_async_callback(client.close)
            for subject in subjects:
                await client.subscribe(subject, cb=receive)
            await client.flush()
        await use(person)

        def unused() -> set[str]:
            return PUBLISHED - {name for message in received for name in names(message.subject)}

        async def is_complete() -> bool:
            return not unused()

        with contextlib.suppress(AssertionError):
            await waiting.until(is_complete, "all channels are used")
        assert unused() == set()

    for message in received:
        [name] = names(message.subject)
        payload = CHANNELS[name].type.FromString(message.data)
        assert payload.ByteSize() == len(message.data), "the payload is of another type"
        CHANNELS[name].schema.validate(json_format.MessageToDict(payload, preserving_proto_field_name=True))
