"""A browser, and the whole system in separate processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright, expect

from dev import chromium, subprocesses
from dev.launcher import fake_provider as local_provider
from dev.launcher.control import Control
from dev.launcher.control_server import ControlServer
from dev.launcher.stack import Stack
from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.browser.visitor import TIMEOUT_MS, Visitor

PAUSE_MS = "100"
"""A hundred rows then take a tenth of a second: long enough to see the middle."""

SMALL = {"niche": "food", "interaction_count": 100}

NewVisitor = Callable[..., Awaitable[Visitor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A user whose demo mode failed, and the failed job."""

    user: User
    job_id: str


@pytest.fixture(scope="session", autouse=True)
def generous_bounds() -> None:
    """Set long timeouts for assertions on pages."""
    expect.set_options(timeout=TIMEOUT_MS)
    if chromium.executable() is None:
        pytest.fail(chromium.MISSING, pytrace=False)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One headless Chromium for all tests that do not start their own."""
    async with chromium.running(chromium.shell()) as running:
        yield running


@pytest.fixture(scope="session")
async def complete_browser() -> AsyncIterator[Browser]:
    """One complete Chromium, for what the headless one lacks: permissions to notify and the back-forward cache."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(
            executable_path=chromium.executable(),
            args=list(chromium.ARGUMENTS),
            ignore_default_args=["--disable-back-forward-cache"],
        )
        yield running
        await running.close()


@pytest.fixture(scope="session")
def gateway_port() -> int:
    """The port of the gateway."""
    return subprocesses.free_port()


@pytest.fixture(scope="session")
def platforms(gateway_port: int) -> Iterator[dict[str, str]]:
    """Run the fake provider. Return the environment variables that configure it."""
    with local_provider.running(gateway_port) as variables:
        yield variables


@pytest.fixture(scope="session")
def mails(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of emails."""
    return tmp_path_factory.mktemp("mails")


@pytest.fixture(scope="session")
def control() -> Control:
    """The control of the launcher; a test executes its requests with `system.controlled_by`."""
    return Control(lambda label, line: None)


@pytest.fixture(scope="session")
def control_variables(control: Control) -> Iterator[dict[str, str]]:
    """Serve the control endpoint. Yield the environment variables that configure it for the gateway."""
    server = ControlServer(control)
    with server.serving():
        yield server.variables


@pytest.fixture(scope="session")
async def system(
    browser: Browser,
    tmp_path_factory: pytest.TempPathFactory,
    gateway_port: int,
    platforms: dict[str, str],
    control_variables: dict[str, str],
    mails: Path,
) -> AsyncIterator[System]:
    """The running system, which every test leaves unchanged."""
    directory = tmp_path_factory.mktemp("browser")
    variables = {"PASSWORD_MEMORY_KIB": "1024", "REGISTRATIONS_PER_ADDRESS": "1000000", "DEMO_BATCH_PAUSE_MS": PAUSE_MS}
    stack = Stack(
        directory / "data",
        gateway_port=gateway_port,
        env={**variables, "EMAIL_URL": f"folder:{mails}", **platforms, **control_variables},
        log=directory / "log",
        forks=True,
    )
    async with System(stack) as running:
        yield running


@pytest.fixture(scope="session")
async def failures(system: System) -> AsyncIterator[Iterator[Failure]]:
    """Users with a failed enable, one for each test. The worker restarts twice for all of them."""
    users = [await User.register(system.url) for _ in range(3)]
    async with system.workers(DEMO_FAIL_HANDLERS="enable"):
        failed = [Failure(user=user, job_id=await user.enable(SMALL)) for user in users]
        for failure in failed:
            await failure.user.wait_for_status("failed")
    yield iter(failed)
    for user in users:
        await user.close()


@pytest.fixture
def failure(failures: Iterator[Failure]) -> Failure:
    """A user whose demo mode failed."""
    return next(failures)


@pytest.fixture
async def new_visitor(browser: Browser, system: System) -> AsyncIterator[NewVisitor]:
    """Return a function that makes visitors, with options of Playwright's contexts; check all of them at the end.

    Animations are off: without a graphics card, each animated page takes a tenth of a core.
    """
    visitors: list[Visitor] = []
    async with AsyncExitStack() as stack:

        async def make(**options: object) -> Visitor:
            calm = {"reduced_motion": "reduce", **options}
            context = await browser.new_context(base_url=system.url, **calm)  # type: ignore[arg-type]
            stack.push_async_callback(context.close)
            visitors.append(Visitor(context, system.url))
            return visitors[-1]

        yield make
    for visitor in visitors:
        visitor.assert_no_complaints()


@pytest.fixture
async def visitor(new_visitor: NewVisitor) -> Visitor:
    """A visitor without an account."""
    return await new_visitor()


@pytest.fixture
async def user(system: System) -> AsyncIterator[User]:
    """A registered user, as a client of the API."""
    registered = await User.register(system.url)
    yield registered
    await registered.close()


@pytest.fixture
async def mina(visitor: Visitor, user: User) -> Visitor:
    """The same user in a browser."""
    await visitor.sign_in_as(user)
    return visitor
