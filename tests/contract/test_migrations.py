"""The migrations bring an empty database to exactly the tables of the models, on SQLite and on PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from dataspace.kernel.db import Database, open_engine, sqlite_url
from dataspace.migrate import config, metadata, upgrade
from tests.contract.store_path import main_path


@pytest.fixture
def empty(database: Database) -> Database:
    metadata.drop_all(database.engine)
    assert inspect(database.engine).get_table_names() == []
    return database


def differences(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, metadata))


def test_upgrade_makes_the_tables_of_the_models(empty: Database) -> None:
    upgrade(empty.engine)
    assert differences(empty.engine) == []
    assert {*inspect(empty.engine).get_table_names()} == {*metadata.tables, "alembic_version"}
    main_path(empty)


def test_upgrade_again_changes_nothing(empty: Database) -> None:
    upgrade(empty.engine)
    main_path(empty)
    upgrade(empty.engine)
    assert differences(empty.engine) == []
    with empty.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM residents")).scalar() == 2
        heads = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    assert heads == ScriptDirectory.from_config(config(empty.engine)).get_heads()


def test_a_difference_would_be_seen(empty: Database) -> None:
    upgrade(empty.engine)
    with empty.engine.begin() as connection:
        connection.execute(text("ALTER TABLE grants DROP COLUMN receipt"))
    assert len(differences(empty.engine)) == 1


def test_there_is_one_line_of_migrations(tmp_path: Path) -> None:
    script = ScriptDirectory.from_config(config(open_engine(sqlite_url(tmp_path / "x.db"))))
    assert len(script.get_heads()) == 1
