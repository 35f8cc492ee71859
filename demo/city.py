"""The demonstration district as a whole: registrar, programs, authorities, residents. Set up once, used by the flow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import httpx

from dataspace import home
from dataspace.home import PublicKeys
from dataspace.kernel.clock import Clock, system_clock
from dataspace.kernel.files import secret
from dataspace.kernel.http import call
from dataspace.kernel.jws import SigningKey
from dataspace.settings import Settings
from demo import authority, district, nhefs
from demo.csvfiles import read_persons
from demo.people import Person, create
from demo.programs import Programs
from demo.registrar import Registrar
from vault.client import ClientPins

NHEFS_COLLECTIONS = ["demographics", "smoking", "vitals"]
DISTRICT_COLLECTIONS = ["residence", "social_insurance", "wages"]
THREADS = 10
T = TypeVar("T")
R = TypeVar("R")


@dataclass
class City:
    """Handles to everything that runs. ``study`` are the research participants, ``residents`` the invented people."""

    settings: Settings
    programs: Programs
    registrar: Registrar
    keys: PublicKeys
    pins: ClientPins
    service: httpx.Client
    authorities: dict[str, httpx.Client] = field(default_factory=dict)
    study: list[Person] = field(default_factory=list)
    residents: list[Person] = field(default_factory=list)
    district: district.District | None = None
    clock: Clock = system_clock

    @property
    def data(self) -> Path:
        return self.settings.home / "authorities"

    def operator_key(self, operator_id: str) -> SigningKey:
        return SigningKey(secret(self.settings.home / "operators" / f"{operator_id}.key"))


def civil_date(now: int) -> str:
    """The civil date in China, "YYYY-MM-DD"."""
    return (datetime.fromtimestamp(now, UTC) + timedelta(hours=8)).date().isoformat()


def found(settings: Settings, programs: Programs, clock: Clock = system_clock) -> City:
    """Keys, pins, and the programs beside the service."""
    keys = home.initialise(settings)
    registrar = Registrar(settings.home / "registrar", clock())
    home.pin(settings, registrar.public, [registrar.anchor("node-1", keys.raw("node"))])
    pins = ClientPins(
        audience=settings.audience,
        registrar=registrar.public,
        broker=keys.raw("broker"),
        log_origin=settings.log_origin,
        log_key=keys.raw("log"),
        witnesses={settings.witness_name: keys.raw("witness")},
        witness_quorum=settings.witness_quorum,
    )
    programs.start_all({name: ["dataspace.cli", name] for name in ("witness", "broker", "node")})
    return City(settings, programs, registrar, keys, pins, programs.client("service"), clock=clock)


def open_authorities(city: City) -> None:
    """Write the authorities' files, start their programs, enter them into the register."""
    files = city.data / "files"
    nhefs.write_csvs(files / "study")
    city.district = district.generate(date.fromisoformat(civil_date(city.clock())))
    district.write_csvs(city.district, files / "district")
    rest = [str(city.settings.sockets), city.settings.audience, str(files / "study"), str(files / "district")]
    city.programs.start_all(
        {name: ["demo.authority", name, str(city.data / name), *rest] for name in authority.AUTHORITIES}
    )
    register = []
    for name, (zh, en, collections) in authority.AUTHORITIES.items():
        place = city.data / name
        city.authorities[name] = city.programs.client(name)
        register.append(city.registrar.source(name, (zh, en), authority.source_key(place).public, collections))
    call(city.service, "POST", "/v1/register", {"objects": register})


def move_in(city: City, study: int = nhefs.PARTICIPANTS) -> None:
    """Everybody makes keys, opens a data space and links the authorities that know them."""
    files = city.data / "files"
    people = _people(city, files / "study", "nhefs", NHEFS_COLLECTIONS, ["health", "civil_affairs"])[:study]
    names = ["tax", "social_insurance", "civil_affairs"]
    invented = _people(city, files / "district", "demo-district", DISTRICT_COLLECTIONS, names)

    def arrive(person: Person) -> None:
        person.open_space()
        person.link(city.authorities)

    each(people + invented, arrive)
    city.study, city.residents = people, invented


def _people(city: City, files: Path, space: str, collections: list[str], authorities: list[str]) -> list[Person]:
    """One person with a client for each label in any of the authorities' lists."""
    numbers: dict[str, dict[str, str]] = {}
    for name in authorities:
        for label, number in read_persons(files / name).items():
            numbers.setdefault(label, {})[name] = number
    return [
        create(label, space, collections, numbers[label], city.service, city.pins, city.clock)
        for label in sorted(numbers)
    ]


def deliver(city: City) -> dict[str, int]:
    """Every authority sends what it has; records accepted by each."""
    accepted = {}
    for name, client in city.authorities.items():
        answer = call(client, "POST", "/v1/deliver", {})
        if answer["problems"] or answer["refused"]:
            raise RuntimeError(f"{name}: {answer['problems'][:3]} {answer['refused']}")
        accepted[name] = int(answer["accepted"])
    return accepted


def each(people: Iterable[T], act: Callable[[T], R]) -> list[R]:
    """``act`` for everybody, a few at a time; results in order."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(act, people))


def until(what: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until ``what`` holds."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError("the district did not come to rest in time")
        time.sleep(0.1)
