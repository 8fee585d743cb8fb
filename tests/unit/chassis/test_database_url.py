"""Database URLs lead to the primary, whatever the number of hosts."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict

from chassis import database_url


@pytest.mark.parametrize("hosts", ["a:1", "a:1,b:2"])
def test_connections_lead_to_a_server_that_accepts_writes(hosts: str) -> None:
    assert database_url.complete(f"postgresql://u:p@{hosts}/d", None).endswith("/d?target_session_attrs=read-write")


def test_a_url_that_names_the_server_role_is_kept() -> None:
    url = "postgresql://u:p@a/d?target_session_attrs=any"
    assert database_url.complete(url, None) == url


@pytest.mark.parametrize(
    ("hosts", "arguments"),
    [
        ("a", {"host": "a"}),
        ("a:1", {"host": "a", "port": 1}),
        ("a:1,b:2", {"host": "a,b", "port": "1,2"}),
        ("[::1]:1,b", {"host": "::1,b", "port": "1,"}),
    ],
)
def test_sqlalchemy_passes_all_hosts_to_the_driver(hosts: str, arguments: dict[str, object]) -> None:
    url = sa.make_url(database_url.for_sqlalchemy(f"postgresql://u:p%2F@{hosts}/d?sslmode=disable"))
    _, connect = url.get_dialect()().create_connect_args(url)
    assert connect == {"user": "u", "password": "p/", "dbname": "d", "sslmode": "disable", **arguments}


@pytest.mark.parametrize("url", ["postgresql:///d?host=/run", "postgresql+psycopg://a,b/d"])
def test_a_url_of_sqlalchemy_or_without_a_user_is_read_by_both_drivers(url: str) -> None:
    full_url = database_url.complete(url, None)
    sqlalchemy_url = sa.make_url(database_url.for_sqlalchemy(full_url))
    host = sqlalchemy_url.get_dialect()().create_connect_args(sqlalchemy_url)[1]["host"]
    # Provisioning passes the full URL to libpq.
    assert host == conninfo_to_dict(full_url)["host"] == ("/run" if "run" in url else "a,b")


def test_parameter_of_a_pooler_is_not_passed_to_the_driver() -> None:
    url = "postgresql://u:p@a/d?sslmode=disable&pooler=transaction"
    assert database_url.is_pooled(url)
    assert not database_url.is_pooled("postgresql://u:p@a/d")
    assert "pooler" not in database_url.complete(url, None)
