"""How the service speaks to a compute node."""

from __future__ import annotations

from typing import Any

import httpx

from dataspace.kernel.http import call


class NodeClient:
    """Sends one run's whole case; the node gives back a sealed result, or a refusal with its code."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def health(self) -> dict[str, Any]:
        return call(self._http, "GET", "/v1/health")

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """``{"sealed", "ear", "release"}``."""
        return call(self._http, "POST", "/v1/runs", job)
