"""The decision: facts in, one complete and consistent answer out (UC-04, UC-05, UC-06)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import policies
from consent.decide import Decision, Facts, GrantDecision, Outcome, decide, explain, policy_input
from consent.engine import open_engine
from consent.engine.embedded import EmbeddedEngine
from consent.engine.errors import EngineSelfTestError, EngineUnknownError
from dataspace.kernel.encoding import canonical, digest
from tests.fakes.decisions import base, cases, changed, facts_of

DUTIES = ["meter_answer", "output_control", "notify_resident", "log_release"]


class Fixed:
    """An engine that gives one answer, whatever it is asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def decide(self, facts: Mapping[str, Any]) -> Any:
        return self.answer


@pytest.fixture(scope="module")
def engine() -> EmbeddedEngine:
    return EmbeddedEngine()


@pytest.fixture
def facts() -> Facts:
    return facts_of(base())


def allowing(**members: Any) -> dict[str, Any]:
    grants = {"grant-1": {"outcome": "allow", "reasons": []}}
    return {"outcome": "allow", "reasons": [], "obligations": DUTIES, "grants": grants, **members}


def denying(**members: Any) -> dict[str, Any]:
    grants = {"grant-1": {"outcome": "deny", "reasons": ["no_grants"]}}
    return {"outcome": "deny", "reasons": ["no_grants"], "obligations": [], "grants": grants, **members}


def test_facts_become_exactly_the_input_document(facts: Facts) -> None:
    assert canonical(policy_input(facts)) == canonical(base())


@pytest.mark.parametrize(("facts", "expected"), [case[1:] for case in cases()], ids=[case[0] for case in cases()])
def test_embedded_engine_answers_every_case(
    engine: EmbeddedEngine, facts: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert engine.decide(facts) == expected


def test_allow_carries_its_duties_in_order(engine: EmbeddedEngine, facts: Facts) -> None:
    decision = decide(engine, facts)
    assert decision == Decision(Outcome.ALLOW, (), tuple(DUTIES), {"grant-1": GrantDecision(Outcome.ALLOW, ())})
    assert decision.permits
    assert decision.allowed == ("grant-1",)


def test_conditional_permits_nothing_yet(engine: EmbeddedEngine) -> None:
    decision = decide(engine, facts_of(changed({"/node/class": "unattested"})))
    assert decision.outcome is Outcome.CONDITIONAL
    assert decision.obligations == ("attest_node", *DUTIES)
    assert not decision.permits
    assert decision.allowed == ("grant-1",)


def test_denial_names_its_reasons_for_run_and_grant(engine: EmbeddedEngine) -> None:
    decision = decide(engine, facts_of(changed({"/grants/0/state": "withdrawn"})))
    assert decision.outcome is Outcome.DENY
    assert decision.reasons == ("withdrawn_grant",)
    assert decision.grants["grant-1"] == GrantDecision(Outcome.DENY, ("withdrawn_grant",))
    assert decision.allowed == ()


def test_a_malformed_fact_denies_every_grant_by_default(engine: EmbeddedEngine) -> None:
    decision = decide(engine, facts_of(changed({"/now": "1500"})))
    assert decision.outcome is Outcome.DEFAULT_DENY
    assert decision.grants == {"grant-1": GrantDecision(Outcome.DEFAULT_DENY, ("malformed_input",))}


def test_grants_keep_the_order_in_which_they_were_asked(engine: EmbeddedEngine) -> None:
    grants = [{**base()["grants"][0], "grant_digest": name} for name in ("z", "a", "m")]
    decision = decide(engine, facts_of(changed({"/grants": grants})))
    assert decision.allowed == ("z", "a", "m")


def test_a_thousand_grants_in_one_decision(engine: EmbeddedEngine) -> None:
    grants = [{**base()["grants"][0], "grant_digest": f"g-{n}", "uses_left": n % 2} for n in range(1000)]
    decision = decide(engine, facts_of(changed({"/grants": grants})))
    assert decision.allowed == tuple(f"g-{n}" for n in range(1000) if n % 2)


def test_a_believable_answer_is_believed(facts: Facts) -> None:
    assert decide(Fixed(allowing()), facts).outcome is Outcome.ALLOW
    assert decide(Fixed(denying()), facts).outcome is Outcome.DENY


TWO = {name: {"outcome": "allow", "reasons": []} for name in ("grant-1", "grant-2")}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        [],
        "allow",
        True,
        allowing(extra=1),
        {name: value for name, value in allowing().items() if name != "reasons"},
        allowing(outcome="permit"),
        allowing(outcome=True),
        allowing(outcome=["allow"]),
        allowing(reasons=["no_grants"]),
        allowing(reasons=None),
        allowing(obligations=[]),
        allowing(obligations=DUTIES[1:]),
        allowing(obligations=DUTIES[::-1]),
        allowing(obligations=[*DUTIES, "unheard_of"]),
        allowing(outcome="conditional"),
        allowing(grants={}),
        allowing(grants=TWO),
        allowing(grants={"grant-2": TWO["grant-2"]}),
        allowing(grants=[]),
        allowing(grants={"grant-1": "allow"}),
        allowing(grants={"grant-1": {"outcome": "allow"}}),
        allowing(grants={"grant-1": {"outcome": "allow", "reasons": ["no_grants"]}}),
        allowing(grants={"grant-1": {"outcome": "deny", "reasons": ["no_grants"]}}),
        allowing(grants={"grant-1": {"outcome": "conditional", "reasons": []}}),
        denying(reasons=[]),
        denying(reasons=["made_up"]),
        denying(reasons=["uses_exhausted", "no_grants"]),
        denying(reasons=["no_grants", "no_grants"]),
        denying(reasons=[1]),
        denying(obligations=["log_release"]),
        denying(grants={"grant-1": {"outcome": "deny", "reasons": []}}),
        denying(grants={"grant-1": {"outcome": "allow", "reasons": []}}),
        denying(outcome="default_deny"),
        denying(outcome="default_deny", grants={}, reasons=[]),
    ],
)
def test_an_unclear_answer_denies_everything(facts: Facts, answer: Any) -> None:
    decision = decide(Fixed(answer), facts)
    assert decision.outcome is Outcome.DEFAULT_DENY
    assert decision.reasons == ("engine_failed",)
    assert decision.obligations == ()
    assert decision.grants == {"grant-1": GrantDecision(Outcome.DEFAULT_DENY, ("engine_failed",))}


def test_a_grant_asked_twice_is_not_believed() -> None:
    twice = facts_of(changed({"/grants/1": base()["grants"][0]}))
    answers = {"grant-1": {"outcome": "allow", "reasons": []}, "x": {"outcome": "allow", "reasons": []}}
    assert decide(Fixed(allowing(grants=answers)), twice).reasons == ("engine_failed",)


def test_every_code_of_the_rules_has_a_sentence_and_the_reverse() -> None:
    text = "\n".join(policies.modules().values())
    of_runs = re.findall(r'reasons contains "(\w+)"', text)
    of_grants = [
        code
        for checks in re.findall(r"^checks := \{(.*?)\}", text, re.DOTALL | re.MULTILINE)
        for code in re.findall(r'"(\w+)":', checks)
    ]
    assert len(of_runs) == 15
    assert len(of_grants) == 13
    assert {*of_runs, *of_grants, "malformed_input", "engine_failed"} == policies.reasons().keys()


def test_every_code_is_shown_by_a_case() -> None:
    shown = {code for _, _, expected in cases() for code in expected["reasons"]}
    assert shown | {"engine_failed"} == policies.reasons().keys()


@pytest.mark.parametrize(("code", "sentences"), policies.reasons().items())
def test_sentences_are_short_and_plain(code: str, sentences: dict[str, str]) -> None:
    assert sentences.keys() == {"zh", "en"}
    assert all(len(part) <= 25 for part in re.split("[。;]", sentences["zh"]))
    assert sentences["zh"].endswith("。")
    assert sentences["en"].endswith(".")
    assert not re.search("密钥|哈希|证明|节点|策略|纪元|凭证|数据产品|可信计算|绝对", sentences["zh"])


def test_explain_keeps_the_order_and_never_fails() -> None:
    explained = explain(["withdrawn_grant", "no_such_code"])
    assert explained[0] == {"code": "withdrawn_grant", "zh": "您已经撤回同意。", "en": "You withdrew your consent."}
    assert explained[1] == {"code": "no_such_code", **policies.reasons()["engine_failed"]}


def test_modules_leave_the_tests_out_and_the_digest_names_their_text() -> None:
    modules = policies.modules()
    assert "pds/use/use.rego" in modules
    assert not [path for path in modules if "test" in path]
    assert policies.digest() == digest("policy", canonical(modules))


def test_a_caller_cannot_change_the_modules() -> None:
    policies.modules().clear()
    assert policies.modules()


def test_capabilities_leave_out_network_clock_chance_and_cryptography() -> None:
    capabilities = json.loads((Path(policies.__file__).parent / "capabilities.json").read_text())
    names = {entry["name"] for entry in capabilities["builtins"]}
    forbidden = ("http.", "time.now_ns", "rand.", "opa.runtime", "net.lookup", "io.jwt.", "crypto.", "graphql.")
    assert not [name for name in names if name.startswith(forbidden)]
    assert capabilities["allow_net"] == []


def test_the_setting_chooses_the_engine() -> None:
    assert isinstance(open_engine("embedded"), EmbeddedEngine)


@pytest.mark.parametrize("url", ["", "localhost:8181", "ftp://opa", "http://"])
def test_an_opa_server_needs_its_url(url: str) -> None:
    with pytest.raises(EngineUnknownError):
        open_engine("opa_server", opa_url=url)


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(EngineUnknownError):
        open_engine("allow_all")


def test_an_engine_with_other_rules_fails_its_self_test() -> None:
    modules = policies.modules()
    modules["pds/licence/licence.rego"] = modules["pds/licence/licence.rego"].replace(
        'contains "expired_licence" if not', 'contains "expired_licence" if'
    )
    with pytest.raises(EngineSelfTestError):
        EmbeddedEngine(modules)
