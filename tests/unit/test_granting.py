from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consent.model import Grant, GrantTermsSigned
from dataspace.kernel.encoding import canonical, digest
from dataspace.kernel.errors import DataspaceError
from tests.fakes import papers
from vault.envelope import seal_slot
from vault.errors import CannotOpenError
from vault.granting import GrantKeyContext, SealedSlot, open_grant_key, seal_grant
from vault.suite1 import OpeningKey, SealingKey

RING, PLACE = papers.RING, papers.PLACE
BROKER = OpeningKey(papers.GRANT_SEED)
SLOTS = papers.slots(seal_slot(SealingKey(papers.EPOCH.key), PLACE, papers.SLOT_KEY))
ONE_TIME = papers.terms(papers.ask())
ONGOING = papers.terms(papers.ask(**papers.ONGOING))


def seal(terms: GrantTermsSigned, slots: dict[str, SealedSlot] = SLOTS) -> tuple[str, list[bytes]]:
    return seal_grant(RING, canonical(terms.model_dump(mode="json")), SealingKey(BROKER.public), slots)


def context(terms: GrantTermsSigned, kind: str, slot: str) -> GrantKeyContext:
    return GrantKeyContext(terms.digest(), papers.WAGES, PLACE.epoch_key, kind, slot)


def changed_scope(terms: GrantTermsSigned, **changes: Any) -> GrantTermsSigned:
    return terms.model_copy(update={"scope": (terms.scope[0].model_copy(update=changes),)})


def test_a_one_time_grant_gives_slot_keys_and_never_the_seed() -> None:
    token, sealed = seal(ONE_TIME)
    assert [open_grant_key(BROKER, context(ONE_TIME, "slot", PLACE.slot_id), item) for item in sealed] == [
        papers.SLOT_KEY
    ]
    grant = Grant.verify(token, RING.signing.public)
    assert grant.grant == ONE_TIME
    assert [(key.kind, key.slot, key.digest) for key in grant.sealed] == [
        ("slot", PLACE.slot_id, digest("sealed-key", sealed[0]))
    ]


def test_an_ongoing_grant_gives_the_seed_of_its_epoch() -> None:
    token, sealed = seal(ONGOING, {})
    assert open_grant_key(BROKER, context(ONGOING, "epoch", ""), sealed[0]) == RING.seeds[papers.WAGES, 1]
    assert [(key.kind, key.slot) for key in Grant.verify(token, RING.signing.public).sealed] == [("epoch", "")]


def test_the_key_of_one_grant_opens_nothing_of_another() -> None:
    _, (sealed,) = seal(ONE_TIME)
    with pytest.raises(CannotOpenError):
        open_grant_key(OpeningKey(bytes(32)), context(ONE_TIME, "slot", PLACE.slot_id), sealed)
    with pytest.raises(CannotOpenError):
        open_grant_key(BROKER, context(ONGOING, "slot", PLACE.slot_id), sealed)


@pytest.mark.parametrize(
    "changes",
    [
        {"collection": "vitals"},
        {"epoch": 2},
        {"epoch_key": digest("test", "of somebody else")},
        {"slots": (PLACE.slot_id, "another")},
    ],
)
def test_terms_about_keys_that_this_resident_does_not_have_are_not_signed(changes: dict[str, Any]) -> None:
    with pytest.raises(CannotOpenError):
        seal(changed_scope(ONE_TIME, **changes))


def test_a_slot_that_the_service_has_changed_is_not_sealed_on() -> None:
    elsewhere = SealedSlot(replace(PLACE, slot_id="another"), SLOTS[PLACE.slot_id].sealed)
    with pytest.raises(CannotOpenError):
        seal(ONE_TIME, {PLACE.slot_id: elsewhere})


def test_terms_in_another_spelling_are_refused() -> None:
    terms = canonical(ONE_TIME.model_dump(mode="json"))
    with pytest.raises(DataspaceError) as refused:
        seal_grant(RING, terms.replace(b"{", b"{ ", 1), SealingKey(BROKER.public), SLOTS)
    assert refused.value.code == "not_canonical"
