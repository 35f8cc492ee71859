"""One contract for every policy engine: the rules inside the process, and a real OPA server (UC-04, UC-05)."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opa_client.opa_async import AsyncOpaClient

import policies
from consent.decide import Outcome, decide
from consent.engine import open_engine
from consent.engine.errors import PolicyUploadError
from consent.engine.opa_server import OpaServer, OpaServerEngine
from consent.engine.port import PolicyEngine, failed
from tests.fakes.decisions import NO_OPA, OPA, RunningOpa, base, cases, changed, facts_of, running_opa
from tests.shared_vectors import skip_or_fail


@pytest.fixture(scope="module")
def opa() -> Iterator[RunningOpa]:
    if not OPA.exists():
        skip_or_fail(NO_OPA)
    with running_opa() as server:
        yield server


@pytest.fixture(scope="module", params=["embedded", "opa_server"])
def engine(request: pytest.FixtureRequest) -> Iterator[PolicyEngine]:
    if request.param == "embedded":
        yield open_engine("embedded")
        return
    server: RunningOpa = request.getfixturevalue("opa")
    adapter = open_engine("opa_server", opa_url=f"http://127.0.0.1:{server.port}")
    assert isinstance(adapter, OpaServerEngine)
    yield adapter
    adapter.close()


@pytest.fixture
def own_opa() -> Iterator[RunningOpa]:
    """A server of this test alone: what it is made to hold harms no other test."""
    if not OPA.exists():
        skip_or_fail(NO_OPA)
    with running_opa() as server:
        yield server


@pytest.mark.parametrize(("facts", "expected"), [case[1:] for case in cases()], ids=[case[0] for case in cases()])
def test_answers_every_case(engine: PolicyEngine, facts: dict[str, Any], expected: dict[str, Any]) -> None:
    assert engine.decide(facts) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", b"bytes", object()])
def test_what_is_no_json_is_denied(engine: PolicyEngine, value: object) -> None:
    assert engine.decide(changed({"/request/operator_id": value})) == failed()


@pytest.mark.parametrize("facts", [{}, None, [], "facts", 1])
def test_what_are_no_facts_is_denied(engine: PolicyEngine, facts: Any) -> None:
    assert engine.decide(facts)["outcome"] == "default_deny"


def test_the_input_is_not_changed(engine: PolicyEngine) -> None:
    facts = base()
    engine.decide(facts)
    assert facts == base()


def test_no_decision_leans_on_the_one_before(engine: PolicyEngine) -> None:
    denied = changed({"/grants/0/state": "withdrawn"})
    outcomes = [engine.decide(facts)["outcome"] for facts in (base(), denied, base(), {}, base())]
    assert outcomes == ["allow", "deny", "allow", "default_deny", "allow"]


def test_threads_get_the_same_answers(engine: PolicyEngine) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: engine.decide(base()), range(24)))
    assert answers == [engine.decide(base())] * 24


def test_a_thousand_grants(engine: PolicyEngine) -> None:
    grants = [{**base()["grants"][0], "grant_digest": f"g-{n}", "uses_left": n % 3} for n in range(1000)]
    decision = decide(engine, facts_of(changed({"/grants": grants})))
    assert decision.outcome is Outcome.ALLOW
    assert decision.allowed == tuple(f"g-{n}" for n in range(1000) if n % 3)


def test_opa_eval_answers_every_case() -> None:
    """All cases in one process of the command line tool: the engine itself, without any client."""
    if not OPA.exists():
        skip_or_fail(NO_OPA)
    inputs = json.dumps([facts for _, facts, _ in cases()])
    query = "[answer | some facts in input; answer := data.pds.use.decision with input as facts]"
    command = [OPA, "eval", "--stdin-input", "--format", "raw", "--data", "policies/pds", query]
    done = subprocess.run(command, input=inputs, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == [expected for _, _, expected in cases()]


def engine_on(server: RunningOpa, modules: dict[str, str] | None = None) -> OpaServerEngine:
    return OpaServerEngine(OpaServer("127.0.0.1", server.port), modules)


def test_rules_are_stored_as_sent_and_can_be_sent_again(own_opa: RunningOpa) -> None:
    for _ in range(2):
        engine = engine_on(own_opa)
        assert engine.decide(base())["outcome"] == "allow"
        engine.close()


def test_old_rego_is_refused_and_not_rewritten(own_opa: RunningOpa) -> None:
    """The client would turn this text into Rego v1 by itself and store what nobody reviewed."""
    with pytest.raises(PolicyUploadError, match="refused the rules"):
        engine_on(own_opa, {**policies.modules(), "pds/old.rego": "package pds.old\n\nallow { input.x == 1 }\n"})


def test_a_server_that_stores_another_text_is_refused(own_opa: RunningOpa, monkeypatch: pytest.MonkeyPatch) -> None:
    send = AsyncOpaClient.update_policy_from_string

    async def altered(client: Any, text: str, path: str, *, rego_compat: bool) -> Any:
        return await send(client, text + "\n# one line more\n", path, rego_compat=rego_compat)

    monkeypatch.setattr(AsyncOpaClient, "update_policy_from_string", altered)
    with pytest.raises(PolicyUploadError, match="another text"):
        engine_on(own_opa)


def test_a_server_with_another_module_is_refused(own_opa: RunningOpa) -> None:
    stranger = b"package pds.licence\n\nlicence_is_active if true\n"
    url = f"http://127.0.0.1:{own_opa.port}/v1/policies/other.rego"
    urllib.request.urlopen(urllib.request.Request(url, stranger, method="PUT"), timeout=5).close()
    with pytest.raises(PolicyUploadError, match="other modules"):
        engine_on(own_opa)


def test_a_server_may_guard_itself(own_opa: RunningOpa) -> None:
    guard = {"guard.rego": "package system.authz\n\ndefault allow := true\n"}
    engine_on(own_opa, {**policies.modules(), **guard}).close()
    engine_on(own_opa).close()


def test_a_server_that_is_not_there_is_refused() -> None:
    with pytest.raises(PolicyUploadError):
        OpaServerEngine(OpaServer("127.0.0.1", 9, timeout=0.5))


def test_a_server_that_never_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consent.engine.opa_server._OPEN_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(PolicyUploadError, match="does not answer"):
        OpaServerEngine(OpaServer("127.0.0.1", listener.getsockname()[1], timeout=20))
