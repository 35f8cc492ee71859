"""How service and node speak to the broker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from dataspace.kernel.http import call


class BrokerClient:
    """One method for each route of the broker; refusals arrive as exceptions with the broker's code."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def health(self) -> dict[str, Any]:
        return call(self._http, "GET", "/v1/health")

    def grant_keys(self, papers: dict[str, str], request: str, count: int) -> list[str]:
        order = {"papers": papers, "request": request, "count": count}
        return list(call(self._http, "POST", "/v1/grant-keys", order)["keys"])

    def register(self, batch: dict[str, Any]) -> list[dict[str, str]]:
        return list(call(self._http, "POST", "/v1/grants", batch)["answers"])

    def withdraw(self, withdrawals: Sequence[str]) -> list[dict[str, str]]:
        return list(call(self._http, "POST", "/v1/withdrawals", {"withdrawals": list(withdrawals)})["answers"])

    def subject_head(self, subject: str) -> str:
        return str(call(self._http, "GET", f"/v1/subjects/{subject}/head")["head"])

    def challenge(self) -> str:
        return str(call(self._http, "POST", "/v1/challenges", {})["nonce"])

    def open(self, opening: dict[str, Any]) -> dict[str, Any]:
        return call(self._http, "POST", "/v1/openings", opening)

    def release(self, request_digest: str, result_digest: str, node: str) -> str:
        order = {"request_digest": request_digest, "result_digest": result_digest, "node": node}
        return str(call(self._http, "POST", "/v1/releases", order)["release"])
