"""Retry, cancel, hold or release all jobs that a filter selects: what will happen in numbers, then a job that does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields as fields_of
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors, ids
from gateway import views
from gateway.pages.admin import job_query, people
from gateway.pages.admin.admin_page import AdminPage
from gateway.views import engine

PATH = "/admin/jobs/bulk"
LEFT_OUT: Mapping[str, frozenset[str]] = {"cancel": views.UNSTOPPABLE}
"""Kinds whose jobs a change leaves as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What the page says about a change: its name, its participle, the effect, the other choice, and the color of the button."""

    name: str
    """`{}` is the jobs."""
    done: str
    effect: str
    keep: str = "Keep them as they are"
    color: str = "primary"


WORDS: Mapping[str, Words] = {
    "retry": Words(name="Retry {}", done="retried", effect="Each starts again with its full number of attempts."),
    "cancel": Words(
        name="Cancel {}",
        done="cancelled",
        effect="Waiting jobs end now; running ones are asked to stop.",
        color="danger",
    ),
    "hold": Words(
        name="Put {} on hold",
        done="put on hold",
        effect="None of them starts until it is released; running jobs continue. Deadlines still apply.",
    ),
    "release": Words(
        name="Release {}",
        done="released",
        effect="Each starts at its former time, or as soon as a worker is free.",
        keep="Leave them on hold",
    ),
}
RATES = (20, 5, 100)
"""Jobs a second; the first is the default."""
_QUERY = tuple(field.name for field in fields_of(job_query.JobQuery))


class Bulk(AdminPage):
    """`/admin/jobs/bulk`."""

    def routes(self) -> list[Route]:
        flash_codes = {"invalid_argument": "bulk_invalid"}
        return self.page_routes(PATH, self.show, {"start": self.start}, flash_codes)

    async def show(self, request: Request) -> Response:
        """Show which jobs a change would apply to."""
        visitor = await self.begin(request)
        # The confirmed jobs are those that change: a period does not move on until the button is pressed.
        query = job_query.read(request.query_params, visitor.reader.zone).fixed(datetime.now(UTC))
        change = request.query_params.get("change", "")
        owner_id = await people.owner_id(self._container, query.owner, identity=visitor.identity) if query.owner else ""
        if change not in engine.JOB_CHANGES or owner_id is None:
            return self.redirect(query.address())
        try:
            counts = await self._count(visitor.identity, query, owner_id, change)
            kinds_left_out = LEFT_OUT.get(change, frozenset())
            left_out = sum(group["count"] for group in counts["groups"] if group["kind"] in kinds_left_out)
            if left_out:
                counts = await self._count(visitor.identity, query, owner_id, change, without=kinds_left_out)
        except errors.InvalidArgument:
            return self.redirect(query.address(), flash_code="bulk_invalid")
        context = {
            "change": change,
            "words": WORDS[change],
            "query": query,
            "counts": counts,
            "left_out": left_out,
            "rates": RATES,
            "job_id": str(ids.uuid7()),
        }
        return visitor.show("admin/bulk", PATH, context)

    async def _count(
        self,
        identity: str,
        query: job_query.JobQuery,
        owner_id: str,
        change: str,
        *,
        without: frozenset[str] = frozenset(),
    ) -> engine.JobCounts:
        selected = query.message(owner_id)
        selected.without_kinds.extend(sorted(without))
        response = await self._container.engine.change_jobs(
            identity, filter=selected, change=engine.JOB_CHANGES[change], dry_run=True
        )
        return engine.job_counts(response.counts)

    async def start(self, request: Request) -> Response:
        """Submit the job and show it."""
        session, values = await self.read_form(request, "change", "per_second", "job_id", *_QUERY)
        query = job_query.read(values)
        owner_id = await people.owner_id(self._container, query.owner, identity=session.identity) if query.owner else ""
        if values["change"] not in engine.JOB_CHANGES or owner_id is None or not values["per_second"].isdecimal():
            raise errors.InvalidArgument("change, owner or per_second is invalid.", field="change")
        selected = query.message(owner_id)
        selected.without_kinds.extend(sorted(LEFT_OUT.get(values["change"], ())))
        response = await self._container.engine.change_jobs(
            session.identity,
            filter=selected,
            change=engine.JOB_CHANGES[values["change"]],
            per_second=int(values["per_second"][:4]),
            job_id=str(ids.parse(values["job_id"], "job_id")),
        )
        return self.redirect(f"/jobs/{response.job.job_id}")
