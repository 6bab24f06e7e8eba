"""The tables of the store."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

METADATA = MetaData()
FABRIC = Table(
    "fabric",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
)


def _keyed(name: str, *columns: Column[object]) -> Table:
    """Messages by key."""
    key = Column("key", String(256), primary_key=True)
    return Table(name, METADATA, key, Column("body", LargeBinary, nullable=False), *columns)


SPECIALISTS = _keyed(
    "specialists",
    Column("declared", Boolean, nullable=False),
    Column("signature", LargeBinary),
)
ROUTES = _keyed("routes")
REPLICAS = _keyed("replicas")
POLICIES = _keyed("policies")
PIPELINES = _keyed("pipelines")
REQUESTS = Table(
    "requests",
    METADATA,
    Column("request", String(256), primary_key=True),
    Column("route", String(256), nullable=False),  # empty while only outcomes or feedback came
    Column("time", Float(53), nullable=False),  # of the decision, else when the first word came
    Column("decision", LargeBinary, nullable=False),
    Column("outcomes", LargeBinary, nullable=False),  # a Record with nothing else
    Index("requests_by_time", "route", "time"),
)
FEEDBACK = Table(
    "feedback",
    METADATA,
    Column("id", String(600), primary_key=True),
    Column("request", String(256), nullable=False, index=True),
    Column("time", Float(53), nullable=False),  # when it came
    Column("body", LargeBinary, nullable=False),
)
