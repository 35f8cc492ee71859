"""Promise 8: development goes through the same checks as production, and production refuses what only development has.

One request is tried with a node or a broker that is not in order, each refused with its reason; then, with everything
in order, the same request is answered: so nothing but the named check refused it. (UC-05, UC-08, S-DP-d)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from dataspace_sdk import Answered, Ask, Denied

from connectors.compute.sandbox import SandboxPool
from dataspace.kernel.encoding import b64
from dataspace.kernel.jws import SigningKey
from demo import products
from demo.attacks import Scene, bystander, granted
from demo.operators import BANK, publish
from tests.conftest import World, build_world
from vault.suite1 import new_key


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield from build_world(tmp_path_factory.mktemp("promise8"), 0)


@pytest.fixture(scope="module")
def ask(world: World) -> Ask:
    scene = Scene(world.city, world.outcome, world.spaces)
    return granted(scene, BANK, world.outcome.listed["S1"], bystander(scene))


def refusal(world: World, ask: Ask) -> str:
    outcome = world.spaces[BANK].answer(ask)
    assert isinstance(outcome, Denied), outcome
    return outcome.reasons[0].code


def test_production_refuses_a_node_that_only_software_vouches_for(
    world: World, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = world.programs.broker
    strict = replace(broker.pins, environment="production", accepted_node_classes=("tpm",))
    monkeypatch.setattr(broker, "pins", strict)
    assert refusal(world, ask) == "node_class_not_accepted"


def test_production_refuses_sw_dev_even_where_it_is_listed_as_accepted(
    world: World, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.programs.broker, "pins", replace(world.programs.broker.pins, environment="production"))
    assert refusal(world, ask) == "node_class_not_accepted"


def test_production_refuses_a_node_without_a_sandbox(world: World, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.programs.broker, "pins", replace(world.programs.broker.pins, environment="production"))
    monkeypatch.setattr(SandboxPool, "isolation", "process")
    assert refusal(world, ask) == "isolation_too_weak"


def test_a_node_that_nobody_vouches_for_is_refused(world: World, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.programs.node, "attestation_key", SigningKey(new_key()))
    assert refusal(world, ask) == "unknown_attester"


def test_a_node_that_runs_other_code_is_refused(world: World, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.compute.node.node_measurement", lambda: b64(bytes(32)))
    assert refusal(world, ask) == "evidence_measurement_unknown"


def test_a_node_with_another_policy_is_refused(world: World, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.programs.node, "policy_digest", b64(bytes(32)))
    assert refusal(world, ask) == "evidence_policy_mismatch"


def test_a_node_with_other_trust_anchors_is_refused(world: World, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.programs.node, "anchors_digest", b64(bytes(32)))
    assert refusal(world, ask) == "evidence_anchors_mismatch"


def test_a_grant_for_a_better_node_is_not_used_on_this_one(world: World) -> None:
    scene = Scene(world.city, world.outcome, world.spaces)
    manifest = products.income_check(BANK) | {"version": 9, "least_node_class": "tpm"}
    product = publish(world.city, world.spaces[BANK], manifest)
    assert refusal(world, granted(scene, BANK, product, bystander(scene))) == "node_class_too_low"


def test_with_everything_in_order_the_same_request_is_answered(world: World, ask: Ask) -> None:
    assert isinstance(world.spaces[BANK].answer(ask), Answered)
