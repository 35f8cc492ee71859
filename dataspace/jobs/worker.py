"""One thread that carries unfinished grants and withdrawals on, and keeps the log witnessed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from dataspace.flows.grant import settle
from dataspace.flows.space import Space
from dataspace.kernel.clock import Clock
from dataspace.kernel.errors import DataspaceError

_log = structlog.get_logger(__name__)


class Worker:
    """Runs until stopped; a failure is logged by its code and tried again at the next round."""

    def __init__(self, space: Space, clock: Clock, interval_s: float = 0.2) -> None:
        self._space = space
        self._clock = clock
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="settling", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        rounds = 0
        while not self._stopped.wait(self._interval_s):
            rounds += 1
            self._try(lambda: settle(self._space, self._clock()))
            if rounds % 5 == 0:  # also while the broker is away
                self._try(self._space.cosigner.cosign_now)

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except DataspaceError as error:
            _log.warning("background_round_failed", code=error.code)
        except Exception as error:  # the thread must outlive any single failure
            _log.error("background_round_failed", error=type(error).__name__)
