"""Time enters here, once per operation, as whole seconds since 1970 (UTC)."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]


def system_clock() -> int:
    return int(time.time())
