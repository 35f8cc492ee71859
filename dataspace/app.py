"""The service as one ASGI app. Nothing lives at module level, so many apps can stand in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import structlog
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

import policies
from connectors.broker.client import BrokerClient
from connectors.compute.client import NodeClient
from consent.engine import open_engine
from dataspace import home
from dataspace.api import problems, routes
from dataspace.audit.bodies import BodyKey
from dataspace.audit.cosign import Cosigner, WitnessClient
from dataspace.audit.log import AuditLog, Sequencer
from dataspace.audit.proofs import Prover
from dataspace.flows.space import Space
from dataspace.flows.use import recover
from dataspace.identity.access import Access
from dataspace.jobs.worker import Worker
from dataspace.kernel.clock import Clock, system_clock
from dataspace.kernel.db import Database, sqlite_url
from dataspace.kernel.db import open_engine as open_database
from dataspace.kernel.http import RUN_SECONDS, socket_client
from dataspace.migrate import upgrade
from dataspace.settings import Settings


def configure_logging() -> None:
    """JSON lines of events and codes. Call once in a program's entry point, never in a library."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(),
    )


def open_space(
    settings: Settings,
    clock: Clock,
    *,
    broker: BrokerClient | None = None,
    node: NodeClient | None = None,
    witness: httpx.Client | None = None,
) -> Space:
    """Open database, log, engine and clients; tests hand in their own broker, node and witness."""
    pins = home.pins_of(settings, "service")
    database = Database(open_database(settings.database_url or sqlite_url(settings.service_home / "dataspace.db")))
    upgrade(database.engine)
    body_key = BodyKey(home.body_key(settings))
    key = home.service_key(settings)
    witness_http = witness or socket_client(settings.sockets, "witness", 5.0)
    witnesses = [WitnessClient(witness_http, name, public) for name, public in pins.witnesses.items()]
    return Space(
        database=database,
        log=AuditLog(body_key),
        sequencer=Sequencer(database, home.log_key(settings), settings.log_origin, clock),
        prover=Prover(database, body_key),
        cosigner=Cosigner(database, witnesses),
        witness_quorum=pins.witness_quorum,
        broker=broker or BrokerClient(socket_client(settings.sockets, "broker", RUN_SECONDS)),
        node=node or NodeClient(socket_client(settings.sockets, "node", RUN_SECONDS)),
        engine=open_engine(settings.engine, opa_url=settings.opa_url),
        policy_digest=policies.digest(),
        environment=settings.environment,
        accepted_node_classes=pins.accepted_node_classes,
        node_class="sw-dev",
        access=Access(settings.audience, key, clock()),
        key=key,
        registrar=pins.registrar,
        controller=settings.controller,
    )


def create_app(settings: Settings, *, space: Space | None = None, clock: Clock = system_clock) -> FastAPI:
    """The service over ``settings``; without a ``space`` it opens its own at start-up."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.space = space or await run_in_threadpool(open_space, settings, clock)
        opened: Space = app.state.space
        opened.sequencer.start()
        await run_in_threadpool(recover, opened, clock())
        worker = Worker(opened, clock)
        worker.start()
        try:
            yield
        finally:
            await run_in_threadpool(worker.stop)  # it may be waiting for an answer that this loop carries
            await run_in_threadpool(opened.sequencer.stop)
            opened.database.close()

    app = FastAPI(
        title="Personal Data Space",
        version="0.1.0",
        description="Sealed personal data, consent as a key, answers instead of data.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.clock = clock
    problems.install(app)
    app.add_middleware(problems.BodyGuard, max_bytes=settings.max_body_bytes)
    for router in (routes.public, routes.resident, routes.source, routes.operator):
        app.include_router(router)
    return app
