"""Promise 1 at the source: it seals only to keys that continue the chain it pinned, whatever the service says.

The attacker is the service: it knows everything that a resident publishes and can answer what it likes, but it has no
resident's signing key. The last tests run against the real service, with a real resident on the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connectors.sources.agent import SourceAgent
from connectors.sources.state import SourceState
from dataspace.flows.register import Link
from dataspace.identity import store as identity
from dataspace.kernel.encoding import unb64
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.http import call
from dataspace.kernel.ids import random_id
from dataspace.kernel.jws import SigningKey
from tests.conftest import World
from tests.fakes.sources import NOW, SOURCE_ID, Clinic, opened, smoking
from vault.client import ResidentClient
from vault.envelope import SlotContext, open_slot
from vault.errors import CannotOpenError, KeyStatementError
from vault.keyring import STATEMENT_SECONDS, Keyring
from vault.records import gaps
from vault.statements import Epoch, write_statement
from vault.suite1 import OpeningKey, new_key

ATTACKER = SigningKey(bytes([6]) * 32)


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    made = Clinic(tmp_path)
    yield made
    made.close()


@pytest.fixture
def ring() -> Keyring:
    return Keyring.create(["smoking"], NOW)


def statement(ring: Keyring, signer: SigningKey, *, number: int = 2, epoch: int = 2, previous: str | None = "") -> str:
    """A successor that names a key of the attacker's."""
    assert ring.chain is not None
    return write_statement(
        signer,
        signing_key=signer.public,
        number=number,
        previous=ring.chain.head if previous == "" else previous,
        epochs=[Epoch("smoking", epoch, OpeningKey(new_key()).public)],
        issued_at=NOW,
        not_after=NOW + STATEMENT_SECONDS,
    )


def foreign_chain(_ring: Keyring) -> list[str]:
    other = Keyring.create(["smoking"], NOW)
    other.new_epochs(["smoking"], NOW)
    return other.statements


FORGERIES: dict[str, Callable[[Keyring], list[str]]] = {
    "signed by the attacker": lambda ring: [statement(ring, ATTACKER)],
    "a chain of the attacker's own": foreign_chain,
    "the first statement again": lambda ring: list(ring.statements),
    "a number left out": lambda ring: [statement(ring, ring.signing, number=3)],
    "without its predecessor": lambda ring: [statement(ring, ring.signing, previous=None)],
    "another key for the same epoch": lambda ring: [statement(ring, ring.signing, epoch=1)],
    "not a statement": lambda ring: [ring.signing.sign("withdrawal", {"grant_digest": "x"})],
    "no signed object": lambda _ring: ["hello"],
    "one good, one forged": lambda ring: [genuine(ring), statement(ring, ATTACKER, number=3)],
}
"""What the service answers when the source asks for successors. Those signed by the resident are mistakes that no
honest client makes; the source does not have to rely on that."""


def genuine(ring: Keyring) -> str:
    return ring.new_epochs(["smoking"], NOW)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_successor_is_refused(clinic: Clinic, ring: Keyring, forgery: str) -> None:
    """Nothing is sealed to it, the pinned chain stays, and the batch waits for an honest answer."""
    link_id = clinic.link("p1", ring)
    pinned = list(ring.statements)
    clinic.agent.prepare([smoking("p1", 2020)], NOW)
    clinic.service.judge = lambda _item: {"refused": "retired_epoch"}
    clinic.service.statements[link_id] = [*pinned, *FORGERIES[forgery](ring)]
    for _ in range(2):
        with pytest.raises(KeyStatementError) as caught:
            clinic.agent.send(NOW)
        assert caught.value.code == "substituted_epoch_key"
        clinic.restart()
    assert clinic.state.link_by_id(link_id).statements == pinned
    assert clinic.agent.prepare([smoking("p1", 2020)], NOW) == 0
    assert len(list(clinic.state.outbox())) == 1
    assert len(set(clinic.service.bodies)) == 1


def test_a_forged_successor_of_an_expired_statement_is_refused(clinic: Clinic) -> None:
    late = Keyring.create(["smoking"], NOW - STATEMENT_SECONDS)
    link_id = clinic.link("p1", late)
    clinic.service.statements[link_id] = [*late.statements, statement(late, ATTACKER)]
    assert clinic.agent.prepare([smoking("p1", 2020)], NOW) == 0
    with pytest.raises(KeyStatementError):
        clinic.agent.send(NOW)
    assert clinic.state.link_by_id(link_id).statements == late.statements


def test_the_service_cannot_undo_a_new_epoch(clinic: Clinic, ring: Keyring) -> None:
    """Once refreshed, always the newer key: an empty answer leaves it, and the old epoch is not sealed to again."""
    link_id = clinic.link("p1", ring)
    clinic.agent.prepare([smoking("p1", 2020)], NOW)
    genuine(ring)
    clinic.service.judge = lambda _item: {"refused": "retired_epoch"}
    clinic.agent.send(NOW)
    clinic.service.statements[link_id] = ring.statements[:1]
    for _ in range(2):
        clinic.agent.prepare([smoking("p1", 2020)], NOW)
        (number, body), *_rest = clinic.state.outbox()
        assert ring.chain is not None
        assert {item["epoch_key"] for item in body["items"]} == {ring.chain.epochs["smoking"].key_digest}
        clinic.agent.send(NOW)
        assert number >= 2
    assert clinic.state.link_by_id(link_id).statements == ring.statements


@pytest.mark.parametrize("shown", ["another chain", "nothing", "no first statement", "a forged successor"])
def test_linking_needs_the_chain_of_the_key_that_the_person_gave(clinic: Clinic, ring: Keyring, shown: str) -> None:
    statements = {
        "another chain": Keyring.create(["smoking"], NOW).statements,
        "nothing": [],
        "no first statement": [genuine(ring)],
        "a forged successor": [ring.statements[0], statement(ring, ATTACKER)],
    }[shown]
    with pytest.raises(DataspaceError):
        clinic.agent.link("p1", statements, ring.subject, NOW)
    assert clinic.state.linked_people() == set()


def test_only_the_resident_can_open_what_was_sealed(clinic: Clinic, ring: Keyring) -> None:
    other = Keyring.create(["smoking"], NOW)
    clinic.link("p1", ring)
    clinic.agent.prepare([smoking("p1", 2020)], NOW)
    clinic.agent.send(NOW)
    assert len(opened(clinic.service.accepted(), ring)) == 1
    (item,) = clinic.service.accepted()
    place = SlotContext(item["slot_id"], item["collection"], item["epoch_key"], SOURCE_ID)
    with pytest.raises(CannotOpenError):
        open_slot(OpeningKey(other.seeds["smoking", 1]), place, unb64(item["slot"]))


# against the real service


class RealClinic:
    """A source of its own in the running district, and one resident whom it has linked."""

    def __init__(self, world: World, folder: Path) -> None:
        city = world.city
        self.clock = world.clock
        self.key = SigningKey(new_key())
        self.source_id = f"clinic-{random_id()}"
        entry = city.registrar.source(self.source_id, ("诊所", "Clinic"), self.key.public, ["smoking"])
        call(city.service, "POST", "/v1/register", {"objects": [entry]})
        self.state = SourceState(folder / "state.db", bytes(32))
        self.agent = SourceAgent(self.source_id, self.key, self.state, city.service, city.settings.audience)
        self.resident, _words = ResidentClient.create(city.service, city.pins, ["smoking"], clock=world.clock)
        self.resident.register("demo-district")
        ring = self.resident.ring
        self.link = self.agent.link("p1", ring.statements, ring.subject, self.now)

    @property
    def now(self) -> int:
        return self.clock()


@pytest.fixture
def real(lived_in: World, tmp_path: Path) -> Iterator[RealClinic]:
    made = RealClinic(lived_in, tmp_path)
    yield made
    made.state.close()


def test_a_link_that_is_handed_in_late_loses_nothing(real: RealClinic) -> None:
    """The source delivers before the resident has brought the link home: refused, and sent again once it is there."""
    rows = [smoking("p1", 2019), smoking("p1", 2020)]
    real.agent.prepare(rows, real.now)
    assert real.agent.send(real.now).refused == {"unknown_link": 2}
    assert real.resident.hand_in_links([real.link]) == 1
    assert (real.agent.prepare(rows, real.now), real.agent.send(real.now).accepted) == (2, 2)
    records, _slots = real.resident.records()
    assert [r.data["observed_year"] for r in sorted(records, key=lambda r: r.sequence)] == [2019, 2020]
    assert gaps(records) == []


def test_a_new_epoch_reaches_the_source_through_the_service(real: RealClinic, lived_in: World) -> None:
    """The resident starts a new epoch; what was sealed to the old one is refused, refreshed, sealed again, and read."""
    real.resident.hand_in_links([real.link])
    real.agent.prepare([smoking("p1", 2019)], real.now)
    real.agent.send(real.now)
    real.agent.prepare([smoking("p1", 2019), smoking("p1", 2020)], real.now)
    publish_new_epoch(real, lived_in)
    assert real.agent.send(real.now).refused == {"retired_epoch": 1}
    assert real.agent.prepare([smoking("p1", 2019), smoking("p1", 2020)], real.now) == 1
    assert real.agent.send(real.now).accepted == 1
    records, _slots = real.resident.records()
    assert sorted((r.sequence, r.data["observed_year"]) for r in records) == [(1, 2019), (2, 2020)]
    assert gaps(records) == []
    assert real.state.link_by_id(Link.claimed(real.link).link_id).statements == real.resident.ring.statements


def publish_new_epoch(real: RealClinic, world: World) -> None:
    """What a withdrawal does: the service stores the successor statement."""
    token = real.resident.ring.new_epochs(["smoking"], real.now)
    with world.programs.space.database.write() as session:
        resident = identity.resident_of(session, real.resident.subject)
        identity.add_statement(session, resident.resident_id, 2, token)
