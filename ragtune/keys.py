"""API keys: who may do what, and whose requests may share a prefix cache.

A key reads `rt-<id>-<secret>` and is shown once. The store holds the SHA-256 of its secret and no more. A slow hash
protects passwords because people choose them from a small set; these secrets are 256 random bits, and nobody tries
2^255 of them at any speed, so a slow hash would only cost every request its time.

A key is never deleted, only revoked: whether one was ever made decides if the door stands open (`service/access.py`).
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, Row, text

from ragtune.errors import InvalidRequest, UnknownName
from ragtune.mode import check_name
from ragtune.store import Database

ScopeName = Literal["query", "index:write", "adapters:write", "train", "eval", "admin"]
SCOPES: tuple[str, ...] = get_args(ScopeName)
_PREFIX = "rt"
_NOBODYS = hashlib.sha256(secrets.token_bytes(32)).hexdigest()  # compared with where no key has the id
_TAKEN = ("cli", "local")  # what the audit log calls callers without a key
_COLUMNS = "id, name, secret_sha256, scopes, tenant, created, revoked"


@dataclass(frozen=True)
class Caller:
    """Who asks: a name, what it may do, its tenant ("" is none), and the id of its key, if it has one."""

    name: str
    scopes: frozenset[str]
    tenant: str = ""
    key: str | None = None

    def may(self, scope: str) -> bool:
        """Whether it has the scope; `admin` has all."""
        return scope in self.scopes or "admin" in self.scopes


LOCAL = Caller("local", frozenset({"admin"}))  # whoever sits at this machine


class Key(BaseModel):
    """What is known of a key, which is all but the key itself."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    scopes: tuple[str, ...]
    tenant: str
    created: str
    revoked: str | None = None


class Keys:
    """All keys of one home. Safe to use from several processes: a key revoked by one is refused by all at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, scopes: Iterable[str], tenant: str = "") -> tuple[Key, str]:
        """A new key, and its text, which cannot be had again. Raises what `add` raises."""
        with self._database.write() as connection:
            return add(connection, name, scopes, tenant)

    def known(self) -> list[Key]:
        """Every key ever made, oldest first, the revoked ones among them."""
        with self._database.read() as connection:
            rows = connection.execute(text(f"SELECT {_COLUMNS} FROM api_key ORDER BY rowid")).all()
        return [_key(row) for row in rows]

    def revoke(self, name_or_id: str) -> Key:
        """Revoke the key in use with this name or id; it is refused from the next request on. Raises UnknownName."""
        with self._database.write() as connection:
            query = f"SELECT {_COLUMNS} FROM api_key WHERE (id = :it OR name = :it) AND revoked IS NULL"
            row = connection.execute(text(query), {"it": name_or_id}).first()
            if row is None:
                in_use = connection.execute(text("SELECT name FROM api_key WHERE revoked IS NULL")).scalars()
                raise UnknownName.among("key", name_or_id, in_use)
            key = _key(row).model_copy(update={"revoked": _now()})
            connection.execute(text("UPDATE api_key SET revoked = :revoked WHERE id = :id"), key.model_dump())
        return key

    def ever(self) -> bool:
        """Whether a key was ever made, revoked ones included."""
        return self._exists("")

    def usable(self) -> bool:
        """Whether there is a key that is not revoked."""
        return self._exists("WHERE revoked IS NULL")

    def check(self, key: str) -> Caller | None:
        """Who holds `key`; None if it is unknown, wrong or revoked. As slow for an unknown id as for a wrong secret."""
        prefix, _, rest = key.partition("-")
        identity, _, secret = rest.partition("-")
        with self._database.read() as connection:
            query = f"SELECT {_COLUMNS} FROM api_key WHERE id = :id AND revoked IS NULL"
            row = connection.execute(text(query), {"id": identity}).first()
        right = hmac.compare_digest(_hash(secret), row.secret_sha256 if row else _NOBODYS)
        if row is None or not right or prefix != _PREFIX:
            return None
        return Caller(row.name, frozenset(row.scopes.split()), row.tenant, row.id)

    def _exists(self, condition: str) -> bool:
        with self._database.read() as connection:
            return connection.execute(text(f"SELECT 1 FROM api_key {condition} LIMIT 1")).first() is not None


def add(connection: Connection, name: str, scopes: Iterable[str], tenant: str = "") -> tuple[Key, str]:
    """A new key, and its text, inside a transaction that the caller has opened: it counts from the commit on.

    Raises InvalidRequest for an illegal name or tenant, one that a key in use has, no scope or an unknown one.
    """
    key = Key(
        id=f"K{secrets.token_hex(5).upper()}",  # a capital: no name can be taken for an id
        name=check_name(name, "key"),
        scopes=_checked(scopes),
        tenant=tenant and check_name(tenant, "tenant"),
        created=_now(),
    )
    if name in _TAKEN:
        raise InvalidRequest(f"{name!r} is what the audit log calls callers without a key; take another name")
    used = text("SELECT 1 FROM api_key WHERE name = :name AND revoked IS NULL")
    if connection.execute(used, {"name": name}).first():
        raise InvalidRequest(f"a key {name!r} is in use; take another name, or revoke that one first")
    secret = secrets.token_hex(32)
    connection.execute(
        text(
            f"INSERT INTO api_key ({_COLUMNS})"
            " VALUES (:id, :name, :secret_sha256, :scopes, :tenant, :created, :revoked)"
        ),
        key.model_dump() | {"scopes": " ".join(key.scopes), "secret_sha256": _hash(secret)},
    )
    return key, f"{_PREFIX}-{key.id}-{secret}"


def _checked(scopes: Iterable[str]) -> tuple[str, ...]:
    given = set(scopes)
    if not given:
        raise InvalidRequest(f"a key needs a scope: {', '.join(SCOPES)}", param="scope")
    for unknown in sorted(given.difference(SCOPES)):
        raise InvalidRequest(f"there is no scope {unknown!r}, only {', '.join(SCOPES)}", param="scope")
    return tuple(scope for scope in SCOPES if scope in given)


def _key(row: Row[tuple[object, ...]]) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        scopes=tuple(row.scopes.split()),
        tenant=row.tenant,
        created=row.created,
        revoked=row.revoked,
    )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
