from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dataspace.kernel.encoding import canonical, digest
from dataspace.kernel.errors import DataspaceError
from tests.fakes import papers
from vault.envelope import pack
from vault.errors import RecordInvalidError
from vault.records import TYP, Record, gaps, read_record, sign_record

RECORD, PLACE, SOURCE = papers.RECORD, papers.PLACE, papers.SOURCE


def read(payload: bytes = papers.PAYLOAD, place: Any = PLACE, record_id: str = RECORD.record_id) -> Record:
    return read_record(payload, record_id, place, SOURCE.public)


def signed(block: bytes = papers.DATA, **changes: Any) -> bytes:
    claims = {
        "data": digest("record-data", block),
        "source_id": papers.SOURCE_ID,
        "link_id": RECORD.link_id,
        "record_id": RECORD.record_id,
        "collection": RECORD.collection,
        "schema": RECORD.schema,
        "epoch_key": PLACE.epoch_key,
        "sequence": 1,
        "supersedes": None,
        "issued_at": papers.NOW,
    }
    return pack(block, SOURCE.sign(TYP, claims | changes))


def test_what_the_source_signed_is_read_as_it_was() -> None:
    assert read() == RECORD
    later = replace(RECORD, supersedes="record-0", sequence=7)
    assert read(sign_record(SOURCE, later, PLACE.epoch_key, papers.DATA)) == later


@pytest.mark.parametrize("member", ["collection", "epoch_key", "source_id"])
def test_a_record_found_elsewhere_is_a_transplanted_one(member: str) -> None:
    with pytest.raises(RecordInvalidError) as refused:
        read(place=replace(PLACE, **{member: "elsewhere"}))
    assert refused.value.code == "transplanted_record"
    assert member in refused.value.detail


def test_another_record_or_other_data_is_a_transplanted_one() -> None:
    proof = papers.PAYLOAD[8 + len(papers.DATA) :].rstrip(b"\0").decode()
    for attempt in (
        lambda: read(record_id="another"),
        lambda: read(pack(canonical({"net_amount": 1}), proof)),
        lambda: read(signed(data=digest("record-data", b"{}"))),
    ):
        with pytest.raises(RecordInvalidError) as refused:
            attempt()
        assert refused.value.code == "transplanted_record"


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": 0},
        {"sequence": "1"},
        {"sequence": True},
        {"sequence": None},
        {"issued_at": "now"},
        {"schema": 1},
        {"link_id": None},
        {"supersedes": 1},
        {"another": 1},
    ],
)
def test_a_source_cannot_upset_the_reader(changes: dict[str, Any]) -> None:
    with pytest.raises(RecordInvalidError) as refused:
        read(signed(**changes))
    assert refused.value.code == "record_invalid"


def test_another_key_is_not_the_sources() -> None:
    with pytest.raises(DataspaceError) as refused:
        read_record(papers.PAYLOAD, RECORD.record_id, PLACE, papers.OPERATOR.public)
    assert refused.value.code == "signature_invalid"


@pytest.mark.parametrize("data", [b"", b"[]", b"{ }", b'{"a":1.5}', b"\xff"])
def test_data_that_is_no_canonical_object_is_refused_though_signed(data: bytes) -> None:
    with pytest.raises(DataspaceError):
        read(signed(data))


def test_gaps_are_counted_by_link_and_collection() -> None:
    def at(link: str, collection: str, sequence: int) -> Record:
        return replace(RECORD, link_id=link, collection=collection, sequence=sequence)

    assert gaps([]) == []
    assert gaps([at("a", "wages", 1), at("a", "wages", 2), at("b", "wages", 1)]) == []
    held = [at("a", "wages", 4), at("a", "wages", 2), at("b", "vitals", 2), at("b", "wages", 1)]
    assert gaps(held) == [("a", "wages", 1), ("a", "wages", 3), ("b", "vitals", 1)]
