"""Log lines: announcements that a running attempt has logged, for operators who watch its job."""

from __future__ import annotations

from gateway.stream import frames
from gateway.stream.sources.source import Source
from repruv.jobs.v1 import job_events_pb2, job_pb2


class Logs(Source[job_events_pb2.LinesLogged]):
    """The number of lines of an attempt. A lost one is replaced by the next, or by the end of the attempt."""

    event = "log"
    subject = "jobs.logs"
    has_state = False

    def parse(self, payload: bytes) -> job_events_pb2.LinesLogged:
        return job_events_pb2.LinesLogged.FromString(payload)

    def frame(self, snapshot: job_events_pb2.LinesLogged, job: job_pb2.Job | None) -> frames.Frame:
        """Return the frame; only streams of operators send it."""
        data = {"job_id": snapshot.job_id, "attempt": snapshot.attempt, "line_count": snapshot.line_count}
        return frames.Frame(
            event=self.event,
            data=frames.encode(self.event, data),
            version=(snapshot.attempt << 16) + snapshot.line_count,
            job_id=snapshot.job_id,
            is_for_operators=True,
        )
