"""Tables of consent. Signed objects are stored as the exact bytes that were signed."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Text
from sqlmodel import Field, SQLModel


class ProductRow(SQLModel, table=True):
    __tablename__ = "products"
    product_digest: str = Field(primary_key=True, max_length=43)
    operator_id: str = Field(max_length=64)
    status: str = Field(max_length=16)
    product: str = Field(sa_type=Text)
    listing: str = Field(sa_type=Text)


class RequestRow(SQLModel, table=True):
    __tablename__ = "use_requests"
    request_digest: str = Field(primary_key=True, max_length=43)
    operator_id: str = Field(max_length=64)
    product_digest: str = Field(max_length=43)
    received_at: int = Field(sa_type=BigInteger)
    token: str = Field(sa_type=Text)


class AskRow(SQLModel, table=True):
    __tablename__ = "asks"
    __table_args__ = (Index("asks_by_request", "request_digest"),)
    resident_id: str = Field(primary_key=True, max_length=36)
    request_digest: str = Field(primary_key=True, max_length=43)
    product_digest: str = Field(max_length=43)
    state: str = Field(max_length=16)
    grant_key: str = Field(sa_type=Text)


class GrantRow(SQLModel, table=True):
    __tablename__ = "grants"
    __table_args__ = (Index("grants_by_product", "product_digest", "state"),)
    resident_id: str = Field(primary_key=True, max_length=36)
    grant_digest: str = Field(primary_key=True, max_length=43)
    request_digest: str = Field(max_length=43)
    product_digest: str = Field(max_length=43)
    recipient: str = Field(max_length=64)
    state: str = Field(max_length=16)
    not_after: int = Field(sa_type=BigInteger)
    entry: str = Field(max_length=43)
    token: str = Field(sa_type=Text)
    sealed: str = Field(sa_type=Text)
    broker_state: str | None = Field(default=None, sa_type=Text)
    receipt: str | None = Field(default=None, sa_type=Text)
    withdrawal: str | None = Field(default=None, sa_type=Text)


class RefusalRow(SQLModel, table=True):
    __tablename__ = "refusals"
    resident_id: str = Field(primary_key=True, max_length=36)
    request_digest: str = Field(primary_key=True, max_length=43)
    token: str = Field(sa_type=Text)
    receipt: str = Field(sa_type=Text)


class RunRow(SQLModel, table=True):
    __tablename__ = "runs"
    __table_args__ = (Index("runs_by_request", "request_digest"),)
    run_id: str = Field(primary_key=True, max_length=64)
    request_digest: str = Field(max_length=43)
    state: str = Field(max_length=16)
    outcome: str = Field(max_length=16)
    reasons: str = Field(sa_type=Text)
    decision: str = Field(max_length=43)
    released: str | None = Field(default=None, max_length=43)
    answer: str | None = Field(default=None, sa_type=Text)
    at: int = Field(sa_type=BigInteger)


class UseRow(SQLModel, table=True):
    __tablename__ = "grant_uses"
    resident_id: str = Field(primary_key=True, max_length=36)
    grant_digest: str = Field(primary_key=True, max_length=43)
    request_digest: str = Field(primary_key=True, max_length=43)
    operator_id: str = Field(max_length=64)
    millibits: int
    elements: str = Field(sa_type=Text)
    at: int = Field(sa_type=BigInteger)
