"""dataspace.identity.access: which assertions count, once; whose tokens count, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dataspace.identity.access import (
    ASSERTION_SECONDS,
    SKEW_SECONDS,
    TOKEN_SECONDS,
    Access,
    AccessToken,
    Caller,
    Role,
    write_assertion,
)
from dataspace.identity.errors import AssertionRefusedError, UnauthenticatedError
from dataspace.kernel.encoding import b64, canonical
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.jws import SigningKey

STARTED = 1_760_000_000
NOW = STARTED + 1000
AUDIENCE = "urn:pds:here"
SERVICE = SigningKey(bytes([1]) * 32)
KEY = SigningKey(bytes([2]) * 32)
OTHER = SigningKey(bytes([3]) * 32)


@pytest.fixture
def access() -> Access:
    return Access(AUDIENCE, SERVICE, STARTED)


def claims(**changes: Any) -> dict[str, Any]:
    return {
        "aud": AUDIENCE,
        "role": "source",
        "sub": "health",
        "jti": "one",
        "iat": NOW,
        "exp": NOW + ASSERTION_SECONDS,
        **changes,
    }


def assertion(key: SigningKey = KEY, typ: str = "assertion", **changes: Any) -> str:
    return key.sign(typ, claims(**changes))


def refused(access: Access, token: str, now: int = NOW) -> str:
    with pytest.raises(AssertionRefusedError) as caught:
        access.check_assertion(token, KEY.public, now)
    assert caught.value.status == 401
    return caught.value.code


def test_a_fresh_assertion(access: Access) -> None:
    proven = access.check_assertion(assertion(), KEY.public, NOW)
    assert (proven.role, proven.sub, proven.jti) == ("source", "health", "one")


def test_what_a_client_writes(access: Access) -> None:
    token = write_assertion(KEY, AUDIENCE, "resident", "somebody", "two", NOW)
    proven = access.check_assertion(token, KEY.public, NOW)
    assert (proven.role, proven.sub, proven.exp - proven.iat) == ("resident", "somebody", ASSERTION_SECONDS)


@pytest.mark.parametrize("audience", ["urn:pds:there", AUDIENCE + "/", AUDIENCE.upper(), ""])
def test_for_another_service(access: Access, audience: str) -> None:
    assert refused(access, assertion(aud=audience)) == "assertion_audience"


@pytest.mark.parametrize("lives", [ASSERTION_SECONDS + 1, 3600, -1])
def test_a_lifetime_that_no_assertion_has(access: Access, lives: int) -> None:
    assert refused(access, assertion(exp=NOW + lives)) == "assertion_lifetime"


@pytest.mark.parametrize("ahead", [0, 1, SKEW_SECONDS])
def test_clocks_that_run_ahead_a_little(access: Access, ahead: int) -> None:
    access.check_assertion(assertion(iat=NOW + ahead, exp=NOW + ahead + 60), KEY.public, NOW)


@pytest.mark.parametrize("ahead", [SKEW_SECONDS + 1, 60, 86_400])
def test_clocks_that_run_ahead_too_far(access: Access, ahead: int) -> None:
    assert refused(access, assertion(iat=NOW + ahead, exp=NOW + ahead + 60)) == "stale_assertion"


@pytest.mark.parametrize("behind", [1, SKEW_SECONDS, ASSERTION_SECONDS - 1])
def test_an_assertion_lives_until_it_expires(access: Access, behind: int) -> None:
    access.check_assertion(assertion(iat=NOW - behind, exp=NOW - behind + 60), KEY.public, NOW)


@pytest.mark.parametrize("behind", [ASSERTION_SECONDS, ASSERTION_SECONDS + 1, 86_400])
def test_an_expired_assertion(access: Access, behind: int) -> None:
    assert refused(access, assertion(iat=NOW - behind, exp=NOW - behind + 60)) == "stale_assertion"


def test_a_shorter_life_counts(access: Access) -> None:
    assert refused(access, assertion(exp=NOW + 5), NOW + 5) == "stale_assertion"
    access.check_assertion(assertion(exp=NOW + 5), KEY.public, NOW + 4)


def test_an_assertion_counts_once(access: Access) -> None:
    token = assertion()
    access.check_assertion(token, KEY.public, NOW)
    for later in (0, 1, ASSERTION_SECONDS - 1):
        assert refused(access, token, NOW + later) == "replayed_assertion"
    assert refused(access, token, NOW + ASSERTION_SECONDS) == "stale_assertion"


def test_a_number_once_used_cannot_be_signed_again(access: Access) -> None:
    access.check_assertion(assertion(), KEY.public, NOW)
    assert refused(access, assertion(iat=NOW + 1, exp=NOW + 30)) == "replayed_assertion"


@pytest.mark.parametrize("changes", [{"jti": "two"}, {"sub": "tax"}, {"role": "operator"}])
def test_others_may_use_the_same_number(access: Access, changes: dict[str, Any]) -> None:
    access.check_assertion(assertion(), KEY.public, NOW)
    access.check_assertion(assertion(**changes), KEY.public, NOW)


def test_a_refused_assertion_is_not_used_up(access: Access) -> None:
    token = assertion()
    with pytest.raises(AssertionRefusedError):
        access.check_assertion(token, OTHER.public, NOW)
    access.check_assertion(token, KEY.public, NOW)


def test_at_the_same_moment_one_wins(access: Access) -> None:
    token = assertion()

    def use(_: int) -> bool:
        try:
            access.check_assertion(token, KEY.public, NOW)
        except AssertionRefusedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(use, range(32))) == 1


def test_forgetting_old_ones_keeps_the_living(access: Access) -> None:
    """Thousands of assertions later, those that are still alive are still known."""
    access.check_assertion(assertion(jti="living", iat=NOW + 5, exp=NOW + 65), KEY.public, NOW)
    for number in range(4100):
        access._remember(f"source/other/{number}", NOW + 1, NOW)
    access._remember("source/other/last", NOW + 70, NOW + 2)
    assert len(access._seen) == 2
    assert refused(access, assertion(jti="living", iat=NOW + 5, exp=NOW + 65), NOW + 2) == "replayed_assertion"


@pytest.mark.parametrize("before", [1, SKEW_SECONDS, 30])
def test_a_restart_opens_no_window(before: int) -> None:
    """What was used just before a restart is not known afterwards, so nothing from before the start counts."""
    used = assertion(iat=NOW - before, exp=NOW - before + 60)
    first = Access(AUDIENCE, SERVICE, STARTED)
    first.check_assertion(used, KEY.public, NOW)
    assert refused(Access(AUDIENCE, SERVICE, NOW), used) == "stale_assertion"


def test_the_first_second_counts() -> None:
    Access(AUDIENCE, SERVICE, NOW).check_assertion(assertion(), KEY.public, NOW)


def header(alg: str, key: SigningKey, typ: str = "pds-assertion+jws") -> bytes:
    return canonical({"alg": alg, "kid": key.kid, "typ": typ})


def with_header(head: bytes, sign: Callable[[bytes], bytes]) -> str:
    signing_input = f"{b64(head)}.{b64(canonical({'v': 1, 'suite': 1, **claims()}))}"
    return f"{signing_input}.{b64(sign(signing_input.encode()))}"


@pytest.mark.parametrize(
    "token",
    [
        assertion(OTHER),
        assertion(typ="token"),
        assertion(typ="withdrawal"),
        with_header(header("none", KEY), lambda _: b""),
        with_header(header("none", KEY), lambda _: bytes(64)),
        with_header(header("EdDSA", KEY), KEY.sign_raw),
        with_header(header("HS256", KEY), lambda _: bytes(64)),
        with_header(header("Ed25519", KEY), lambda _: bytes(64)),
        with_header(header("Ed25519", KEY), OTHER.sign_raw),
        with_header(header("Ed25519", OTHER), KEY.sign_raw),
        with_header(header("Ed25519", KEY, "assertion"), KEY.sign_raw),
        with_header(header("Ed25519", KEY, "PDS-ASSERTION+JWS"), KEY.sign_raw),
        assertion(extra=1),
        assertion(role="administrator"),
        assertion(iat=str(NOW)),
        assertion(iat=True),
        assertion(iat=-1),
        assertion(jti=""),
        assertion(jti="a/b"),
        assertion(sub=None),
        assertion() + "A",
        assertion().rsplit(".", 1)[0],
        "",
        "a.b.c",
    ],
)
def test_what_does_not_verify(access: Access, token: str) -> None:
    assert refused(access, token) == "assertion_refused"


# tokens


@pytest.mark.parametrize("role", ["resident", "source", "operator"])
def test_a_token_is_bound_to_role_and_subject(access: Access, role: Role) -> None:
    token = access.issue(role, "somebody", "one", NOW)
    assert access.caller(token, NOW) == Caller(role, "somebody")


def test_a_token_lives_five_minutes(access: Access) -> None:
    token = access.issue("source", "health", "one", NOW)
    assert TOKEN_SECONDS == 300
    assert access.caller(token, NOW + 299).sub == "health"
    for later in (300, 301, 86_400):
        with pytest.raises(UnauthenticatedError) as caught:
            access.caller(token, NOW + later)
        assert (caught.value.code, caught.value.status) == ("token_expired", 401)


@pytest.mark.parametrize(
    "token",
    [
        AccessToken(role="source", sub="health", jti="one", exp=NOW + 300).sign(OTHER),
        SERVICE.sign("assertion", claims()),
        SERVICE.sign("receipt", {"role": "source", "sub": "health", "jti": "one", "exp": NOW + 300}),
        SERVICE.sign("token", {"role": "administrator", "sub": "health", "jti": "one", "exp": NOW + 300}),
        SERVICE.sign("token", {"role": "source", "sub": "health", "jti": "one", "exp": str(NOW + 300)}),
        SERVICE.sign("token", {"role": "source", "sub": "health", "jti": "one"}),
        SERVICE.sign("token", {"role": "source", "sub": "health", "jti": "one", "exp": NOW + 300, "admin": True}),
        "",
        "a.b.c",
    ],
)
def test_what_is_no_token_of_this_service(access: Access, token: str) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        access.caller(token, NOW)
    assert caught.value.code == "unauthenticated"


def test_a_token_cannot_be_changed(access: Access) -> None:
    head, _, signature = access.issue("source", "health", "one", NOW).split(".")
    for changes in ({"sub": "tax"}, {"role": "operator"}, {"exp": NOW + 3000}):
        payload = {"v": 1, "suite": 1, "role": "source", "sub": "health", "jti": "one", "exp": NOW + 300, **changes}
        with pytest.raises(DataspaceError):
            access.caller(f"{head}.{b64(canonical(payload))}.{signature}", NOW)


def test_a_token_is_no_assertion(access: Access) -> None:
    """Nobody becomes somebody by handing in what the service itself has signed."""
    with pytest.raises(AssertionRefusedError):
        access.check_assertion(access.issue("source", "health", "one", NOW), SERVICE.public, NOW)
