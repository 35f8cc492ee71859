"""Promise 1: without an active grant nobody but the resident opens a record; with one, only what it says.

The thief copies folders as they lie on the disk and tries every secret in them on everything that is sealed. That the
thief's tools open what a right key opens is shown each time beside what they do not open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.city import until
from demo.flow import _state
from demo.operators import RESEARCHER
from demo.people import Person
from tests.conftest import World, build_world
from tests.fakes.thief import Loot, SealedGrant, StoredRecord, copy_of, opened_grant_keys, opened_slot_keys

PARTICIPANTS = 8


@dataclass(frozen=True)
class Consented:
    """A district in which one product has been asked: loot from before and after two of the withdrawals."""

    world: World
    withdrawn: list[Person]
    refused: Person
    granted: list[Person]
    before: Loot
    after: Loot
    broker_before: Loot
    broker_after: Loot
    product_digest: str

    def grant_of(self, person: Person) -> SealedGrant:
        return self.before.grants()[person.grants[self.product_digest]]


def seeds_of(broker: Loot) -> dict[str, bytes | None]:
    """Private halves of grant keys by key id."""
    return dict(broker.rows("broker.db", "SELECT key_id, seed FROM broker_grant_keys"))


def of_people(loot: Loot, people: list[Person]) -> list[StoredRecord]:
    subjects = {person.client.subject for person in people}
    return [record for record in loot.records() if record.subject in subjects]


def steal(world: World, target: Path) -> tuple[Loot, Loot]:
    """(everything of service, node and witness; the broker's folder)."""
    settings = world.programs.settings
    homes = (settings.service_home, settings.node_home, settings.witness_home)
    without_broker = Loot(*(copy_of(folder, target / folder.name) for folder in homes))
    return without_broker, Loot(copy_of(settings.broker_home, target / "broker"))


def consent(world: World, stolen: Path) -> Consented:
    """Ask for product A: two grant and withdraw, one refuses, the others grant."""
    study, now = world.city.study, world.clock()
    product_digest = world.spaces[RESEARCHER].ask(world.outcome.listed["A"]).product_digest
    withdrawn, refused, granted = study[:2], study[2], study[3:]
    for person in study:
        (asked,) = person.verified_asks(now)
        if person is refused:
            person.client.refuse(asked.request.digest)
        else:
            person.grant(asked, now)
    until(lambda: all(_state(person, product_digest) == "active" for person in [*withdrawn, *granted]))
    before, broker_before = steal(world, stolen / "before")
    assert {person.withdraw(product_digest) for person in withdrawn} == {"withdrawn"}
    after, broker_after = steal(world, stolen / "after")
    return Consented(world, withdrawn, refused, granted, before, after, broker_before, broker_after, product_digest)


@pytest.fixture(scope="module")
def consented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consented]:
    for world in build_world(tmp_path_factory.mktemp("district"), PARTICIPANTS):
        yield consent(world, tmp_path_factory.mktemp("stolen"))


# the thief without the broker's store


def test_whoever_has_service_node_and_witness_opens_nothing_of_those_who_refused(
    lived_in: World, tmp_path: Path
) -> None:
    loot, _broker = steal(lived_in, tmp_path)
    refused = lived_in.outcome.rules["A"]["refuse"][:4]
    records = of_people(loot, refused)
    secrets = loot.secrets()
    assert len(secrets) > 20
    assert len(records) >= 12
    assert opened_slot_keys(secrets, records) == {}
    own = refused[0].client.ring.seeds.values()
    assert opened_slot_keys(own, records).keys() == set(of_people(loot, refused[:1]))


def test_nor_anything_of_anybody_else_without_the_brokers_keys(consented: Consented) -> None:
    secrets = consented.before.secrets()
    assert len(secrets) > 20
    assert opened_slot_keys(secrets, consented.before.records()[:40]) == {}
    assert opened_grant_keys(secrets, consented.before.grants().values()) == {}
    with_broker = opened_grant_keys(consented.broker_before.secrets(), consented.before.grants().values())
    assert len(with_broker) == 2 * (PARTICIPANTS - 1)


def test_no_wrap_of_a_resident_opens_with_what_is_in_the_folders(consented: Consented) -> None:
    """The vault key stands in no folder: neither raw nor under a secret that does."""
    for person in consented.world.city.study:
        secrets = {person.client.ring.vault_key, person.client.ring.signing.seed, *person.client.ring.seeds.values()}
        for loot in (consented.before, consented.after, consented.broker_before, consented.broker_after):
            assert [name for secret in secrets for name in loot.holds(secret)] == []
            assert not secrets & loot.secrets()


# the thief with the broker's store


def test_the_key_of_a_withdrawn_grant_stands_nowhere_in_the_brokers_files(consented: Consented) -> None:
    before, after = seeds_of(consented.broker_before), seeds_of(consented.broker_after)
    for person in consented.withdrawn:
        name = consented.grant_of(person).broker_key
        seed = before[name]
        assert seed is not None
        assert consented.broker_before.holds(seed)
        assert after[name] is None
        assert consented.broker_after.holds(seed) == []
    kept = before[consented.grant_of(consented.granted[0]).broker_key]
    assert kept is not None
    assert consented.broker_after.holds(kept)


def test_the_whole_broker_after_the_withdrawal_opens_nothing_of_the_withdrawn(consented: Consented) -> None:
    """Even beside a backup of the service from before, in which the sealed keys still stand."""
    withdrawn = [consented.grant_of(person) for person in consented.withdrawn]
    everything = consented.broker_after.secrets() | consented.after.secrets() | consented.before.secrets()
    assert opened_grant_keys(everything, withdrawn) == {}
    records = of_people(consented.before, consented.withdrawn)
    epochs = opened_grant_keys(everything, consented.before.grants().values())
    assert len(epochs) == 2 * len(consented.granted)
    assert opened_slot_keys({*everything, *epochs.values()}, records) == {}
    backup_of_broker = opened_grant_keys(consented.broker_before.secrets(), withdrawn)
    assert len(backup_of_broker) == 2 * len(withdrawn)


def test_the_sealed_keys_of_a_withdrawn_grant_leave_the_service_too(consented: Consented) -> None:
    left = consented.after.grants()
    assert {person.grants[consented.product_digest] for person in consented.granted} == left.keys()


def test_each_grant_has_a_key_of_its_own(consented: Consented) -> None:
    seeds = seeds_of(consented.broker_before)
    grants = [consented.grant_of(person) for person in [*consented.withdrawn, *consented.granted]]
    assert len({grant.broker_key for grant in grants}) == len(grants)
    for grant in grants:
        seed = seeds[grant.broker_key]
        assert seed is not None
        opened = opened_grant_keys([seed], grants)
        assert opened.keys() == {context for context, _ in grant.keys}


def test_an_active_grant_opens_its_collections_and_no_others(consented: Consented) -> None:
    """Product A reads demographics and vitals; smoking lies beside them."""
    person = consented.granted[0]
    seed = seeds_of(consented.broker_before)[consented.grant_of(person).broker_key]
    assert seed is not None
    epochs = opened_grant_keys([seed], [consented.grant_of(person)])
    opened = opened_slot_keys(set(epochs.values()), consented.before.records())
    assert {record.place.collection for record in opened} == {"demographics", "vitals"}
    assert {record.subject for record in opened} == {person.client.subject}
    held = {record.place.collection for record in of_people(consented.before, [person])}
    assert held == {"demographics", "vitals", "smoking"}


def test_who_refused_gave_the_broker_nothing(consented: Consented) -> None:
    everything = consented.broker_before.secrets() | consented.before.secrets()
    epochs = opened_grant_keys(everything, consented.before.grants().values())
    records = of_people(consented.before, [consented.refused])
    assert len(records) >= 3
    assert opened_slot_keys({*everything, *epochs.values()}, records) == {}


def test_the_key_of_a_grant_that_has_ended_is_destroyed_as_thoroughly(consented: Consented, tmp_path: Path) -> None:
    """Last, because it destroys."""
    broker = consented.world.programs.broker
    seeds = seeds_of(consented.broker_after)
    assert broker.tidy(consented.world.clock() + 400 * 86_400) >= len(consented.granted)
    later = Loot(copy_of(consented.world.programs.settings.broker_home, tmp_path / "broker"))
    for person in consented.granted:
        name = consented.grant_of(person).broker_key
        seed = seeds[name]
        assert seed is not None
        assert seeds_of(later)[name] is None
        assert later.holds(seed) == []
