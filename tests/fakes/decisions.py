"""Decision cases of ``tests/vectors/decision``, facts for ``decide``, and a real OPA server that is stopped again."""

from __future__ import annotations

import copy
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consent.decide import CollectionFields, Facts, GrantFacts, LicenceFacts, NodeFacts, ProductFacts, RequestFacts

ROOT = Path(__file__).parents[2]
OPA = ROOT / ".tools" / "opa"
VECTORS = ROOT / "tests" / "vectors" / "decision"
NO_OPA = "the opa binary is not here: make setup-opa builds it"


def base() -> dict[str, Any]:
    """Input of one use that is allowed."""
    facts: dict[str, Any] = json.loads((VECTORS / "base.json").read_text())
    return facts


def changed(values: Mapping[str, Any] | None = None, remove: tuple[str, ...] = ()) -> dict[str, Any]:
    """The base input with values set at JSON pointers, then pointers removed."""
    facts = base()
    for pointer, value in (values or {}).items():
        parent, key = _step(facts, pointer)
        if isinstance(parent, list) and key == len(parent):
            parent.append(copy.deepcopy(value))
        else:
            parent[key] = copy.deepcopy(value)
    for pointer in remove:
        parent, key = _step(facts, pointer)
        del parent[key]
    return facts


def _step(document: Any, pointer: str) -> tuple[Any, Any]:
    *path, last = pointer.split("/")[1:]
    for name in path:
        document = document[int(name)] if isinstance(document, list) else document[name]
    return document, int(last) if isinstance(document, list) else last


def cases() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, input and expected answer of every case."""
    found = []
    for path in sorted(VECTORS.glob("*.json")):
        if path.name != "base.json":
            for case in json.loads(path.read_text()):
                facts = changed(case.get("set"), tuple(case.get("remove", ())))
                found.append((f"{path.stem}: {case['name']}", facts, case["expect"]))
    return found


def facts_of(document: Mapping[str, Any]) -> Facts:
    """The dataclasses for an input document."""
    product = {**document["product"], "inputs": _elements(document["product"]["inputs"])}
    return Facts(
        now=document["now"],
        environment=document["environment"],
        request=RequestFacts(**document["request"]),
        licence=LicenceFacts(**document["licence"]),
        product=ProductFacts(**product),
        node=NodeFacts(document["node"]["class"], tuple(document["node"]["accepted_classes"])),
        grants=tuple(GrantFacts(**{**grant, "scope": _elements(grant["scope"])}) for grant in document["grants"]),
    )


def _elements(entries: list[dict[str, Any]]) -> tuple[CollectionFields, ...]:
    return tuple(CollectionFields(entry["collection"], tuple(entry["fields"])) for entry in entries)


@dataclass(frozen=True)
class RunningOpa:
    """A real server on a free local port."""

    port: int
    process: subprocess.Popen[bytes]


@contextmanager
def running_opa() -> Iterator[RunningOpa]:
    """A real ``opa run --server`` without rules; killed at the end, whatever happened."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(OPA),
        "run",
        "--server",
        "--addr",
        f"127.0.0.1:{port}",
        "--skip-version-check",
        "--log-level",
        "error",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_healthy(port, process)
        yield RunningOpa(port, process)
    finally:
        process.kill()
        process.wait(10)


def _wait_until_healthy(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(150):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the OPA server did not start")
