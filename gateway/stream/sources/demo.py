"""Demo mode, with the progress of the job that moves it."""

from __future__ import annotations

from gateway import clients, views
from gateway.stream.sources.source import Fetched, Source
from repruv.demo.v1 import demo_events_pb2, demo_pb2
from repruv.jobs.v1 import job_pb2


class Demo(Source[demo_pb2.Demo]):
    """The demo mode of an owner."""

    event = "demo"
    subject = "demo.events"
    job_kinds = frozenset({"demo.enable", "demo.disable"})
    refresh_seconds = 2.0

    def __init__(self, demo: clients.Demo) -> None:
        self._demo = demo

    def parse(self, payload: bytes) -> demo_pb2.Demo:
        """Return demo mode after a transition."""
        return demo_events_pb2.DemoEvent.FromString(payload).demo

    async def fetch(self, identity: str, *, quick: bool = False) -> Fetched[demo_pb2.Demo]:
        rpc = self._demo.get_demo
        response = await (rpc.quick if quick else rpc)(identity)
        return Fetched([response.demo], [response.job] if response.HasField("job") else [])

    def job_id(self, snapshot: demo_pb2.Demo) -> str:
        return snapshot.job_id

    def is_in_progress(self, snapshot: demo_pb2.Demo) -> bool:
        """Return whether demo mode is being enabled or disabled."""
        return views.demo_state(snapshot) in views.DEMO_TRANSITIONAL

    def job_spec(self, snapshot: demo_pb2.Demo) -> job_pb2.JobSpec:
        """Return kind and owner of the job that enables or disables demo mode."""
        return job_pb2.JobSpec(kind=snapshot.job_kind, owner_id=snapshot.owner_id)

    def show(self, snapshot: demo_pb2.Demo, job: job_pb2.Job | None) -> views.DemoStatus:
        """Return the JSON of `GET /demo/status`."""
        return views.demo_status(snapshot, job)
