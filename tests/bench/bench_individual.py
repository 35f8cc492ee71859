"""One individual answer over the real programs on this machine: from the operator's call to the verified answer."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from dataspace_sdk import Answered

from dataspace.kernel.http import call
from dataspace.settings import Settings
from demo import products
from demo.attacks import is_active
from demo.city import City, until
from demo.flow import Narrator, Outcome, settle_city
from demo.operators import connect, publish
from demo.people import Person
from demo.programs import Programs

BANKS = 4


def run() -> list[str]:
    """Times in milliseconds (target: p95 below 300), and peak memory of the programs in MB."""
    with tempfile.TemporaryDirectory() as folder, Programs(Settings(home=Path(folder))) as programs:
        city = settle_city(Narrator(Outcome(), lambda _: None), programs, study=0)
        earning = {one.label for one in city.district.residents if one.wages} if city.district else set()
        people = [person for person in city.residents if person.label in earning]
        times = sorted(ms for number in range(BANKS) for ms in _bank(city, f"bench-bank-{number}", people))
        baseline = _bare_call(city)
        memory = ", ".join(f"{name} {programs.peak_memory_mb(name)}" for name in ("service", "broker", "node"))
    p95 = times[int(len(times) * 0.95) - 1]
    return [
        f"{len(times)} answers: median {statistics.median(times):.0f} ms, p95 {p95:.0f} ms",
        f"a bare call of the service: {baseline:.1f} ms; p95 is {p95 / baseline:.0f} times that",
        f"peak memory in MB: {memory}",
    ]


def _bank(city: City, operator_id: str, people: list[Person]) -> list[float]:
    key = city.operator_key(operator_id)
    licence = city.registrar.licence(operator_id, ("示范银行", "Bank"), key.public, [products.CREDIT], ["wages"])
    call(city.service, "POST", "/v1/register", {"objects": [licence]})
    space = connect(city, operator_id)
    product = publish(city, space, products.income_check(operator_id))
    times = []
    for person in people:
        ask = space.ask(product, handle=person.client.new_handle(operator_id))
        now = city.clock()
        question = next(a for a in person.verified_asks(now) if a.request.digest == ask.request_digest)
        digest = person.grant(question, now)
        until(lambda p=person, d=digest: is_active(p, d))  # type: ignore[misc]
        begun = time.perf_counter()
        answered = space.answer(ask)
        times.append((time.perf_counter() - begun) * 1000)
        if not isinstance(answered, Answered):
            raise RuntimeError(f"no answer: {answered}")
    return times


def _bare_call(city: City) -> float:
    begun = time.perf_counter()
    for _ in range(50):
        call(city.service, "GET", "/v1/health")
    return (time.perf_counter() - begun) * 1000 / 50
