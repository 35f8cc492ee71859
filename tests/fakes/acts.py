"""What residents and operators do in a district in this process, step by step, for tests that stop halfway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dataspace_sdk import Ask

from consent import store as consent
from dataspace.flows import grant as grant_flow
from demo import district
from demo.city import until
from demo.operators import BANK
from demo.people import Person
from tests.conftest import World


def applicants(world: World) -> list[Person]:
    """Residents with wages."""
    assert world.city.district is not None
    names = [one.label for one in district.s1_applicants(world.city.district)]
    people = [next(person for person in world.city.residents if person.label == name) for name in names]
    return [person for person in people if any(r.collection == "wages" for r in person.client.records()[0])]


def asked(world: World, person: Person, operator: str = BANK) -> Ask:
    """The operator asks the person by a fresh handle with its product S1."""
    handle = person.client.new_handle(operator)
    return world.spaces[operator].ask(world.outcome.listed["S1" if operator == BANK else operator], handle=handle)


def written(person: Person, path: str, act: Callable[[], object]) -> dict[str, Any]:
    """The body that the person's client would send to ``path``; it is not sent."""
    bodies: list[dict[str, Any]] = []
    client, real = person.client, person.client._call

    def keep(method: str, where: str, body: Any = None) -> dict[str, Any]:
        if where != path:
            return real(method, where, body)
        bodies.append(body)
        return {"grant_digest": "", "receipt": "", "state": ""}

    client._call = keep  # type: ignore[method-assign,assignment]
    try:
        act()
    finally:
        client._call = real  # type: ignore[method-assign]
    return bodies[0]


def written_grant(person: Person, request_digest: str) -> dict[str, Any]:
    now = int(person.client.clock())
    question = next(q for q in person.verified_asks(now) if q.request.digest == request_digest)
    return written(person, "/v1/me/grants", lambda: person.grant(question, now, answer_shown=True))


def states(world: World, request_digest: str) -> list[str]:
    with world.programs.space.database.read() as session:
        return [grant.state for grant in consent.grants_of_request(session, request_digest)]


def kinds_of(world: World, person: Person) -> list[str]:
    """Kinds of all own log entries up to now, verified as the phone does."""
    world.programs.space.sequencer.sequence()
    world.programs.space.cosigner.cosign_now()
    person.client.check_log()
    return [str(entry.body["kind"]) for entry in person.client.seen.entries]


def given(world: World, person: Person, operator: str = BANK) -> Ask:
    """Asked and granted; active once this returns."""
    ask = asked(world, person, operator)
    body = written_grant(person, ask.request_digest)
    space, subject = world.programs.space, person.client.subject
    digest = grant_flow.submit_grant(space, subject, body["grant"], body["sealed"], world.clock())
    person.grants[ask.product_digest] = digest
    until(lambda: states(world, ask.request_digest) == ["active"], 20)
    return ask
