"""Every attempt of the demo against a small district in this process, with the reason it has to be refused for."""

from __future__ import annotations

import pytest

from demo.attacks import ATTACKS, Scene
from tests.conftest import World

EXPECTED = {
    "expired_licence": "expired_licence",
    "purpose_not_granted": "purpose_not_granted",
    "field_outside_grant": "field_outside_grant",
    "withdrawn_grant": "withdrawn_grant",
    "grant_byte_changed": "signature_invalid",
    "thief_with_everything_but_grants": "cannot_open",
    "substituted_broker_key": "substituted_broker_key",
    "substituted_epoch_key": "substituted_epoch_key",
    "transplanted_record": "transplanted_record",
    "swapped_sealed_keys": "swapped_sealed_keys",
    "swapped_result_key": "signature_invalid",
    "threshold_walk": "answer_budget_exhausted",
    "lying_service_facts": "answer_budget_exhausted",
    "rerun_after_one_withdrawal": "release_differs_by_too_few",
    "cell_below_k": "all_cells_suppressed",
    "hidden_log_entry": "log_entry_missing",
    "rewritten_log_entry": "proof_invalid",
    "stale_nonce": "stale_nonce",
}


@pytest.fixture(scope="module")
def scene(lived_in: World) -> Scene:
    return Scene(lived_in.city, lived_in.outcome, lived_in.spaces)


@pytest.mark.parametrize("name", ATTACKS)
def test_attempt_is_refused(name: str, scene: Scene) -> None:
    assert ATTACKS[name](scene) == EXPECTED[name]
