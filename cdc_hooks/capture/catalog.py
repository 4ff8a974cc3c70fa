"""What the database has: rows of the catalog queries made into data. Pure; who runs the queries is another matter."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdc_hooks import sql

Rows = Sequence[Mapping[str, Any]]

_QUERIES = sql.queries("capture")
# In this order; each takes the parameters of `parameters`.
CATALOG_QUERIES: Mapping[str, str] = {
    name: _QUERIES[name] for name in ("tables", "members", "columns", "triggers", "functions", "detached")
}
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


def parameters(tables: Iterable[str]) -> dict[str, list[str]]:
    """What CATALOG_QUERIES are run with."""
    return {"tables": list(tables)}


@dataclass(frozen=True)
class Column:
    name: str
    sql_name: str
    virtual: bool
    key_position: int
    """1, 2, … in the primary key, else 0."""
    base_type: str
    """The type without its domains; ``unknown`` for types that are not PostgreSQL's own."""
    typmod: int
    length: int
    """Bytes of a type of fixed length, else -1."""
    plain: frozenset[str]
    ranged: frozenset[str]


@dataclass(frozen=True)
class Relation:
    """A table that a trigger can be on."""

    oid: int
    sql_name: str
    kind: str
    is_partition: bool
    owner: str
    owned: bool
    """Whether we have the owner's rights."""


@dataclass(frozen=True)
class Table:
    relation: Relation
    schema: str
    name: str
    persistence: str
    has_parent: bool
    columns: tuple[Column, ...]
    members: tuple[Relation, ...]
    """Partitions and inheritance children at any depth."""
    detached: tuple[str, ...]
    """Former partitions, as the comments of the triggers remember them."""

    @property
    def log_name(self) -> str:
        """The name in the change log: quotes only where a character needs them, keywords or not."""
        return ".".join(
            part if _PLAIN.fullmatch(part) else '"' + part.replace('"', '""') + '"' for part in (self.schema, self.name)
        )

    @property
    def sql_name(self) -> str:
        return self.relation.sql_name

    @property
    def partitions(self) -> tuple[Relation, ...]:
        return tuple(member for member in self.members if member.is_partition)

    @property
    def children(self) -> tuple[Relation, ...]:
        """Children by plain inheritance, which inherit no triggers."""
        return tuple(member for member in self.members if not member.is_partition)


@dataclass(frozen=True)
class InstalledTrigger:
    table_oid: int
    table_name: str
    owner: str
    owned: bool
    name: str
    cloned: bool
    """On a partition, made and removed by PostgreSQL."""
    enabled: str
    """``A``: always; ``O``: not in replication sessions; ``R``: only there; ``D``: not at all."""
    type: int
    conditional: bool
    plain: bool
    ours: bool
    function: str
    comment: str


@dataclass(frozen=True)
class InstalledFunction:
    name: str
    body: str
    settings: tuple[str, ...]
    definer: bool
    """SECURITY DEFINER, plpgsql, and a trigger function."""
    owned: bool
    """By the owner of the schema."""
    public: bool
    """Whether everybody may execute it."""


@dataclass(frozen=True)
class Catalog:
    tables: Mapping[str, Table]
    """By the name that was asked for; who is not in it does not exist."""
    parts: Mapping[str, tuple[str, ...]]
    """The parsed names."""
    triggers: tuple[InstalledTrigger, ...]
    functions: Mapping[str, InstalledFunction]


def read(rows: Mapping[str, Rows]) -> Catalog:
    """The catalog from the rows (as mappings by column name) of each of CATALOG_QUERIES."""
    columns: dict[int, list[Column]] = {}
    for row in rows["columns"]:
        columns.setdefault(row["relid"], []).append(_column(row))
    members: dict[int, list[Relation]] = {}
    for row in rows["members"]:
        members.setdefault(row["root"], []).append(_relation(row))
    tables = {
        row["wanted"]: Table(
            relation=_relation(row),
            schema=row["schema_name"],
            name=row["table_name"],
            persistence=row["persistence"],
            has_parent=row["has_parent"],
            columns=tuple(columns.get(row["oid"], ())),
            members=tuple(members.get(row["oid"], ())),
            detached=tuple(
                gone["sql_name"]
                for gone in rows["detached"]
                if gone["root"] == row["oid"]
                and gone["sql_name"] not in {m.sql_name for m in members.get(row["oid"], ())}
            ),
        )
        for row in rows["tables"]
        if row["oid"] is not None
    }
    return Catalog(
        tables=tables,
        parts={row["wanted"]: tuple(row["parts"]) for row in rows["tables"]},
        triggers=tuple(InstalledTrigger(**row) for row in rows["triggers"]),
        functions={
            row["name"]: InstalledFunction(**{**row, "settings": tuple(row["settings"])}) for row in rows["functions"]
        },
    )


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean a or b?``, or nothing, where no name is near."""
    near = difflib.get_close_matches(name, list(names), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def names_in_comment(names: Iterable[str]) -> str:
    """Names as a comment holds them and as the query ``detached`` looks for them: a JSON array."""
    return json.dumps(list(names), ensure_ascii=False)


def _relation(row: Mapping[str, Any]) -> Relation:
    return Relation(
        oid=row["oid"],
        sql_name=row["sql_name"],
        kind=row["kind"],
        is_partition=row["is_partition"],
        owner=row["owner"],
        owned=row["owned"],
    )


def _column(row: Mapping[str, Any]) -> Column:
    return Column(
        name=row["name"],
        sql_name=row["sql_name"],
        virtual=row["virtual"],
        key_position=row["key_position"],
        base_type=row["base_type"],
        typmod=row["typmod"],
        length=row["length"],
        plain=frozenset(row["plain"]),
        ranged=frozenset(row["ranged"]),
    )
