"""The node's memory of sealed answers, by request: what had been made when the node stopped is not made again.

Everything here is sealed to the operator already; losing the file loses no secret, only the answers on their way.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any


class AnswerStore:
    """One SQLite file; ``put`` is durable when it returns."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute("CREATE TABLE IF NOT EXISTS answer (request TEXT PRIMARY KEY, content TEXT NOT NULL)")

    def find(self, request_digest: str) -> dict[str, Any] | None:
        """The answer made for this request, or None."""
        with self._lock:
            found = self._database.execute("SELECT content FROM answer WHERE request = ?", (request_digest,)).fetchone()
        content: dict[str, Any] | None = json.loads(found[0]) if found else None
        return content

    def put(self, request_digest: str, content: dict[str, Any]) -> None:
        with self._lock:
            self._database.execute("INSERT OR REPLACE INTO answer VALUES (?, ?)", (request_digest, json.dumps(content)))

    def drop(self, request_digest: str) -> None:
        """Forget an answer that the broker has refused to release."""
        with self._lock:
            self._database.execute("DELETE FROM answer WHERE request = ?", (request_digest,))

    def close(self) -> None:
        self._database.close()
