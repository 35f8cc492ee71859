"""The schema can be spread by ``resident_id``: every key of a resident's tables contains it (DESIGN section 9)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from sqlalchemy import Column, MetaData, Table, UniqueConstraint, create_engine, text
from sqlalchemy.exc import CompileError, DBAPIError, ProgrammingError
from sqlalchemy.schema import CreateTable

import dataspace.migrate
from dataspace.kernel.db import Database, open_engine
from tests.contract.store_path import main_path

PARTITIONS = 4
SPREAD_BY = "resident_id"
LOOK_UPS = {"subjects", "link_names", "handles"}
"""They name a resident, and are looked up by what somebody outside holds, before the resident is known."""
OF_NOBODY = {"deliveries", "operators", "products", "runs", "sources", "use_requests"}
"""They are about no single resident."""
LOG = {"log_body", "log_chain", "log_checkpoint", "log_cosignature", "log_entry", "log_head", "log_tile"}
"""One order over all residents; bodies and chains lead with the subject (``dataspace.audit.tables``)."""


def tables() -> dict[str, Table]:
    return dict(dataspace.migrate.metadata.tables)


def spread() -> dict[str, Table]:
    return {name: table for name, table in tables().items() if SPREAD_BY in table.c and name not in LOOK_UPS}


@pytest.fixture
def partitioned(postgresql_server: str) -> Iterator[Database]:
    name = f"test_{secrets.token_hex(8)}"
    admin = create_engine(postgresql_server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    database = Database(open_engine(postgresql_server.replace("/postgres?", f"/{name}?")))
    create(database, tables(), set(spread()))
    yield database
    database.close()
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def create(database: Database, wanted: dict[str, Table], hashed: set[str]) -> None:
    """The models' tables, with ``PARTITION BY HASH (resident_id)`` where it is asked for, and their partitions."""
    metadata = MetaData()
    for name, table in wanted.items():
        copied = table.to_metadata(metadata)
        if name in hashed:
            copied.dialect_options["postgresql"]["partition_by"] = f"HASH ({SPREAD_BY})"
    metadata.create_all(database.engine)
    with database.engine.begin() as connection:
        for name in sorted(hashed):
            for number in range(PARTITIONS):
                values = f"FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number})"
                connection.execute(text(f"CREATE TABLE {name}_{number} PARTITION OF {name} {values}"))


def test_every_table_is_spread_or_stands_on_a_list() -> None:
    """A new table fails here until somebody has decided where it belongs."""
    assert set(tables()) == {*spread(), *LOOK_UPS, *OF_NOBODY, *LOG}
    assert {name for name, table in tables().items() if SPREAD_BY in table.c} == {*spread(), *LOOK_UPS}
    assert set(spread()) == {
        "asks", "grant_uses", "grants", "key_statements", "links", "refusals", "residents",
        "vault_records", "vault_slots", "vault_wraps",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(spread()))
def test_the_keys_of_a_residents_table_lead_with_the_resident(name: str) -> None:
    table = spread()[name]
    assert next(iter(table.primary_key.columns)).name == SPREAD_BY
    unique = [item for item in table.constraints if isinstance(item, UniqueConstraint)]
    columns = [list(item.columns) for item in unique] + [list(i.columns) for i in table.indexes if i.unique]
    assert all(found[0].name == SPREAD_BY for found in columns)
    assert all(SPREAD_BY in key.constraint.columns for key in table.foreign_keys if key.constraint is not None)


def test_the_stores_run_on_the_partitioned_schema(partitioned: Database) -> None:
    main_path(partitioned)
    with partitioned.read() as session:
        kinds = session.execute(text("SELECT relname FROM pg_class WHERE relkind = 'p'")).scalars()
        assert set(kinds) == set(spread())
        rows = session.execute(text("SELECT tableoid::regclass::text FROM vault_records")).scalars().all()
        assert len(rows) == 4
        assert all(name.startswith("vault_records_") for name in rows)


def test_a_key_without_the_resident_would_be_refused(partitioned: Database) -> None:
    bad = Table("bad", MetaData(), Column("record_id", spread()["grants"].c.grant_digest.type, primary_key=True))
    bad.append_column(Column(SPREAD_BY, spread()["grants"].c.resident_id.type))
    assert "PRIMARY KEY (record_id)" in str(CreateTable(bad))
    with pytest.raises((ProgrammingError, DBAPIError, CompileError), match="partition key"):
        create(partitioned, {"bad": bad}, {"bad"})
