"""The demo's data: the facts of NHEFS, the files of the authorities, the district, and what S1 must answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from connectors.sources.csv_records import SourceRecord, check, read_records
from dataspace.standard import collection, validate
from demo import district, mappings, nhefs
from demo.csvfiles import read_persons

AS_OF = date(2026, 3, 15)


@pytest.fixture(scope="module")
def people() -> list[nhefs.Participant]:
    return list(nhefs.participants())


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nhefs")
    nhefs.write_csvs(folder)
    return folder


@pytest.fixture(scope="module")
def residents() -> district.District:
    return district.generate(AS_OF)


def _by_label(folder: Path, place: str, mapping: Any) -> dict[str, list[dict[str, Any]]]:
    """Records of one file by label, read as a source reads them."""
    labels = {number: label for label, number in read_persons((folder / place).parent).items()}
    assert check(folder / place, mapping) == []
    found: dict[str, list[dict[str, Any]]] = {}
    record: SourceRecord
    for record in read_records(folder / place, mapping):
        found.setdefault(labels[record.person], []).append(record.data)
    return found


def _seen(one: nhefs.Participant) -> dict[str, Any]:
    return next((record for record in one.records["vitals"] if record["measured_year"] == 1982), {})


def test_nhefs_has_its_people_in_stable_order(people: list[nhefs.Participant]) -> None:
    assert len(people) == nhefs.PARTICIPANTS == 1629
    assert [one.label for one in people[:2]] == ["研究参与者 0001", "研究参与者 0002"]
    assert people[-1].label == "研究参与者 1629"
    assert people[0].records == {
        "demographics": ({"sex": "male", "age": 42, "observed_year": 1971},),
        "vitals": (
            {"measured_year": 1971, "weight": 79040},
            {"measured_year": 1982, "sbp": 175, "dbp": 96, "weight": 68946},
        ),
        "smoking": ({"quit": False, "observed_year": 1982},),
    }


def test_nhefs_facts(people: list[nhefs.Participant]) -> None:
    first = [one.records["demographics"][0] for one in people]
    # 726 of the women, and no man, answered the question on pregnancies: the labels, not the codes, tell the sex.
    assert Counter(one["sex"] for one in first) == {"male": 799, "female": 830}
    assert (min(one["age"] for one in first), max(one["age"] for one in first)) == (25, 74)
    assert sum(one.records["smoking"][0]["quit"] for one in people) == 428
    assert all(one.records["vitals"][0]["measured_year"] == 1971 for one in people)
    assert sum("sbp" not in _seen(one) for one in people) == 77
    assert sum("dbp" not in _seen(one) for one in people) == 81
    assert sum("weight" not in _seen(one) for one in people) == 63
    assert sum("sbp" in _seen(one) and _seen(one)["sbp"] >= 140 for one in people) == 390


def test_men_of_the_study_are_the_heavier_ones(people: list[nhefs.Participant]) -> None:
    weights: dict[str, list[int]] = {"male": [], "female": []}
    for one in people:
        weights[one.records["demographics"][0]["sex"]].append(one.records["vitals"][0]["weight"])
    assert sum(weights["male"]) / 799 > 77_000 > 65_000 > sum(weights["female"]) / 830


def test_nhefs_records_follow_the_schemas(people: list[nhefs.Participant]) -> None:
    for one in people:
        for name, records in one.records.items():
            for record in records:
                validate(name, record)


def test_kilograms_round_half_to_even() -> None:
    assert [nhefs._gram(one) for one in (68.9465, 68.9475, 68.94604024, 79.04)] == [68946, 68948, 68946, 79040]
    assert nhefs._gram(float("nan")) is None


def test_the_authorities_files_give_the_records_back(people: list[nhefs.Participant], study_folder: Path) -> None:
    for place, mapping in mappings.STUDY.items():
        found = _by_label(study_folder, place, mapping)
        assert found == {one.label: list(one.records[mapping.collection]) for one in people}, place


def test_person_numbers_differ_between_authorities_and_hide_the_order(study_folder: Path) -> None:
    health, civil = read_persons(study_folder / "health"), read_persons(study_folder / "civil_affairs")
    assert set(health) == set(civil)
    assert len(set(health.values())) == len(set(civil.values())) == 1629
    assert not {one[1:] for one in health.values()} & {one[1:] for one in civil.values()}
    for numbers in (health, civil):
        assert sorted(numbers.values()) == list(numbers.values())
        assert sorted(numbers) != list(numbers)


def test_files_are_the_same_every_time(study_folder: Path, tmp_path: Path) -> None:
    nhefs.write_csvs(tmp_path)
    for place in [*mappings.STUDY, "health/persons.csv", "civil_affairs/persons.csv"]:
        assert (tmp_path / place).read_bytes() == (study_folder / place).read_bytes()


def test_reference_rows_a_agree_with_the_records(people: list[nhefs.Participant], study_folder: Path) -> None:
    expected = [
        {
            "label": one.label,
            "sex": one.records["demographics"][0]["sex"],
            "age_band": (one.records["demographics"][0]["age"] + 11) // 10 * 10,
            "sbp": _seen(one)["sbp"],
            "high": _seen(one)["sbp"] >= 140,
        }
        for one in people
        if "sbp" in _seen(one)
    ]
    rows = nhefs.reference_rows_a(study_folder)
    assert len(rows) == 1552
    assert rows == expected
    assert {type(value) for value in rows[0].values()} == {str, int, bool}


def test_reference_rows_b_agree_with_the_records(people: list[nhefs.Participant], study_folder: Path) -> None:
    expected = [
        {
            "label": one.label,
            "quit": one.records["smoking"][0]["quit"],
            "sex": one.records["demographics"][0]["sex"],
            "age_band": one.records["demographics"][0]["age"] // 10 * 10,
            "weight_change": _seen(one)["weight"] - one.records["vitals"][0]["weight"],
        }
        for one in people
        if "weight" in _seen(one)
    ]
    rows = nhefs.reference_rows_b(study_folder)
    assert len(rows) == 1566
    assert rows == expected
    # Hernán and Robins, What If, section 12.2: quitters gained 4.5 kg on average, the others 2.0 kg.
    for quit_smoking, kilograms in ((True, 4.5), (False, 2.0)):
        changes = [row["weight_change"] for row in rows if row["quit"] is quit_smoking]
        assert round(sum(changes) / len(changes) / 1000, 1) == kilograms


def test_the_district_has_households_with_guardians(residents: district.District) -> None:
    assert len(residents.residents) == len({one.name for one in residents.residents}) == 30
    assert len(residents.households()) == 10
    children = [one for one in residents.residents if not one.is_adult]
    assert len(children) == 10
    for child in children:
        assert AS_OF.year - child.birth_year < 14
        assert not child.wages
        assert not child.social_insurance
        for key in child.guardians:
            guardian = residents.resident(key)
            assert guardian.household == child.household
            assert guardian.is_adult
            assert guardian.birth_year < child.birth_year
    assert {one.mark for one in residents.residents} == {"演示数据"}


def test_the_district_is_the_same_for_the_same_day_and_seed(residents: district.District) -> None:
    assert district.generate(AS_OF) == residents
    assert [one.wages for one in district.generate(AS_OF).residents] == [one.wages for one in residents.residents]
    assert district.generate(AS_OF, seed=1).residents != residents.residents


def test_months_lie_before_the_day_and_have_gaps(residents: district.District) -> None:
    months = district.months_before(AS_OF, 14)
    assert (months[0], months[-1], len(months)) == ("2025-01", "2026-02", 14)
    assert district.months_before(date(2026, 1, 31), 2) == ("2025-11", "2025-12")
    working = [one for one in residents.residents if one.is_adult and AS_OF.year - one.birth_year < 60]
    for one in working:
        assert set(one.wages) <= set(months)
        assert set(one.social_insurance) <= set(months)
    assert 0 < sum(14 - len(one.wages) for one in working) < 30
    assert 0 < sum(14 - len(one.social_insurance) for one in working) < 30


def test_s1_has_every_answer(residents: district.District) -> None:
    applicants = district.s1_applicants(residents)
    assert len({one.key for one in applicants}) == 10
    assert all(one.is_adult for one in applicants)
    answers = [district.expected_s1(one, AS_OF) for one in applicants]
    assert answers == ["yes"] * 5 + ["no"] * 3 + ["unknown"] * 2


@pytest.mark.parametrize("day", [date(2024, 1, 1), date(2026, 12, 31), date(2027, 7, 9)])
def test_s1_answers_do_not_depend_on_the_day(day: date) -> None:
    applicants = district.s1_applicants(district.generate(day))
    answers = Counter(district.expected_s1(one, day) for one in applicants)
    assert answers == {"yes": 5, "no": 3, "unknown": 2}


def test_unknown_really_follows_from_the_missing_months(residents: district.District) -> None:
    """Some value of the missing months gives yes and another gives no; for the others no value changes the answer."""
    window = district.months_before(AS_OF, 12)
    for one in district.s1_applicants(residents):
        endings = set()
        for fen in (0, 100, 600_000, 10_000_000):
            filled = {month: one.wages.get(month, fen) for month in window}
            endings.add(district.expected_s1(replace(one, wages=filled), AS_OF))
        answer = district.expected_s1(one, AS_OF)
        assert endings == ({"yes", "no"} if answer == "unknown" else {answer})


def test_s1_boundaries() -> None:
    someone = district.generate(AS_OF).residents[0]
    window = district.months_before(AS_OF, 12)

    def answer(amounts: list[int]) -> str:
        wages = dict(zip(window, amounts, strict=True))
        return district.expected_s1(replace(someone, wages={**wages, "2025-01": 10**9, "2025-02": 10**9}), AS_OF)

    assert answer([600_000] * 12) == "yes"
    assert answer([600_000] * 11 + [599_999]) == "no"
    assert answer([800_000] * 9 + [0] * 3) == "yes"
    assert answer([900_000] * 8 + [0] * 4) == "no"
    assert district.expected_s1(replace(someone, wages={}), AS_OF) == "unknown"


def test_the_districts_files_give_the_records_back(residents: district.District, tmp_path: Path) -> None:
    district.write_csvs(residents, tmp_path)
    found = {place: _by_label(tmp_path, place, one) for place, one in mappings.DISTRICT.items()}
    for one in residents.residents:
        wages = [{"month": month, "net_amount": fen} for month, fen in one.wages.items()]
        months = [{"month": month, "paid": paid} for month, paid in one.social_insurance.items()]
        home = {"district_code": "990101", "lease_registered": one.lease_registered}
        assert found["tax/wages.csv"].get(one.label, []) == wages
        assert found["social_insurance/months.csv"].get(one.label, []) == months
        assert found["civil_affairs/residence.csv"][one.label] == [home]
    assert (tmp_path / "tax/wages.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_the_districts_authorities_know_whom_they_should(residents: district.District, tmp_path: Path) -> None:
    district.write_csvs(residents, tmp_path)
    everybody = {one.label for one in residents.residents}
    adults = {one.label for one in residents.residents if one.is_adult}
    lists = {name: read_persons(tmp_path / name) for name in ("tax", "social_insurance", "civil_affairs")}
    assert {name: set(one) for name, one in lists.items()} == {
        "tax": adults,
        "social_insurance": adults,
        "civil_affairs": everybody,
    }
    numbers = [number[1:] for one in lists.values() for number in one.values()]
    assert len(set(numbers)) == len(numbers)
    assert all(len(number) == 10 for number in numbers)  # an ID number has 18


def test_every_mapping_names_a_collection() -> None:
    for mapping in [*mappings.STUDY.values(), *mappings.DISTRICT.values()]:
        assert collection(mapping.collection).fields
