"""The application and its Celery task. Runs in a separate environment, so it imports nothing of this project.

`POST /demo/enable` reads the session from the database, moves the user to `enabling`, inserts the job and commits, then calls
`delay()`. The task marks the job as running (commit), inserts the rows and ends job and user (commit).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import celery
import fastapi
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

DATABASE = os.environ["MONOLITH_DATABASE_URL"].replace("postgresql://", "", 1)
REDIS = os.environ["MONOLITH_REDIS_URL"]
COMMENT = "Great video, thank you so much for the tips!"

TABLES = (
    "CREATE TABLE IF NOT EXISTS users (id uuid PRIMARY KEY, demo_mode_status text NOT NULL DEFAULT 'disabled')",
    """CREATE TABLE IF NOT EXISTS user_sessions (token text PRIMARY KEY, user_id uuid NOT NULL,
        expires_at timestamptz NOT NULL DEFAULT now() + interval '1 day', revoked boolean NOT NULL DEFAULT false)""",
    """CREATE TABLE IF NOT EXISTS background_jobs (id uuid PRIMARY KEY, user_id uuid, status text,
        created_at timestamptz DEFAULT now(), started_at timestamptz, completed_at timestamptz, result jsonb)""",
    "CREATE INDEX IF NOT EXISTS jobs_by_user ON background_jobs (user_id)",
    """CREATE TABLE IF NOT EXISTS content (id uuid PRIMARY KEY, user_id uuid, title text, views int,
        published_at timestamptz DEFAULT now())""",
    "CREATE INDEX IF NOT EXISTS content_by_user ON content (user_id)",
    """CREATE TABLE IF NOT EXISTS interactions (id uuid PRIMARY KEY, user_id uuid, content_id uuid, kind text,
        author text, body text, sentiment text, created_at timestamptz DEFAULT now())""",
    "CREATE INDEX IF NOT EXISTS interactions_by_user ON interactions (user_id)",
)

tasks = celery.Celery("app", broker=f"{REDIS}/2", backend=f"{REDIS}/3")
engine = create_async_engine(f"postgresql+asyncpg://{DATABASE}", pool_size=10)
_worker_engine: sa.Engine | None = None


@contextlib.asynccontextmanager
async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as conn:
        for statement in TABLES:
            await conn.execute(sa.text(statement))
    yield


app = fastapi.FastAPI(lifespan=lifespan)


def worker_engine() -> sa.Engine:
    """Return the engine of a worker process. Each forked process creates its own."""
    global _worker_engine
    if _worker_engine is None:
        _worker_engine = sa.create_engine(f"postgresql+psycopg://{DATABASE}", pool_size=2)
    return _worker_engine


@tasks.task(name="enable", acks_late=True, max_retries=3)
def enable(job_id: str, user_id: str, content_count: int, interaction_count: int) -> None:
    job, user = {"job": job_id}, {"user": user_id}
    with worker_engine().begin() as conn:
        conn.execute(sa.text("UPDATE background_jobs SET status = 'running', started_at = now() WHERE id = :job"), job)
    content = [
        {"id": uuid.uuid4(), "user": user_id, "title": f"Video {number}", "views": random.randint(1, 9999)}
        for number in range(content_count)
    ]
    interactions = [
        {
            "id": uuid.uuid4(),
            "user": user_id,
            "content": random.choice(content)["id"],
            "author": f"name {number}",
            "body": COMMENT,
        }
        for number in range(interaction_count)
    ]
    with worker_engine().begin() as conn:
        conn.execute(
            sa.text("INSERT INTO content (id, user_id, title, views) VALUES (:id, :user, :title, :views)"), content
        )
        conn.execute(
            sa.text(
                "INSERT INTO interactions (id, user_id, content_id, kind, author, body, sentiment)"
                " VALUES (:id, :user, :content, 'comment', :author, :body, 'positive')"
            ),
            interactions,
        )
        conn.execute(
            sa.text(
                "UPDATE background_jobs SET status = 'completed', completed_at = now(), result = '{}' WHERE id = :job"
            ),
            job,
        )
        conn.execute(sa.text("UPDATE users SET demo_mode_status = 'enabled' WHERE id = :user"), user)


async def signed_in(session: str | None) -> uuid.UUID:
    statement = sa.text("SELECT user_id FROM user_sessions WHERE token = :token AND NOT revoked AND expires_at > now()")
    async with engine.connect() as conn:
        row = (await conn.execute(statement, {"token": session or ""})).first()
    if row is None:
        raise fastapi.HTTPException(401)
    return uuid.UUID(str(row.user_id))


@app.post("/register")
async def register() -> dict[str, str]:
    user_id, token = uuid.uuid4(), uuid.uuid4().hex
    async with engine.begin() as conn:
        await conn.execute(sa.text("INSERT INTO users (id) VALUES (:user)"), {"user": user_id})
        await conn.execute(
            sa.text("INSERT INTO user_sessions (token, user_id) VALUES (:token, :user)"),
            {"token": token, "user": user_id},
        )
    return {"session": token}


@app.post("/demo/enable", status_code=202)
async def demo_enable(body: dict[str, Any], session: str | None = fastapi.Cookie(None)) -> Mapping[str, str]:
    user_id, job_id = await signed_in(session), uuid.uuid4()
    async with engine.begin() as conn:
        moved = await conn.execute(
            sa.text(
                "UPDATE users SET demo_mode_status = 'enabling'"
                " WHERE id = :user AND demo_mode_status IN ('disabled', 'failed')"
            ),
            {"user": user_id},
        )
        if not moved.rowcount:
            raise fastapi.HTTPException(409)
        await conn.execute(
            sa.text("INSERT INTO background_jobs (id, user_id, status) VALUES (:job, :user, 'pending')"),
            {"job": job_id, "user": user_id},
        )
    await asyncio.to_thread(enable.delay, str(job_id), str(user_id), body["content_count"], body["interaction_count"])
    return {"status": "enabling", "job_id": str(job_id), "message": "Demo mode is being enabled…"}


@app.get("/unfinished")
async def unfinished() -> dict[str, int]:
    statement = sa.text("SELECT count(*) FROM background_jobs WHERE status <> 'completed'")
    async with engine.connect() as conn:
        return {"jobs": int((await conn.execute(statement)).scalar_one())}
