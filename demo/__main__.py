"""``python -m demo``: the whole flow once, ending with one JSON line. ``python -m demo serve``: keep it running."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from dataspace_sdk import Dataspace

from dataspace.settings import Settings
from demo import nhefs
from demo.attacks import ATTACKS, Scene, rows
from demo.city import City
from demo.flow import (
    Narrator,
    Outcome,
    check_logs,
    cohorts,
    individuals,
    max_difference,
    open_shop,
    settle_city,
)
from demo.operators import BANK, RESEARCHER
from demo.programs import Programs

HOME = Path(".dataspace")
SERVED_PARTICIPANTS = 60


def main() -> int:
    """``demo`` or ``demo serve``."""
    if sys.argv[1:] == ["serve"]:
        return serve()
    if sys.argv[1:]:
        print("usage: python -m demo [serve]", file=sys.stderr)
        return 2
    return run()


def _fresh(name: str) -> Settings:
    """An empty home below ``.dataspace``; what an earlier demo left there is removed."""
    home = HOME / name
    shutil.rmtree(home, ignore_errors=True)
    return Settings(home=home.resolve())


def run() -> int:
    """Everything once; 0 if every step and every refusal came out as it must."""
    settings = _fresh("demo")
    outcome = Outcome()
    tell = Narrator(outcome, print)
    print("个人可信数据空间 / Personal Data Space: from sealed data to an authorised, checked, logged answer.")
    with Programs(settings) as programs:
        city = settle_city(tell, programs)
        spaces = open_shop(tell, city)
        cohorts(tell, city, spaces[RESEARCHER])
        individuals(tell, city, spaces[BANK])
        check_logs(tell, city)
        attempts = _attempts(tell, Scene(city, outcome, spaces))
        log = _verify_log(tell, city)
        memory = {name: programs.peak_memory_mb(name) for name in ("service", "broker", "node")}
        decisions = _decisions(settings)
    summary = _summary(outcome, len(city.study), attempts, log, decisions, memory)
    print()
    print(json.dumps(summary, ensure_ascii=False))
    return 0 if summary["max_difference"] == 0 and len(attempts) == len(ATTACKS) else 1


def _attempts(tell: Narrator, scene: Scene) -> dict[str, str]:
    found: dict[str, str] = {}

    def act() -> None:
        for name, attack in ATTACKS.items():
            found[name] = attack(scene)
            tell.say(f"   {name}: refused, {found[name]}\n      {(attack.__doc__ or '').splitlines()[0]}")

    tell.step(
        "attempts", "11. 尝试绕过 Attempts to get around it, each by somebody who holds a part of the system.", act
    )
    return found


def _verify_log(tell: Narrator, city: City) -> dict[str, Any]:
    """``dataspace audit verify``, as an auditor runs it."""

    def act() -> dict[str, Any]:
        environment = {**os.environ, "DATASPACE_HOME": str(city.settings.home)}
        command = [sys.executable, "-m", "dataspace.cli", "audit", "verify"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the log does not verify: {done.stderr}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    report = tell.step(
        "audit", "12. 审计 dataspace audit verify: every entry, tree, checkpoint, cosignature and chain.", act
    )
    tell.say(f"   {report['entries']} entries about {report['subjects']} residents; no problem found")
    return {"size": report["size"], "root": report["root"]}


def _decisions(settings: Settings) -> dict[str, int]:
    database = settings.service_home / "dataspace.db"
    return dict(rows(database, "SELECT outcome, count(*) FROM runs GROUP BY outcome"))


def _summary(
    outcome: Outcome,
    residents: int,
    attempts: dict[str, str],
    log: dict[str, Any],
    decisions: dict[str, int],
    memory: dict[str, int],
) -> dict[str, Any]:
    return {
        "residents": residents,
        "records": outcome.records,
        **outcome.counts["A"],
        "decisions": decisions,
        "results": {name: len(table) for name, table in outcome.tables.items()},
        "references": {name: len(table) for name, table in outcome.references.items()},
        "suppressed": {name: sum(cell["suppressed"] for cell in table) for name, table in outcome.tables.items()},
        "max_difference": max_difference(outcome),
        "individual": outcome.individual,
        "failed_attempts": attempts,
        "log": log,
        "memory_mb": memory,
        "seconds": outcome.seconds,
    }


def serve() -> int:
    """Service and broker with a small seeded district on 127.0.0.1:8000, until Ctrl-C."""
    settings = _fresh("run")
    tell = Narrator(Outcome(), print)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with Programs(settings) as programs:
        city = settle_city(tell, programs, SERVED_PARTICIPANTS, port=8000)
        spaces: dict[str, Dataspace] = open_shop(tell, city)
        for name in ("A", "B"):
            spaces[RESEARCHER].ask(tell.outcome.listed[name])
        print("\nRunning on http://127.0.0.1:8000 (GET /v1/health, /openapi.json). Ctrl-C ends it.")
        print(f"{len(city.study)} of {nhefs.PARTICIPANTS} participants and the demonstration district have moved in.")
        stopped.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
