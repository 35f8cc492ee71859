"""The district's programs as apps in this process: the same code, faces and messages, without sockets or processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI

from connectors.broker.app import create_broker_app
from connectors.broker.broker import Broker
from connectors.broker.client import BrokerClient
from connectors.compute.app import create_node_app
from connectors.compute.client import NodeClient
from connectors.compute.node import Node
from dataspace.app import create_app, open_space
from dataspace.flows.space import Space
from dataspace.kernel.clock import Clock
from dataspace.kernel.http import call
from dataspace.programs import open_broker, open_node, witness_app
from dataspace.settings import Settings
from demo.authority import Authority, create_authority


class InProcess(httpx.BaseTransport):
    """Synchronous HTTP to an ASGI app that runs in the portal's event loop."""

    def __init__(self, portal: BlockingPortal, app: FastAPI) -> None:
        self._portal = portal
        self._inner = httpx.ASGITransport(app=app, raise_app_exceptions=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return self._portal.call(self._send, request)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        copied = httpx.Request(request.method, request.url, headers=request.headers, content=request.content)
        answer = await self._inner.handle_async_request(copied)
        body = await answer.aread()
        return httpx.Response(answer.status_code, headers=answer.headers, content=body)


class InProcessPrograms:
    """Stands in for ``demo.programs.Programs``: the same names, and the parts inside for tests to look at."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.apps: dict[str, FastAPI] = {}
        self.authorities: dict[str, Authority] = {}
        self.broker: Broker
        self.node: Node
        self.space: Space
        self._stack = ExitStack()
        self._portal: BlockingPortal

    def __enter__(self) -> InProcessPrograms:
        self._portal = self._stack.enter_context(start_blocking_portal())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def client(self, name: str, seconds: float = 60.0) -> httpx.Client:
        """As of the real programs; an app that is started later is found when it is called."""
        return httpx.Client(transport=_Late(self, name), base_url=f"http://{name}", timeout=seconds)

    def transport(self, name: str) -> httpx.BaseTransport:
        return InProcess(self._portal, self.apps[name])

    def start(self, name: str, arguments: Sequence[str], seconds: float = 0) -> None:
        self.apps[name] = self._app(name, arguments)

    def start_all(self, programs: Mapping[str, Sequence[str]], seconds: float = 0) -> None:
        for name, arguments in programs.items():
            self.start(name, arguments)

    def _app(self, name: str, arguments: Sequence[str]) -> FastAPI:
        settings, clock = self.settings, self.clock
        if name == "witness":
            return witness_app(settings, clock)
        if name == "broker":
            self.broker = open_broker(settings, self._consistency)
            self._stack.callback(self.broker.store.database.close)
            return create_broker_app(self.broker, clock)
        if name == "node":
            self.node = open_node(settings, BrokerClient(self.client("broker")))
            self._stack.callback(self._close_node)
            return create_node_app(self.node, clock)
        if name == "service":
            return self._service()
        _module, source_id, home, _sockets, audience, *data = arguments
        authority = Authority(source_id, Path(home), [Path(item) for item in data], self.client("service"), audience)
        self._stack.callback(authority.agent.state.close)
        self.authorities[source_id] = authority
        return create_authority(authority, clock)

    def _service(self) -> FastAPI:
        self.space = open_space(
            self.settings,
            self.clock,
            broker=BrokerClient(self.client("broker")),
            node=NodeClient(self.client("node")),
            witness=self.client("witness"),
        )
        app = create_app(self.settings, space=self.space, clock=self.clock)
        self._stack.enter_context(self._portal.wrap_async_context_manager(app.router.lifespan_context(app)))
        return app

    def _consistency(self, from_size: int, to_size: int) -> list[str]:
        path = f"/v1/log/consistency?from_size={from_size}&to_size={to_size}"
        return [str(item) for item in call(self.client("service"), "GET", path)["hashes"]]

    def _close_node(self) -> None:
        self.node.pool.close()
        self.node.releases.close()
        self.node.answers.close()

    def peak_memory_mb(self, _name: str) -> int:
        return 0


class _Late(httpx.BaseTransport):
    def __init__(self, programs: InProcessPrograms, name: str) -> None:
        self._programs = programs
        self._name = name

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._programs.transport(self._name).handle_request(request)
