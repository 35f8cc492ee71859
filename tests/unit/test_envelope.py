from __future__ import annotations

import pytest

from dataspace.kernel.errors import MalformedError
from tests.fakes import papers
from vault.envelope import SlotContext, open_record, open_slot, pack, record_key, seal_record, seal_slot, unpack
from vault.errors import CannotOpenError
from vault.suite1 import AEAD_OVERHEAD, HPKE_OVERHEAD, OpeningKey, SealingKey, aead_open, aead_seal, new_key

EPOCH = OpeningKey(papers.RING.seeds[papers.WAGES, 1])
PLACE = papers.PLACE
KEY = record_key(papers.SLOT_KEY, papers.RECORD_ID)


def seal(record_id: str = papers.RECORD_ID, payload: bytes = papers.PAYLOAD) -> bytes:
    return seal_record(papers.SLOT_KEY, record_id, PLACE, payload)


def test_whoever_has_the_public_key_seals_and_the_seed_opens() -> None:
    sealed = seal_slot(SealingKey(papers.EPOCH.key), PLACE, papers.SLOT_KEY)
    assert len(sealed) == HPKE_OVERHEAD + 32
    assert open_slot(EPOCH, PLACE, sealed) == papers.SLOT_KEY
    assert sealed != seal_slot(SealingKey(papers.EPOCH.key), PLACE, papers.SLOT_KEY)


def test_a_record_opens_with_its_own_key() -> None:
    sealed = seal()
    assert len(sealed) == len(papers.PAYLOAD) + AEAD_OVERHEAD
    assert open_record(KEY, papers.RECORD_ID, PLACE, sealed) == papers.PAYLOAD
    assert sealed != seal()


def test_the_key_of_a_record_opens_no_other_record_of_its_slot() -> None:
    other = papers.short_id("another record")
    for key, name in ((KEY, other), (record_key(papers.SLOT_KEY, other), papers.RECORD_ID), (papers.SLOT_KEY, other)):
        with pytest.raises(CannotOpenError):
            open_record(key, name, PLACE, seal(other))


def test_every_failure_to_open_says_the_same() -> None:
    sealed = seal()
    attempts = [
        (bytes(32), PLACE, sealed),
        (KEY, SlotContext("x", "x", "x", "x"), sealed),
        (KEY, PLACE, sealed[:-1]),
        (KEY, PLACE, sealed[:26]),
        (b"", PLACE, sealed),
    ]
    said = []
    for key, place, data in attempts:
        with pytest.raises(CannotOpenError) as refused:
            open_record(key, papers.RECORD_ID, place, data)
        said.append((str(refused.value), refused.value.code, refused.value.detail))
    assert set(said) == {("cannot be opened", "cannot_open", "cannot be opened")}


@pytest.mark.parametrize("size", [0, 1, 504, 505, 65_000, 65_528, 65_529, 200_000])
def test_a_packed_record_tells_its_bucket_only(size: int) -> None:
    packed = pack(bytes(size), "")
    assert unpack(packed) == (bytes(size), "")
    assert len(packed) in {512 << n for n in range(8)} or len(packed) % 65_536 == 0
    assert 0 <= len(packed) - (size + 8) < max(512, 65_536 if size > 32_768 else size + 8)


def test_large_records_grow_in_steps_of_64_kib() -> None:
    assert [len(pack(bytes(size), "")) for size in (65_528, 65_529, 131_064, 131_065)] == [
        65_536,
        131_072,
        131_072,
        196_608,
    ]


@pytest.mark.parametrize("bad", [b"", bytes(7), bytes(8), bytes(511), bytes(513), bytes(1024), b"\0\0\0\5data"])
def test_another_shape_is_refused(bad: bytes) -> None:
    with pytest.raises(MalformedError):
        unpack(bad)


def test_nothing_hides_in_the_padding() -> None:
    packed = pack(b"data", "proof")
    for at in range(17, len(packed)):
        with pytest.raises(MalformedError):
            unpack(packed[:at] + b"\1" + packed[at + 1 :])
    with pytest.raises(MalformedError):
        unpack(packed.replace(b"proof", b"pro\xfff"))


# suite 1


def test_keys_have_one_size() -> None:
    for size in (0, 31, 33):
        with pytest.raises(MalformedError):
            OpeningKey(bytes(size))
        with pytest.raises(MalformedError):
            SealingKey(bytes(size))
    assert len(new_key()) == 32 != new_key()


def test_a_public_key_that_is_none_is_refused() -> None:
    with pytest.raises(MalformedError):
        SealingKey(b"\xff" * 1216)
    low_order = SealingKey(papers.EPOCH.key[:1184] + bytes(32))
    with pytest.raises(MalformedError):
        low_order.seal(b"", b"message")


def test_an_unknown_version_or_suite_is_not_tried() -> None:
    for header in (b"", b"\1", b"\1\2", b"\2\1", b"\0\0"):
        for read in (
            lambda header=header: EPOCH.open(b"", header + bytes(2000)),
            lambda header=header: aead_open(bytes(32), b"", header + bytes(100)),
        ):
            with pytest.raises(MalformedError) as refused:
                read()
            assert refused.value.code == "unknown_format"


def test_the_same_message_is_sealed_differently_each_time() -> None:
    assert len({aead_seal(bytes(32), b"", b"message") for _ in range(50)}) == 50
