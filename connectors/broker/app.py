"""The broker's HTTP face, on a Unix socket that only the services of this host can reach."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from connectors import messages
from connectors.broker.broker import Broker
from connectors.faces import install_problems
from dataspace.kernel.clock import Clock

TIDY_SECONDS = 60
_log = structlog.get_logger(__name__)


def create_broker_app(broker: Broker, clock: Clock) -> FastAPI:
    """One route for each act of :class:`Broker`; a refusal is problem+json with its code."""
    app = FastAPI(title="key broker", openapi_url=None, docs_url=None, redoc_url=None, lifespan=_tidying(broker, clock))

    install_problems(app)

    @app.get("/v1/health")
    def health() -> dict[str, str]:
        return {"broker_id": broker.broker_id, "policy_digest": broker.policy_digest}

    @app.post("/v1/grant-keys")
    def grant_keys(order: messages.KeyOrder) -> dict[str, Any]:
        return {"keys": broker.grant_keys(order, clock())}

    @app.post("/v1/grants")
    def grants(batch: messages.GrantRegistrations) -> dict[str, Any]:
        return {"answers": broker.register(batch, clock())}

    @app.post("/v1/withdrawals")
    def withdrawals(batch: messages.Withdrawals) -> dict[str, Any]:
        return {"answers": broker.withdraw(batch, clock())}

    @app.get("/v1/subjects/{subject}/head")
    def head(subject: str) -> dict[str, str]:
        return {"head": broker.subject_head(subject, clock())}

    @app.post("/v1/challenges")
    def challenges() -> dict[str, str]:
        return {"nonce": broker.challenge(clock())}

    @app.post("/v1/openings")
    def openings(opening: messages.Opening) -> dict[str, Any]:
        return asdict(broker.open(opening, clock()))

    @app.post("/v1/releases")
    def releases(order: messages.ReleaseOrder) -> dict[str, str]:
        return {"release": broker.release(order, clock())}

    return app


def _tidying(broker: Broker, clock: Clock) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_tidy_forever(broker, clock))
        yield
        task.cancel()

    return lifespan


async def _tidy_forever(broker: Broker, clock: Clock) -> None:
    """Destroy ended keys at start and every minute; a failed round is logged and tried again."""
    while True:
        try:
            await run_in_threadpool(broker.tidy, clock())
        except Exception as error:  # the task must outlive any single failure
            _log.error("tidying_failed", error=type(error).__name__)
        await asyncio.sleep(TIDY_SECONDS)
