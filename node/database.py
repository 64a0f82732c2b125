"""The database: one SQLite file, its schema, and what is written and read in it.

Every method blocks; `node.store` calls them from the right thread. Bodies pass a
`Sealer`, so that encryption at rest has one place.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import attrs

from gossip import limits
from gossip.errors import PeerError, UserError
from gossip.ledger.audit_heads import AuditHead
from gossip.ledger.batch import Batch
from gossip.units import Incarnation, NodeId, UnixMs
from node.audit import AUDIT_GUARDS, AUDIT_SCHEMA, TRIM_EVERY, Trail
from node.config import AuditConfig
from node.keys.keystore import make_private_folder

RANGE_BYTES_MAX: Final = 4 * limits.FRAME_BYTES_MAX
ROWS_MAX: Final = 128
ROWS_BYTES_MAX: Final = 512 << 10
"""Batches that one statement puts in, by number and by size. SQLite keeps what it was
given for as long as Python keeps the statement, one for each number of rows: so those
are powers of two, and few."""
_INSERT: Final = (
    "INSERT OR IGNORE INTO batches (author, incarnation, number, hash,"
    " body, issued_at_ms, received_at_ms, lasting) VALUES"
)
_ROW: Final = "(?, ?, ?, ?, ?, ?, ?, ?)"


class Sealer(Protocol):
    """Encrypts what lies at rest; ``place`` binds a body to its row."""

    def seal(self, body: bytes, place: bytes) -> bytes:
        """Encrypt ``body``."""
        ...

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Decrypt.

        Raises:
            PeerError: not sealed by us for this place.
        """
        ...


class IdentitySealer:
    """Stores bodies as they are."""

    def seal(self, body: bytes, place: bytes) -> bytes:
        return body

    def open(self, sealed: bytes, place: bytes) -> bytes:
        return sealed


@attrs.frozen
class PutBatch:
    """Keep a batch."""

    batch: Batch
    received_at_ms: UnixMs


@attrs.frozen
class PutAudit:
    """Append a decision to the audit table."""

    at_ms: UnixMs
    record: bytes = attrs.field(repr=False)


@attrs.frozen
class TrimAudit:
    """Let go of decisions that are older than the retention, or too many."""

    now_ms: UnixMs


@attrs.frozen
class PutMeta:
    """Remember a small value by name."""

    key: str
    value: bytes = attrs.field(repr=False)


@attrs.frozen
class Forget:
    """Drop a feed's batches before a number, but for the lasting ones."""

    author: NodeId
    incarnation: Incarnation
    before: int


Write: TypeAlias = PutBatch | PutAudit | TrimAudit | PutMeta | Forget

_MIGRATIONS: Final = (
    """
    CREATE TABLE batches (
        seq INTEGER PRIMARY KEY,
        author BLOB NOT NULL,
        incarnation BLOB NOT NULL,
        number INTEGER NOT NULL,
        hash BLOB NOT NULL,
        body BLOB NOT NULL,
        issued_at_ms INTEGER NOT NULL,
        received_at_ms INTEGER NOT NULL,
        lasting INTEGER NOT NULL,
        UNIQUE (author, incarnation, number)
    ) STRICT;
    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ms INTEGER NOT NULL,
        record BLOB NOT NULL
    ) STRICT;
    CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
    CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    """,
    AUDIT_SCHEMA,
    AUDIT_GUARDS,
)
"""One script for each schema version; never edited once released."""


class Database:
    """One connection. Every method blocks; `Store` calls from the right thread."""

    def __init__(
        self, path: Path, sealer: Sealer, keep: AuditConfig | None = None
    ) -> None:
        """Open or make the file and bring it to this schema.

        Raises:
            UserError: not ours, from a newer Picket, or the disk refuses.
        """
        self._path = path
        self._sealer = sealer
        self._keep = keep or AuditConfig()
        make_private_folder(path.parent)
        try:
            self._sql = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False
            )
            self._sql.execute("PRAGMA journal_mode = WAL")
            self._sql.execute("PRAGMA synchronous = FULL")
            self._sql.execute("PRAGMA busy_timeout = 5000")
            path.chmod(0o600)
            self._migrate()
            self._trail = Trail(self._sql)
        except (sqlite3.Error, OSError) as wrong:
            raise UserError(f"{path}: cannot open the store: {wrong}") from None

    def close(self) -> None:
        """Close the connection."""
        self._sql.close()

    def commit(self, writes: Sequence[Write]) -> None:
        """Make all of ``writes`` durable, or none of them.

        Raises:
            UserError: the disk refuses.
        """
        try:
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                for batches, run in groupby(writes, _is_batch):
                    for some in _slices(list(run), ROWS_MAX if batches else 1):
                        self._put(some)
            except BaseException:
                self._sql.execute("ROLLBACK")
                self._trail.head = self._trail.read_head()
                raise
            self._sql.execute("COMMIT")
        except sqlite3.Error as wrong:
            raise UserError(f"{self._path}: cannot write: {wrong}") from None

    def batches(self) -> Iterator[bytes]:
        """Every batch, encoded, in the order they were stored."""
        with self._reading():
            rows = self._sql.execute(
                "SELECT body, author, incarnation, number FROM batches ORDER BY seq"
            )
            for body, author, incarnation, number in rows:
                yield self._open(body, _place(author, incarnation, number))

    def range(
        self,
        author: NodeId,
        incarnation: Incarnation,
        first: int,
        last: int,
        count: int,
    ) -> list[tuple[int, bytes]]:
        """The first ``count`` held of a feed's batches ``first..last``, that fit."""
        rows = self._sql.execute(
            "SELECT number, body FROM batches WHERE author = ? AND incarnation = ?"
            " AND number BETWEEN ? AND ? ORDER BY number LIMIT ?",
            (author, incarnation, first, last, count),
        )
        found: list[tuple[int, bytes]] = []
        size = 0
        for number, body in rows:
            encoded = self._open(body, _place(author, incarnation, number))
            size += len(encoded)
            if found and size > RANGE_BYTES_MAX:
                break
            found.append((number, encoded))
        return found

    def prunable(
        self, author: NodeId, issued_before_ms: int, bytes_max: int
    ) -> list[tuple[Incarnation, int]]:
        """Where to begin an author's feeds so that what is kept is young and small.

        Returns:
            For each feed that has something to drop, the first number to keep.
        """
        rows = self._sql.execute(
            "SELECT incarnation, max(number) + 1 FROM ("
            " SELECT incarnation, number, issued_at_ms,"
            "  sum(length(body)) OVER (ORDER BY seq DESC) AS younger"
            " FROM batches WHERE author = ? AND NOT lasting)"
            " WHERE issued_at_ms < ? OR younger > ? GROUP BY incarnation",
            (author, issued_before_ms, bytes_max),
        )
        return [(Incarnation(incarnation), keep) for incarnation, keep in rows]

    def audit(self, last: int) -> list[tuple[int, int, bytes]]:
        """The ``last`` audit rows as (seq, at_ms, record), oldest first."""
        with self._reading():
            rows = self._trail.last(last)
        return [
            (seq, at_ms, self._open_audit(record, at_ms)) for seq, at_ms, record in rows
        ]

    def audit_head(self) -> AuditHead:
        """Where the audit trail begins and ends."""
        with self._reading():
            return self._trail.read_head()

    def verify_audit(self, signed: Sequence[AuditHead]) -> AuditHead:
        """Go through the whole audit trail; see `Trail.verify`."""
        with self._reading():
            self._sql.execute("BEGIN")  # one view of it, whatever is written meanwhile
            try:
                return self._trail.verify(self._open_audit, signed)
            finally:
                self._sql.execute("COMMIT")

    def meta(self, key: str) -> bytes | None:
        """The value remembered under ``key``."""
        with self._reading():
            row = self._sql.execute(
                "SELECT value FROM meta WHERE key = ?", (key,)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def metas(self, prefix: str) -> list[tuple[str, bytes]]:
        """Everything remembered under keys that begin with ``prefix``, by key."""
        with self._reading():
            rows = self._sql.execute(
                "SELECT key, value FROM meta WHERE substr(key, 1, ?) = ? ORDER BY key",
                (len(prefix), prefix),
            ).fetchall()
        return [(key, bytes(value)) for key, value in rows]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as wrong:
            raise UserError(f"{self._path}: cannot read: {wrong}") from None

    def _put(self, writes: list[Write]) -> None:
        """One write, or several batches: with each statement the writer's thread lets
        go of the interpreter, and has to take it back from a loop that is busy."""
        match writes[0]:
            case PutBatch():
                values: list[bytes | int] = []
                for write in writes:
                    values += self._row(write)
                rows = ", ".join([_ROW] * len(writes))
                self._sql.execute(f"{_INSERT} {rows}", values)
            case PutAudit(at_ms, record):
                sealed = self._sealer.seal(record, _audit_place(at_ms))
                self._trail.append(at_ms, record, sealed)
                if self._trail.head.seq % TRIM_EVERY == 0:
                    self._trim(at_ms)
            case TrimAudit(now_ms):
                self._trim(now_ms)
            case Forget(author, incarnation, before):
                self._sql.execute(
                    "DELETE FROM batches WHERE author = ? AND incarnation = ?"
                    " AND number < ? AND NOT lasting",
                    (author, incarnation, before),
                )
            case PutMeta(key, value):
                self._sql.execute(
                    "INSERT INTO meta (key, value) VALUES (?, ?)"
                    " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    (key, value),
                )

    def _row(self, write: Write) -> tuple[bytes | int, ...]:
        assert isinstance(write, PutBatch)
        batch = write.batch
        place = _place(batch.author, batch.incarnation, batch.number)
        return (
            batch.author,
            batch.incarnation,
            batch.number,
            batch.id,
            self._sealer.seal(batch.encoded, place),
            batch.issued_at_ms,
            write.received_at_ms,
            batch.lasting,
        )

    def _trim(self, now_ms: int) -> None:
        self._trail.trim(now_ms - self._keep.days * limits.DAY_MS, self._keep.rows)

    def _migrate(self) -> None:
        (version,) = self._sql.execute("PRAGMA user_version").fetchone()
        if version > len(_MIGRATIONS):
            raise UserError(
                f"{self._path}: schema {version} is from a newer Picket; this one"
                f" knows {len(_MIGRATIONS)}: upgrade, or restore a backup"
            )
        for number in range(version, len(_MIGRATIONS)):
            self._sql.executescript(
                f"BEGIN IMMEDIATE; {_MIGRATIONS[number]}"
                f" PRAGMA user_version = {number + 1}; COMMIT;"
            )

    def _open_audit(self, sealed: bytes, at_ms: int) -> bytes:
        return self._open(sealed, _audit_place(at_ms))

    def _open(self, sealed: bytes, place: bytes) -> bytes:
        try:
            return self._sealer.open(sealed, place)
        except PeerError as wrong:
            raise UserError(f"{self._path}: a row was tampered with: {wrong}") from None


def _is_batch(write: Write) -> bool:
    return isinstance(write, PutBatch)


def _slices(writes: list[Write], size_max: int) -> Iterator[list[Write]]:
    """All of them in order, as many at a time as one statement takes."""
    at = 0
    while at < len(writes):
        size = 1 << (min(size_max, len(writes) - at).bit_length() - 1)
        while size > 1 and sum(map(_bytes, writes[at : at + size])) > ROWS_BYTES_MAX:
            size //= 2
        yield writes[at : at + size]
        at += size


def _bytes(write: Write) -> int:
    return len(write.batch.encoded) if isinstance(write, PutBatch) else 0


def _place(author: bytes, incarnation: bytes, number: int) -> bytes:
    return b"batch" + author + incarnation + number.to_bytes(8, "big")


def _audit_place(at_ms: int) -> bytes:
    return b"audit" + at_ms.to_bytes(8, "big")
