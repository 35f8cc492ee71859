"""The demonstration district: 30 invented residents in 10 households, from one seed. Everything is 演示数据.

No ID numbers, no real institution, no street; district code 990101 is assigned to nobody. Wages and social insurance
of adults below 60 cover the 14 complete months before ``as_of``; a month that the authority does not know is absent,
a month without income is there with 0. Ten adults have histories made by hand, so that scenario S1 ends in yes, no
and unknown.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

from faker import Faker

from demo import mappings
from demo.csvfiles import person_numbers, write_persons, write_rows

MARK = "演示数据"
SEED = 2026
MONTHS = 14
DISTRICT_CODE = "990101"

S1_MONTHS = 12
S1_LEAST_MONTHS = 9
S1_LEAST_MEAN = 600_000
"""Fen a month."""

Answer = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class Resident:
    """One invented person with what the authorities know about them."""

    key: str
    """``resident-01`` and up; inside the demo only."""
    name: str
    household: int
    birth_year: int
    guardians: tuple[str, ...]
    """Keys of the guardians; empty for adults."""
    lease_registered: bool
    wages: dict[str, int] = field(hash=False)
    """Month to fen. An absent month is not known; 0 is a known month without income."""
    social_insurance: dict[str, bool] = field(hash=False)
    mark: str = MARK

    @property
    def is_adult(self) -> bool:
        return not self.guardians

    @property
    def label(self) -> str:
        """What the authorities' lists of persons show."""
        return self.name


@dataclass(frozen=True)
class District:
    """All residents, made for one day."""

    as_of: date
    residents: tuple[Resident, ...]

    def resident(self, key: str) -> Resident:
        return next(one for one in self.residents if one.key == key)

    def households(self) -> dict[int, tuple[Resident, ...]]:
        numbers = sorted({one.household for one in self.residents})
        return {number: tuple(one for one in self.residents if one.household == number) for number in numbers}


@dataclass(frozen=True)
class _Member:
    """A person before the months are filled in."""

    household: int
    surname: str
    birth_year: int
    guardians: tuple[str, ...]


_HOUSEHOLDS = (
    ("adult", "adult", "child"),
    ("adult", "adult", "child"),
    ("adult", "adult", "child"),
    ("adult", "adult", "child"),
    ("adult", "adult", "child"),
    ("adult", "adult", "child"),
    ("adult", "adult", "child", "child"),
    ("adult", "child"),
    ("elder", "elder"),
    ("elder", "adult", "adult", "child"),
)
_AGES = {"child": (3, 13), "adult": (27, 45), "elder": (62, 78)}

_S1_HISTORIES: tuple[tuple[int | None, ...], ...] = (
    # Yuan a month, oldest first; None: the authority does not know the month. The first two stand outside the window.
    (7200, 7200, 7200, 7200, 7300, 7300, 7300, 7300, 7400, 7400, 7400, 7500, 7500, 7500),  # yes
    (0, 0, 0, 8000, 8000, 8000, 8000, 0, 8000, 8000, 8000, 0, 8000, 8000),  # yes: exactly 9 months, exactly 72,000
    (9000, 9000, 9100, 8800, 9300, None, 9000, 9200, 8900, 9400, 9100, 9000, 9300, 9100),  # yes despite a gap
    (None, 5200, 6100, 6900, 5800, 6400, 7700, 5900, 6300, 6800, 6000, 6200, 7100, 6500),  # yes, varying
    (12000, 0, 11000, 13500, 0, 9800, 12400, 10100, 8700, 0, 11900, 12600, 9900, 13000),  # yes, by orders
    (30000, 30000, 6000, 6000, 6000, 6000, 6000, 6000, 6000, 6000, 6000, 6000, 6000, 5999),  # no: one yuan short
    (9000, 9000, 0, 0, 14000, 0, 15000, 0, 13000, 14000, 0, 12000, 0, 16000),  # no: six months only
    (8000, 8000, 0, 0, 0, 9000, None, 0, 0, 9000, 9000, 0, 0, 9000),  # no even if the gap were income: five months
    (7000, 7000, 8200, None, 8300, None, 8100, None, 8400, None, 8200, None, 8300, 8100),  # unknown: 7 known, 5 gaps
    (6800, None, 0, 9000, 9000, None, None, 0, 9100, 9200, None, None, 9000, 9100),  # unknown: 6 known, 4 gaps
)


def generate(as_of: date, seed: int = SEED) -> District:
    """The district of this day; the same day and seed give the same people and amounts."""
    draw = random.Random(f"{seed}/district")
    members = list(_members(as_of, draw))
    names = _names([one.surname for one in members], seed)
    months = months_before(as_of, MONTHS)
    applicants = [number for number, one in enumerate(members) if _works(one, as_of)][: len(_S1_HISTORIES)]
    leases = [draw.random() < 0.5 for _ in _HOUSEHOLDS]
    residents = []
    for number, (member, name) in enumerate(zip(members, names, strict=True)):
        history = _S1_HISTORIES[applicants.index(number)] if number in applicants else _history(member, as_of, draw)
        wages = {month: yuan * 100 for month, yuan in zip(months, history, strict=True) if yuan is not None}
        residents.append(
            Resident(
                key=_key(number),
                name=name,
                household=member.household,
                birth_year=member.birth_year,
                guardians=member.guardians,
                lease_registered=leases[member.household - 1],
                wages=wages,
                social_insurance=_insurance(months, draw) if _works(member, as_of) else {},
            )
        )
    return District(as_of, tuple(residents))


def s1_applicants(district: District) -> tuple[Resident, ...]:
    """The ten adults who ask the demonstration bank: five yes, three no, two unknown."""
    able = [one for one in district.residents if one.is_adult and _working_age(one.birth_year, district.as_of)]
    return tuple(able[: len(_S1_HISTORIES)])


def expected_s1(person: Resident, as_of: date) -> Answer:
    """Income in at least 9 of the 12 complete months before ``as_of`` and 6,000 yuan a month on average over the 12.

    Worked out by trying both ends of what the unknown months may hold (nothing, or any amount), and not by the
    product's expression: where the ends disagree, nobody can tell.
    """
    window = months_before(as_of, S1_MONTHS)
    boundless = S1_LEAST_MEAN * S1_MONTHS
    least = _qualifies([person.wages.get(month, 0) for month in window])
    most = _qualifies([person.wages.get(month, boundless) for month in window])
    if least == most:
        return "yes" if least else "no"
    return "unknown"


def months_before(as_of: date, count: int) -> tuple[str, ...]:
    """The ``count`` complete months before the month of ``as_of``, oldest first, as ``YYYY-MM``."""
    this = as_of.year * 12 + as_of.month - 1
    return tuple(f"{month // 12:04d}-{month % 12 + 1:02d}" for month in range(this - count, this))


def write_csvs(district: District, folder: Path, seed: int = SEED) -> None:
    """``tax/``, ``social_insurance/`` and ``civil_affairs/``: one file of data and ``persons.csv`` each, own numbers.

    Civil affairs know everybody, the other two adults only. The tax file begins with a byte order mark, as
    spreadsheets write it.
    """
    everybody = district.residents
    adults = [one for one in everybody if one.is_adult]
    tax = _numbers(folder, "tax", "T", adults, seed)
    insurance = _numbers(folder, "social_insurance", "S", adults, seed)
    civil = _numbers(folder, "civil_affairs", "R", everybody, seed)
    wages = [(tax[one.key], m, f"{fen // 100}.{fen % 100:02d}") for one in adults for m, fen in one.wages.items()]
    paid = [(insurance[one.key], m, _yes(done)) for one in adults for m, done in one.social_insurance.items()]
    residence = [(civil[one.key], DISTRICT_CODE, _yes(one.lease_registered)) for one in everybody]
    _write(folder, "tax/wages.csv", wages, encoding="utf-8-sig")
    _write(folder, "social_insurance/months.csv", paid)
    _write(folder, "civil_affairs/residence.csv", residence)


def _members(as_of: date, draw: random.Random) -> Iterator[_Member]:
    """Children carry the first adult's surname and have every adult below 60 of the household as guardian."""
    surnames = Faker("zh_CN")
    surnames.seed_instance(draw.randrange(2**32))
    number = 0
    for household, roles in enumerate(_HOUSEHOLDS, start=1):
        family = surnames.last_name()
        adults = tuple(_key(number + place) for place, role in enumerate(roles) if role == "adult")
        for place, role in enumerate(roles):
            surname = family if place == 0 or role == "child" else surnames.last_name()
            birth_year = as_of.year - draw.randint(*_AGES[role])
            yield _Member(household, surname, birth_year, adults if role == "child" else ())
        number += len(roles)


def _names(surnames: Sequence[str], seed: int) -> list[str]:
    """Full names, all different, so that an authority's list finds each person by name."""
    faker = Faker("zh_CN")
    faker.seed_instance(seed)
    names: list[str] = []
    for surname in surnames:
        name = surname + faker.first_name()
        while name in names:
            name = surname + faker.first_name()
        names.append(name)
    return names


def _key(number: int) -> str:
    return f"resident-{number + 1:02d}"


def _works(member: _Member, as_of: date) -> bool:
    return not member.guardians and _working_age(member.birth_year, as_of)


def _working_age(birth_year: int, as_of: date) -> bool:
    return as_of.year - birth_year < 60


def _history(member: _Member, as_of: date, draw: random.Random) -> list[int | None]:
    """Somebody else's months: working adults around a usual wage, one month in 30 unknown; others nothing."""
    if not _works(member, as_of):
        return [None] * MONTHS
    usual = draw.randrange(4000, 12000, 100)
    return [None if draw.random() < 1 / 30 else usual + draw.randrange(-500, 501, 10) for _ in range(MONTHS)]


def _insurance(months: Sequence[str], draw: random.Random) -> dict[str, bool]:
    """Mostly paid; one month in 30 is unknown."""
    return {month: draw.random() < 0.9 for month in months if draw.random() >= 1 / 30}


def _qualifies(amounts: Sequence[int]) -> bool:
    with_income = sum(1 for amount in amounts if amount > 0)
    return with_income >= S1_LEAST_MONTHS and sum(amounts) >= S1_LEAST_MEAN * S1_MONTHS


def _numbers(folder: Path, authority: str, prefix: str, people: Sequence[Resident], seed: int) -> dict[str, str]:
    """Number by key; the authority's own list shows names."""
    by_label = person_numbers(f"district {authority}", prefix, [one.label for one in people], seed)
    write_persons(folder / authority, by_label, MARK)
    return {one.key: by_label[one.label] for one in people}


def _write(folder: Path, place: str, rows: Sequence[Sequence[str]], *, encoding: str = "utf-8") -> None:
    mapping = mappings.DISTRICT[place]
    header = (mapping.person_column, *(column.column for column in mapping.columns))
    write_rows(folder / place, header, rows, encoding=encoding)


def _yes(value: bool) -> str:
    return "是" if value else "否"
