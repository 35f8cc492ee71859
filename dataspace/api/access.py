"""Who may call: each route names its role, and takes the subject from the token alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from dataspace.flows.space import Space
from dataspace.identity import store as identity
from dataspace.identity.access import Role
from dataspace.identity.errors import ForbiddenError, UnauthenticatedError
from dataspace.kernel.clock import Clock

_bearer = HTTPBearer(auto_error=False, description="five-minute token from POST /v1/token")


def space_of(request: Request) -> Space:
    space: Space = request.app.state.space
    return space


def now_of(request: Request) -> int:
    """The one clock reading of this request."""
    clock: Clock = request.app.state.clock
    return clock()


InSpace = Annotated[Space, Depends(space_of)]
Now = Annotated[int, Depends(now_of)]


def _only(role: Role) -> Callable[..., str]:
    def subject(
        space: InSpace, now: Now, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> str:
        if credentials is None:
            raise UnauthenticatedError("a token is needed: POST /v1/token")
        caller = space.access.caller(credentials.credentials, now)
        if caller.role != role:
            raise ForbiddenError(f"this is for the role {role}")
        if role == "operator":
            _require_active(space, caller.sub)
        return caller.sub

    subject.__name__ = f"{role}_subject"
    return subject


def _require_active(space: Space, operator_id: str) -> None:
    with space.database.read() as session:
        known = identity.operator(session, operator_id)
    if known is None or known[1] != "active":
        raise ForbiddenError("the operator is suspended", code="licence_suspended")


resident_subject = _only("resident")
source_subject = _only("source")
operator_subject = _only("operator")
ResidentSubject = Annotated[str, Depends(resident_subject)]
SourceId = Annotated[str, Depends(source_subject)]
OperatorId = Annotated[str, Depends(operator_subject)]
