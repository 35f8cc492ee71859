"""Single-use workers for SELECTs: warmed up beforehand, one job, gone.

With bubblewrap a worker has its own namespaces (no network, no other process to see), no capabilities, nobody's uid, an
empty environment and a file system of the interpreter, the packages and ``worker.py``, read only. After its start it
also gives up its system calls (``worker.py``). Without a usable bubblewrap it is a bare process with the same limits,
and :data:`isolation` says so: evidence carries that word, and a production policy refuses it.

Outside, the parent keeps the time and kills the whole process group. What comes back is checked as if the worker were
hostile, and a failure is a code: no text of the worker is ever read (its standard error goes nowhere).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

from connectors.compute.errors import ComputationFailedError, ComputationRefusedError, ComputationTimeoutError
from connectors.compute.records import Value
from connectors.compute.sql import PERSON, Table, check_select

Isolation = Literal["bwrap+seccomp", "process"]
UnitRow = Mapping[str, Value | None]
"""One person's row: ``person`` and the SELECT's columns."""

WORKER = Path(__file__).with_name("worker.py")
MAX_RESULT = 64 << 20
"""Bytes of rows that a worker may return."""

_START_SECONDS = 20.0
_MAX_STRING = 256
_NAMESPACES = ("--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL")
_NOBODY = ("--uid", "65534", "--gid", "65534")
_SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")


@cache
def isolation() -> Isolation:
    """What separates a worker from this machine; found out once by trying."""
    bwrap = shutil.which("bwrap")
    if bwrap is None or sys.platform != "linux":
        return "process"
    probe = [*_bubble(bwrap, WORKER), _interpreter(), "-I", "-S", "-c", "pass"]
    done = subprocess.run(probe, check=False, stdin=subprocess.DEVNULL, capture_output=True, env={})  # noqa: S603
    return "bwrap+seccomp" if done.returncode == 0 else "process"


def command(seconds: float, program: Path = WORKER) -> list[str]:
    """How a worker is started. ``program`` takes ``worker.py``'s place (which stands beside it) in tests alone."""
    # One second more than the wall: the parent's timer, which says "timeout", comes first.
    limits = [str(math.ceil(seconds + _START_SECONDS) + 1)]
    if isolation() == "process":
        filtering = "seccomp" if sys.platform == "linux" else "none"
        return [_interpreter(), "-I", "-S", str(program), *limits, filtering, *_packages()]
    bwrap = shutil.which("bwrap") or "bwrap"
    inside = [_interpreter(), "-I", "-S", "/sandbox/program.py", *limits, "seccomp", *_packages()]
    return [*_bubble(bwrap, program), *inside]


def _bubble(bwrap: str, program: Path) -> list[str]:
    """The bubble. The private /tmp comes first: mounted later it would hide an interpreter that lives below /tmp."""
    shown = dict.fromkeys([*_SYSTEM_LIBRARIES, sys.base_prefix, sys.prefix, *_packages()])
    binds = [part for path in shown if os.path.exists(path) for part in ("--ro-bind", path, path)]
    files = ["--ro-bind", str(WORKER), "/sandbox/worker.py", "--ro-bind", str(program), "/sandbox/program.py"]
    return [bwrap, *_NAMESPACES, *_NOBODY, "--tmpfs", "/tmp", *binds, *files, "--chdir", "/", "--"]  # noqa: S108


def _interpreter() -> str:
    """The real interpreter, not a virtual environment's link to it: with -I -S it needs no environment."""
    return os.path.realpath(sys.executable)


@cache
def _packages() -> tuple[str, ...]:
    """The folders that duckdb and pyseccomp are imported from."""
    found = [find_spec(name) for name in ("duckdb", "_duckdb", "pyseccomp")]
    origins = [Path(spec.origin) for spec in found if spec is not None and spec.origin is not None]
    folders = [str(path.parent.parent if path.name == "__init__.py" else path.parent) for path in origins]
    return tuple(dict.fromkeys(folders))


class Worker:
    """One sandboxed process for one job.

    It dies with the *thread* that made it (PR_SET_PDEATHSIG looks at threads): make it where it is used, or take a
    :class:`SandboxPool`, which has a thread of its own for that.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        """Start it and wait until it is warm. ``seconds`` is the wall time its job may take."""
        self.isolation = isolation()
        self._seconds = seconds
        self._used = False
        self._process = subprocess.Popen(  # noqa: S603
            command(seconds),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={},
            cwd="/",
            start_new_session=True,
        )
        try:
            self._exchange(b"", 1, time.monotonic() + _START_SECONDS)
        except ComputationFailedError:
            self.close()
            raise

    def run(self, text: str, tables: Mapping[str, Table]) -> list[UnitRow]:
        """Rows of ``text``, which :func:`check_select` has accepted. The worker is gone afterwards in any case."""
        if self._used:
            raise ComputationFailedError("a worker runs one job")
        self._used = True
        job = {name: {"columns": dict(table.columns), "values": dict(table.values)} for name, table in tables.items()}
        request = json.dumps({"sql": text, "tables": job}).encode()
        deadline = time.monotonic() + self._seconds
        try:
            size = self._exchange(len(request).to_bytes(4, "big") + request, 4, deadline)
            answer = self._exchange(b"", int.from_bytes(size, "big"), deadline)
        finally:
            self.close()
        return _unit_rows(answer, tables)

    def close(self) -> None:
        """Kill the process group and wait for it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for stream in self._pipes():
            stream.close()
        self._process.wait()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ComputationFailedError("a worker without pipes")
        return stdin, stdout

    def _exchange(self, request: bytes, expect: int, deadline: float) -> bytes:
        """Write ``request`` while reading exactly ``expect`` bytes, until ``deadline``."""
        if expect > MAX_RESULT:
            raise ComputationFailedError("the result is too large")
        stdin, stdout = self._pipes()
        pending, received = memoryview(request), bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            if pending:
                os.set_blocking(stdin.fileno(), False)
                selector.register(stdin, selectors.EVENT_WRITE)
            while len(received) < expect:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise ComputationTimeoutError("the time is over")
                for key, _events in ready:
                    if key.fileobj is stdin:
                        pending = _write_some(stdin, pending)
                        if not pending:
                            selector.unregister(stdin)
                    else:
                        received += _read_some(stdout, expect - len(received))
        return bytes(received)


def _write_some(stream: IO[bytes], data: memoryview) -> memoryview:
    try:
        return data[os.write(stream.fileno(), data[: 1 << 16]) :]
    except OSError as error:
        raise ComputationFailedError("the worker is gone") from error


def _read_some(stream: IO[bytes], size: int) -> bytes:
    part = os.read(stream.fileno(), min(size, 1 << 20))
    if not part:
        raise ComputationFailedError("the worker is gone")
    return part


def _unit_rows(answer: bytes, tables: Mapping[str, Table]) -> list[UnitRow]:
    """The rows in a worker's answer; anything that is not rows over this run's people is a failure."""
    people = {person for table in tables.values() for person in table.values[PERSON]}
    try:
        found = json.loads(answer)
        if found.get("error") == "computation_refused":
            raise ComputationRefusedError("not exactly one statement")
        columns, rows = found["columns"], found["rows"]
        good = _are_names(columns) and all(_is_row(row, len(columns)) for row in rows)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ComputationFailedError from error
    if not good:
        raise ComputationFailedError
    result: list[UnitRow] = [dict(zip(columns, row, strict=True)) for row in rows]
    if any(type(row[PERSON]) is not int or row[PERSON] not in people for row in result):
        raise ComputationFailedError
    return result


def _are_names(columns: Any) -> bool:
    good = isinstance(columns, list) and all(isinstance(name, str) for name in columns)
    return good and PERSON in columns and len(set(columns)) == len(columns)


def _is_row(row: Any, width: int) -> bool:
    return isinstance(row, list) and len(row) == width and all(_is_value(value) for value in row)


def _is_value(value: object) -> bool:
    if isinstance(value, int):
        return abs(value) < 2**53
    return value is None or (isinstance(value, str) and len(value) <= _MAX_STRING)


class SandboxPool:
    """Keeps ``size`` warm workers ready. Each job takes one, and a new one is started. Safe for several threads."""

    def __init__(self, size: int = 1, seconds: float = 10.0) -> None:
        self._seconds = seconds
        self._spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox")
        self._warm: deque[Future[Worker]] = deque(self._start() for _ in range(size))

    @property
    def isolation(self) -> Isolation:
        """What the evidence has to say about these workers."""
        return isolation()

    def run(self, text: str, tables: Mapping[str, Table]) -> list[UnitRow]:
        """Check ``text``, run it in a fresh worker, return its unit rows.

        Raises :class:`ComputationRefusedError`, :class:`ComputationFailedError` or :class:`ComputationTimeoutError`;
        their codes are all that may be told to anyone.
        """
        check_select(text, {name: table.columns for name, table in tables.items()})
        try:
            worker = self._warm.popleft()
        except IndexError:
            worker = self._start()
        else:
            self._warm.append(self._start())
        return worker.result().run(text, tables)

    def close(self) -> None:
        self._spawner.shutdown(wait=True)
        for future in self._warm:
            if future.exception() is None:
                future.result().close()
        self._warm.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> Future[Worker]:
        return self._spawner.submit(Worker, self._seconds)
