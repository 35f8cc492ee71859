"""Generated files must be what their generators write today: OpenAPI, migrations, vector files."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from dataspace.app import create_app
from dataspace.kernel.db import open_engine, sqlite_url
from dataspace.migrate import metadata, upgrade
from dataspace.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


def openapi() -> list[str]:
    committed = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    return [] if committed == create_app(Settings()).openapi() else ["docs/openapi.json is stale: make openapi"]


def migrations() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(sqlite_url(Path(folder) / "empty.db"))
        upgrade(engine)
        with engine.connect() as connection:
            difference = compare_metadata(MigrationContext.configure(connection), metadata)
        engine.dispose()
    return [f"tables and migrations differ: {item}" for item in difference]


def vectors() -> list[str]:
    generator = ROOT / "tests" / "vectors" / "generate.py"
    if not generator.exists():
        return []
    done = subprocess.run([sys.executable, str(generator), "--check"], cwd=ROOT, capture_output=True, text=True)
    return [] if done.returncode == 0 else [done.stdout + done.stderr]


found = [*openapi(), *migrations(), *vectors()]
for line in found:
    print(line)
sys.exit(bool(found))
