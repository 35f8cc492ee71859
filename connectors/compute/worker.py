"""The program inside the sandbox: reads one job from its standard input, writes one answer, ends.

Started as ``python -I -S worker.py <site-packages> …`` by ``sandbox.py``; imports nothing of ours, so that it starts
fast and the sandbox needs to show it nothing of ours but this file. It hardens DuckDB, gives away its system calls,
says ``R`` and waits. A job and an answer are JSON behind their length (4 bytes, big-endian). Error text stays here.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
from typing import Any

READY = b"R"
MAX_FRAME = 1 << 29
MAX_DATA = 3 << 30
"""Bytes of private memory. DuckDB's own limit is smaller, but it does not count every allocation (repeat())."""
_SQL_TYPES = {"integer": "BIGINT", "string": "VARCHAR", "boolean": "BOOLEAN"}

# temp_directory has to be emptied before external access is closed (DuckDB refuses it afterwards); the lock is last.
SETTINGS = (
    "SET temp_directory = ''",
    "SET max_temp_directory_size = '0KB'",
    "SET allow_persistent_secrets = false",
    "SET allow_community_extensions = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET python_enable_replacements = false",
    "SET enable_external_access = false",
    "SET memory_limit = '1GB'",
    "SET threads = 1",
    "SET lock_configuration = true",
)

_SYSCALLS = (
    "brk",
    "clock_gettime",
    "clock_nanosleep",
    "exit",
    "exit_group",
    "fstat",
    "futex",
    "getpid",
    "getrandom",
    "getrusage",
    "gettid",
    "gettimeofday",
    "lseek",
    "madvise",
    "mremap",
    "munmap",
    "nanosleep",
    "newfstatat",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "sigaltstack",
    "sysinfo",
)
_PROT_EXEC = 4


def limit_resources(cpu_seconds: int) -> None:
    """Hard limits. On data, not on address space: DuckDB reserves more than it uses and dies of a small RLIMIT_AS."""
    for name, value in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_DATA, MAX_DATA),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (value, value))


def harden() -> Any:
    """A DuckDB connection that reaches nothing outside itself."""
    import duckdb  # here, not above: it stands in the site-packages named on the command line

    connection = duckdb.connect(":memory:")
    for setting in SETTINGS:
        connection.execute(setting)
    connection.execute("CREATE TABLE warm AS SELECT unnest([1, 2]) AS a")
    connection.execute("SELECT a, count(*) FROM warm GROUP BY a ORDER BY a").fetchall()
    connection.execute("DROP TABLE warm")
    return connection


def drop_system_calls() -> None:
    """Allow what a running query needs; everything else (open, socket, clone, execve, kill, …) answers EPERM."""
    import ctypes.util

    # pyseccomp looks for its library by running ldconfig or gcc; neither is in here, and the loader knows the place.
    ctypes.util.find_library = lambda name: "libseccomp.so.2" if name == "seccomp" else None
    import pyseccomp

    rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    for name in _SYSCALLS:
        rules.add_rule(pyseccomp.ALLOW, name)
    rules.add_rule(pyseccomp.ALLOW, "read", pyseccomp.Arg(0, pyseccomp.EQ, 0))
    rules.add_rule(pyseccomp.ALLOW, "write", pyseccomp.Arg(0, pyseccomp.EQ, 1))
    for name in ("mmap", "mprotect"):
        rules.add_rule(pyseccomp.ALLOW, name, pyseccomp.Arg(2, pyseccomp.MASKED_EQ, _PROT_EXEC, 0))
    rules.set_attr(pyseccomp.Attr.CTL_TSYNC, 1)  # DuckDB may hold threads by now
    rules.load()


def read_frame() -> bytes:
    size = int.from_bytes(_read_exactly(4), "big")
    if size > MAX_FRAME:
        raise ValueError("too large")
    return _read_exactly(size)


def _read_exactly(size: int) -> bytes:
    parts = []
    while size:
        part = os.read(0, min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def write_frame(data: bytes) -> None:
    view = memoryview(len(data).to_bytes(4, "big") + data)
    while view:
        view = view[os.write(1, view) :]


def load(connection: Any, tables: dict[str, Any]) -> None:
    """Create the typed tables. Names come from a manifest and are quoted; values are bound, never written into SQL."""
    for name, table in tables.items():
        columns = table["columns"]
        parts = [
            f"unnest(${number}::{_SQL_TYPES[kind]}[]) AS {_quoted(column)}"
            for number, (column, kind) in enumerate(columns.items(), 1)
        ]
        values = [table["values"][column] for column in columns]
        connection.execute(f"CREATE TABLE {_quoted(name)} AS SELECT {', '.join(parts)}", values)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def run(connection: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Rows of the one SELECT. The text was checked outside; a second statement is refused here all the same."""
    load(connection, job["tables"])
    if len(connection.extract_statements(job["sql"])) != 1:
        return {"error": "computation_refused"}
    cursor = connection.execute(job["sql"])
    return {"columns": [column[0] for column in cursor.description], "rows": cursor.fetchall()}


def main(arguments: list[str]) -> None:
    """``arguments``: CPU seconds, ``seccomp`` or ``none`` (where the system has none), the folders to import from."""
    limit_resources(int(arguments[0]))
    sys.path.extend(arguments[2:])
    connection = harden()
    if arguments[1] != "none":
        drop_system_calls()
    os.write(1, READY)
    try:
        answer = json.dumps(run(connection, json.loads(read_frame()))).encode()
    except BaseException:  # whatever it was, its text may hold data
        answer = b'{"error":"computation_failed"}'
    write_frame(answer)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
