"""The port between the facts and the rules, and what both adapters share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

ENTRYPOINT = "pds/use/decision"
"""Path of the one document that is asked for."""

ENGINE_FAILED = "engine_failed"

RawDecision = dict[str, Any]
"""The engine's answer before :mod:`consent.decide` has parsed it."""


class PolicyEngine(Protocol):
    """Decides on facts. Never raises: what fails, times out or is undefined comes back as :func:`failed`."""

    def decide(self, facts: Mapping[str, Any]) -> RawDecision:
        """Answer of ``data.pds.use.decision`` for ``facts`` as its input."""


def failed() -> RawDecision:
    """The answer in place of an engine that could not give one."""
    return {"outcome": "default_deny", "reasons": [ENGINE_FAILED], "obligations": [], "grants": {}}


def to_json(facts: Mapping[str, Any]) -> str:
    """JSON text that every engine reads alike; ValueError or TypeError for NaN, lone surrogates and what is no JSON."""
    text = json.dumps(facts, allow_nan=False, ensure_ascii=False)
    text.encode("utf-8")
    return text
