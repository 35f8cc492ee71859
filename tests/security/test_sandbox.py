"""What a hostile SELECT, and a hostile program in the worker's place, can reach: nothing, and the parent lives on."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.compute import sandbox
from connectors.compute.errors import ComputationFailedError, ComputationRefusedError, ComputationTimeoutError
from connectors.compute.sandbox import SandboxPool, Worker, command, isolation
from connectors.compute.sql import Table, check_select

TABLES = {"vitals": Table({"person": "integer", "sbp": "integer"}, {"person": [0, 1], "sbp": [120, None]})}
COLUMNS = {"vitals": {"sbp": "integer"}, "demographics": {"sex": "string", "age": "integer"}}
SECRET = 987654

needs_bubble = pytest.mark.skipif(
    isolation() == "process" and not os.environ.get("REQUIRE_ALL"), reason="bubblewrap cannot be used here"
)


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    with SandboxPool(size=1, seconds=10) as one:
        yield one


def test_rows_come_back(pool: SandboxPool) -> None:
    assert pool.run("SELECT person, sbp FROM vitals", TABLES) == [{"person": 0, "sbp": 120}, {"person": 1, "sbp": None}]


def test_all_types_and_an_empty_table(pool: SandboxPool) -> None:
    tables = {
        "a": Table(
            {"person": "integer", "s": "string", "b": "boolean"},
            {"person": [0, 1], "s": ["男'\"", None], "b": [True, None]},
        ),
        "empty": Table({"person": "integer", "x": "integer"}, {"person": [], "x": []}),
    }
    found = pool.run("SELECT person, s, b, x FROM a LEFT JOIN empty USING (person)", tables)
    assert {"person": 0, "s": "男'\"", "b": True, "x": None} in found


# What the text may say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not sql",
        "SELECT person, sbp FROM vitals; SELECT person, sbp FROM vitals",
        "CREATE TABLE x AS SELECT 1",
        "COPY vitals TO '/tmp/x'",
        "ATTACH ':memory:' AS x",
        "SET threads = 4",
        "EXPLAIN ANALYZE SELECT person, sbp FROM vitals",
        "DESCRIBE vitals",
        "VALUES (1)",
        "SELECT * FROM vitals",
        "SELECT COLUMNS('.*') FROM vitals",
        "SELECT person, $1 AS x FROM vitals",
        "SELECT person, x FROM read_csv('/etc/passwd')",
        "SELECT person, x FROM '/etc/passwd'",
        "SELECT person, x FROM query('SELECT 1')",
        "FROM query_table('vitals')",
        "SELECT person, sbp FROM duckdb_settings()",
        "SELECT person, sbp FROM range(10)",
        "SELECT person, sbp FROM other.main.vitals",
        "SELECT person, sbp FROM main.vitals",
        "SELECT person, sbp FROM information_schema.tables",
        "SELECT person, sbp FROM unknown",
        "SELECT person, unknown FROM vitals",
        "SELECT person, error('leak') AS x FROM vitals",
        "SELECT person, getenv('HOME') AS x FROM vitals",
        "SELECT person, getvariable('x') AS x FROM vitals",
        "SELECT person, random() AS x FROM vitals",
        "SELECT person, now() AS x FROM vitals",
        "SELECT person, current_date AS x FROM vitals",
        "SELECT person, sbp AS current_date FROM vitals",
        "SELECT person, repeat('x', 4000000000) AS x FROM vitals",
        "SELECT person, 'a' || 'b' AS x FROM vitals",
        "SELECT person, rowid AS x FROM vitals",
        "SELECT person, sbp::DOUBLE AS x FROM vitals",
        "SELECT person, list_transform([sbp], x -> x + 1) AS x FROM vitals",
        "SELECT person, sbp FROM vitals TABLESAMPLE 10%",
        "SELECT person, sbp FROM vitals AT (VERSION => 1)",
        "WITH RECURSIVE r AS (SELECT person FROM vitals UNION ALL SELECT person FROM r) SELECT person FROM r",
    ],
)
def test_texts_that_are_refused(text: str) -> None:
    with pytest.raises(ComputationRefusedError):
        check_select(text, COLUMNS)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT sbp AS person FROM vitals",
        "SELECT person, sbp AS person FROM vitals",
        "SELECT person + 1 AS person, sbp FROM vitals",
        "SELECT person, max(sbp) AS m FROM vitals",
        "SELECT person, max(sbp) AS m FROM vitals GROUP BY sbp",
        "SELECT person, max(sbp) AS m FROM vitals GROUP BY 1",
        "SELECT person, max(sbp) AS m FROM vitals GROUP BY ALL",
        "SELECT person, max(sbp) AS m FROM vitals GROUP BY ROLLUP (person)",
        "SELECT person, max(sbp) AS m FROM vitals GROUP BY GROUPING SETS ((person), ())",
        "SELECT person, max(sbp) OVER () AS m FROM vitals",
        "SELECT person, sbp FROM vitals QUALIFY row_number() OVER () = 1",
        "SELECT person, sbp FROM vitals WHERE sbp = (SELECT max(sbp) FROM vitals)",
        "SELECT person, sbp FROM vitals WHERE person IN (SELECT person FROM vitals)",
        "SELECT person, sbp FROM (SELECT person, sbp FROM vitals)",
        "SELECT person, sbp, age FROM vitals, demographics",
        "SELECT v.person, sbp, age FROM vitals v CROSS JOIN demographics",
        "SELECT v.person, sbp, age FROM vitals v JOIN demographics d ON v.person = d.person",
        "SELECT v.person, sbp, age FROM vitals v JOIN demographics d ON v.sbp = d.age",
        "SELECT v.person, sbp, age FROM vitals v NATURAL JOIN demographics d",
        "SELECT v.person, sbp, age FROM vitals v POSITIONAL JOIN demographics d",
        "SELECT person, sbp, age FROM vitals ASOF JOIN demographics USING (person)",
        "SELECT person, sbp, age FROM vitals RIGHT JOIN demographics USING (person)",
        "SELECT person, sbp, age FROM vitals FULL JOIN demographics USING (person)",
        "SELECT person, sbp FROM vitals AS t(sbp, person)",
        "WITH c(sbp, person) AS (SELECT person, sbp FROM vitals) SELECT person, sbp FROM c",
        "WITH vitals AS (SELECT person, age FROM demographics) SELECT person, age FROM vitals",
        "SELECT person, sbp FROM vitals UNION ALL SELECT person, age FROM demographics",
        "SELECT DISTINCT ON (sbp) person, sbp FROM vitals",
        "SELECT person, sbp FROM vitals LIMIT 1",
        "SELECT person, sbp FROM vitals ORDER BY sbp",
    ],
)
def test_one_person_cannot_be_put_into_anothers_row(text: str) -> None:
    with pytest.raises(ComputationRefusedError):
        check_select(text, COLUMNS)


def test_a_product_like_text_is_accepted() -> None:
    check_select(
        "WITH v AS (SELECT person, max(sbp) AS top FROM vitals WHERE sbp BETWEEN 20 AND 400 GROUP BY person) "
        "SELECT d.person, d.sex, (d.age // 10) * 10 AS band, CASE WHEN v.top >= 140 THEN 1 ELSE 0 END AS high "
        "FROM demographics d JOIN v USING (person) WHERE d.sex IN ('male', 'female') AND v.top IS NOT NULL",
        COLUMNS,
    )


# What the worker holds back when the text was not checked --------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 0 AS person, content FROM read_text('/etc/passwd')",
        "SELECT 0 AS person, count(*) AS n FROM read_csv('/etc/passwd')",
        "SELECT 0 AS person, count(*) AS n FROM glob('/*')",
        "SELECT 0 AS person, count(*) AS n FROM 'https://127.0.0.1/x.parquet'",
        "COPY vitals TO '/tmp/leak.csv'",
        "ATTACH '/tmp/leak.db' AS x",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SELECT person, getenv('PATH') AS x FROM vitals",
        "SELECT 0 AS person, * FROM query('SELECT content FROM read_text(''/etc/passwd'')')",
        "SELECT person, sbp FROM vitals; SELECT person, sbp FROM vitals",
    ],
)
def test_unchecked_texts_reach_nothing(text: str) -> None:
    with pytest.raises((ComputationFailedError, ComputationRefusedError)):
        Worker(5).run(text, TABLES)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT person, error('leak ' || 987654) AS x FROM vitals",
        "SELECT person, ('s' || sbp)::INT AS x FROM vitals",
    ],
)
def test_error_text_stays_inside(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ComputationFailedError) as caught:
        Worker(5).run(text, TABLES)
    assert str(caught.value) == "computation_failed"
    assert caught.value.__cause__ is None or str(SECRET) not in repr(caught.value.__cause__)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 0 AS person, count(*) AS n FROM range(10000000) a, range(10000000) b WHERE a.range * b.range = 7",
        "SELECT person, length(repeat('x', 4000000000)) AS n FROM vitals",
    ],
)
def test_what_takes_too_long_is_killed_and_the_parent_lives(text: str) -> None:
    worker = Worker(1.5)
    started = time.monotonic()
    with pytest.raises(ComputationFailedError):
        worker.run(text, TABLES)
    assert time.monotonic() - started < 5
    assert worker._process.returncode is not None
    assert Worker(5).run("SELECT person, sbp FROM vitals", TABLES)


def test_a_timeout_has_its_own_code() -> None:
    with pytest.raises(ComputationTimeoutError) as caught:
        Worker(0.5).run(
            "SELECT 0 AS person, count(*) AS n FROM range(10000000) a, range(10000000) b WHERE a.range > 1", TABLES
        )
    assert caught.value.code == "computation_timeout"


def test_a_worker_runs_one_job_and_is_gone() -> None:
    worker = Worker(5)
    assert worker.run("SELECT person, sbp FROM vitals", TABLES)
    assert worker._process.returncode is not None
    with pytest.raises(ComputationFailedError, match="one job"):
        worker.run("SELECT person, sbp FROM vitals", TABLES)


def test_rows_of_people_outside_the_run_are_a_failure() -> None:
    for text in (
        "SELECT 7 AS person, sbp FROM vitals",
        "SELECT NULL AS person, sbp FROM vitals",
        "SELECT 1.5 AS person",
    ):
        with pytest.raises(ComputationFailedError):
            Worker(5).run(text, TABLES)


@pytest.mark.parametrize(
    "answer",
    [
        b"{}",
        b"[]",
        b"not json",
        b'{"error":"computation_failed"}',
        b'{"columns":["person"],"rows":[[true]]}',
        b'{"columns":["person"],"rows":[[0,1]]}',
        b'{"columns":["person","person"],"rows":[[0,1]]}',
        b'{"columns":["x"],"rows":[[0]]}',
        b'{"columns":["person","x"],"rows":[[0,1.5]]}',
        b'{"columns":["person","x"],"rows":[[0,{"a":1}]]}',
        b'{"columns":["person","x"],"rows":[[0,"' + b"x" * 300 + b'"]]}',
        b'{"columns":["person","x"],"rows":[[0,99999999999999999999]]}',
    ],
)
def test_a_hostile_answer_is_a_failure(answer: bytes) -> None:
    with pytest.raises(ComputationFailedError):
        sandbox._unit_rows(answer, TABLES)


def test_the_pool_works_from_threads_that_end(pool: SandboxPool) -> None:
    """A worker dies with the thread that made it; the pool's are made by its own."""
    found: list[Any] = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: found.append(pool.run("SELECT person, sbp FROM vitals", TABLES)))
        thread.start()
        thread.join()
    assert len(found) == 3


# What a program in the worker's place can do ---------------------------------------------------------------------

PROBE = """
import ctypes, json, os, socket, sys
sys.path[:0] = ["/sandbox"]
import worker

def tried(name, act, found):
    try:
        act()
        found[name] = "done"
    except OSError as error:
        found[name] = error.errno

def executed():
    os.execv(sys.executable, [sys.executable, "-c", "pass"])

found = {"env": dict(os.environ), "uid": os.getuid()}
found["root"] = sorted(os.listdir("/"))
found["interfaces"] = [name for _, name in socket.if_nameindex()]
for path in ("/etc/passwd", "/proc/1/environ", "/dev/kmsg", "/root/.bashrc", "/home", "/var", sys.argv[4]):
    tried(path, lambda: os.stat(path), found)
tried("connect", lambda: socket.create_connection(("127.0.0.1", int(sys.argv[5])), 1), found)
worker.limit_resources(int(sys.argv[1]))
sys.path.append(sys.argv[3])
if sys.argv[2] == "seccomp":
    worker.drop_system_calls()
    tried("open", lambda: os.open("/sandbox/worker.py", os.O_RDONLY), found)
    tried("listdir", lambda: os.listdir("/"), found)
    tried("socket", socket.socket, found)
    tried("fork", os.fork, found)
    tried("exec", executed, found)
    tried("kill", lambda: os.kill(os.getpid(), 0), found)
    tried("write2", lambda: os.write(2, b"x"), found)
    tried("read1", lambda: os.read(1, 1), found)
    libc = ctypes.pythonapi
    found["mmap_exec"] = libc.mmap(None, 4096, 7, 0x22, -1, 0)
    found["ptrace"] = libc.ptrace(0, 0, 0, 0)
os.write(1, json.dumps(found).encode())
os._exit(0)
"""


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    """Lies under /tmp, which the sandbox hides, except for what is bound after its own /tmp."""
    path = tmp_path / "probe.py"
    path.write_text(PROBE)
    return path


@needs_bubble
def test_a_program_in_the_workers_place_reaches_nothing(probe: Path) -> None:
    os.environ["SECRET_FOR_THE_TEST"] = str(SECRET)
    packages = sandbox._packages()[0]
    call = [*command(5, probe)[: -len(sandbox._packages())], packages, str(probe), "9"]
    done = subprocess.run(call, check=True, capture_output=True, timeout=30)
    del os.environ["SECRET_FOR_THE_TEST"]
    found = json.loads(done.stdout)
    assert set(found["env"]) <= {"PWD", "LC_CTYPE"}
    assert found["uid"] == 65534
    assert found["interfaces"] == ["lo"]
    assert not {"proc", "dev", "home", "var", "bin", "run"} & set(found["root"])
    for path in ("/etc/passwd", "/proc/1/environ", "/dev/kmsg", "/root/.bashrc", "/home", "/var", str(probe)):
        assert found[path] == 2, path  # ENOENT
    assert found["connect"] != "done"
    for name in ("open", "listdir", "socket", "fork", "exec", "kill", "write2", "read1"):
        assert found[name] == 1, name  # EPERM
    assert found["mmap_exec"] == found["ptrace"] == -1


@needs_bubble
def test_the_bubble_dies_with_its_parent_and_hides_tmp_before_anything_is_shown() -> None:
    call = command(5)
    assert {"--unshare-all", "--die-with-parent", "--new-session", "--clearenv"} <= set(call)
    assert call[call.index("--cap-drop") + 1] == "ALL"
    assert call.index("--tmpfs") < call.index("--ro-bind")
    assert not {"--bind", "--dev-bind", "--share-net", "--proc", "--dev"} & set(call)


def test_isolation_is_told(pool: SandboxPool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pool.isolation == isolation()
    isolation.cache_clear()
    monkeypatch.setattr(sandbox.shutil, "which", lambda _name: None)
    try:
        assert isolation() == "process"
        worker = Worker(5)
        assert worker.isolation == "process"
        assert worker.run("SELECT person, sbp FROM vitals", TABLES)
    finally:
        monkeypatch.undo()
        isolation.cache_clear()
