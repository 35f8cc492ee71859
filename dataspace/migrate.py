"""Bring the database to the current schema with Alembic, from the migrations in the package."""

from __future__ import annotations

from importlib.resources import files

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine
from sqlmodel import SQLModel

import consent.tables
import dataspace.audit.tables
import dataspace.identity.tables
import vault.tables

_TABLES = (consent.tables, dataspace.audit.tables, dataspace.identity.tables, vault.tables)
metadata = SQLModel.metadata
"""All tables of the service (the modules above register them)."""


def config(engine: Engine) -> Config:
    """Alembic's settings for ``engine``, without any ini file."""
    found = Config()
    found.set_main_option("script_location", str(files("dataspace.migrations")))
    found.attributes["engine"] = engine
    return found


def upgrade(engine: Engine) -> None:
    """Apply all migrations that are missing; nothing to do is quick."""
    command.upgrade(config(engine), "head")
