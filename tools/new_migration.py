"""Write the next Alembic migration from the difference between the tables and an up-to-date empty database."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from dataspace.kernel.db import open_engine, sqlite_url
from dataspace.migrate import config, upgrade

if len(sys.argv) != 2:
    sys.exit("usage: python tools/new_migration.py 'what it does'")
with tempfile.TemporaryDirectory() as folder:
    engine = open_engine(sqlite_url(Path(folder) / "empty.db"))
    upgrade(engine)
    command.revision(config(engine), sys.argv[1], autogenerate=True)
