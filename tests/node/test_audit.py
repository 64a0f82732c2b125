"""The audit trail: shortened from its beginning alone, and never rewritten unseen."""

import sqlite3
from functools import partial
from pathlib import Path
from typing import cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.errors import PeerError, UserError
from gossip.ledger.audit_heads import (
    NO_CHAIN,
    AuditHead,
    read_audit_head_untrusted,
    write_audit_head,
)
from gossip.ledger.entries import EntryKind
from gossip.limits import DAY_MS
from gossip.units import UnixMs
from node.audit import TRIM_EVERY, TRIM_ROWS_MAX
from node.config import AuditConfig
from node.daemon import Daemon
from node.database import Database, IdentitySealer, PutAudit, TrimAudit
from node.jsonlines import Json
from node.store import Store
from tests.node.test_daemon import bear, daemon_of, running, said, tell, until

NOW = UnixMs(1_800_000_000_000)


def database(path: Path, days: int = 365, rows: int = 10**6) -> Database:
    return Database(path, IdentitySealer(), AuditConfig(days=days, rows=rows))


def decide(store: Database, count: int, step_ms: int = 1_000) -> None:
    first = store.audit_head().seq
    store.commit(
        [
            PutAudit(UnixMs(NOW + step_ms * n), b"row %d" % n)
            for n in range(first, first + count)
        ]
    )


def test_what_remains_is_proven_by_what_was_signed_before(tmp_path: Path) -> None:
    store = database(tmp_path / "s.db", rows=50)
    signed = []
    for _ in range(6):
        decide(store, 30)
        signed.append(store.audit_head())
        store.commit([TrimAudit(NOW)])
    found = store.verify_audit(signed)
    assert (found.base, found.seq) == (130, 180)
    assert len(store.audit(1_000)) == 50
    assert found.base_chain == store.audit_head().base_chain
    store.close()


def test_age_lets_go_of_the_beginning_and_nothing_else(tmp_path: Path) -> None:
    store = database(tmp_path / "s.db", days=1)
    decide(store, 10, step_ms=DAY_MS // 4)
    store.commit([TrimAudit(UnixMs(NOW + 2 * DAY_MS))])
    assert [record for _, _, record in store.audit(99)] == [
        b"row %d" % n for n in range(4, 10)
    ]
    store.commit([TrimAudit(UnixMs(NOW + 90 * DAY_MS))])
    assert store.audit(99) == []
    emptied = store.audit_head()
    assert emptied.base == emptied.seq == 10
    decide(store, 1)
    assert store.verify_audit([emptied]).seq == 11
    store.close()


def test_a_busy_trail_trims_itself_a_piece_at_a_time(tmp_path: Path) -> None:
    store = database(tmp_path / "s.db", rows=100)
    decide(store, 3 * TRIM_EVERY + 7)
    assert len(store.audit(10**6)) == 107
    store.commit([TrimAudit(NOW)] * 2)
    assert len(store.audit(10**6)) == 100
    store.close()
    store = database(tmp_path / "s.db", rows=10**6)
    decide(store, 2 * TRIM_ROWS_MAX)
    store.close()
    store = database(tmp_path / "s.db", rows=1)
    before = len(store.audit(10**6))
    store.commit([TrimAudit(NOW)])
    assert before - len(store.audit(10**6)) == TRIM_ROWS_MAX
    store.verify_audit([])
    store.close()


def test_a_trail_goes_on_after_a_restart(tmp_path: Path) -> None:
    heads = []
    for _ in range(3):
        store = database(tmp_path / "s.db")
        decide(store, 5)
        heads.append(store.audit_head())
        store.verify_audit(heads)
        store.close()
    assert [head.seq for head in heads] == [5, 10, 15]


def test_a_commit_that_fails_leaves_the_chain_as_it_was(tmp_path: Path) -> None:
    store = database(tmp_path / "s.db")
    decide(store, 3)
    huge = PutAudit(UnixMs(2**70), b"no such time")
    with pytest.raises(OverflowError):
        store.commit([PutAudit(NOW, b"lost"), huge])
    decide(store, 2)
    assert store.verify_audit([]).seq == 5
    store.close()


FORGERIES: dict[str, str] = {
    "a changed record": "UPDATE audit SET record = x'00' WHERE seq = 7",
    "another time": "UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 7",
    "a row taken out": "DELETE FROM audit WHERE seq = 7",
    "the end cut off": "DELETE FROM audit WHERE seq > 15",
    "the beginning cut off": "DELETE FROM audit WHERE seq < 5",
    "all of it": "DELETE FROM audit",
    "another base": "UPDATE audit_base SET chain = randomblob(32)",
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_whoever_owns_the_disk_cannot_rewrite_unseen(
    forgery: str, tmp_path: Path
) -> None:
    store = database(tmp_path / "s.db")
    decide(store, 20)
    signed = store.audit_head()
    store.close()
    sql = sqlite3.connect(tmp_path / "s.db")
    for (trigger,) in sql.execute(
        "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    ).fetchall():
        sql.execute(f"DROP TRIGGER {trigger}")
    sql.execute(forgery)
    sql.commit()
    sql.close()
    store = database(tmp_path / "s.db")
    with pytest.raises(UserError, match="audit trail"):
        store.verify_audit([signed])
    store.close()


def test_a_trail_written_anew_from_its_beginning_is_not_the_one_that_was_signed(
    tmp_path: Path,
) -> None:
    store = database(tmp_path / "s.db")
    decide(store, 20)
    signed = store.audit_head()
    store.close()
    (tmp_path / "s.db").unlink()
    store = database(tmp_path / "s.db")
    decide(store, 25, step_ms=999)
    store.verify_audit([])
    with pytest.raises(UserError, match="was rewritten: up to row 20"):
        store.verify_audit([signed])
    store.close()


def test_the_database_itself_refuses_what_is_not_from_the_beginning(
    tmp_path: Path,
) -> None:
    store = database(tmp_path / "s.db", rows=3)
    decide(store, 10)
    store.commit([TrimAudit(NOW)])
    store.close()
    sql = sqlite3.connect(tmp_path / "s.db")
    for statement in (
        "DELETE FROM audit WHERE seq = 9",
        "UPDATE audit SET at_ms = 0",
        "UPDATE audit_base SET seq = 3",
        "DELETE FROM audit_base",
        "INSERT OR REPLACE INTO audit SELECT seq, 0, record, chain FROM audit",
        "REPLACE INTO audit VALUES (9, 0, x'00', zeroblob(32))",
        "INSERT INTO audit VALUES (7, 0, x'00', zeroblob(32))",
        "REPLACE INTO audit_base VALUES (1, 0, zeroblob(32))",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            sql.execute(statement)
    sql.close()


@given(st.binary(max_size=100))
def test_garbage_is_a_head_or_the_peers_fault(data: bytes) -> None:
    try:
        head = read_audit_head_untrusted(data)
    except PeerError:
        return
    assert write_audit_head(head) == data


@given(
    st.integers(0, 2**40), st.binary(min_size=32, max_size=32), st.integers(0, 2**40)
)
def test_what_is_written_is_read(base: int, chain: bytes, more: int) -> None:
    head = AuditHead(base=base, base_chain=NO_CHAIN, seq=base + more, chain=chain)
    assert read_audit_head_untrusted(write_audit_head(head)) == head


async def test_every_member_holds_what_a_node_signed_and_it_can_be_held_to_it(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b"])
    a, b = daemon_of(homes["a"]), daemon_of(homes["b"])
    async with running(a, b):
        await record(a.store, 12)
        a.auditor.sign()
        await until(lambda: a.me in b.auditor.latest)
        heads = cast("list[dict[str, Json]]", await tell(b, "audit.heads"))
        assert [head["node"] for head in heads] == ["a"]
        seq, chain = heads[0]["seq"], heads[0]["chain"]
        told = cast("dict[str, Json]", await tell(a, "audit.verify"))
        assert (told["rows"], told["seq"], told["chain"]) == (12, seq, chain)
        await tell(a, "audit.verify", seq=seq, chain=chain)
        with pytest.raises(UserError, match="was rewritten"):
            await tell(a, "audit.verify", seq=seq, chain="00" * 32)
        with pytest.raises(PeerError, match="hex digits"):
            await tell(a, "audit.verify", seq=1, chain="zz")
        a.auditor.sign()
    again = daemon_of(homes["a"])
    async with running(again, daemon_of(homes["b"])):
        told = cast("dict[str, Json]", await tell(again, "audit.verify"))
        assert told["signed"] == {"base": 0, "seq": seq, "chain": chain}


def holds(by: Daemon, of: Daemon, seq: int) -> bool:
    told = by.auditor.latest.get(of.me)
    return told is not None and told.head.seq == seq


async def test_who_lets_go_of_everything_that_was_signed_is_found_out(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b"])
    a, b = daemon_of(homes["a"]), daemon_of(homes["b"])
    async with running(a, b):
        for rows in (3, 6):
            await record(a.store, 3)
            a.auditor.sign()
            await until(partial(holds, b, a, rows))
        await tell(a, "audit.verify")
        path = a.config.store_file
    sql = sqlite3.connect(path)
    sql.execute(
        "UPDATE audit_base SET (seq, chain) ="
        " (SELECT seq, chain FROM audit ORDER BY seq DESC LIMIT 1)"
    )
    sql.execute("DELETE FROM audit")
    sql.commit()
    sql.close()
    again, other = daemon_of(homes["a"]), daemon_of(homes["b"])
    async with running(again, other):
        with pytest.raises(UserError, match="row 4 is too young to be let go"):
            await tell(again, "audit.verify")


async def test_a_trail_that_is_shorter_than_what_was_signed_is_told_at_the_start(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b"])
    a, b = daemon_of(homes["a"]), daemon_of(homes["b"])
    async with running(a, b):
        await record(a.store, 3)
        await until(lambda: a.store.audit_head().seq == 3)
        said_before = a.store.audit_head()
        ahead = attrs.evolve(said_before, seq=9)
        a.auditor.say(EntryKind.AUDIT_HEAD, write_audit_head(ahead))
        await until(lambda: a.me in b.auditor.latest)
    again, other = daemon_of(homes["a"]), daemon_of(homes["b"])
    async with running(again, other):
        await until(lambda: "ends at row 3, but row 9 was signed" in said(again))
        with pytest.raises(UserError, match="row 9 was signed"):
            await tell(again, "audit.verify")
    assert "was signed" not in said(other)


async def record(store: Store, count: int) -> None:
    """Decisions, durable."""
    done: list[int] = []
    for n in range(count):
        last = (lambda: done.append(1)) if n == count - 1 else None
        row = b'{"position": "egress", "request_id": ""}'
        store.submit(PutAudit(UnixMs(NOW + n), row), last)
    await until(lambda: done)
