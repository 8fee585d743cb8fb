"""The one search of operators: ids, addresses, names and error texts, over all that they can open."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from pydantic import Field
from typing_extensions import TypedDict

from chassis import errors, ids
from gateway import durations, inputs, labels
from gateway.container import Container
from gateway.plurals import counted
from gateway.views import engine
from repruv.jobs.v1 import admin_service_pb2

logger = logging.getLogger(__name__)

MAX_TEXT = 100
MAX_HITS = 10
"""Hits of each type."""
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
AROUND_REQUEST = timedelta(seconds=10)
"""Jobs submitted within this time of a request may be its jobs."""

HitType = Literal["job", "user", "error", "kind", "schedule", "worker"]
T = TypeVar("T")


class Hit(TypedDict):
    """Something that matches a search."""

    type: HitType
    title: str
    note: str
    path: Annotated[str, Field(description="The page that shows it.")]


class SearchResult(TypedDict):
    """The hits of a search."""

    hits: Annotated[list[Hit], Field(description="At most 10 of each type.")]
    jobs_path: Annotated[str, Field(description="The page that lists all matching jobs; empty without matching jobs.")]
    request_at: Annotated[
        str | None, Field(description="When a request began, if the text is a request id; the jobs are of that time.")
    ]
    is_complete: Annotated[bool, Field(description="False if a service did not respond, and its hits are missing.")]


async def search(container: Container, text: str, *, identity: str) -> SearchResult:
    """Return the hits of a text; none for a text that identifies nothing."""
    text = inputs.plain(text)[:MAX_TEXT]
    if not text:
        return {"hits": [], "jobs_path": "", "request_at": None, "is_complete": True}
    if _TRACE_ID.fullmatch(text):
        return await _by_id(container, UUID(text), identity)
    try:
        return await _by_id(container, ids.parse(text, "text"), identity)
    except errors.InvalidArgument:
        return await _by_text(container, text, identity)


async def _by_id(container: Container, identifier: UUID, identity: str) -> SearchResult:
    missing: list[str] = []
    jobs, users = await asyncio.gather(
        _hits(_job(container, str(identifier), identity), missing),
        _hits(_user(container, str(identifier), identity), missing),
    )
    # Ids of requests carry the time of the request.
    moment = ids.plausible_timestamp_of(identifier)
    if (hits := [*jobs, *users]) or missing or moment is None:
        return {"hits": hits, "jobs_path": "", "request_at": None, "is_complete": not missing}
    times = admin_service_pb2.JobFilter()
    times.create_time_from.FromDatetime(moment)
    times.create_time_until.FromDatetime(moment + AROUND_REQUEST)
    jobs = await _hits(_jobs(container, times, identity, identifier.hex), missing)
    query = {
        "after": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        "before": f"{moment + AROUND_REQUEST:%Y-%m-%dT%H:%M:%SZ}",
        "system": "yes",
    }
    return {
        "hits": jobs,
        "jobs_path": f"/admin/jobs?{urlencode(query)}" if jobs else "",
        "request_at": moment.isoformat(),
        "is_complete": not missing,
    }


async def _by_text(container: Container, text: str, identity: str) -> SearchResult:
    missing: list[str] = []
    sources: Sequence[Awaitable[list[Hit]]] = (
        _users(container, text, identity),
        _errors(container, text, identity),
        _jobs(container, admin_service_pb2.JobFilter(text=text), identity),
        _kinds(container, text, identity),
        _schedules(container, text, identity),
        _workers(container, text, identity),
    )
    results = await asyncio.gather(*(_hits(source, missing) for source in sources))
    jobs_path = f"/admin/jobs?{urlencode({'text': text, 'system': 'yes'})}" if results[2] else ""
    hits = [hit for result in results for hit in result]
    return {"hits": hits, "jobs_path": jobs_path, "request_at": None, "is_complete": not missing}


async def _hits(source: Awaitable[list[Hit]], missing: list[str]) -> list[Hit]:
    """Return the hits of a source; none, and a note in `missing`, while its service does not respond."""
    try:
        return await source
    except (errors.NotFound, errors.InvalidArgument):
        return []
    except (errors.Unavailable, errors.DeadlineExceeded) as error:
        logger.warning("part of a search is not available", extra={"cause": error.code})
        missing.append(error.code)
        return []


async def _job(container: Container, job_id: str, identity: str) -> list[Hit]:
    job = engine.owned_job((await container.jobs.get_job(identity, job_id=job_id)).job)
    return [_job_hit(job)]


async def _jobs(
    container: Container, job_filter: admin_service_pb2.JobFilter, identity: str, trace_id: str = ""
) -> list[Hit]:
    """Return the jobs of a list; only those of a trace, if some of them are."""
    page = await container.engine.search_jobs(identity, filter=job_filter, page_size=MAX_HITS)
    jobs = [engine.job_row(row) for row in page.rows]
    return [_job_hit(job) for job in [job for job in jobs if trace_id and job["trace_id"] == trace_id] or jobs]


def _job_hit(job: engine.OwnedJob) -> Hit:
    message = job["error"]["message"] if job["error"] else ""
    facts = (labels.state(job["status"]), f"{durations.age(job['created_at'])} ago", message)
    return {
        "type": "job",
        "title": labels.kind(job["kind"]),
        "note": " · ".join(fact for fact in facts if fact),
        "path": f"/jobs/{job['job_id']}",
    }


async def _user(container: Container, user_id: str, identity: str) -> list[Hit]:
    accounts = (await container.admin.batch_get_users(identity, user_ids=[user_id])).users
    return [_user_hit(account.user_id, account.email, account.name) for account in accounts]


async def _users(container: Container, text: str, identity: str) -> list[Hit]:
    page = await container.admin.list_users(identity, email_prefix=text, page_size=MAX_HITS, page_token="")
    accounts = [account for account in page.users if account.email.lower() == text.lower()] or page.users
    return [_user_hit(account.user_id, account.email, account.name) for account in accounts]


def _user_hit(user_id: str, email: str, name: str) -> Hit:
    return {"type": "user", "title": email, "note": name, "path": f"/admin/users/{user_id}"}


async def _errors(container: Container, text: str, identity: str) -> list[Hit]:
    groups = (await container.engine.list_error_groups(identity, kind="")).groups

    def hit(group: admin_service_pb2.ErrorGroup) -> Hit:
        query = {"state": "failed", "kind": group.kind, "system": "yes"}
        query |= {"code": group.code, "fingerprint": group.fingerprint or "none"}
        return {
            "type": "error",
            "title": group.exception_type or group.code,
            "note": f"{labels.kind(group.kind)} · {counted(group.count, 'failed job')} · {group.message}",
            "path": f"/admin/jobs?{urlencode(query)}",
        }

    return _matching(
        groups,
        text,
        lambda group: (group.code, group.exception_type, group.place, group.fingerprint, group.message),
        hit,
    )


async def _kinds(container: Container, text: str, identity: str) -> list[Hit]:
    kinds = [kind.kind for kind in (await container.engine.list_kinds(identity)).kinds if kind.kind != "*"]
    return _matching(
        kinds,
        text,
        lambda name: (name, labels.kind(name)),
        lambda name: {
            "type": "kind",
            "title": labels.kind(name),
            "note": name,
            "path": f"/admin/kinds/{name}",
        },
    )


async def _schedules(container: Container, text: str, identity: str) -> list[Hit]:
    names = [schedule.registration.name for schedule in (await container.engine.list_schedules(identity)).schedules]
    return _matching(
        names,
        text,
        lambda name: (name,),
        lambda name: {"type": "schedule", "title": name, "note": "", "path": f"/admin/schedules/{name}"},
    )


async def _workers(container: Container, text: str, identity: str) -> list[Hit]:
    workers = (await container.engine.list_workers(identity)).workers
    return _matching(
        workers,
        text,
        lambda worker: (worker.worker, worker.info.host),
        lambda worker: {
            "type": "worker",
            "title": worker.worker,
            "note": counted(worker.held_count, "job"),
            "path": f"/admin/jobs?{urlencode({'worker': worker.worker, 'system': 'yes'})}",
        },
    )


def _matching(items: Iterable[T], text: str, texts: Callable[[T], Sequence[str]], hit: Callable[[T], Hit]) -> list[Hit]:
    """Return the hits of the items with a text that equals the searched one, or else of those that contain it."""
    needle = text.lower()
    partial = [item for item in items if any(needle in each.lower() for each in texts(item))]
    exact = [item for item in partial if any(needle == each.lower() for each in texts(item))]
    return [hit(item) for item in (exact or partial)[:MAX_HITS]]
