"""Tables of the vault: sealed things and the names they are found by. All lead with ``resident_id``."""

from __future__ import annotations

from sqlalchemy import BigInteger, LargeBinary, Text
from sqlmodel import Field, SQLModel


class WrapRow(SQLModel, table=True):
    __tablename__ = "vault_wraps"
    resident_id: str = Field(primary_key=True, max_length=36)
    wraps: str = Field(sa_type=Text)


class SlotRow(SQLModel, table=True):
    __tablename__ = "vault_slots"
    resident_id: str = Field(primary_key=True, max_length=36)
    slot_id: str = Field(primary_key=True, max_length=64)
    collection: str = Field(max_length=64)
    epoch_key: str = Field(max_length=43)
    source_id: str = Field(max_length=64)
    sealed: bytes = Field(sa_type=LargeBinary)


class RecordRow(SQLModel, table=True):
    __tablename__ = "vault_records"
    resident_id: str = Field(primary_key=True, max_length=36)
    record_id: str = Field(primary_key=True, max_length=64)
    slot_id: str = Field(max_length=64)
    received_at: int = Field(sa_type=BigInteger)
    sealed: bytes = Field(sa_type=LargeBinary)


class DeliveryRow(SQLModel, table=True):
    __tablename__ = "deliveries"
    source_id: str = Field(primary_key=True, max_length=64)
    number: int = Field(primary_key=True)
    digest: str = Field(max_length=43)
    answer: str = Field(sa_type=Text)
