"""The jobs service as a service uses it whose state its jobs move: submit a job, ask how one stands."""

from __future__ import annotations

import grpc

from chassis import errors
from chassis.rpc import client
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc

SUBMIT_TIMEOUT = 1.0
GET_TIMEOUT = 0.4
"""Less than the gateway waits for the answer in which the job is one part."""


class Jobs:
    """Calls of the jobs service. They fail within a second: whoever calls has another way, or tries again later.

    They are made for the service, not for the user whose call is being served: most of them happen beside any call, and
    what comes of them must not depend on who asked.
    """

    def __init__(self, channel: grpc.aio.Channel, call: client.Caller) -> None:
        self._stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
        self._call = call

    async def submit(self, request: jobs_service_pb2.SubmitJobRequest) -> job_pb2.Job:
        """Submit a job; the same one again is no error. Raises the errors of `chassis.errors`."""
        response = await self._call(
            self._stub.SubmitJob, request, timeout=SUBMIT_TIMEOUT, user_token="", wait_for_ready=False
        )
        return response.job

    async def get(self, job_id: str) -> job_pb2.Job | None:
        """Read a job; None if the jobs service has none of this id (yet). Raises the errors of `chassis.errors`."""
        request = jobs_service_pb2.GetJobRequest(job_id=job_id)
        try:
            response = await self._call(
                self._stub.GetJob, request, timeout=GET_TIMEOUT, user_token="", wait_for_ready=False
            )
        except errors.NotFound:
            return None
        return response.job
