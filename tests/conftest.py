"""Shared fixtures: one small district, founded once, in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dataspace_sdk import Dataspace

from dataspace.settings import Settings
from demo.city import City
from demo.flow import Narrator, Outcome, cohorts, individuals, open_shop, settle_city
from demo.operators import BANK, RESEARCHER
from tests.fakes.programs import InProcessPrograms

STUDY = 130


class TestClock:
    """Real time, which a test may move."""

    __test__ = False

    def __init__(self) -> None:
        self.offset = 0

    def __call__(self) -> int:
        return int(time.time()) + self.offset


@dataclass
class World:
    """A district with its people moved in, products listed, and the flow's outcome so far."""

    city: City
    programs: InProcessPrograms
    clock: TestClock
    outcome: Outcome
    tell: Narrator
    spaces: dict[str, Dataspace]


def build_world(home: Path, study: int) -> Iterator[World]:
    settings = Settings(home=home)
    clock = TestClock()
    outcome = Outcome()
    tell = Narrator(outcome, lambda _text: None)
    with InProcessPrograms(settings, clock) as programs:
        city = settle_city(tell, programs, study)
        yield World(city, programs, clock, outcome, tell, open_shop(tell, city))


@pytest.fixture(scope="session")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A district in which the whole flow has run; tests leave it as they find it, or add to it."""
    for world in build_world(tmp_path_factory.mktemp("district"), STUDY):
        individuals(world.tell, world.city, world.spaces[BANK])
        cohorts(world.tell, world.city, world.spaces[RESEARCHER])
        yield world


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[World]:
    """A district of its own, with a dozen participants moved in and nothing asked yet."""
    yield from build_world(tmp_path / "home", 12)
