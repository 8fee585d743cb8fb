"""The control endpoint of `make up` breaks what it is asked for: with its token, one part at a time, and brings it back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import cast

import httpx
import pytest

from dev.embedded import ServerFailed
from dev.launcher import breaks
from dev.launcher import control as launcher_control
from dev.launcher.control import Control
from dev.launcher.control_server import LARGEST_BODY, ControlServer
from dev.launcher.stack import Stack
from dev.subprocesses import Flag

NO_STACK = cast(Stack, None)
ASKED = {"part": "nothing", "job_id": "job"}


class Nothing:
    """A part that is broken and comes back at its second start."""

    def __init__(self) -> None:
        self.did: list[str] = []

    def fail(self, _: Stack) -> None:
        self.did.append("failed")

    def recover(self, _: Stack) -> None:
        self.did.append("started")
        if self.did.count("started") == 1:
            raise ServerFailed("not yet")


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch) -> Nothing:
    """The only part that can be broken."""
    part = Nothing()
    monkeypatch.setattr(launcher_control, "PAUSE_SECONDS", 600.0)
    monkeypatch.setattr(
        breaks, "PARTS", {"nothing": breaks.Part(title="nothing", fail=part.fail, recover=part.recover)}
    )
    return part


@pytest.fixture
def control() -> Control:
    """What the launcher does about requests."""
    return Control(lambda label, line: None)


@pytest.fixture
def client(control: Control) -> Iterator[httpx.Client]:
    """The gateway's side of the endpoint."""
    server = ControlServer(control)
    headers = {"Authorization": f"Bearer {server.token}"}
    with server.serving(), httpx.Client(base_url=server.url, headers=headers, timeout=30.0, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Bearer \u00e9", "Basic x"])
def test_requests_without_the_token_are_refused(nothing: Nothing, client: httpx.Client, authorization: str) -> None:
    headers = {b"Authorization": authorization.encode()}
    assert client.get("/breaks", headers=headers).status_code == 401
    assert client.post("/breaks", json=ASKED, headers=headers).status_code == 401
    assert nothing.did == []


def test_endpoint_is_on_the_loopback_only(control: Control) -> None:
    assert ControlServer(control).url.startswith("http://127.0.0.1:")


def test_unknown_parts_paths_and_bodies_are_refused(nothing: Nothing, client: httpx.Client) -> None:
    assert client.post("/breaks", json={**ASKED, "part": "gateway"}).json() == {"code": "part_unknown"}
    assert client.post("/breaks/none/progress").json() == {"code": "break_unknown"}
    assert client.get("/").status_code == client.post("/parts").status_code == 404
    assert client.post("/breaks", content=b"{").status_code == 400
    assert client.post("/breaks", content=b"[]").status_code == 400
    assert client.post("/breaks", content=b" " * (LARGEST_BODY + 1)).status_code == 413
    assert nothing.did == []


def test_a_part_is_broken_once_started_until_it_runs_and_the_next_waits(
    nothing: Nothing, control: Control, client: httpx.Client
) -> None:
    stop = Flag()
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(client.post("/breaks", json=ASKED)))
    asking.start()
    while not nothing.did:
        control.run_pending(NO_STACK, stop, seconds=0.05)
    asking.join()
    (answer,) = answers
    assert answer.status_code == 200
    # It did not start: no other break meanwhile.
    assert nothing.did == ["failed", "started"]
    assert client.post("/breaks", json=ASKED).json() == {"code": "break_running"}
    control.run_pending(NO_STACK, stop, seconds=0.05)
    assert nothing.did == ["failed", "started", "started"]
    refused = client.post("/breaks", json=ASKED)
    assert (refused.status_code, refused.json()) == (429, {"code": "break_too_soon"})

    (before,) = client.get("/breaks").json()["breaks"]
    assert (before["is_back"], before["seconds"]) == (True, None)
    assert client.post(f"/breaks/{before['break_id']}/progress").status_code == 200
    (after,) = client.get("/breaks").json()["breaks"]
    assert after["seconds"] > 0
    # The first progress counts.
    client.post(f"/breaks/{before['break_id']}/progress")
    assert client.get("/breaks").json()["breaks"][0]["seconds"] == after["seconds"]


def test_a_request_ends_with_the_launcher(nothing: Nothing, control: Control) -> None:
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(control.break_part("nothing", "job")["part"]))
    asking.start()
    while asking.is_alive():
        control.close()
    assert answers == ["nothing"]
    assert nothing.did == []
