"""The data of the dashboard is consistent although several calls read it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from gateway import clients
from gateway.pages import loaders
from repruv.demo.v1 import demo_pb2, demo_service_pb2


class Service:
    """A demo service that becomes enabled after a number of dashboard reads."""

    def __init__(self, *, late: int) -> None:
        self.rounds = 0
        self._late = late
        self.get_demo = SimpleNamespace(quick=self._get_demo)
        self.get_dashboard = SimpleNamespace(quick=self._get_dashboard)
        self.list_interactions = SimpleNamespace(send=self._list_interactions)
        self.list_content = SimpleNamespace(send=self._list_content)

    async def _get_demo(self, *_: Any, **__: Any) -> demo_service_pb2.GetDemoResponse:
        return demo_service_pb2.GetDemoResponse(demo=demo_pb2.Demo(state=demo_pb2.DEMO_STATE_ENABLED, version=2))

    async def _get_dashboard(self, *_: Any, **__: Any) -> demo_service_pb2.GetDashboardResponse:
        self.rounds += 1
        if self.rounds <= self._late:
            return demo_service_pb2.GetDashboardResponse()
        return demo_service_pb2.GetDashboardResponse(demo=True, content_count=1, interaction_count=1)

    async def _list_interactions(self, *_: Any, **__: Any) -> demo_service_pb2.ListInteractionsResponse:
        return demo_service_pb2.ListInteractionsResponse(interactions=[demo_pb2.Interaction(interaction_id="i")])

    async def _list_content(self, *_: Any, **__: Any) -> demo_service_pb2.ListContentResponse:
        return demo_service_pb2.ListContentResponse(content=[demo_pb2.ContentItem(content_id="c")])


async def read(service: Service) -> loaders.Overview:
    return await loaders.overview(cast(clients.Demo, service), "identity")


async def test_consistent_reads_are_not_repeated() -> None:
    service = Service(late=0)
    overview = await read(service)
    assert (service.rounds, overview.demo["version"]) == (1, 2)


async def test_transition_between_the_reads_repeats_them() -> None:
    service = Service(late=1)
    overview = await read(service)
    assert overview.metrics is not None
    assert (service.rounds, overview.metrics["interaction_count"], overview.demo["version"]) == (2, 1, 2)


async def test_reads_that_stay_inconsistent_are_marked_as_oldest() -> None:
    service = Service(late=9)
    overview = await read(service)
    assert (service.rounds, overview.demo["version"]) == (loaders.MAX_READS, loaders.OLDER_THAN_ANY)
