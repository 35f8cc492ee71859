"""Policy engines: one port, two adapters that must agree, chosen by a setting."""

from __future__ import annotations

from urllib.parse import urlsplit

from consent.engine.errors import EngineUnknownError
from consent.engine.port import PolicyEngine

EMBEDDED = "embedded"
OPA_SERVER = "opa_server"


def open_engine(kind: str, *, opa_url: str = "", token: str | None = None, timeout: float = 1.5) -> PolicyEngine:
    """The engine that the setting ``kind`` names, self-tested; ``opa_url`` is ``http(s)://host:port`` of an OPA server.

    The adapter is imported when it is chosen, because each brings a large library.
    """
    if kind == EMBEDDED:
        from consent.engine.embedded import EmbeddedEngine

        return EmbeddedEngine()
    if kind == OPA_SERVER:
        from consent.engine.opa_server import OpaServer, OpaServerEngine

        url = urlsplit(opa_url)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise EngineUnknownError("opa_url must be http(s)://host:port")
        tls = url.scheme == "https"
        return OpaServerEngine(OpaServer(url.hostname, url.port or 8181, tls=tls, token=token, timeout=timeout))
    raise EngineUnknownError(f"no engine is called {kind!r}: use {EMBEDDED} or {OPA_SERVER}")
