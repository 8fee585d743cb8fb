"""Files of a certificate may be replaced at any moment; only a matching set is used."""

from __future__ import annotations

import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chassis import database_url, tls
from dev.launcher import certificates as local
from provision import certificates

OWN = tls.Certificate("/c/tls.crt", "/c/tls.key", "/c/ca.crt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with certificates."""
    local.make(tmp_path)
    return tmp_path


def replace(folder: Path, name: str) -> None:
    """Renew one certificate."""
    shutil.rmtree(folder / "certificates" / name)
    assert certificates.make(folder / "certificates") == [name]


def reload(certificate: tls.Certificate) -> tls.Material:
    """Reload the files as one second later."""
    certificate._reload_at = 0.0
    return certificate.material()


def test_unchanged_files_change_nothing(folder: Path) -> None:
    certificate = local.load_certificate(folder, "demo")
    assert reload(certificate) is reload(certificate)


def test_replaced_files_are_read(folder: Path) -> None:
    certificate = local.load_certificate(folder, "demo")
    before = certificate.material()
    replace(folder, "demo")
    after = reload(certificate)
    assert after != before
    assert after.certificate == Path(certificate.certificate).read_bytes()


def test_a_key_of_another_certificate_changes_nothing(folder: Path) -> None:
    certificate = local.load_certificate(folder, "demo")
    before = certificate.material()
    shutil.copy(folder / "certificates/jobs/tls.key", certificate.key)
    assert reload(certificate) is before
    Path(certificate.certificate).unlink()
    assert reload(certificate) is before


@pytest.mark.parametrize("file", ["certificate", "key", "authority"])
def test_invalid_files_cannot_be_used(folder: Path, file: str) -> None:
    certificate = local.load_certificate(folder, "demo")
    Path(getattr(certificate, file)).write_text("nonsense")
    with pytest.raises(tls.CertificateUnusable):
        certificate.material()


def test_missing_files_are_waited_for(tmp_path: Path) -> None:
    certificate = local.load_certificate(tmp_path, "demo")
    making = threading.Thread(target=local.make, args=(tmp_path,))
    making.start()
    certificate.await_files()
    making.join()
    with pytest.raises(tls.CertificateUnusable):
        local.load_certificate(tmp_path, "nobody").await_files(seconds=0.0)


def test_three_paths_or_none() -> None:
    assert tls.from_paths("", "", "") is None
    with pytest.raises(tls.CertificateUnusable, match="belong together"):
        tls.from_paths("/c/tls.crt", "", "/c/ca.crt")


def test_certificates_are_kept_until_shortly_before_expiry(folder: Path) -> None:
    names = [identity.name for identity in certificates.IDENTITIES]
    authority = (folder / "certificates/authority/ca.crt").read_bytes()
    now = datetime.now(UTC)
    lasting = timedelta(days=certificates.LEAF_DAYS - certificates.RENEW_DAYS)
    assert certificates.make(folder / "certificates", now=now + lasting - timedelta(days=1)) == []
    assert certificates.make(folder / "certificates", now=now + lasting + timedelta(days=1)) == names
    assert (folder / "certificates/authority/ca.crt").read_bytes() == authority


def test_certificates_of_a_lost_authority_are_recreated(folder: Path) -> None:
    shutil.rmtree(folder / "certificates/authority")
    assert len(certificates.make(folder / "certificates")) == len(certificates.IDENTITIES)
    local.load_certificate(folder, "demo").material()


def test_private_keys_are_readable_only_by_their_owner(folder: Path) -> None:
    for key in (folder / "certificates").rglob("*.key"):
        assert key.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://a:p%2Fw@h/d", "verify-full&sslrootcert=/c/ca.crt&sslcert=/c/tls.crt&sslkey=/c/tls.key"),
        (
            "postgresql://a:p%2Fw@h/d?sslmode=disable",
            "disable&sslrootcert=/c/ca.crt&sslcert=/c/tls.crt&sslkey=/c/tls.key",
        ),
        (
            "postgresql://a:p%2Fw@h/d?sslrootcert=/other",
            "verify-full&sslrootcert=/other&sslcert=/c/tls.crt&sslkey=/c/tls.key",
        ),
    ],
)
def test_database_connection_is_encrypted_unless_the_url_disables_it(url: str, expected: str) -> None:
    base = "postgresql://a:p%2Fw@h/d?target_session_attrs=read-write&sslmode="
    assert database_url.complete(url, OWN) == f"{base}{expected}&ssl_min_protocol_version=TLSv1.3"
    assert "ssl" not in database_url.complete(url.partition("?")[0], None)
