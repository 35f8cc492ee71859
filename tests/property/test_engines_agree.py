"""The embedded engine and the real OPA give the same answer to every input, however strange (UC-04)."""

from __future__ import annotations

import copy
import json
import random
import subprocess
from typing import Any

from consent.engine.embedded import EmbeddedEngine
from tests.fakes.decisions import NO_OPA, OPA, base
from tests.shared_vectors import skip_or_fail

INPUTS = 300
STRANGE = [
    None,
    True,
    False,
    "",
    "1500",
    "2027-01-01",
    -1,
    0,
    1.5,
    1500.0,
    2**53,
    10**30,
    -(2**53),
    [],
    {},
    [None],
    {"a": 1},
]
TELLING = {
    "now": [999, 1000, 1001, 1500, 1999, 2000, 2001],
    "not_before": [1499, 1500, 1501],
    "not_after": [1499, 1500, 1501],
    "listing_not_before": [1500, 1501],
    "listing_not_after": [1499, 1500],
    "environment": ["development", "production"],
    "status": ["active", "suspended", "listed", "withdrawn"],
    "state": ["active", "withdrawn", "pending", "expired"],
    "kind": ["individual", "cohort"],
    "class": ["sw-dev", "tpm", "snp", "unattested", "enclave-9"],
    "least_node_class": ["sw-dev", "tpm", "snp", "enclave-9"],
    "accepted_classes": [["sw-dev"], ["sw-dev", "tpm"], []],
    "uses_left": [-1, 0, 1],
    "operator_id": ["operator-1", "operator-2"],
    "recipient": ["operator-1", "operator-2"],
    "purpose": ["loan", "research"],
    "purposes": [["loan"], ["loan", "research"], []],
    "collections": [["wages"], []],
    "millibits": [0, 1, 1000, 2001],
    "spent_millibits": [{}, {"wages.month": 1001}, {"vitals.pulse": 1000}, {"wages.bonus": 9000}],
    "scope": [[], [{"collection": "wages", "fields": ["month"]}], [{"collection": "vitals", "fields": []}]],
    "sensitive": [[], ["wages"], ["vitals", "wages"]],
    "separate_consent": [[], ["wages", "vitals"]],
    "guardian_required": [True],
    "guardian_granted": [True],
    "parameters_match": [False],
}


def generated(draw: random.Random) -> Any:
    """Base facts with up to three grants, telling changes, and in one input of three something strange."""
    facts = base()
    for number in range(draw.randint(0, 2)):
        facts["grants"].append({**copy.deepcopy(facts["grants"][0]), "grant_digest": f"more-{number}"})
    for _ in range(draw.randint(0, 3)):
        holder, name = draw.choice([place for place in places(facts) if place[1] in TELLING])
        holder[name] = copy.deepcopy(draw.choice(TELLING[name]))
    if draw.random() < 1 / 5:
        facts["node"]["class"] = "unattested"
    if draw.random() < 1 / 3:
        make_strange(facts, draw)
    return facts if draw.random() > 0.01 else draw.choice(STRANGE)


def make_strange(facts: dict[str, Any], draw: random.Random) -> None:
    holder, name = draw.choice(places(facts))
    act = draw.randrange(4)
    if act == 0:
        del holder[name]
    elif act == 1 and isinstance(holder, dict):
        holder["extra"] = 1
    else:
        holder[name] = copy.deepcopy(draw.choice(STRANGE))


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every member and entry, as (holder, name)."""
    entries: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list):
        entries = list(enumerate(value))
    return [place for name, item in entries for place in [(value, name), *places(item)]]


def answers_of_opa(inputs: list[Any]) -> list[Any]:
    query = "[answer | some facts in input; answer := data.pds.use.decision with input as facts]"
    command = [OPA, "eval", "--stdin-input", "--format", "raw", "--data", "policies/pds", query]
    text = json.dumps(inputs)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=True)
    answers: list[Any] = json.loads(done.stdout)
    return answers


def test_engines_agree_on_generated_inputs() -> None:
    if not OPA.exists():
        skip_or_fail(NO_OPA)
    draw = random.Random(20261122)
    inputs = [generated(draw) for _ in range(INPUTS)]
    engine = EmbeddedEngine()
    embedded = [engine.decide(facts) for facts in inputs]
    differing = [
        (facts, ours, theirs)
        for facts, ours, theirs in zip(inputs, embedded, answers_of_opa(inputs), strict=True)
        if ours != theirs
    ]
    assert differing == []
    outcomes = [answer["outcome"] for answer in embedded]
    assert {outcome: outcomes.count(outcome) >= 10 for outcome in outcomes} == {
        "allow": True,
        "conditional": True,
        "deny": True,
        "default_deny": True,
    }
