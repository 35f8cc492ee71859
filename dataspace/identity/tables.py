"""Tables of identity. What is a resident's leads with ``resident_id``; look-ups by an outside name stand apart."""

from __future__ import annotations

from sqlalchemy import BigInteger, Text
from sqlmodel import Field, SQLModel


class ResidentRow(SQLModel, table=True):
    __tablename__ = "residents"
    resident_id: str = Field(primary_key=True, max_length=36)
    subject: str = Field(max_length=43)
    space: str = Field(max_length=64)
    level: int
    created_at: int = Field(sa_type=BigInteger)


class SubjectRow(SQLModel, table=True):
    __tablename__ = "subjects"
    subject: str = Field(primary_key=True, max_length=43)
    resident_id: str = Field(max_length=36)


class StatementRow(SQLModel, table=True):
    __tablename__ = "key_statements"
    resident_id: str = Field(primary_key=True, max_length=36)
    number: int = Field(primary_key=True)
    token: str = Field(sa_type=Text)


class LinkRow(SQLModel, table=True):
    __tablename__ = "links"
    resident_id: str = Field(primary_key=True, max_length=36)
    source_id: str = Field(primary_key=True, max_length=64)
    link_id: str = Field(primary_key=True, max_length=64)
    token: str = Field(sa_type=Text)


class LinkNameRow(SQLModel, table=True):
    __tablename__ = "link_names"
    source_id: str = Field(primary_key=True, max_length=64)
    link_id: str = Field(primary_key=True, max_length=64)
    resident_id: str = Field(max_length=36)


class SourceRow(SQLModel, table=True):
    __tablename__ = "sources"
    source_id: str = Field(primary_key=True, max_length=64)
    token: str = Field(sa_type=Text)


class OperatorRow(SQLModel, table=True):
    __tablename__ = "operators"
    operator_id: str = Field(primary_key=True, max_length=64)
    status: str = Field(max_length=16)
    licence: str = Field(sa_type=Text)


class HandleRow(SQLModel, table=True):
    __tablename__ = "handles"
    handle: str = Field(primary_key=True, max_length=64)
    operator_id: str = Field(max_length=64)
    resident_id: str = Field(max_length=36)
    expires_at: int = Field(sa_type=BigInteger)
