"""The rules at an OPA server that serves this product alone.

The rules are uploaded when the adapter starts and read back: the server must hold exactly these texts, and no other
module outside its own ``system`` package, because any module could add to the decision. Two traps of the client are
closed here (measured): it rewrites rejected text unless ``rego_compat=False``, and an undefined decision is HTTP 200
with ``{}``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from opa_client.opa_async import AsyncOpaClient

import policies
from consent.engine import selftest
from consent.engine.errors import EngineSelfTestError, PolicyUploadError
from consent.engine.port import ENTRYPOINT, RawDecision, failed, to_json

_T = TypeVar("_T")
_OPEN_SECONDS = 30.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class OpaServer:
    """Where the OPA server listens, and how this service proves itself. ``timeout`` is in seconds."""

    host: str
    port: int
    tls: bool = False
    certificate: tuple[str, str] | None = None
    token: str | None = None
    timeout: float = 1.5


class AsyncOpaEngine:
    """The adapter for one event loop: ``open`` once, then ``decide``, which never raises, then ``close``."""

    def __init__(self, server: OpaServer) -> None:
        self._client = AsyncOpaClient(
            host=server.host,
            port=server.port,
            ssl=server.tls,
            cert=server.certificate,
            token=server.token,
            retries=0,
            timeout=server.timeout,
        )

    async def open(self, modules: Mapping[str, str]) -> None:
        """Upload ``modules`` and check them; :class:`PolicyUploadError` when the server holds anything else."""
        await self._client.__aenter__()
        try:
            await self._upload(modules)
        except PolicyUploadError:
            raise
        except Exception as error:
            raise PolicyUploadError(f"the OPA server refused the rules: {type(error).__name__}") from error

    async def decide(self, facts: Mapping[str, Any]) -> RawDecision:
        try:
            to_json(facts)  # the client would send NaN and lone surrogates, which OPA reads in its own way
            answer = await self._client.query_rule(facts, ENTRYPOINT)
        except Exception as error:
            _log.warning("engine_failed", engine="opa_server", error=type(error).__name__)
            return failed()
        result = answer.get("result") if isinstance(answer, dict) else None
        return result if isinstance(result, dict) else failed()

    async def close(self) -> None:
        await self._client.close_connection()

    async def _upload(self, modules: Mapping[str, str]) -> None:
        for path, text in modules.items():
            await self._client.update_policy_from_string(text, path, rego_compat=False)
        stored_modules = await self._client.get_policies_info()
        system = f"{self._client.root_url}/data/system/"
        others = stored_modules.keys() - modules.keys()
        if not all(stored_modules[path]["path"].startswith(system) for path in others):
            raise PolicyUploadError("the OPA server holds other modules")
        for path, text in modules.items():
            stored = await self._client.get_policy(path)
            if stored.get("result", {}).get("raw") != text:
                raise PolicyUploadError(f"the OPA server stores another text of {path}")


class OpaServerEngine:
    """``PolicyEngine`` on an OPA server: runs the client's event loop in its own thread, so that callers stay sync."""

    def __init__(self, server: OpaServer, modules: Mapping[str, str] | None = None) -> None:
        self._wait = server.timeout + 0.5
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="opa-client", daemon=True)
        self._thread.start()
        self._engine = AsyncOpaEngine(server)
        try:
            self._run(self._engine.open(policies.modules() if modules is None else modules), timeout=_OPEN_SECONDS)
            selftest.check(self)
        except (PolicyUploadError, EngineSelfTestError):
            self.close()
            raise
        except TimeoutError as error:
            self.close()
            raise PolicyUploadError("the OPA server does not answer") from error

    def decide(self, facts: Mapping[str, Any]) -> RawDecision:
        try:
            return self._run(self._engine.decide(facts), timeout=self._wait)
        except Exception as error:
            _log.warning("engine_failed", engine="opa_server", error=type(error).__name__)
            return failed()

    def close(self) -> None:
        """Close the connections and end the thread; every later decision is a denial."""
        if self._loop.is_closed():
            return
        self._run(self._engine.close(), timeout=5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _T], *, timeout: float) -> _T:
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("the engine is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise
