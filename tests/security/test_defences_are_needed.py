"""Each attempt again without its defence: it must then succeed, so that its test is known to be able to fail.

Where a second defence stands behind the first, both are taken out; ``SECOND`` names the two attempts that one more
layer (the binding of keys to grants inside HPKE, and the broker's register of grants) still stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from connectors.broker.store import BrokerStore
from consent.decide import Decision, Facts, GrantDecision, Outcome
from dataspace.kernel.encoding import parse_canonical
from dataspace.kernel.jws import parse
from dataspace.kernel.signed import Verified
from demo.attacks import ATTACKS, AttackSucceededError, Scene
from demo.flow import cohorts, individuals
from demo.operators import BANK, RESEARCHER
from tests.conftest import STUDY, build_world
from vault.envelope import unpack
from vault.records import Record
from vault.statements import KeyChain, follow

SECOND = {"grant_byte_changed": "grant_pending", "swapped_sealed_keys": "cannot_open"}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A district whose broker only pretends to destroy keys."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BrokerStore, "destroy_key", lambda *_: None)
        patch.setattr(BrokerStore, "end_used_up", lambda *_: 0)
        for world in build_world(tmp_path_factory.mktemp("undefended"), STUDY):
            cohorts(world.tell, world.city, world.spaces[RESEARCHER])
            individuals(world.tell, world.city, world.spaces[BANK])
            yield Scene(world.city, world.outcome, world.spaces)


def allow(_engine: object, facts: Facts) -> Decision:
    grants = {grant.grant_digest: GrantDecision(Outcome.ALLOW, ()) for grant in facts.grants}
    return Decision(Outcome.ALLOW, (), (), grants)


def believe_any_entry(_bundle: object, _checkpoint: object, known: Mapping[str, Any], subject: str) -> Any:
    return SimpleNamespace(require=lambda **_: None, subject_row=lambda chain=None: dict(known[subject]))


def read_any_record(payload: bytes, record_id: str, context: Any, _key: bytes) -> Record:
    data, proof = unpack(payload)
    claims = parse(proof).payload
    link, sequence = claims["link_id"], claims["sequence"]
    schema, issued_at = claims["schema"], claims["issued_at"]
    found = parse_canonical(data)
    return Record(record_id, context.collection, schema, context.source_id, link, sequence, None, issued_at, found)


def believe_any_signer(kind: Any, token: str, _key: bytes) -> Any:
    content = kind.claimed(token)
    return Verified(content, token, content.digest())


def follow_anybody(statements: list[str], _subject: str) -> KeyChain:
    return follow(statements, parse(statements[0]).kid)


def all_active(original: Callable[..., Any]) -> Callable[..., Any]:
    def grants(self: BrokerStore, session: Any, digests: Any) -> dict[str, Any]:
        return {name: {**row, "state": "active"} for name, row in original(self, session, digests).items()}

    return grants


LOG = {
    "connectors.broker.broker.check_use_entry": believe_any_entry,
    "connectors.broker.broker.check_decision": lambda *_: None,
    "connectors.broker.broker.decide": allow,
}
SMALL_CELLS = {
    "connectors.compute.output_control._suppression": lambda rows, _rules: None if rows else "cell_below_k",
    "connectors.compute.output_control._differs_by_too_few": lambda *_: False,
    "connectors.compute.output_control.step": lambda *_: 1,  # it is made for k persons and more
}
"""Without these, output control would still withhold what was opened: a table over one person."""
OPENED = LOG | SMALL_CELLS
COVERAGE = {"connectors.broker.checks.check_grant_answers": lambda *_: None}
SIGNATURES = {"dataspace.kernel.jws.verify_raw": lambda *_: None}

TAKEN_OUT: dict[str, dict[str, Any]] = {
    "expired_licence": {"dataspace.flows.use.decide": allow, "connectors.broker.broker.decide": allow},
    "purpose_not_granted": OPENED | COVERAGE,
    "field_outside_grant": OPENED | COVERAGE,
    "withdrawn_grant": OPENED
    | {
        "connectors.broker.store.BrokerStore.grants": all_active(BrokerStore.grants),
        "connectors.broker.store.BrokerStore.inactive_states": lambda *_: [],
    },
    "grant_byte_changed": LOG | SIGNATURES,
    "thief_with_everything_but_grants": {},  # this district's broker destroys nothing
    "substituted_broker_key": {"consent.asking.verified": believe_any_signer},
    "substituted_epoch_key": {"connectors.sources.agent.follow": follow_anybody},
    "transplanted_record": {"connectors.compute.node.read_record": read_any_record},
    "swapped_sealed_keys": LOG | {"connectors.broker.checks.check_grant_shape": lambda *_: None},
    "swapped_result_key": OPENED | SIGNATURES,
    "threshold_walk": {"consent.facts.LIMIT_MILLIBITS": 100_000},
    "lying_service_facts": {"connectors.broker.store.BrokerStore.spent": lambda *_: {}},
    "rerun_after_one_withdrawal": {"connectors.compute.output_control._differs_by_too_few": lambda *_: False},
    "cell_below_k": SMALL_CELLS,
    "hidden_log_entry": {"vault.client.ResidentClient._head": lambda *_: None},
    "rewritten_log_entry": {
        "dataspace.kernel.logproof.verify_inclusion": lambda *_: None,
        "dataspace.kernel.logproof._require_successor": lambda *_: None,
        "dataspace.kernel.logproof._require_head": lambda *_: None,
    },
    "stale_nonce": LOG | {"connectors.broker.store.BrokerStore.spend_nonce": lambda *_: True},
}
FIRST, LAST = "rerun_after_one_withdrawal", "threshold_walk"
ORDER = [FIRST, *(name for name in ATTACKS if name not in {FIRST, LAST}), LAST]
"""The rerun before others have used up people's grants; the walk last, as it leaves nothing to lie about."""


def test_every_attempt_is_here() -> None:
    assert TAKEN_OUT.keys() == ATTACKS.keys()


@pytest.mark.parametrize("name", ORDER)
def test_without_its_defence_the_attempt_succeeds(name: str, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for target, replacement in TAKEN_OUT[name].items():
        monkeypatch.setattr(target, replacement)
    if name in SECOND:
        assert ATTACKS[name](scene) == SECOND[name]
    else:
        with pytest.raises(AttackSucceededError):
            pytest.fail(f"still refused: {ATTACKS[name](scene)}")
