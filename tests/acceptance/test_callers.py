"""Every rpc of the running system refuses every service that may not call it."""

from __future__ import annotations

import importlib
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory

from chassis import errors, identity
from chassis.rpc import client, metadata
from dev.launcher import secrets
from provision import services
from tests.acceptance.system import System
from tests.contract import callers

TABLES = callers.tables()


@pytest.mark.parametrize("caller", services.CALLERS)
async def test_a_service_gets_no_further_than_its_rows(system: System, caller: str) -> None:
    seeds = secrets.load(system.data_dir)
    call = client.Caller(identity.Signer(caller, seeds[f"{caller.upper()}_IDENTITY_KEY"]))
    tried = 0
    for rpc in callers.rpcs():
        service = rpc.containing_service.full_name
        if caller in TABLES[service][rpc.name]:
            continue
        target = system.target(metadata.service_of(service))
        channel = client.channel(target, service=service, certificate=system.certificate(caller))
        request = message_factory.GetMessageClass(rpc.input_type)()
        with pytest.raises(errors.PermissionDenied) as excinfo:
            await _try(channel, call, rpc, request)
        assert excinfo.value.code == "caller_not_allowed", rpc.full_name
        await channel.close()
        tried += 1
    assert tried > 0


async def _try(channel: grpc.aio.Channel, call: client.Caller, rpc: Any, request: Any) -> None:
    module = importlib.import_module(
        rpc.containing_service.file.name.replace("/", ".").removesuffix(".proto") + "_pb2_grpc"
    )
    method = getattr(getattr(module, f"{rpc.containing_service.name}Stub")(channel), rpc.name)
    if rpc.server_streaming:
        await anext(call.stream(method, request, timeout=60.0, user_token=""))
    else:
        await call(method, request, timeout=60.0, user_token="")
