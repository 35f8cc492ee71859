"""What the stores' tests share: made-up rows, and one path through all stores of a resident's data."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

from sqlmodel import Session

from consent import store as consent
from consent.model import Grant, GrantTermsSigned, Notice, Scope, SealedKeyName
from consent.store import ACTIVE, RECORDED, WITHDRAWING, StoredProduct, StoredRun
from dataspace.identity import store as identity
from dataspace.identity.store import Resident
from dataspace.kernel.db import Database
from dataspace.kernel.encoding import digest
from vault import store as vault

NOW = 1_760_000_000
T = TypeVar("T")


def named(label: str) -> str:
    """A digest in the right form."""
    return digest("test", label)


def resident(session: Session, label: str, space: str = "nhefs") -> Resident:
    return identity.add_resident(session, named(label), space, f"{label}.1", NOW)


def grant_of(label: str, request: str = "request", product: str = "product", recipient: str = "demo-bank") -> Grant:
    """An ongoing grant of one collection; only its shape is right."""
    place = {"collection": "wages", "epoch_key": named("epoch")}
    terms = GrantTermsSigned(
        grant_id=label,
        subject=named(label),
        recipient=recipient,
        product_digest=named(product),
        request_digest=named(request),
        purpose="credit",
        mode="ongoing",
        scope=(Scope(**place, fields=("month",), epoch=1, slots=()),),
        not_before=NOW,
        not_after=NOW + 1000,
        uses=1,
        least_node_class="sw-dev",
        broker_key="key",
        separate_consent=(),
        notice=Notice(digest=named("notice"), language="zh", answer_shown=False),
        issued_at=NOW,
    )
    return Grant(grant=terms, sealed=(SealedKeyName(**place, kind="epoch", slot="", digest=named("sealed")),))


def slot_row(resident_id: str, slot_id: str, collection: str = "wages", source: str = "tax") -> dict[str, Any]:
    return {
        "resident_id": resident_id,
        "slot_id": slot_id,
        "collection": collection,
        "epoch_key": named("epoch"),
        "source_id": source,
        "sealed": b"slot",
    }


def record_row(resident_id: str, record_id: str, slot_id: str, at: int = NOW) -> dict[str, Any]:
    return {
        "resident_id": resident_id,
        "record_id": record_id,
        "slot_id": slot_id,
        "received_at": at,
        "sealed": record_id.encode(),
    }


def use_row(resident_id: str, grant_digest: str, request: str, at: int = NOW) -> dict[str, Any]:
    return {
        "resident_id": resident_id,
        "grant_digest": grant_digest,
        "request_digest": named(request),
        "operator_id": "demo-bank",
        "millibits": 1585,
        "elements": '["wages.month"]',
        "at": at,
    }


def run_of(label: str, state: str = "decided") -> StoredRun:
    return StoredRun(label, named("request"), state, "allow", (), named(f"decision {label}"), None, None)


def at_once(database: Database, act: Callable[[Session, int], T], count: int = 4) -> list[T | Exception]:
    """What ``act`` brings in ``count`` threads, each in a transaction of its own, all begun together."""
    barrier = Barrier(count)

    def one(number: int) -> T | Exception:
        barrier.wait(10)
        try:
            with database.write() as session:
                return act(session, number)
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def main_path(database: Database) -> None:
    """Two residents from moving in to a counted use; what belongs to the second stays as it is."""
    with database.write() as session:
        people = [resident(session, label) for label in ("anna", "bert")]
        for one in people:
            vault.put_wraps(session, one.resident_id, "{}")
            identity.add_links(session, one.resident_id, [("tax", f"link-{one.subject}", "token")])
            vault.add_slots(session, [slot_row(one.resident_id, "s1")])
            vault.add_records(session, [record_row(one.resident_id, name, "s1") for name in ("r1", "r2")])
        vault.put_delivery(session, "tax", 1, named("delivery"), "{}")
        consent.put_product(session, StoredProduct(named("product"), "demo-bank", "listed", "p", "l"))
    anna, bert = people
    with database.write() as session:
        handle = identity.new_handle(session, anna.resident_id, "demo-bank", NOW + 10)
        assert identity.take_handle(session, handle, "demo-bank", NOW) == anna.resident_id
        consent.add_request(session, named("request"), "demo-bank", named("product"), "token", NOW)
        consent.add_asks(session, named("request"), named("product"), [(one.resident_id, "key") for one in people])
    with database.write() as session:
        for label, one in zip(("anna", "bert"), people, strict=True):
            grant = grant_of(label)
            consent.add_grant(session, one.resident_id, grant, "token", ["sealed"], named("entry"))
            assert consent.answer_ask(session, one.resident_id, named("request"), "granted")
        given = grant_of("anna").grant.digest()
        assert consent.move_grant(session, anna.resident_id, given, RECORDED, ACTIVE, receipt="receipt")
        consent.add_run(session, run_of("run"), NOW)
        consent.add_uses(session, [use_row(anna.resident_id, given, "request")])
    with database.write() as session:
        identity.lock_resident(session, anna.subject)
        identity.add_statement(session, anna.resident_id, 2, "anna.2")
        assert consent.move_grant(session, anna.resident_id, given, ACTIVE, WITHDRAWING, withdrawal="token")
    with database.read() as session:
        assert [g.state for g in consent.grants_of_resident(session, anna.resident_id)] == [WITHDRAWING]
        assert [g.state for g in consent.grants_of_resident(session, bert.resident_id)] == [RECORDED]
        assert consent.uses_of_grants(session, [given], named("other")) == {given: 1}
        assert identity.statements_of(session, anna.resident_id) == ["anna.1", "anna.2"]
        assert identity.statements_of(session, bert.resident_id) == ["bert.1"]
        held = vault.records_of(session, [anna.resident_id, bert.resident_id], ["wages"])
        assert {len(records) for records in held.values()} == {2}
