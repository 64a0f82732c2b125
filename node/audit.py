"""The audit trail: a chain of decisions, shortened from its beginning alone.

::

    base ──▶ row ──▶ row ──▶ … ──▶ row = head, signed into the node's feed
    (seq, chain)   chain = digest(chain before, seq, time, record)

Each row's chain covers all rows before it, those included that were let go since. So
whoever holds a head that the node once signed, and every member does, can have the
node show that what remains is what it decided: nothing in it was changed, added or
taken out. The database itself refuses to change or replace a row, or to delete one
that is not the first.
"""

import sqlite3
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import attrs

from gossip.domains import Domain
from gossip.errors import UserError
from gossip.ledger.audit_heads import NO_CHAIN, AuditHead
from gossip.suite import digest
from gossip.units import UnixMs

TRIM_EVERY: Final = 1_024
TRIM_ROWS_MAX: Final = 8_192
"""So many go at once, since others wait for the same disk."""

Row: TypeAlias = tuple[int, int, bytes]
"""Number, time in Unix ms, record."""
Opener: TypeAlias = Callable[[bytes, int], bytes]
"""Unseals a record that was sealed at a time."""

AUDIT_SCHEMA: Final = """
    ALTER TABLE audit ADD COLUMN chain BLOB;
    CREATE TABLE audit_base (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        seq INTEGER NOT NULL,
        chain BLOB NOT NULL
    ) STRICT;
    INSERT INTO audit_base SELECT 1, coalesce(max(seq), 0), zeroblob(32) FROM audit;
    DROP TRIGGER audit_is_never_deleted;
    CREATE TRIGGER audit_is_deleted_from_its_beginning BEFORE DELETE ON audit
    WHEN OLD.seq > (SELECT seq FROM audit_base)
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
    CREATE TRIGGER audit_base_never_goes_back BEFORE UPDATE ON audit_base
    WHEN NEW.seq < OLD.seq
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
    CREATE TRIGGER audit_base_is_never_deleted BEFORE DELETE ON audit_base
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
"""
"""Rows of before the chain lie before the base, and nothing vouches for them."""

AUDIT_GUARDS: Final = """
    CREATE TRIGGER audit_only_grows BEFORE INSERT ON audit
    WHEN NEW.seq <= max(
        (SELECT seq FROM audit_base), (SELECT coalesce(max(seq), 0) FROM audit)
    )
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
    CREATE TRIGGER audit_base_is_never_replaced BEFORE INSERT ON audit_base
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
"""
"""Since SQLite deletes what it replaces without asking the triggers on deletion."""


@attrs.define
class Trail:
    """The trail in one database. Blocks; whoever calls commits or rolls back."""

    sql: sqlite3.Connection
    head: AuditHead = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.head = self.read_head()

    def read_head(self) -> AuditHead:
        """Where the trail begins and ends, as the file says."""
        base, base_chain = self.sql.execute(
            "SELECT seq, chain FROM audit_base"
        ).fetchone()
        last = self.sql.execute(
            "SELECT seq, chain FROM audit WHERE seq > ? ORDER BY seq DESC LIMIT 1",
            (base,),
        ).fetchone()
        seq, chain = last or (base, base_chain)
        return AuditHead(base=base, base_chain=base_chain, seq=seq, chain=chain)

    def append(self, at_ms: int, record: bytes, sealed: bytes) -> None:
        """Add a decision; ``sealed`` is what is stored of it."""
        seq = self.head.seq + 1
        chain = link(self.head.chain, seq, at_ms, record)
        self.sql.execute(
            "INSERT INTO audit (seq, at_ms, record, chain) VALUES (?, ?, ?, ?)",
            (seq, at_ms, sealed, chain),
        )
        self.head = attrs.evolve(self.head, seq=seq, chain=chain)

    def trim(self, before_ms: int, rows_max: int) -> None:
        """Let go, from the beginning, of what is older or too much; a piece of it."""
        first = self.sql.execute("SELECT min(seq) FROM audit").fetchone()[0]
        if first is None:
            return
        young = self.sql.execute(
            "SELECT seq FROM audit WHERE at_ms >= ? ORDER BY seq LIMIT 1", (before_ms,)
        ).fetchone()
        keep = max(
            self.head.seq + 1 if young is None else young[0],
            self.head.seq + 1 - rows_max,
        )
        last_gone = min(keep, first + TRIM_ROWS_MAX) - 1
        if last_gone < first:
            return
        if last_gone > self.head.base:
            (chain,) = self.sql.execute(
                "SELECT chain FROM audit WHERE seq = ?", (last_gone,)
            ).fetchone()
            self.sql.execute(
                "UPDATE audit_base SET seq = ?, chain = ?", (last_gone, chain)
            )
            self.head = attrs.evolve(self.head, base=last_gone, base_chain=chain)
        self.sql.execute("DELETE FROM audit WHERE seq <= ?", (last_gone,))

    def last(self, count: int) -> list[Row]:
        """The last rows, oldest first, as they are stored."""
        rows = self.sql.execute(
            "SELECT seq, at_ms, record FROM audit ORDER BY seq DESC LIMIT ?", (count,)
        ).fetchall()
        return rows[::-1]

    def verify(self, opened: Opener, signed: Iterable[AuditHead]) -> AuditHead:
        """Go through all that remains; returns where it begins and ends.

        Args:
            signed: Heads that this node signed before. Those that lie before the
                base cannot be compared with any row that is left.

        Raises:
            UserError: a row is missing or was changed, or the trail is not the one
                of which a head was signed.
        """
        head = self.read_head()
        wanted = {told.seq: told.chain for told in signed}
        wanted.update({told.base: told.base_chain for told in signed if told.base})
        seq, chain = head.base, head.base_chain
        _compare(wanted, seq, chain)
        for number, at_ms, record, stored in self.sql.execute(
            "SELECT seq, at_ms, record, chain FROM audit WHERE seq > ? ORDER BY seq",
            (head.base,),
        ):
            seq += 1
            chain = link(chain, seq, at_ms, opened(record, at_ms))
            if number != seq or stored != chain:
                raise UserError(f"the audit trail is broken: row {seq} is not its own")
            _compare(wanted, seq, chain)
        ahead = [told for told in wanted if told > seq]
        if ahead:
            raise UserError(
                f"the audit trail ends at row {seq}, but row {max(ahead)} was signed"
            )
        return AuditHead(
            base=head.base, base_chain=head.base_chain, seq=seq, chain=chain
        )


def link(before: bytes, seq: int, at_ms: int, record: bytes) -> bytes:
    """The chain up to a row."""
    return digest(
        Domain.AUDIT_ROW,
        before,
        seq.to_bytes(8, "big"),
        UnixMs(at_ms).to_bytes(8, "big"),
        record,
    )


def _compare(wanted: dict[int, bytes], seq: int, chain: bytes) -> None:
    if wanted.get(seq, chain) != chain or (seq == 0 and chain != NO_CHAIN):
        raise UserError(
            f"the audit trail was rewritten: up to row {seq} it is not what was signed"
        )
