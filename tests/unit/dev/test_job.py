"""`make job` names what is wrong with its file, its payload and the system."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import job, job_worker

KIND = "import worker\n\nasync def work(context):\n    pass\n\n"


@pytest.fixture(autouse=True)
def imports() -> Iterator[None]:
    """Restore the imports that `load` changes."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("file", "payload", "message"),
    [
        ("", "", "name the file"),
        ("missing.py", "", "there is no file"),
        ("jobs_of_test.py", "[1]", "a JSON object"),
        ("jobs_of_test.py", "{names", "ARGS is not JSON"),
        ("jobs_of_test.py", "", "`make up` starts it"),
    ],
)
def test_start_names_the_mistake(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: str,
    payload: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs_of_test.py").write_text(KIND)
    assert job.run(file, payload, tmp_path / "data") == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("jobs_of_test.py", KIND, "jobs_of_test.py defines no kind"),
        ("jobs_of_test.py", "def work(:\n", "SyntaxError"),
        ("jobs_of_test.py", KIND + "worker.Kind('Demo Greet', work)", "'Demo Greet' is not a name of a kind"),
        ("jobs_of_test.txt", KIND, "must end in .py"),
        ("worker.py", KIND, "rename the file"),
    ],
)
def test_load_names_the_mistake(tmp_path: Path, name: str, code: str, message: str) -> None:
    file = tmp_path / name
    file.write_text(code)
    with pytest.raises(job_worker.NotRunnable, match=message):
        job_worker.load(file)


def test_kinds_are_found_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "jobs_of_test.py"
    file.write_text(KIND + "B = worker.Kind('demo.b', work)\nA = worker.Kind('demo.a', work)\nSAME = B\n")
    kinds, schedules = job_worker.load(file)
    assert [kind.name for kind in kinds] == ["demo.b", "demo.a"]
    assert schedules == []
    assert job_worker.service_of(kinds) == "demo"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("greet",), "begins with that of its service: auth. or demo."),
        (("jobs.greet",), "begins with that of its service"),
        (("other.greet",), "begins with that of its service"),
        (("demo.greet", "auth.greet"), "belong to auth and demo"),
    ],
)
def test_kinds_without_one_owning_service_are_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    file = tmp_path / "jobs_of_test.py"
    file.write_text(KIND + "".join(f"K{i} = worker.Kind({name!r}, work)\n" for i, name in enumerate(names)))
    kinds, _ = job_worker.load(file)
    with pytest.raises(job_worker.NotRunnable, match=message):
        job_worker.service_of(kinds)
