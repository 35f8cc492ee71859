"""Promise 4: an operator gets the output of an approved computation after output control, and nothing else.

From opened records to the table that leaves, on the public research sample where it is installed, and against the
ways in which an answer could carry a record.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.compute.individual import answer
from connectors.compute.output_control import Released, Withheld, release
from connectors.compute.records import OpenedRecord
from connectors.compute.releases import ReleaseStore, Run, Stored, measured_fields
from connectors.compute.sandbox import SandboxPool
from connectors.compute.sql import tables_of
from demo.products import blood_pressure, income_check, weight_change
from tests.fakes.compute import TYPES, FakeRecord, person

People = list[dict[str, list[OpenedRecord]]]


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    with SandboxPool(size=1) as one:
        yield one


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReleaseStore]:
    opened = ReleaseStore(tmp_path / "releases.db", bytes(32))
    yield opened
    opened.close()


def compute(pool: SandboxPool, manifest: dict[str, Any], people: Any, store: ReleaseStore | None = None) -> list[Any]:
    """Unit rows with persons under their opaque names."""
    rows = pool.run(manifest["computation"]["text"], tables_of(manifest, people, TYPES))
    links = [held["demographics"][0].link_id for held in people]
    name = store.contributor if store else str
    return [{**row, "person": name(links[int(row["person"] or 0)])} for row in rows]


def publish(pool: SandboxPool, store: ReleaseStore, run_id: str, people: Any) -> Stored | Withheld:
    manifest = blood_pressure("op")
    rows = compute(pool, manifest, people, store)
    run = Run(run_id, "product-a", "1982", f"grants of {len(people)}", measured_fields(manifest))
    return store.propose(run, lambda earlier: release(rows, manifest["output"], earlier))


def men(number: int) -> Any:
    return [person(one, sbp=120 + one) for one in range(number)]


def test_the_table_holds_declared_groups_rounded_counts_and_rounded_values(pool: SandboxPool) -> None:
    people = men(23)
    outcome = release(compute(pool, blood_pressure("op"), people), blood_pressure("op")["output"], [])
    assert isinstance(outcome, Released)
    shown = [cell for cell in outcome.table["cells"] if not cell["suppressed"]]
    assert shown == [
        {
            "sex": "male",
            "age_band": 50,
            "suppressed": False,
            "n": 25,
            "mean_sbp": 130,
            "share_high": 150,
            "steps": {"mean_sbp": 10, "share_high": 50},
        }
    ]
    assert len(outcome.table["cells"]) == 12
    text = json.dumps(outcome.table)
    assert not any(held["vitals"][0].link_id in text or held["vitals"][0].record_id in text for held in people)


def test_nine_people_give_no_table(pool: SandboxPool) -> None:
    manifest = blood_pressure("op")
    assert release(compute(pool, manifest, men(9)), manifest["output"], []) == Withheld(("all_cells_suppressed",))


def test_a_repeat_that_differs_by_one_person_is_withheld(pool: SandboxPool, store: ReleaseStore) -> None:
    first = publish(pool, store, "run-1", men(20))
    assert isinstance(first, Stored)
    store.commit("run-1")
    for number in (19, 21, 29):
        assert publish(pool, store, f"run-{number}", men(number)) == Withheld(("release_differs_by_too_few",))
    assert publish(pool, store, "run-again", men(20)) == Stored("run-1", first.table, committed=True)
    assert isinstance(publish(pool, store, "run-30", men(30)), Stored)


def test_several_records_of_one_person_count_once(pool: SandboxPool) -> None:
    people = men(9)
    people[0]["vitals"] += [FakeRecord({"measured_year": 1982, "sbp": 150}, link_id="link-0") for _ in range(20)]
    manifest = blood_pressure("op")
    assert release(compute(pool, manifest, people), manifest["output"], []) == Withheld(("all_cells_suppressed",))


@pytest.mark.parametrize(
    "vitals", [{"sbp": None}, {}, {"sbp": "high"}, {"sbp": 1.5}, {"sbp": True}, {"sbp": 10**30}], ids=str
)
def test_missing_and_broken_values_drop_the_person_and_stop_nobody(pool: SandboxPool, vitals: Any) -> None:
    manifest = blood_pressure("op")
    whole, more = men(12), [person(number, **vitals) for number in range(100, 105)]
    tables = [release(compute(pool, manifest, people), manifest["output"], []) for people in (whole, whole + more)]
    assert tables[0] == tables[1]
    assert isinstance(tables[0], Released)


def test_weight_change_needs_both_weights_and_smoking(pool: SandboxPool) -> None:
    people = [weighed(number, [70_000, 72_000]) for number in range(12)]
    people += [weighed(number, [70_000]) for number in range(12, 30)]
    outcome = release(compute(pool, weight_change("op"), people), weight_change("op")["output"], [])
    assert isinstance(outcome, Released)
    shown = [cell for cell in outcome.table["cells"] if not cell["suppressed"]]
    assert [(cell["smoking_group"], cell["age_band"], cell["n"]) for cell in shown] == [("quit", 40, 10)]


def weighed(number: int, weights: list[int]) -> Any:
    held = person(number)
    years = zip((1971, 1982), weights, strict=False)
    held["vitals"] = [FakeRecord({"measured_year": year, "weight": weight}) for year, weight in years]
    return {**held, "smoking": [FakeRecord({"quit": True, "observed_year": 1982})]}


def test_an_individual_answer_carries_no_amount() -> None:
    amounts = [734_561 + number for number in range(12)]
    months = [f"2025-{number:02d}" for number in (11, 12)] + [f"2026-{number:02d}" for number in range(1, 11)]
    wages = [
        FakeRecord({"month": month, "net_amount": amount, "employer": "Example Ltd"}, source_id="tax")
        for month, amount in zip(months, amounts, strict=True)
    ]
    text = json.dumps(answer(income_check("bank"), {"wages": wages}, "2026-11-22").payload())
    assert '"yes"' in text
    assert not any(str(secret) in text for secret in (*amounts, sum(amounts), "Example", wages[0].record_id))


def test_an_expression_cannot_return_a_field() -> None:
    manifest = income_check("bank")
    curious = {**manifest, "computation": {**manifest["computation"], "text": "string(wages[0].net_amount)"}}
    wages = [FakeRecord({"month": "2026-10", "net_amount": 5})]
    assert answer(curious, {"wages": wages}, "2026-11-22").answer == "unknown"


def test_the_research_sample(pool: SandboxPool) -> None:
    """All 1,629 people: plausible figures, small cells suppressed, no cell below ten."""
    manifest = weight_change("op")
    rows = compute(pool, manifest, sample())
    assert len(rows) == 1629
    outcome = release(rows, manifest["output"], [])
    assert isinstance(outcome, Released)
    assert all(len(contributors) >= 10 for contributors in outcome.contributors.values())
    assert len(outcome.suppressed) == 4
    young = [cell for cell in outcome.table["cells"] if cell["age_band"] == 30 and cell["sex"] == "male"]
    assert young[0]["mean_change"] > young[1]["mean_change"] > 0


def sample() -> Any:
    if not os.environ.get("REQUIRE_ALL"):
        pytest.importorskip("causaldata", exc_type=ImportError)
        pytest.importorskip("pandas", exc_type=ImportError)
    from importlib.util import find_spec

    import pandas

    spec = find_spec("causaldata")
    assert spec is not None
    assert spec.origin is not None
    frame = pandas.read_stata(Path(spec.origin).parent / "nhefs" / "nhefs.dta")
    return [sampled(number, row) for number, row in enumerate(frame.to_dict("records"))]


def sampled(number: int, row: Any) -> Any:
    held = person(number, "female" if int(row["sex"]) else "male", int(row["age"]))
    weights = [round(1000 * row[name]) for name in ("wt71", "wt82") if row[name] == row[name]]
    quit_smoking = FakeRecord({"quit": bool(row["qsmk"]), "observed_year": 1982})
    return {**held, "vitals": weighed(number, weights)["vitals"], "smoking": [quit_smoking]}
