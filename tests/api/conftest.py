"""Callers of the district in which the whole flow has run."""

from __future__ import annotations

import pytest

from tests.api.callers import Callers
from tests.conftest import World


@pytest.fixture(scope="session")
def callers(lived_in: World) -> Callers:
    return Callers(lived_in)
