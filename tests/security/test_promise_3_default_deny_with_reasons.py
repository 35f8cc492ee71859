"""Promise 3: undefined, error, timeout, malformed: deny, with a stable reason and a sentence (UC-04)."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import regorus

import policies
from consent.decide import Decision, Outcome, decide, explain
from consent.engine import embedded
from consent.engine.embedded import EmbeddedEngine
from consent.engine.errors import EngineSelfTestError
from consent.engine.opa_server import AsyncOpaEngine, OpaServer, OpaServerEngine
from consent.engine.port import failed
from tests.fakes.decisions import NO_OPA, OPA, base, changed, facts_of, running_opa
from tests.shared_vectors import skip_or_fail

UNDEFINED = {"pds/use/use.rego": "package pds.use\n"}
BROKEN = {"pds/use/use.rego": "package pds.use\n\ndecision := "}
FAILING = {"pds/use/use.rego": "package pds.use\n\ndecision := no_such_function(input)\n"}
NOT_AN_OBJECT = {"pds/use/use.rego": "package pds.use\n\ndecision := true\n"}


@pytest.fixture
def untested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines as they would be if their rules broke after the self-test."""
    monkeypatch.setattr("consent.engine.selftest.check", lambda engine: None)


def assert_denied(decision: Decision) -> None:
    assert decision.outcome is Outcome.DEFAULT_DENY
    assert decision.reasons == ("engine_failed",)
    assert decision.allowed == decision.obligations == ()
    assert [grant.outcome for grant in decision.grants.values()] == [Outcome.DEFAULT_DENY]
    assert explain(decision.reasons)[0].keys() == {"code", "zh", "en"}


@pytest.mark.usefixtures("untested")
@pytest.mark.parametrize("modules", [{}, UNDEFINED, BROKEN, FAILING, NOT_AN_OBJECT])
def test_embedded_rules_that_give_no_answer(modules: dict[str, str]) -> None:
    assert_denied(decide(EmbeddedEngine(modules), facts_of(base())))


@pytest.mark.parametrize("modules", [{}, UNDEFINED, BROKEN, FAILING, NOT_AN_OBJECT])
def test_such_an_engine_is_not_even_made(modules: dict[str, str]) -> None:
    with pytest.raises(EngineSelfTestError):
        EmbeddedEngine(modules)


def test_an_engine_that_raises() -> None:
    class Raising:
        def decide(self, facts: Mapping[str, Any]) -> dict[str, Any]:
            raise ConnectionError

    assert_denied(decide(Raising(), facts_of(base())))


@pytest.mark.parametrize("value", ["1500", None, True, 1.5, [], {}])
@pytest.mark.parametrize("pointer", ["/now", "/licence/not_after", "/request/not_after", "/grants/0/not_after"])
def test_a_malformed_time_is_never_late_enough(pointer: str, value: object) -> None:
    decision = decide(EmbeddedEngine(), facts_of(changed({pointer: value})))
    assert decision.outcome is Outcome.DEFAULT_DENY
    assert decision.reasons == ("malformed_input",)
    assert decision.allowed == ()


def test_an_engine_serves_any_thread() -> None:
    engine = EmbeddedEngine()
    with ThreadPoolExecutor(1) as other:
        assert decide(engine, facts_of(base())) == other.submit(decide, engine, facts_of(base())).result(30)


def test_a_panic_inside_regorus_is_a_denial_and_the_next_decision_works() -> None:
    """regorus panics when a thread uses an engine of another one; the panic is a BaseException."""
    engine = EmbeddedEngine()
    with foreign_regorus_engines() as foreign:
        engine._local.engine = foreign[0]
        assert_denied(decide(engine, facts_of(base())))
        assert decide(engine, facts_of(base())).outcome is Outcome.ALLOW


@contextmanager
def foreign_regorus_engines() -> Iterator[list[Any]]:
    """One regorus engine that another, still living thread made, and that dies in that thread."""
    made: list[Any] = []
    ready, over = threading.Event(), threading.Event()

    def own() -> None:
        made.append(regorus.Engine())
        ready.set()
        over.wait(30)
        made.clear()

    thread = threading.Thread(target=own)
    thread.start()
    ready.wait(30)
    try:
        yield made
    finally:
        over.set()
        thread.join(30)


def test_an_interrupt_stays_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(facts: object) -> str:
        raise KeyboardInterrupt

    engine = EmbeddedEngine()
    monkeypatch.setattr(embedded, "to_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.decide({})


@contextmanager
def answering(respond: Callable[[socket.socket], None]) -> Iterator[OpaServer]:
    """A local server that reads one request on each connection and then does as ``respond`` says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                respond(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield OpaServer("127.0.0.1", listener.getsockname()[1], timeout=0.5)
        thread.join(10)


def http(status: str, body: bytes) -> Callable[[socket.socket], None]:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return lambda connection: connection.sendall(head.encode() + body)


def silent(connection: socket.socket) -> None:
    connection.settimeout(5)
    connection.recv(1)  # returns when the client has given up


def cut_off(connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"result"')


async def ask(server: OpaServer) -> dict[str, Any]:
    engine = AsyncOpaEngine(server)
    await engine._client.__aenter__()
    try:
        return await engine.decide(base())
    finally:
        await engine.close()


@pytest.mark.parametrize(
    "respond",
    [
        http("200 OK", b"{}"),
        http("200 OK", b'{"result": true}'),
        http("200 OK", b'{"result": null}'),
        http("200 OK", b"[]"),
        http("200 OK", b"not json"),
        http("500 Internal Server Error", b'{"code": "internal_error"}'),
        http("404 Not Found", b"{}"),
        http("401 Unauthorized", b"{}"),
        cut_off,
        silent,
    ],
    ids=["undefined", "boolean", "null", "array", "no-json", "500", "404", "401", "cut-off", "timeout"],
)
def test_a_server_that_gives_no_answer(respond: Callable[[socket.socket], None]) -> None:
    with answering(respond) as server:
        assert asyncio.run(ask(server)) == failed()


def test_a_server_that_answers_is_believed() -> None:
    """The counterpart: the fake server above can say yes, so its denials are not an accident of the harness."""
    answer = EmbeddedEngine().decide(base())
    with answering(http("200 OK", json.dumps({"result": answer}).encode())) as server:
        assert asyncio.run(ask(server)) == answer


@pytest.fixture
def opa_engine() -> Iterator[tuple[OpaServerEngine, Any]]:
    if not OPA.exists():
        skip_or_fail(NO_OPA)
    with running_opa() as server:
        engine = OpaServerEngine(OpaServer("127.0.0.1", server.port, timeout=1.0))
        yield engine, server.process
        engine.close()


def test_opa_is_killed_between_decisions(opa_engine: tuple[OpaServerEngine, Any]) -> None:
    engine, process = opa_engine
    assert decide(engine, facts_of(base())).outcome is Outcome.ALLOW
    process.kill()
    process.wait(10)
    assert_denied(decide(engine, facts_of(base())))


def test_opa_hangs_and_is_killed_while_it_decides(opa_engine: tuple[OpaServerEngine, Any]) -> None:
    engine, process = opa_engine
    process.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(decide, engine, facts_of(base()))
        process.kill()
        assert_denied(pending.result(30))


def test_opa_hangs(opa_engine: tuple[OpaServerEngine, Any]) -> None:
    engine, process = opa_engine
    process.send_signal(signal.SIGSTOP)
    assert_denied(decide(engine, facts_of(base())))


def test_the_caller_waits_no_longer_than_it_said(opa_engine: tuple[OpaServerEngine, Any]) -> None:
    """Even if the client forgot its own timeout."""
    engine, process = opa_engine
    process.send_signal(signal.SIGSTOP)
    engine._wait = 0.1
    assert_denied(decide(engine, facts_of(base())))


def test_opa_loses_its_rules(opa_engine: tuple[OpaServerEngine, Any]) -> None:
    engine, _ = opa_engine
    for path in policies.modules():
        engine._run(engine._engine._client.delete_policy(path), timeout=5)
    assert_denied(decide(engine, facts_of(base())))


def test_a_closed_engine_denies(opa_engine: tuple[OpaServerEngine, Any]) -> None:
    engine, _ = opa_engine
    engine.close()
    assert_denied(decide(engine, facts_of(base())))
