"""Whatever is stored, signed or sealed: one byte changed, put in or left out, or one value of its context, and it is
refused, with a refusal and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.broker.checks import check_grant
from connectors.messages import GrantPapers
from consent.model import GrantKey, Product, Refusal, UseRequest, Withdrawal
from dataspace.flows.deliver import Delivery
from dataspace.kernel.encoding import b64, canonical
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.jws import verify
from dataspace.kernel.signed import SignedContent
from tests.fakes import papers
from vault.envelope import SlotContext, open_record, open_slot, record_key, seal_record, seal_slot
from vault.granting import GrantKeyContext, open_grant_key, seal_grant
from vault.keyring import Keyring
from vault.records import read_record
from vault.recovery import unwrap_vault_key, wrap_vault_key
from vault.statements import KeyChain, follow
from vault.suite1 import OpeningKey, SealingKey

RING, PLACE = papers.RING, papers.PLACE
EPOCH_KEY = OpeningKey(RING.seeds[papers.WAGES, 1])
ASKED = papers.ask()
TERMS = papers.terms(ASKED)
SLOT = seal_slot(SealingKey(EPOCH_KEY.public), PLACE, papers.SLOT_KEY)
BROKER_KEY = OpeningKey(papers.GRANT_SEED)
TOKEN, (SEALED_KEY,) = seal_grant(
    RING, canonical(TERMS.model_dump(mode="json")), SealingKey(BROKER_KEY.public), papers.slots(SLOT)
)
GRANT_CONTEXT = GrantKeyContext(TERMS.digest(), papers.WAGES, PLACE.epoch_key, "slot", PLACE.slot_id)
SECOND = papers.keyring()
SECOND.new_epochs([papers.WAGES], papers.NOW, papers.seeds("second"))
SEALED_RECORD = seal_record(papers.SLOT_KEY, papers.RECORD_ID, PLACE, papers.PAYLOAD)
ENTROPY = papers.seed("entropy")
RECOVERY = wrap_vault_key(ENTROPY, RING.subject, RING.vault_key)
WRAPS = RING.wrapped()
EPOCH_WRAP: dict[str, Any] = WRAPS["epochs"][0]  # type: ignore[index]


@dataclass(frozen=True)
class Kept:
    """Something as it is kept, and how it is read: ``read`` raises, or gives what nobody else may get."""

    name: str
    data: bytes
    read: Callable[[bytes], object]

    def __str__(self) -> str:
        return self.name


def text(data: bytes) -> str:
    return data.decode("latin-1")


def signed(kind: type[SignedContent], token: str, key: bytes) -> Kept:
    return Kept(kind.typ, token.encode(), lambda data: kind.verify(text(data), key))


def read_grant(token: str, *sealed: str) -> object:
    return check_grant(GrantPapers(grant=token, sealed=list(sealed)), RING.signing.public)


def read_record_of(sealed: bytes, record_id: str = papers.RECORD_ID, place: SlotContext = PLACE) -> object:
    payload = open_record(record_key(papers.SLOT_KEY, record_id), record_id, place, sealed)
    return read_record(payload, record_id, place, papers.SOURCE.public)


def unwrap(**changes: object) -> Keyring:
    return Keyring.unwrap(RING.vault_key, {**WRAPS, **changes}, RING.statements, RING.subject)


def unwrap_epoch(**changes: object) -> Keyring:
    return unwrap(epochs=[{**EPOCH_WRAP, **changes}])


KEPT = [
    Kept("record", SEALED_RECORD, read_record_of),
    Kept("slot", SLOT, lambda data: open_slot(EPOCH_KEY, PLACE, data)),
    Kept("grant key", SEALED_KEY, lambda data: open_grant_key(BROKER_KEY, GRANT_CONTEXT, data)),
    Kept("grant", TOKEN.encode(), lambda data: read_grant(text(data), b64(SEALED_KEY))),
    Kept("sealed key beside its grant", b64(SEALED_KEY).encode(), lambda data: read_grant(TOKEN, text(data))),
    Kept("wrap of the signing key", str(WRAPS["signing_key"]).encode(), lambda data: unwrap(signing_key=text(data))),
    Kept("wrap of an epoch", EPOCH_WRAP["wrap"].encode(), lambda data: unwrap_epoch(wrap=text(data))),
    Kept(
        "wrap by recovery words",
        RECOVERY,
        lambda data: unwrap_vault_key(ENTROPY, RING.subject, data),
    ),
    Kept("key statement", RING.statements[0].encode(), lambda data: KeyChain.pin(text(data), RING.subject)),
    Kept(
        "second key statement",
        SECOND.statements[1].encode(),
        lambda data: follow([SECOND.statements[0], text(data)], SECOND.subject),
    ),
    Kept(
        "receipt",
        papers.receipt(TERMS.digest()).encode(),
        lambda data: verify(text(data), "receipt", papers.SERVICE.public),
    ),
    signed(Refusal, papers.refusal(ASKED.request.digest).sign(RING.signing), RING.signing.public),
    signed(Withdrawal, papers.withdrawal(TERMS.digest()).sign(RING.signing), RING.signing.public),
    signed(UseRequest, ASKED.request.token, papers.OPERATOR.public),
    signed(Product, ASKED.listed.product.token, papers.OPERATOR.public),
    signed(GrantKey, ASKED.grant_key.token, papers.BROKER.public),
    signed(Delivery, papers.delivery([]).sign(papers.SOURCE), papers.SOURCE.public),
]


@pytest.mark.parametrize("kept", KEPT, ids=str)
def test_unchanged_it_is_read(kept: Kept) -> None:
    assert kept.read(kept.data) is not None


@pytest.mark.parametrize("kept", KEPT, ids=str)
def test_one_bit_changed_at_any_place(kept: Kept) -> None:
    for at in range(len(kept.data)):
        changed = bytearray(kept.data)
        changed[at] ^= 1 << at % 8
        with pytest.raises(DataspaceError):
            kept.read(bytes(changed))


@pytest.mark.parametrize("kept", KEPT, ids=str)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_one_byte_changed_put_in_or_left_out(kept: Kept, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(kept.data) - 1), "at")
    before, byte, after = kept.data[:at], kept.data[at], kept.data[at + 1 :]
    other = data.draw(st.integers(1, 255), "difference") ^ byte
    changed = data.draw(
        st.sampled_from(
            [
                before + bytes([other]) + after,
                before + after,
                before + bytes([other, byte]) + after,
                kept.data + bytes([other]),
            ]
        ),
        "changed",
    )
    with pytest.raises(DataspaceError):
        kept.read(changed)


@pytest.mark.parametrize("kept", KEPT, ids=str)
@settings(max_examples=50, deadline=None)
@given(length=st.integers(0, 1 << 20), rubbish=st.binary(max_size=200))
def test_truncated_or_replaced_as_a_whole(kept: Kept, length: int, rubbish: bytes) -> None:
    for changed in (kept.data[: length % len(kept.data)], rubbish, kept.data[:2] + rubbish):
        with pytest.raises(DataspaceError):
            kept.read(changed)


# the context


def others(value: str) -> st.SearchStrategy[str]:
    """Another text, often a close one."""
    near = st.sampled_from([value[:-1], value + "A", value.swapcase(), "", value + "\0", f" {value}"])
    return (near | st.text(st.characters(codec="utf-8"), max_size=50)).filter(lambda other: other != value)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_another_place_opens_no_slot_and_no_record(data: st.DataObject) -> None:
    member = data.draw(st.sampled_from(["record_id", *asdict(PLACE)]))
    place, record_id = PLACE, papers.RECORD_ID
    if member == "record_id":
        record_id = data.draw(others(record_id))
    else:
        place = replace(PLACE, **{member: data.draw(others(getattr(PLACE, member)))})
        with pytest.raises(DataspaceError):
            open_slot(EPOCH_KEY, place, SLOT)
    with pytest.raises(DataspaceError):
        read_record_of(SEALED_RECORD, record_id, place)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_another_context_opens_no_key_of_a_grant(data: st.DataObject) -> None:
    member = data.draw(st.sampled_from(list(asdict(GRANT_CONTEXT))))
    changed = replace(GRANT_CONTEXT, **{member: data.draw(others(getattr(GRANT_CONTEXT, member)))})
    with pytest.raises(DataspaceError):
        open_grant_key(BROKER_KEY, changed, SEALED_KEY)


@settings(max_examples=60, deadline=None)
@given(
    name=others(papers.WAGES),
    number=st.integers(-(2**70), 2**70).filter(lambda n: n != 1),
    subject=others(RING.subject),
)
def test_another_name_or_number_opens_no_wrap(name: str, number: int, subject: str) -> None:
    for read in (
        lambda: unwrap_epoch(collection=name),
        lambda: unwrap_epoch(epoch=number),
        lambda: unwrap_epoch(epoch=True),
        lambda: unwrap_vault_key(ENTROPY, subject, RECOVERY),
        lambda: Keyring.unwrap(RING.vault_key, WRAPS, RING.statements, subject),
    ):
        with pytest.raises(DataspaceError):
            read()


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))


@settings(max_examples=100, deadline=None)
@given(wraps=st.dictionaries(st.sampled_from(["signing_key", "epochs", "recovery", "x"]), JSON, max_size=3))
def test_other_wraps_are_refused(wraps: dict[str, Any]) -> None:
    with pytest.raises(DataspaceError):
        Keyring.unwrap(RING.vault_key, wraps, RING.statements, RING.subject)


@pytest.mark.parametrize(("one", "other"), [(a, b) for a in KEPT for b in KEPT if a is not b], ids=str)
def test_nothing_is_taken_for_something_else(one: Kept, other: Kept) -> None:
    with pytest.raises(DataspaceError):
        one.read(other.data)
