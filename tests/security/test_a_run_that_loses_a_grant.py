"""A withdrawal during a run, and one before its grant: nothing opens, and nobody else's question is blocked by it.

Shows PI-04 (withdrawal in force at once) and promise 5 of the design; the release is decided under the broker's lock.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dataspace_sdk import Answered, Ask, Denied

from connectors.broker.errors import BrokerRefusedError
from connectors.compute.node import Node
from connectors.messages import ReleaseOrder
from demo.attacks import is_active
from demo.city import until
from demo.flow import answer_by_rule, rule
from demo.operators import RESEARCHER
from demo.people import Person
from tests.conftest import STUDY, World, build_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield from build_world(tmp_path_factory.mktemp("losing"), STUDY)


def test_a_withdrawal_during_a_run_ends_it_and_the_next_try_counts_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = world.spaces[RESEARCHER]
    product = world.outcome.listed["A"]
    ask: Ask = space.ask(product)
    for person in world.city.study:
        answer_by_rule(person)
    granted = [p for p in world.city.study if rule(p.label, product.product_id) != "refuse"]
    until(lambda: all(is_active(p, p.grants[product.digest]) for p in granted))
    leaving: Person = granted[0]
    made = Node._make

    def withdraw_meanwhile(self: Node, *arguments: object) -> object:
        result = made(self, *arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(Node, "_make", made)
        leaving.withdraw(product.digest)
        return result

    monkeypatch.setattr(Node, "_make", withdraw_meanwhile)
    first = space.answer(ask)
    assert isinstance(first, Denied)
    assert [reason.code for reason in first.reasons] == ["withdrawn_grant"]
    second = space.answer(ask)
    assert isinstance(second, Answered), "the table that never left must not stand in the way of this one"
    assert second.table is not None


def test_a_release_of_a_run_that_was_never_opened_is_refused(world: World) -> None:
    order = ReleaseOrder(request_digest="a" * 43, result_digest="b" * 43, node="c" * 43)
    with pytest.raises(BrokerRefusedError, match="no run of this node"):
        world.programs.broker.release(order, world.clock())
