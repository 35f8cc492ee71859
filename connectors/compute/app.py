"""The node's HTTP face, on a Unix socket that only the services of this host can reach."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from connectors.compute.node import Node
from connectors.faces import install_problems
from connectors.messages import Job
from dataspace.kernel.clock import Clock


def create_node_app(node: Node, clock: Clock) -> FastAPI:
    """``POST /v1/runs`` takes one job and answers with its sealed result."""
    app = FastAPI(title="compute node", openapi_url=None, docs_url=None, redoc_url=None)

    install_problems(app)

    @app.get("/v1/health")
    def health() -> dict[str, Any]:
        return {"isolation": node.pool.isolation, "class": "sw-dev"}

    @app.post("/v1/runs")
    def runs(job: Job) -> dict[str, str]:
        return node.run(job, clock())

    return app
