"""The rules inside this process, by regorus. One engine per thread: regorus panics when another thread uses one."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import regorus
import structlog

import policies
from consent.engine import selftest
from consent.engine.port import ENTRYPOINT, RawDecision, failed, to_json

_RULE = "data." + ENTRYPOINT.replace("/", ".")
_log = structlog.get_logger(__name__)


class EmbeddedEngine:
    """``PolicyEngine`` on ``regorus.Engine``; each thread parses the modules once. Self-tested when made."""

    def __init__(self, modules: Mapping[str, str] | None = None) -> None:
        self._modules = dict(policies.modules() if modules is None else modules)
        self._local = threading.local()
        selftest.check(self)

    def decide(self, facts: Mapping[str, Any]) -> RawDecision:
        try:
            return self._evaluate(to_json(facts))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic inside regorus (pyo3 PanicException) is no Exception
            self._local.__dict__.clear()  # this thread's engine; those of other threads stay
            _log.warning("engine_failed", engine="embedded", error=type(error).__name__)
            return failed()

    def _evaluate(self, facts: str) -> RawDecision:
        engine = self._engine()
        engine.set_input_json(facts)
        answer = json.loads(engine.eval_rule_as_json(_RULE))
        return answer if isinstance(answer, dict) else failed()

    def _engine(self) -> Any:
        engine = getattr(self._local, "engine", None)
        if engine is None:
            engine = regorus.Engine()
            for path, text in self._modules.items():
                engine.add_policy(path, text)
            self._local.engine = engine
        return engine
