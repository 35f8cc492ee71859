"""The node's memory of releases: the same answer again, differencing, and crashes between proposal and commit."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.compute.errors import ReleaseStateError
from connectors.compute.output_control import CellContributors, Released, Withheld
from connectors.compute.releases import ReleaseStore, Run, Stored, measured_fields
from demo.products import blood_pressure, weight_change

KEY = bytes(range(32))
RUN = Run("run-1", "product", "1982", "grants", frozenset({"vitals.sbp"}))
OUTCOME = Released({"cells": [{"sex": "男", "n": 10}]}, {("male", 40): frozenset({"a", "b"})}, {})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReleaseStore]:
    opened = ReleaseStore(tmp_path / "releases.db", KEY)
    yield opened
    opened.close()


def decided(_earlier: Sequence[CellContributors]) -> Released | Withheld:
    return OUTCOME


def never(_earlier: Sequence[CellContributors]) -> Released | Withheld:
    raise AssertionError("the stored release should have been found")


def test_the_same_question_gets_the_stored_bytes(store: ReleaseStore) -> None:
    first = store.propose(RUN, decided)
    store.commit("run-1")
    again = store.propose(replace(RUN, run_id="run-2"), never)
    assert isinstance(first, Stored)
    assert again == replace(first, committed=True) == store.stored(RUN)


@pytest.mark.parametrize("change", [{"product_digest": "x"}, {"period": "x"}, {"grant_set": "x"}])
def test_another_question_is_decided_anew_with_the_earlier_cells(store: ReleaseStore, change: dict[str, str]) -> None:
    store.propose(RUN, decided)
    seen: list[CellContributors] = []

    def look(earlier: Sequence[CellContributors]) -> Withheld:
        seen.extend(earlier)
        return Withheld(("release_differs_by_too_few",))

    assert isinstance(store.propose(replace(RUN, run_id="run-2", **change), look), Withheld)
    assert seen == [CellContributors("run-1", ("male", 40), frozenset({"a", "b"}))]
    assert store.stored(replace(RUN, **change)) is None


def test_releases_on_other_fields_are_not_compared(store: ReleaseStore) -> None:
    store.propose(RUN, decided)
    assert store.earlier({"vitals.weight"}) == []
    assert len(store.earlier({"vitals.weight", "vitals.sbp"})) == 1


def test_a_crash_before_the_commit_leaves_a_release_that_counts(tmp_path: Path) -> None:
    program = """
        import os, sys
        from pathlib import Path
        sys.path[:0] = sys.argv[2:]
        from connectors.compute.releases import ReleaseStore
        from tests.unit.test_releases import KEY, RUN, decided
        ReleaseStore(Path(sys.argv[1]), KEY).propose(RUN, decided)
        os._exit(9)
    """
    path = tmp_path / "releases.db"
    call = [sys.executable, "-c", textwrap.dedent(program), str(path), str(Path(__file__).parents[2])]
    assert subprocess.run(call, check=False).returncode == 9
    store = ReleaseStore(path, KEY)
    assert [one.release_id for one in store.earlier(RUN.fields)] == ["run-1"]
    found = store.propose(replace(RUN, run_id="run-2"), never)
    assert isinstance(found, Stored)
    assert (found.run_id, found.committed) == ("run-1", False)
    store.commit(found.run_id)
    store.close()


def test_only_an_uncommitted_proposal_can_be_abandoned(store: ReleaseStore) -> None:
    store.propose(RUN, decided)
    store.abandon("run-1")
    assert store.earlier(RUN.fields) == []
    store.propose(RUN, decided)
    store.commit("run-1")
    store.commit("run-1")
    for call in (lambda: store.abandon("run-1"), lambda: store.commit("run-9")):
        with pytest.raises(ReleaseStateError):
            call()
    assert len(store.earlier(RUN.fields)) == 1


def test_two_runs_at_once_see_each_other(store: ReleaseStore, tmp_path: Path) -> None:
    other = ReleaseStore(tmp_path / "releases.db", KEY)
    deciding, seen = threading.Event(), []

    def slow(_earlier: Sequence[CellContributors]) -> Released:
        deciding.set()
        time.sleep(0.3)
        return OUTCOME

    def look(earlier: Sequence[CellContributors]) -> Withheld:
        seen.extend(earlier)
        return Withheld(("release_differs_by_too_few",))

    first = threading.Thread(target=lambda: store.propose(RUN, slow))
    first.start()
    assert deciding.wait(5)
    other.propose(replace(RUN, run_id="run-2", grant_set="other"), look)
    first.join()
    other.close()
    assert [one.release_id for one in seen] == ["run-1"]


def test_a_failing_decision_leaves_nothing(store: ReleaseStore) -> None:
    with pytest.raises(AssertionError):
        store.propose(RUN, never)
    assert store.stored(RUN) is None
    assert isinstance(store.propose(RUN, decided), Stored)


def test_nothing_readable_lies_in_the_file_and_another_key_opens_nothing(tmp_path: Path) -> None:
    store = ReleaseStore(tmp_path / "releases.db", KEY)
    name = store.contributor("link-7")
    store.propose(RUN, lambda _: replace(OUTCOME, contributors={("male",): frozenset({name})}))
    raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (b"cells", b"male", "男".encode(), b"vitals", b"link-7", name.encode(), b"grants"):
        assert secret not in raw
    store.close()
    other = ReleaseStore(tmp_path / "releases.db", bytes(32))
    assert other.contributor("link-7") != name
    assert other.stored(RUN) is None
    other._lookup_key = store._lookup_key
    with pytest.raises(ReleaseStateError):
        other.stored(RUN)
    other.close()


def test_what_a_product_measures() -> None:
    assert measured_fields(blood_pressure("op")) == {"vitals.sbp"}
    assert measured_fields(weight_change("op")) == {"vitals.weight"}
    manifest = blood_pressure("op")
    manifest["output"]["measures"][0]["fields"] = ["vitals.invented"]
    assert "demographics.age" in measured_fields(manifest)
