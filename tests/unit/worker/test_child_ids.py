"""Ids of children."""

from __future__ import annotations

from uuid import UUID

from chassis import ids
from worker._api import jobs

PARENT = str(ids.uuid7())


def test_children_sort_by_position() -> None:
    child_ids = [jobs.child_id(PARENT, "name", position) for position in range(10_000)]
    assert child_ids == sorted(child_ids)
    assert len(set(child_ids)) == len(child_ids)


def test_the_same_child_has_the_same_id_and_others_have_others() -> None:
    first = jobs.child_id(PARENT, "name", 1)
    assert first == jobs.child_id(PARENT, "name", 1)
    assert first != jobs.child_id(PARENT, "other", 1)
    assert first != jobs.child_id(str(ids.uuid7()), "name", 1)
    assert (UUID(first).version, UUID(first).variant) == (7, "specified in RFC 4122")
    assert UUID(first).int >> 80 == UUID(PARENT).int >> 80
