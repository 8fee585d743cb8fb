"""The job `auth.erase`. It names a deletion, not a user: nothing of the user stays in the job."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import worker
from repruv.jobs.v1 import jobs_service_pb2

ERASE = "auth.erase"
ERASE_DUE = "auth.erase-due"
DEMO_ERASE = "demo.erase"
"""The job of the demo service, a child of `auth.erase`."""


@dataclass(frozen=True, slots=True)
class Payload:
    """The payload of `auth.erase`."""

    deletion_id: str


def erase(deletion_id: uuid.UUID) -> jobs_service_pb2.SubmitJobRequest:
    """Return the submit of the job that erases an account; at most one at a time."""
    return worker.new_job(ERASE, {"deletion_id": str(deletion_id)}, unique_key=f"{ERASE}:{deletion_id}")
