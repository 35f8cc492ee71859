"""Residents register and link; the registrar's signed objects enter the register."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from sqlmodel import Session

from dataspace.audit.log import NewEntry
from dataspace.flows.errors import RequestRefusedError, TooLateError
from dataspace.flows.space import Space
from dataspace.identity import store as identity
from dataspace.identity.access import Assertion
from dataspace.identity.errors import AssertionRefusedError, UnauthenticatedError, UnknownError
from dataspace.kernel.jws import parse
from dataspace.kernel.signed import Digest, Id, Seconds, SignedContent, key_bytes
from dataspace.standard.register import Licence, Source, registered_source
from vault import store as vault
from vault.statements import KeyChain, follow

SPACES = ("demo-district", "nhefs")


class Link(SignedContent):
    """A source's word that it knows the person behind ``subject`` under the random ``link_id``."""

    typ: ClassVar[str] = "link"
    source_id: Id
    link_id: Id
    subject: Digest
    statement: Digest
    issued_at: Seconds


def register_resident(
    space: Space, assertion: str, statement: str, wraps: dict[str, Any], group: str, now: int
) -> tuple[str, str]:
    """(subject, token): a new data space, opened with the resident's own first key statement."""
    subject = parse(statement).kid
    chain = KeyChain.pin(statement, subject)
    proof = space.access.check_assertion(assertion, chain.signing_key, now)
    if proof.role != "resident" or proof.sub != subject:
        raise UnauthenticatedError("the assertion is for another key")
    if group not in SPACES:
        raise RequestRefusedError("no such space", code="unknown_space")
    with space.database.write() as session:
        resident = identity.add_resident(session, subject, group, statement, now)
        vault.put_wraps(session, resident.resident_id, json.dumps(wraps))
        fields = {"statement": chain.head}
        space.log.append(session, kind="resident.registered", at=now, fields=fields, subject=subject)
    space.sequencer.wake()
    return subject, space.access.issue("resident", subject, proof.jti, now)


def exchange(space: Space, assertion: str, now: int) -> str:
    """A five-minute token for whoever proves a registered key."""
    try:
        key = _registered_key(space, Assertion.claimed(assertion))
    except UnknownError as error:  # as for a wrong signature: nobody learns who is registered here
        raise AssertionRefusedError("the assertion does not verify") from error
    proof = space.access.check_assertion(assertion, key, now)
    return space.access.issue(proof.role, proof.sub, proof.jti, now)


def _registered_key(space: Space, claimed: Assertion) -> bytes:
    """The key registered for the claimed role and id."""
    with space.database.read() as session:
        if claimed.role == "resident":
            return chain_of(space, claimed.sub).signing_key
        if claimed.role == "operator":
            known = identity.operator(session, claimed.sub)
            if known is not None and known[1] == "active":
                return key_bytes(Licence.verify(known[0], space.registrar).key)
        else:
            source = identity.sources(session).get(claimed.sub)
            if source is not None:
                return key_bytes(Source.verify(source, space.registrar).key)
    raise UnknownError("no such key is registered")


def chain_of(space: Space, subject: str) -> KeyChain:
    """The verified key chain of a resident."""
    with space.database.read() as session:
        resident = identity.resident_of(session, subject)
        return follow(identity.statements_of(session, resident.resident_id), subject)


def add_links(space: Space, subject: str, links: Sequence[str], now: int) -> int:
    """Take links that registered sources have signed for this resident's key; answers how many there are."""
    with space.database.write() as session:
        resident = identity.resident_of(session, subject)
        registered = identity.sources(session)
        accepted: list[tuple[str, str, str]] = []
        for token in links:
            claimed = Link.claimed(token)
            if claimed.source_id not in registered:
                raise RequestRefusedError("no such source is registered", code="unknown_source")
            source = registered_source(registered[claimed.source_id], space.registrar, now).content
            link = Link.verify(token, key_bytes(source.key))
            if link.subject != subject:
                raise RequestRefusedError("the link is for another resident", code="link_mismatch")
            accepted.append((link.source_id, link.link_id, token))
        added = identity.add_links(session, resident.resident_id, accepted)
        entries = [NewEntry("link.registered", now, {"source_id": source_id}, subject) for source_id in added]
        space.log.append_many(session, entries)
    space.sequencer.wake()
    return len(accepted)


def statements_for_link(space: Space, source_id: str, link_id: str, after: int) -> list[str]:
    """Key statements numbered above ``after`` for a source that knows the link; it verifies them itself."""
    with space.database.read() as session:
        link = identity.links_by_name(session, source_id, [link_id]).get(link_id)
        if link is None:
            raise RequestRefusedError("no such link", code="unknown_link")
        return identity.statements_of(session, link.resident_id)[after:]


def enter_register(space: Space, objects: Sequence[str], now: int) -> int:
    """Licences and sources signed by the pinned registrar; anything else is refused whole.

    The same object again changes nothing, and one that has been replaced by a later one is refused.
    """
    entries: list[NewEntry] = []
    with space.database.write() as session:
        for token in objects:
            kind = parse(token).typ
            if kind == "pds-licence+jws":
                entry = _enter_licence(session, space, token, now)
            elif kind == "pds-source+jws":
                entry = _enter_source(session, space, token, now)
            else:
                raise RequestRefusedError("only licences and sources enter the register here", code="unknown_object")
            entries += [entry] if entry else []
        space.log.append_many(session, entries)
    space.sequencer.wake()
    return len(objects)


def _enter_licence(session: Session, space: Space, token: str, now: int) -> NewEntry | None:
    licence = Licence.verify(token, space.registrar)
    known = identity.operator(session, licence.operator_id)
    if known is not None and known[0] == token:
        return None
    if known is not None:
        _require_later(licence.not_before, Licence.claimed(known[0]).not_before)
    identity.put_operator(session, licence.operator_id, token)
    fields = {"operator_id": licence.operator_id, "licence_id": licence.licence_id}
    return NewEntry("operator.registered", now, fields)


def _enter_source(session: Session, space: Space, token: str, now: int) -> NewEntry | None:
    source = Source.verify(token, space.registrar)
    known = identity.sources(session).get(source.source_id)
    if known == token:
        return None
    if known is not None:
        _require_later(source.not_before, Source.claimed(known).not_before)
    identity.put_source(session, source.source_id, token)
    return NewEntry("source.registered", now, {"source_id": source.source_id})


def _require_later(new: int, known: int) -> None:
    """Anybody may hand in what the registrar signed, so nobody may bring back what it has replaced."""
    if new < known:
        raise TooLateError("a later registration is known here", code="register_rolled_back")


def suspend_operator(space: Space, operator_id: str, status: str) -> None:
    """An administrator suspends or restores an operator; in force at its next call."""
    with space.database.write() as session:
        identity.set_operator_status(session, operator_id, status)
