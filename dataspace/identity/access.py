"""Assertions in, five-minute tokens out: residents, sources and operators all prove a registered key the same way.

Replays are remembered in memory for the life of an assertion; assertions from before the process started are refused,
so a restart forgets none but those of clients whose clocks run ahead, for as long as they run ahead.
(Replaced by OAuth 2 with DPoP: docs/decisions/0006.)
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import ClassVar, Literal

from dataspace.identity.errors import AssertionRefusedError, UnauthenticatedError
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.jws import SigningKey
from dataspace.kernel.signed import Id, Seconds, SignedContent

Role = Literal["resident", "source", "operator"]
ASSERTION_SECONDS = 60
SKEW_SECONDS = 10
TOKEN_SECONDS = 300


class Assertion(SignedContent):
    """ "I am ``sub``, in this role, here and now", signed with the registered key."""

    typ: ClassVar[str] = "assertion"
    aud: str
    role: Role
    sub: str
    jti: Id
    iat: Seconds
    exp: Seconds


class AccessToken(SignedContent):
    """Bound to one role and one id; no route takes the subject from anywhere else."""

    typ: ClassVar[str] = "token"
    role: Role
    sub: str
    jti: Id
    exp: Seconds


@dataclass(frozen=True)
class Caller:
    """Who is calling, as proven by the token."""

    role: Role
    sub: str


class Access:
    """Checks assertions against registered keys, issues and reads tokens."""

    def __init__(self, audience: str, key: SigningKey, started_at: int) -> None:
        self.audience = audience
        self.key = key
        self._started_at = started_at
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def check_assertion(self, token: str, public_key: bytes, now: int) -> Assertion:
        """A fresh, unused assertion for this service by ``public_key``."""
        try:
            assertion = Assertion.verify(token, public_key)
        except DataspaceError as error:
            raise AssertionRefusedError("the assertion does not verify") from error
        if assertion.aud != self.audience:
            raise AssertionRefusedError("the assertion is for another service", code="assertion_audience")
        if not assertion.iat <= assertion.exp <= assertion.iat + ASSERTION_SECONDS:
            raise AssertionRefusedError("an assertion lives for at most a minute", code="assertion_lifetime")
        if assertion.iat > now + SKEW_SECONDS or assertion.exp <= now or assertion.iat < self._started_at:
            raise AssertionRefusedError("the assertion is not of this moment", code="stale_assertion")
        self._remember(f"{assertion.role}/{assertion.sub}/{assertion.jti}", assertion.exp, now)
        return assertion

    def _remember(self, name: str, until: int, now: int) -> None:
        with self._lock:
            if len(self._seen) > 4096:
                self._seen = {key: value for key, value in self._seen.items() if value > now}
            if name in self._seen:
                raise AssertionRefusedError("the assertion was used before", code="replayed_assertion")
            self._seen[name] = until

    def issue(self, role: Role, sub: str, jti: str, now: int) -> str:
        return AccessToken(role=role, sub=sub, jti=jti, exp=now + TOKEN_SECONDS).sign(self.key)

    def caller(self, token: str, now: int) -> Caller:
        """Who ``token`` was issued to; refused when it is not ours or no longer valid."""
        try:
            content = AccessToken.verify(token, self.key.public)
        except DataspaceError as error:
            raise UnauthenticatedError("not a token of this service") from error
        if content.exp <= now:
            raise UnauthenticatedError("the token has expired", code="token_expired")
        return Caller(content.role, content.sub)


def write_assertion(key: SigningKey, audience: str, role: Role, sub: str, jti: str, now: int) -> str:
    """What a client sends to prove its key."""
    content = Assertion(aud=audience, role=role, sub=sub, jti=jti, iat=now, exp=now + ASSERTION_SECONDS)
    return content.sign(key)
