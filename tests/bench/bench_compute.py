"""How long the parts of a compute node take. Figures, never pass or fail."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import date
from statistics import median

from connectors.compute.individual import answer, window_months
from connectors.compute.output_control import CellContributors, Released, release
from connectors.compute.sandbox import SandboxPool, Worker, isolation
from connectors.compute.sql import check_select, tables_of
from demo.products import blood_pressure, income_check
from tests.fakes.compute import TYPES, FakeRecord, person

PEOPLE = 20_000


def run() -> list[str]:
    manifest = blood_pressure("op")
    text, columns = manifest["computation"]["text"], {name: TYPES[name] for name in ("demographics", "vitals")}
    people = [person(number, age=25 + number % 50, sbp=100 + number % 80) for number in range(PEOPLE)]
    lines = [f"isolation: {isolation()}", *_individual(), _line("check_select", lambda: check_select(text, columns))]
    lines.append(_line("worker start, warm-up included", lambda: Worker(10).close(), 5))
    tables = tables_of(manifest, people, TYPES)
    lines.append(_line(f"tables of {PEOPLE} people", lambda: tables_of(manifest, people, TYPES), 3))
    durations = []
    for _ in range(3):
        with SandboxPool(1) as pool:
            pool._warm[0].result()
            started = time.perf_counter()
            rows = pool.run(text, tables)
            durations.append(time.perf_counter() - started)
    lines.append(f"SELECT over {PEOPLE} people in a warm worker: {1000 * median(durations):.1f} ms")
    named = [{**row, "person": f"p{row['person']}"} for row in rows]
    outcome = release(named, manifest["output"], [])
    assert isinstance(outcome, Released)
    before = [CellContributors("r", cell, members) for cell, members in outcome.contributors.items()]
    spec = manifest["output"]
    lines.append(
        _line(f"output control over {PEOPLE} rows, one earlier release", lambda: release(named, spec, before), 5)
    )
    return lines


def _individual() -> list[str]:
    months = window_months(date(2026, 11, 22), 12)
    wages = {"wages": [FakeRecord({"month": month, "net_amount": 600_000}) for month in months]}
    manifest = income_check("bank")
    return [_line("individual answer (S1)", lambda: answer(manifest, wages, "2026-11-22"), 200)]


def _line(name: str, act: Callable[[], object], times: int = 20) -> str:
    act()
    found = []
    for _ in range(times):
        started = time.perf_counter()
        act()
        found.append(time.perf_counter() - started)
    return f"{name}: {1000 * median(found):.2f} ms"


if __name__ == "__main__":
    sys.stdout.write("\n".join(run()) + "\n")
