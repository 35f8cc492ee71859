"""The two faces of the SDK. Both do nothing but drive the steps of ``core``; see there for what happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit

import httpx

from dataspace_sdk.core import Call, Core, Pause, Reply, Steps
from dataspace_sdk.encoding import Json
from dataspace_sdk.errors import ConfigError, UnavailableError
from dataspace_sdk.model import Answered, Ask, Denied, Pending, Product
from dataspace_sdk.trust import OperatorIdentity, Trust

T = TypeVar("T")
_TIMEOUT = httpx.Timeout(120.0, connect=10.0)
_UNREACHABLE = "the service did not answer"


def _now() -> int:
    return int(time.time())


class _Face:
    """What both faces share: the address, the core, and what needs no I/O."""

    def __init__(self, base_url: str, identity: OperatorIdentity, trust: Trust, clock: Callable[[], int]) -> None:
        self._base = base_url.rstrip("/")
        self._core = Core(identity, trust, clock)

    def sign_product(self, payload: Mapping[str, Json]) -> str:
        """The manifest as a signed object, for the reviewers; its name is ``product_digest(payload)``."""
        return self._core.sign_product(payload)

    def new_ask(self, product: Product, *, handle: str | None = None, days: int = 30) -> Ask:
        """A signed question, not sent yet: store it, then :meth:`send` it, and no crash can lose the answer's key."""
        return self._core.new_ask(product, handle, days)

    def _request(self, call: Call) -> tuple[str, str, dict[str, str], Mapping[str, Json] | None]:
        headers = {"authorization": f"Bearer {call.token}"} if call.token else {}
        return call.method, self._base + call.path, headers, call.body


class Dataspace(_Face):
    """An operator's connection to one data space. Use as a context manager, or :meth:`close` it.

    Without ``http`` it makes its own client and insists on https (plain http only to this machine).
    """

    def __init__(
        self,
        base_url: str,
        identity: OperatorIdentity,
        trust: Trust,
        http: httpx.Client | None = None,
        *,
        clock: Callable[[], int] = _now,
    ) -> None:
        super().__init__(base_url, identity, trust, clock)
        self._owns_http = http is None
        self._http = httpx.Client(timeout=_checked_timeout(base_url)) if http is None else http

    def products(self) -> list[Product]:
        """All products whose listing is valid now, each verified; see :class:`Product` for what that covers."""
        return self._run(self._core.products())

    def publish(self, product_payload: Mapping[str, Json], listing: str) -> Product:
        """List an own product with the registrar's ``listing``; the same again changes nothing."""
        return self._run(self._core.publish(product_payload, listing))

    def ask(self, product: Product, *, handle: str | None = None, days: int = 30) -> Ask:
        """Ask with an own product; the result holds the secret that opens the answer: keep ``to_json()`` safe."""
        return self._run(self._core.ask(product, handle, days))

    def send(self, ask: Ask) -> Ask:
        """Send an ask of :meth:`new_ask`; the same again changes nothing."""
        return self._run(self._core.send(ask))

    def answer(self, ask: Ask) -> Answered | Denied | Pending:
        """The verified answer, a denial, or pending until somebody grants; VerificationError if it does not hold."""
        return self._run(self._core.answer(ask))

    def wait(self, ask: Ask, timeout_s: float, poll_s: float = 5.0) -> Answered | Denied | Pending:
        """:meth:`answer` every ``poll_s`` seconds until it is not pending, for at most ``timeout_s``."""
        return self._run(self._core.wait(ask, timeout_s, poll_s))

    def close(self) -> None:
        """Close the HTTP client, if it is an own one."""
        if self._owns_http:
            self._http.close()

    def __enter__(self) -> Dataspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    reply = self._do(step)
                except httpx.HTTPError as error:
                    step = steps.throw(_unreachable(error))
                else:
                    step = steps.send(reply)
        except StopIteration as done:
            result: T = done.value
            return result

    def _do(self, step: Call | Pause) -> Reply:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return Reply(0)
        method, url, headers, body = self._request(step)
        response = self._http.request(method, url, headers=headers, json=body)
        return Reply(response.status_code, response.content)


class AsyncDataspace(_Face):
    """The same over asyncio: every method of :class:`Dataspace` that talks to the service, awaited."""

    def __init__(
        self,
        base_url: str,
        identity: OperatorIdentity,
        trust: Trust,
        http: httpx.AsyncClient | None = None,
        *,
        clock: Callable[[], int] = _now,
    ) -> None:
        super().__init__(base_url, identity, trust, clock)
        self._owns_http = http is None
        self._http = httpx.AsyncClient(timeout=_checked_timeout(base_url)) if http is None else http

    async def products(self) -> list[Product]:
        """As :meth:`Dataspace.products`."""
        return await self._run(self._core.products())

    async def publish(self, product_payload: Mapping[str, Json], listing: str) -> Product:
        """As :meth:`Dataspace.publish`."""
        return await self._run(self._core.publish(product_payload, listing))

    async def ask(self, product: Product, *, handle: str | None = None, days: int = 30) -> Ask:
        """As :meth:`Dataspace.ask`."""
        return await self._run(self._core.ask(product, handle, days))

    async def send(self, ask: Ask) -> Ask:
        """As :meth:`Dataspace.send`."""
        return await self._run(self._core.send(ask))

    async def answer(self, ask: Ask) -> Answered | Denied | Pending:
        """As :meth:`Dataspace.answer`."""
        return await self._run(self._core.answer(ask))

    async def wait(self, ask: Ask, timeout_s: float, poll_s: float = 5.0) -> Answered | Denied | Pending:
        """As :meth:`Dataspace.wait`."""
        return await self._run(self._core.wait(ask, timeout_s, poll_s))

    async def close(self) -> None:
        """As :meth:`Dataspace.close`."""
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> AsyncDataspace:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    reply = await self._do(step)
                except httpx.HTTPError as error:
                    step = steps.throw(_unreachable(error))
                else:
                    step = steps.send(reply)
        except StopIteration as done:
            result: T = done.value
            return result

    async def _do(self, step: Call | Pause) -> Reply:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return Reply(0)
        method, url, headers, body = self._request(step)
        response = await self._http.request(method, url, headers=headers, json=body)
        return Reply(response.status_code, response.content)


def _unreachable(error: httpx.HTTPError) -> UnavailableError:
    return UnavailableError(f"{_UNREACHABLE} ({type(error).__name__})")


def _checked_timeout(base_url: str) -> httpx.Timeout:
    """The timeouts of an own client, once the address may be called at all: tokens do not travel in the clear."""
    parts = urlsplit(base_url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}):
        raise ConfigError("base_url must be https (http only to this machine)")
    return _TIMEOUT
