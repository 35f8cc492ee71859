"""All routes, grouped by who calls them. Each is one call of one flow."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from dataspace.api import bodies
from dataspace.api.access import InSpace, Now, OperatorId, ResidentSubject, SourceId
from dataspace.api.problems import RESPONSES
from dataspace.flows import ask, deliver, evidence, grant, register, use
from dataspace.identity.access import TOKEN_SECONDS
from dataspace.kernel.signed import Digest, Id

Json = dict[str, Any]
Number = Annotated[int, Query(ge=0, lt=2**53)]
"""A size or a place to go on from, as signed objects can hold it."""

public = APIRouter(tags=["public"], responses=RESPONSES)
resident = APIRouter(prefix="/v1/me", tags=["resident"], responses=RESPONSES)
source = APIRouter(prefix="/v1/source", tags=["source"], responses=RESPONSES)
operator = APIRouter(tags=["operator"], responses=RESPONSES)

PUBLIC_PATHS = frozenset(
    {"/v1/health", "/v1/token", "/v1/residents", "/v1/register", "/v1/log/checkpoint", "/v1/log/consistency"}
)
"""Routes that need no token: each proves itself by a signature inside, or tells what everybody may know."""


@public.get("/v1/health")
def health() -> Json:
    """The service answers."""
    return {"status": "ok"}


@public.post("/v1/token")
def token(body: bodies.TokenBody, space: InSpace, now: Now) -> Json:
    """Exchange an assertion, signed with a registered key, for a five-minute token."""
    return {"token": register.exchange(space, body.assertion, now), "expires_in": TOKEN_SECONDS}


@public.post("/v1/residents", status_code=201)
def residents(body: bodies.RegistrationBody, space: InSpace, now: Now) -> Json:
    """Open a data space: proves the key of its own first key statement."""
    subject, issued = register.register_resident(
        space, body.assertion, body.statement, body.wraps.model_dump(), body.space, now
    )
    return {"subject": subject, "token": issued, "expires_in": TOKEN_SECONDS}


@public.post("/v1/register")
def enter(body: bodies.RegisterBody, space: InSpace, now: Now) -> Json:
    """Enter sources and licences that the registrar has signed."""
    return {"entered": register.enter_register(space, body.objects, now)}


@public.get("/v1/log/checkpoint")
def checkpoint(space: InSpace) -> Json:
    """The newest witnessed checkpoint of the log."""
    return evidence.checkpoint(space)


@public.get("/v1/log/consistency")
def consistency(space: InSpace, from_size: Number, to_size: Number) -> Json:
    """Proof that the log of one size begins the log of a later one."""
    return evidence.consistency(space, from_size, to_size)


@resident.post("/links")
def links(body: bodies.LinksBody, subject: ResidentSubject, space: InSpace, now: Now) -> Json:
    """Hand in links that sources have signed for this resident."""
    return {"linked": register.add_links(space, subject, body.links, now)}


@resident.get("/records")
def records(subject: ResidentSubject, space: InSpace) -> Json:
    """Own sealed records, wraps and key statements."""
    return evidence.own_records(space, subject)


@resident.get("/asks")
def asks(subject: ResidentSubject, space: InSpace) -> Json:
    """Questions that wait for an answer, as signed objects."""
    return {"asks": ask.questions(space, subject)}


@resident.post("/grants", status_code=202)
def grants(body: bodies.GrantBody, subject: ResidentSubject, space: InSpace, now: Now) -> Json:
    """Grant: takes effect once it is logged and the broker has it; the receipt follows at GET."""
    return {"grant_digest": grant.submit_grant(space, subject, body.grant, body.sealed, now)}


@resident.get("/grants")
def own_grants(subject: ResidentSubject, space: InSpace) -> Json:
    """Own grants with state, receipt and the broker's signed word."""
    return {"grants": grant.grants_of(space, subject)}


@resident.post("/refusals")
def refusals(body: bodies.RefusalBody, subject: ResidentSubject, space: InSpace, now: Now) -> Json:
    """Refuse; nobody asks why."""
    return {"receipt": grant.refuse(space, subject, body.refusal, now)}


@resident.post("/withdrawals")
def withdrawals(body: bodies.WithdrawalBody, subject: ResidentSubject, space: InSpace, now: Now) -> Json:
    """Withdraw: no use is decided from this moment on; ``withdrawn`` once the key is destroyed."""
    wraps = body.wraps.model_dump() if body.wraps else None
    return {"state": grant.withdraw(space, subject, body.withdrawal, body.key_statement, wraps, now)}


@resident.post("/handles", status_code=201)
def handles(body: bodies.HandleBody, subject: ResidentSubject, space: InSpace, now: Now) -> Json:
    """A one-time name to give to one operator."""
    return {"handle": ask.new_handle(space, subject, body.operator_id, now)}


@resident.get("/log")
def own_log(subject: ResidentSubject, space: InSpace, after: Number = 0) -> Json:
    """Own log entries with proofs, numbered above ``after``."""
    return evidence.own_log(space, subject, after)


@source.get("/links/{link_id}/statements")
def statements(link_id: Id, source_id: SourceId, space: InSpace, after: Number = 0) -> Json:
    """Key statements of a linked resident, numbered above ``after``."""
    return {"statements": register.statements_for_link(space, source_id, link_id, after)}


@source.post("/deliveries")
def deliveries(body: bodies.DeliveryBody, source_id: SourceId, space: InSpace, now: Now) -> Json:
    """Deliver a signed batch of sealed records; the same batch again gets the same answer."""
    return deliver.receive(space, source_id, body.delivery, body.items, now)


@operator.get("/v1/products")
def products(_operator_id: OperatorId, space: InSpace) -> Json:
    """Everything that is listed, as signed objects."""
    return {"products": ask.catalogue(space)}


@operator.post("/v1/products", status_code=201)
def list_product(body: bodies.ProductBody, operator_id: OperatorId, space: InSpace, now: Now) -> Json:
    """List an own product that two reviewers have signed off."""
    return {"product_digest": ask.list_product(space, operator_id, body.product, body.listing, now)}


@operator.post("/v1/requests", status_code=201)
def requests(body: bodies.RequestBody, operator_id: OperatorId, space: InSpace, now: Now) -> Json:
    """Ask. The answer is the same whoever exists and whatever they decide."""
    return {"request_digest": ask.submit_request(space, operator_id, body.request, now), "status": "asked"}


@operator.post("/v1/requests/{request_digest}/answer")
def answer(request_digest: Digest, _body: bodies.EmptyBody, operator_id: OperatorId, space: InSpace, now: Now) -> Json:
    """Run the request over what is granted; one request has one answer."""
    return use.answer(space, operator_id, request_digest, now)
