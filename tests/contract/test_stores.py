"""One contract for the stores of identity, vault and consent, on SQLite and on PostgreSQL (STYLE, habit 6)."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import event
from sqlalchemy.exc import NoResultFound
from sqlmodel import Session

from consent import store as consent
from consent.store import ACTIVE, RECORDED, REFUSED, WITHDRAWING, WITHDRAWN, StoredProduct
from dataspace.identity import store as identity
from dataspace.identity.errors import ConflictError, UnknownError
from dataspace.kernel.db import Database
from tests.contract.store_path import (
    NOW,
    at_once,
    grant_of,
    main_path,
    named,
    record_row,
    resident,
    run_of,
    slot_row,
    use_row,
)
from vault import store as vault

MANY = 401
"""More names than one IN list of the stores takes."""


def test_the_main_path(database: Database) -> None:
    main_path(database)


@pytest.mark.parametrize("store", [consent, vault, identity])
def test_every_function_of_the_store_has_a_test_here(store: ModuleType) -> None:
    folder = Path(__file__).parent
    source = "".join((folder / name).read_text("utf-8") for name in ("test_stores.py", "store_path.py"))
    short = store.__name__.split(".")[-2]
    functions = [
        name
        for name, item in inspect.getmembers(store, inspect.isfunction)
        if item.__module__ == store.__name__ and not name.startswith("_")
    ]
    assert [name for name in functions if f"{short}.{name}(" not in source] == []


# identity


def test_a_key_is_registered_once(database: Database) -> None:
    with database.write() as session:
        anna = resident(session, "anna")
    with pytest.raises(ConflictError) as refused, database.write() as session:
        resident(session, "anna")
    assert refused.value.code == "already_registered"
    with database.read() as session:
        assert identity.resident_of(session, anna.subject) == anna
        assert identity.statements_of(session, anna.resident_id) == ["anna.1"]
        with pytest.raises(UnknownError):
            identity.resident_of(session, named("nobody"))


def test_of_writers_with_the_same_key_one_registers(database: Database) -> None:
    found = at_once(database, lambda session, _n: resident(session, "anna"))
    errors = [item for item in found if isinstance(item, Exception)]
    assert len(errors) == 3
    assert all(isinstance(item, ConflictError) for item in errors), errors
    with database.read() as session:
        assert len(identity.residents_of_space(session, "nhefs")) == 1


def test_residents_are_found_by_space_and_by_id(database: Database) -> None:
    with database.write() as session:
        people = [resident(session, f"p{n}", "demo-district" if n else "nhefs") for n in range(3)]
    with database.read() as session:
        found = identity.residents_of_space(session, "demo-district")
        assert found == sorted(people[1:], key=lambda one: one.resident_id)
        wanted = [people[0].resident_id, *(f"nobody-{n}" for n in range(MANY + 200)), people[2].resident_id]
        assert identity.subjects_of(session, wanted) == {
            people[0].resident_id: people[0].subject,
            people[2].resident_id: people[2].subject,
        }


def test_statements_keep_their_order_and_a_number_is_taken_once(database: Database) -> None:
    with database.write() as session:
        anna, bert = resident(session, "anna"), resident(session, "bert")
        identity.add_statement(session, anna.resident_id, 3, "anna.3")
        identity.add_statement(session, anna.resident_id, 2, "anna.2")

    def extend(session: Session, number: int) -> int:
        identity.lock_resident(session, anna.subject)
        known = identity.statements_of(session, anna.resident_id)
        identity.add_statement(session, anna.resident_id, len(known) + 1, f"anna.{len(known) + 1}")
        return number

    assert sorted(at_once(database, extend), key=str) == [0, 1, 2, 3]
    with database.read() as session:
        assert identity.statements_of(session, anna.resident_id) == [f"anna.{n}" for n in range(1, 8)]
        assert identity.statements_of(session, bert.resident_id) == ["bert.1"]


def test_links(database: Database) -> None:
    with database.write() as session:
        anna, bert = resident(session, "anna"), resident(session, "bert")
        assert identity.add_links(session, anna.resident_id, [("tax", "l1", "t"), ("health", "l0", "t")]) == [
            "tax",
            "health",
        ]
        assert identity.add_links(session, anna.resident_id, [("tax", "l1", "t"), ("tax", "l2", "t")]) == ["tax"]
    with pytest.raises(ConflictError) as refused, database.write() as session:
        identity.add_links(session, bert.resident_id, [("tax", "l3", "t"), ("tax", "l1", "t")])
    assert refused.value.code == "link_taken"
    with database.read() as session:
        found = identity.links_by_name(session, "tax", ["l1", "l2", "l3", *(f"x{n}" for n in range(MANY + 200))])
        assert {name: link.resident_id for name, link in found.items()} == dict.fromkeys(("l1", "l2"), anna.resident_id)


def test_of_writers_of_one_link_one_resident_gets_it_and_the_same_again_is_harmless(database: Database) -> None:
    with database.write() as session:
        people = [resident(session, label) for label in ("anna", "bert")]
    found = at_once(
        database, lambda session, n: identity.add_links(session, people[n % 2].resident_id, [("tax", "l", "t")])
    )
    assert found.count(["tax"]) == 1
    assert found.count([]) == 1, found
    assert sum(isinstance(item, ConflictError) for item in found) == 2


def test_sources_and_operators(database: Database) -> None:
    with database.write() as session:
        identity.put_source(session, "tax", "first")
        assert identity.sources(session) == {"tax": "first"}
        identity.put_source(session, "tax", "second")
        assert identity.sources(session) == {"tax": "second"}
        assert identity.lock_source(session, "tax") == "second"
        assert identity.lock_source(session, "nobody") is None
        identity.put_operator(session, "demo-bank", "first")
    with database.write() as session:
        assert identity.operator(session, "demo-bank") == ("first", "active")
        identity.set_operator_status(session, "demo-bank", "suspended")
        identity.put_operator(session, "demo-bank", "renewed")
        assert identity.operator(session, "demo-bank") == ("renewed", "suspended")
        assert identity.operator(session, "nobody") is None
        with pytest.raises(UnknownError):
            identity.set_operator_status(session, "nobody", "suspended")


def test_a_handle_is_one_operators_for_its_time_and_once(database: Database) -> None:
    with database.write() as session:
        anna = resident(session, "anna")
        handle = identity.new_handle(session, anna.resident_id, "demo-bank", NOW + 10)
    with database.write() as session:
        assert identity.take_handle(session, handle, "demo-university", NOW) is None
        assert identity.take_handle(session, handle, "demo-bank", NOW + 10) is None
        assert identity.take_handle(session, "no-such-handle", "demo-bank", NOW) is None
    found = at_once(database, lambda session, _n: identity.take_handle(session, handle, "demo-bank", NOW))
    assert sorted(found, key=str) == sorted([anna.resident_id, None, None, None], key=str)


# vault


def test_wraps_are_replaced_for_one_resident(database: Database) -> None:
    with database.write() as session:
        vault.put_wraps(session, "anna", "first")
        vault.put_wraps(session, "bert", "his")
        vault.put_wraps(session, "anna", "second")
    assert not [item for item in at_once(database, lambda s, _n: vault.put_wraps(s, "carl", "same")) if item]
    with database.read() as session:
        assert [vault.wraps(session, name) for name in ("anna", "bert", "carl")] == ["second", "his", "same"]
        with pytest.raises(NoResultFound):
            vault.wraps(session, "nobody")


def test_records_come_by_resident_oldest_first_with_their_slots(database: Database) -> None:
    with database.write() as session:
        vault.add_slots(session, [])
        vault.add_records(session, [])
        vault.add_slots(session, [slot_row("anna", "s1"), slot_row("anna", "s2", "tax"), slot_row("bert", "s1")])
        rows = [
            record_row("anna", "r3", "s2", 3),
            record_row("anna", "r2", "s1", 2),
            record_row("anna", "r1", "s1", 2),
        ]
        vault.add_records(session, [*rows, record_row("bert", "r1", "s1")])
    with database.read() as session:
        found = vault.records_of(session, ["anna", "carl"])
        assert [record.record_id for record in found["anna"]] == ["r1", "r2", "r3"]
        assert [(record.context.collection, record.sealed) for record in found["anna"]][1:] == [
            ("wages", b"r2"),
            ("tax", b"r3"),
        ]
        assert found["carl"] == []
        assert "bert" not in found
        assert [r.record_id for r in vault.records_of(session, ["anna"], ["tax"])["anna"]] == ["r3"]
        assert vault.records_of(session, ["anna"], [])["anna"] == []
        many = [*(f"x{n}" for n in range(MANY)), "bert"]
        assert len(vault.records_of(session, many)["bert"]) == 1
        assert vault.collections_of(session, [*many, "anna"]) == {"anna": {"wages", "tax"}, "bert": {"wages"}}
        assert vault.known_records(session, ["bert"], [*many, "r1", "r2"]) == {"r1"}
        assert vault.record_count(session) == 4


def test_a_delivery_number_has_one_answer(database: Database) -> None:
    with database.write() as session:
        identity.put_source(session, "tax", "token")

    def take(session: Session, number: int) -> str:
        identity.lock_source(session, "tax")
        known = vault.delivery(session, "tax", 7)
        if known is None:
            vault.put_delivery(session, "tax", 7, named("delivery"), f"answer of {number}")
        return "known" if known else "stored"

    assert sorted(at_once(database, take), key=str) == ["known"] * 3 + ["stored"]
    with database.read() as session:
        known = vault.delivery(session, "tax", 7)
        assert known is not None
        assert known[0] == named("delivery")
        assert vault.delivery(session, "health", 7) is None


# consent


def test_products_and_requests(database: Database) -> None:
    listed = StoredProduct(named("b"), "demo-bank", "listed", "product", "listing")
    with database.write() as session:
        consent.put_product(session, listed)
        consent.put_product(session, StoredProduct(named("a"), "demo-bank", "withdrawn", "product", "listing"))
        consent.put_product(session, StoredProduct(named("c"), "demo-bank", "listed", "product", "listing"))
    again = at_once(database, lambda session, _n: consent.put_product(session, listed))
    assert again == [None] * 4
    with database.read() as session:
        assert consent.product(session, named("b")) == listed
        assert consent.product(session, named("nothing")) is None
        shown = [row.product_digest for row in consent.products(session)]
        assert shown == sorted([named("b"), named("c")])


def test_of_writers_of_one_request_the_first_counts_and_nobody_is_asked_twice(database: Database) -> None:
    def ask(session: Session, number: int) -> None:
        consent.add_request(session, named("r"), f"operator-{number}", named("p"), "token", NOW)
        consent.add_asks(session, named("r"), named("p"), [("anna", f"key-{number}"), ("bert", "key")])

    assert at_once(database, ask) == [None] * 4
    with database.read() as session:
        known = consent.request(session, named("r"))
        assert known is not None
        assert [key for _request, _product, key in consent.asks(session, "anna")] == [f"key-{known[0][-1]}"]
        assert consent.request(session, named("nothing")) is None
        assert consent.requests(session, [named("r"), named("nothing")]) == {named("r"): "token"}
        consent.lock_request(session, named("r"))
        consent.lock_request(session, named("nothing"))


def test_a_question_is_answered_once_and_by_its_resident(database: Database) -> None:
    with database.write() as session:
        consent.add_asks(session, named("r"), named("p"), [("anna", "k1"), ("bert", "k2")])
        consent.add_asks(session, named("other"), named("p"), [("anna", "k3")])
        consent.add_asks(session, named("other"), named("p"), [])
    found = at_once(database, lambda s, n: consent.answer_ask(s, "anna", named("r"), ("granted", "refused")[n % 2]))
    assert sorted(found, key=str) == [False, False, False, True]
    with database.write() as session:
        assert consent.asks(session, "anna") == [(named("other"), named("p"), "k3")]
        assert consent.ask_state(session, "bert", named("r")) == ("asked", "k2")
        assert consent.ask_state(session, "carl", named("r")) is None
        assert consent.answered_before(session, named("p")) == {"anna", "bert"}
        assert consent.answered_before(session, named("q")) == set()
        assert not consent.answer_ask(session, "carl", named("r"), "granted")
        consent.add_refusal(session, "bert", named("r"), "token", "receipt")
    with database.read() as session:
        assert consent.refusal_receipt(session, "bert", named("r")) == "receipt"
        assert consent.refusal_receipt(session, "anna", named("r")) is None


def test_grants_are_stored_as_signed_and_found_by_everything_they_name(database: Database) -> None:
    with database.write() as session:
        for label in ("anna", "bert"):
            consent.add_grant(session, label, grant_of(label), f"token {label}", ["one", "two"], named(label))
        other = grant_of("anna-2", "request-2", "product", "demo-university")
        consent.add_grant(session, "anna", other, "token", [], named("anna-2"))
    given = grant_of("anna").grant.digest()
    with database.read() as session:
        stored = consent.grant(session, "anna", given)
        assert stored is not None
        assert (stored.state, stored.token, stored.sealed, stored.entry) == (
            RECORDED,
            "token anna",
            ("one", "two"),
            named("anna"),
        )
        assert consent.grant(session, "bert", given) is None
        mine = [grant.grant_digest for grant in consent.grants_of_resident(session, "anna")]
        assert mine == sorted([given, other.grant.digest()])
        assert [g.resident_id for g in consent.grants_of_product(session, named("product"), "demo-bank")] == [
            "anna",
            "bert",
        ]
        assert {g.resident_id for g in consent.grants_of_request(session, named("request"))} == {"anna", "bert"}
        assert len(consent.grants_in_state(session, RECORDED, 2)) == 2
        assert consent.grants_in_state(session, ACTIVE, 2) == []


def test_of_two_changes_of_one_grant_one_counts(database: Database) -> None:
    """A confirmation that was on its way when the resident withdrew must not bring the grant back."""
    given = grant_of("anna").grant.digest()
    with database.write() as session:
        for label in ("anna", "bert"):
            consent.add_grant(session, label, grant_of("anna"), "token", [], named("entry"))
    found = at_once(database, lambda s, n: consent.move_grant(s, "anna", given, RECORDED, (ACTIVE, WITHDRAWING)[n % 2]))
    assert sorted(found, key=str) == [False, False, False, True]
    with database.write() as session:
        now = consent.grant(session, "anna", given)
        assert now is not None
        assert now.state == (ACTIVE, WITHDRAWING)[found.index(True) % 2]
        assert not consent.move_grant(session, "anna", given, REFUSED, WITHDRAWN)
        assert consent.move_grant(session, "anna", given, (ACTIVE, WITHDRAWING), WITHDRAWN, sealed="[]", receipt="r")
        ended = consent.grant(session, "anna", given)
        assert ended is not None
        assert (ended.state, ended.sealed, ended.receipt) == (WITHDRAWN, (), "r")
        other = consent.grant(session, "bert", given)
        assert other is not None
        assert (other.state, other.receipt) == (RECORDED, None)


def test_runs(database: Database) -> None:
    with database.write() as session:
        for at, label in enumerate(("r1", "r2", "r3")):
            consent.add_run(session, run_of(label), NOW + at)
        consent.finish_run(session, "r2", "released", named("released"), {"sealed": "x"})
        consent.finish_run(session, "r3", "failed", None, None)
    with database.read() as session:
        runs = consent.runs_of_request(session, named("request"))
        assert [(run.run_id, run.state, run.answer, run.at) for run in runs] == [
            ("r1", "decided", None, NOW),
            ("r2", "released", {"sealed": "x"}, NOW + 1),
            ("r3", "failed", None, NOW + 2),
        ]
        assert [run.run_id for run in consent.unfinished_runs(session, NOW)] == ["r1"]
        assert consent.unfinished_runs(session, NOW - 1) == []
        assert consent.decisions(session) == {"allow": 3}
        assert consent.runs_of_request(session, named("nothing")) == []


def test_a_use_counts_once_for_a_request_however_many_write_it(database: Database) -> None:
    rows = [use_row("anna", named(f"g{n}"), "request") for n in range(MANY)]
    again = at_once(database, lambda session, _n: consent.add_uses(session, rows))
    assert again == [None] * 4
    with database.write() as session:
        consent.add_uses(session, [])
        consent.add_uses(session, [use_row("anna", named("g0"), "request-2", NOW - 100)])
        consent.add_uses(session, [use_row("bert", named("b"), "request")])
    with database.read() as session:
        digests = [named(f"g{n}") for n in range(MANY)]
        uses = consent.uses_of_grants(session, digests, named("none"))
        assert (len(uses), uses[named("g0")], uses[named("g1")]) == (MANY, 2, 1)
        assert consent.uses_of_grants(session, digests, named("request")) == {named("g0"): 1}
        spent = consent.spent_millibits(session, "bert", "demo-bank", NOW - 10, named("none"))
        assert spent == {"wages.month": 1585}
        assert consent.spent_millibits(session, "bert", "demo-bank", NOW, named("none")) == {}
        assert consent.spent_millibits(session, "bert", "demo-bank", 0, named("request")) == {}
        assert consent.spent_millibits(session, "bert", "demo-university", 0, named("none")) == {}


def test_every_statement_about_residents_names_one(database: Database) -> None:
    """On the main path each UPDATE and DELETE of a resident's rows is confined to a resident (or a spent handle)."""
    seen: list[str] = []

    def keep(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", keep)
    main_path(database)
    changing = [item for item in seen if item.lstrip().upper().startswith(("UPDATE", "DELETE"))]
    assert len(changing) >= 4
    for statement in changing:
        where = statement.partition("WHERE")[2].replace('"', "")
        assert "resident_id = " in where or "handles.handle = " in where, statement
