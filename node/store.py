"""The store: what the node may not forget, in one SQLite file, one writer.

::

    loop ──submit──▶ queue ──▶ writer thread: BEGIN, all that waits, COMMIT (fsync)
      ▲                                 │
      └──────── on_durable() ◀──────────┘

Whatever waits when a commit ends shares the next one, so under load an fsync is
shared by many and alone it is waited for by one. What nobody waits for, such as
audit and others' batches, never makes an own batch wait for an fsync of its own.
`synchronous=FULL`: when `on_durable` is called the write survives a power cut.
"""

import queue
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import attrs
import trio

from gossip import limits
from gossip.errors import PeerError, UserError
from gossip.ledger.batch import Batch
from gossip.units import Incarnation, NodeId, UnixMs
from node.keys.keystore import make_private_folder

GROUP_MAX: Final = 512
PATIENCE_S: Final = 0.02
"""How long what nobody waits for waits for company: fsyncs are dear, and shared."""
RANGE_BYTES_MAX: Final = 4 * limits.FRAME_BYTES_MAX


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


Write: TypeAlias = PutBatch | PutAudit | PutMeta | Forget

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
)
"""One script for each schema version; never edited once released."""


class Database:
    """One connection. Every method blocks; `Store` calls from the right thread."""

    def __init__(self, path: Path, sealer: Sealer) -> None:
        """Open or make the file and bring it to this schema.

        Raises:
            UserError: not ours, from a newer Picket, or the disk refuses.
        """
        self._path = path
        self._sealer = sealer
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
                for write in writes:
                    self._put(write)
            except BaseException:
                self._sql.execute("ROLLBACK")
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
            rows = self._sql.execute(
                "SELECT seq, at_ms, record FROM audit ORDER BY seq DESC LIMIT ?",
                (last,),
            ).fetchall()
        return [
            (seq, at_ms, self._open(record, _audit_place(at_ms)))
            for seq, at_ms, record in reversed(rows)
        ]

    def meta(self, key: str) -> bytes | None:
        """The value remembered under ``key``."""
        with self._reading():
            row = self._sql.execute(
                "SELECT value FROM meta WHERE key = ?", (key,)
            ).fetchone()
        return None if row is None else bytes(row[0])

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as wrong:
            raise UserError(f"{self._path}: cannot read: {wrong}") from None

    def _put(self, write: Write) -> None:
        match write:
            case PutBatch(batch, received_at_ms):
                place = _place(batch.author, batch.incarnation, batch.number)
                self._sql.execute(
                    "INSERT OR IGNORE INTO batches (author, incarnation, number, hash,"
                    " body, issued_at_ms, received_at_ms, lasting)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        batch.author,
                        batch.incarnation,
                        batch.number,
                        batch.id,
                        self._sealer.seal(batch.encoded, place),
                        batch.issued_at_ms,
                        received_at_ms,
                        batch.lasting,
                    ),
                )
            case PutAudit(at_ms, record):
                self._sql.execute(
                    "INSERT INTO audit (at_ms, record) VALUES (?, ?)",
                    (at_ms, self._sealer.seal(record, _audit_place(at_ms))),
                )
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

    def _open(self, sealed: bytes, place: bytes) -> bytes:
        try:
            return self._sealer.open(sealed, place)
        except PeerError as wrong:
            raise UserError(f"{self._path}: a row was tampered with: {wrong}") from None


def _place(author: bytes, incarnation: bytes, number: int) -> bytes:
    return b"batch" + author + incarnation + number.to_bytes(8, "big")


def _audit_place(at_ms: int) -> bytes:
    return b"audit" + at_ms.to_bytes(8, "big")


_Waiting: TypeAlias = tuple[Write, Callable[[], None] | None]
_BatchKey: TypeAlias = tuple[bytes, bytes, int]


class Store:
    """The loop's side of the store. Its methods never wait for the disk."""

    def __init__(self, path: Path, sealer: Sealer | None = None) -> None:
        """Open the store; see `Database`."""
        used = sealer or IdentitySealer()
        self._writer = Database(path, used)
        self._reader = Database(path, used)
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._unwritten: dict[_BatchKey, bytes] = {}
        self.on_commit: Callable[[float, int], None] = lambda _seconds, _writes: None
        """Called in the loop after each commit with its seconds and writes."""

    def submit(
        self, write: Write, on_durable: Callable[[], None] | None = None
    ) -> None:
        """Queue a write; ``on_durable`` is called in the loop once it is safe."""
        if isinstance(write, PutBatch):
            self._unwritten[_key(write.batch)] = write.batch.encoded
        self._queue.put((write, on_durable))

    @property
    def waiting(self) -> int:
        """Writes not yet taken by the writer."""
        return self._queue.qsize()

    async def run(self) -> None:
        """Write until `stop`; what was submitted before it is written first.

        Raises:
            UserError: the disk refuses. Nothing after that is promised.
        """
        token = trio.lowlevel.current_trio_token()
        await trio.to_thread.run_sync(
            self._write, token, limiter=trio.CapacityLimiter(1)
        )

    def stop(self) -> None:
        """Let `run` return once all that was submitted is written."""
        self._queue.put(None)

    def close(self) -> None:
        """Close the file; `run` must have returned."""
        self._writer.close()
        self._reader.close()

    def load(self) -> Iterator[bytes]:
        """Every batch in the order it was stored; at start."""
        return self._reader.batches()

    def range(
        self,
        author: NodeId,
        incarnation: Incarnation,
        first: int,
        last: int,
        count: int,
    ) -> list[tuple[int, bytes]]:
        """The first ``count`` held of a feed's batches ``first..last``, by number;
        those still being written included."""
        found = dict(self._reader.range(author, incarnation, first, last, count))
        for (who, which, number), encoded in self._unwritten.items():
            if who == author and which == incarnation and first <= number <= last:
                found[number] = encoded
        return [(number, found[number]) for number in sorted(found)[:count]]

    def prunable(
        self, author: NodeId, issued_before_ms: int, bytes_max: int
    ) -> list[tuple[Incarnation, int]]:
        """See `Database.prunable`."""
        return self._reader.prunable(author, issued_before_ms, bytes_max)

    def audit(self, last: int) -> list[tuple[int, int, bytes]]:
        """The last audit rows, oldest first."""
        return self._reader.audit(last)

    def meta(self, key: str) -> bytes | None:
        """A value put by `PutMeta`, once durable."""
        return self._reader.meta(key)

    def _write(self, token: trio.lowlevel.TrioToken) -> None:
        going = True
        while going:
            group, going = self._take_group()
            if group:
                began = time.perf_counter()
                self._writer.commit([write for write, _ in group])
                seconds = time.perf_counter() - began
                token.run_sync_soon(self._committed, group, seconds)

    def _take_group(self) -> tuple[list[_Waiting], bool]:
        """What shares the next commit, and whether more may follow.

        While nobody waits for any of it, it waits `PATIENCE_S` for company.
        """
        group: list[_Waiting] = []
        item = self._queue.get()
        patience_ends = time.monotonic() + PATIENCE_S
        while item is not None:
            group.append(item)
            if len(group) == GROUP_MAX:
                break
            if item[1] is not None:
                patience_ends = 0.0
            patience = max(0.0, patience_ends - time.monotonic())
            try:
                item = self._queue.get(timeout=patience)
            except queue.Empty:
                break
        return group, item is not None

    def _committed(self, group: list[_Waiting], seconds: float) -> None:
        for write, on_durable in group:
            if isinstance(write, PutBatch):
                self._unwritten.pop(_key(write.batch), None)
            if on_durable is not None:
                on_durable()
        self.on_commit(seconds, len(group))


def _key(batch: Batch) -> _BatchKey:
    return (batch.author, batch.incarnation, batch.number)
