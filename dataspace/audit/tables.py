"""Tables of the log. Only ``store`` touches them.

The log is one order over all residents, so ``log_entry`` is keyed by entry; what belongs to one resident (chain head,
bodies) leads its key with the subject. An entry about nobody has the subject ``""`` and no number.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel


class LogHead(SQLModel, table=True):
    """How far the log is numbered. One row; its lock makes sequencers take turns."""

    __tablename__ = "log_head"

    origin: str = Field(primary_key=True)
    size: int = Field(sa_type=BigInteger)


class LogEntry(SQLModel, table=True):
    """What stays for ever: hash and place in the tree, and the little that an auditor searches by."""

    __tablename__ = "log_entry"
    __table_args__ = (UniqueConstraint("subject", "number", name="log_entry_chain"),)

    id: str = Field(primary_key=True, max_length=64)
    leaf_hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False, unique=True))
    entry_index: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True, unique=True))
    kind: str
    at: int = Field(sa_type=BigInteger)
    subject: str
    number: int | None = Field(default=None, sa_type=BigInteger)


class LogBody(SQLModel, table=True):
    """Salt and body under the body key, apart from the hashes so that they can be erased."""

    __tablename__ = "log_body"

    subject: str = Field(primary_key=True)
    leaf_hash: bytes = Field(sa_column=Column(LargeBinary(32), primary_key=True))
    sealed: bytes


class LogChain(SQLModel, table=True):
    """Newest number and leaf hash of one resident's chain; its lock makes writers of one resident take turns."""

    __tablename__ = "log_chain"

    subject: str = Field(primary_key=True)
    number: int = Field(sa_type=BigInteger)
    leaf_hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32), nullable=True))


class LogTile(SQLModel, table=True):
    """Up to 256 neighbouring node hashes of height 8·level (C2SP tlog-tiles); the last one of a level grows."""

    __tablename__ = "log_tile"

    level: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    position: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    hashes: bytes


class LogCheckpoint(SQLModel, table=True):
    """Every checkpoint that was ever signed, without cosignatures."""

    __tablename__ = "log_checkpoint"

    size: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    at: int = Field(sa_type=BigInteger)
    note: str


class LogCosignature(SQLModel, table=True):
    """The signature line of a witness under a checkpoint."""

    __tablename__ = "log_cosignature"

    size: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    witness: str = Field(primary_key=True)
    line: str
