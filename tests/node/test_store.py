"""The store: what was acknowledged survives, in order, and audit never changes."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.errors import PeerError, UserError
from gossip.ledger.batch import Batch, draft_batch, read_batch_untrusted
from gossip.suite import SIGNATURE_BYTES
from gossip.units import ClusterId, Incarnation, KeyId, NodeId, UnixMs
from node.database import (
    ROWS_BYTES_MAX,
    ROWS_MAX,
    Forget,
    PutAudit,
    PutBatch,
    PutMeta,
    Write,
    _slices,
)
from node.store import Store

NOW = UnixMs(1_800_000_000_000)
AUTHOR = NodeId(b"a" * 32)
INCARNATION = Incarnation(b"i" * 16)


def make_batch(number: int, text: bytes = b"x", author: NodeId = AUTHOR) -> Batch:
    draft = draft_batch(
        cluster=ClusterId(bytes(32)),
        author=author,
        incarnation=INCARNATION,
        number=number,
        previous=bytes(32),
        issued_at_ms=NOW,
        key=KeyId(bytes(32)),
        entries=[(999, text)],
    )
    return read_batch_untrusted(draft.join(bytes(SIGNATURE_BYTES)))


def held(store: Store, first: int, last: int, count: int = 99) -> list[bytes]:
    """What the store gives of AUTHOR's feed."""
    found = store.range(AUTHOR, INCARNATION, first, last, count)
    return [encoded for _, encoded in found]


@asynccontextmanager
async def running(store: Store) -> AsyncIterator[Store]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        try:
            yield store
        finally:
            store.stop()


async def put(store: Store, *batches: Batch) -> None:
    """Submit, and wait until the last is durable."""
    done = trio.Event()
    for batch in batches[:-1]:
        store.submit(PutBatch(batch, NOW))
    store.submit(PutBatch(batches[-1], NOW), done.set)
    with trio.fail_after(10):
        await done.wait()


async def test_batches_come_back_in_the_order_they_were_stored(tmp_path: Path) -> None:
    batches = [make_batch(n) for n in (3, 1, 2)]
    store = Store(tmp_path / "s.db")
    async with running(store):
        await put(store, *batches)
    store.close()
    again = Store(tmp_path / "s.db")
    assert list(again.load()) == [b.encoded for b in batches]
    again.close()


async def test_a_range_holds_what_is_still_being_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    batches = [make_batch(n) for n in range(4)]
    for batch in batches:
        store.submit(PutBatch(batch, NOW))
    assert held(store, 1, 2) == [b.encoded for b in batches[1:3]]
    async with running(store):
        pass
    assert held(store, 2, 99) == [b.encoded for b in batches[2:]]
    assert store.range(NodeId(b"b" * 32), INCARNATION, 0, 9, 99) == []
    store.close()


async def test_what_waits_shares_one_commit(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    groups: list[int] = []
    store.on_commit = lambda _seconds, writes: groups.append(writes)
    for number in range(100):
        store.submit(PutBatch(make_batch(number), NOW))
    async with running(store):
        await put(store, make_batch(100))
    assert sum(groups) == 101
    assert len(groups) <= 2
    store.close()


async def test_what_nobody_waits_for_is_written_soon_and_together(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "s.db")
    groups: list[int] = []
    written = trio.Event()

    def note(_seconds: float, writes: int) -> None:
        groups.append(writes)
        written.set()

    store.on_commit = note
    async with running(store):
        for number in range(5):
            store.submit(PutBatch(make_batch(number), NOW))
            await trio.lowlevel.checkpoint()
        with trio.fail_after(10):
            await written.wait()
        assert groups == [5]
    store.close()


async def test_who_asks_waits_for_what_waits_for_company(tmp_path: Path) -> None:
    async with running(Store(tmp_path / "store.db")) as store:
        store.submit(PutAudit(NOW, b"just now"))
        assert store.audit(9) == []
        with trio.fail_after(10):
            await store.settle()
        assert [record for _, _, record in store.audit(9)] == [b"just now"]


async def test_the_same_batch_twice_is_kept_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    async with running(store):
        await put(store, make_batch(0), make_batch(0, b"another"), make_batch(0))
    assert list(store.load()) == [make_batch(0).encoded]
    store.close()


async def test_the_audit_trail_cannot_be_changed(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    async with running(store):
        for n in range(3):
            store.submit(PutAudit(UnixMs(NOW + n), b"{%d}" % n))
    assert [record for _, _, record in store.audit(2)] == [b"{1}", b"{2}"]
    store.close()
    sql = sqlite3.connect(tmp_path / "s.db")
    for statement in ("UPDATE audit SET record = x''", "DELETE FROM audit"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            sql.execute(statement)
    sql.close()


async def test_meta_remembers_the_last_value(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    assert store.meta("k") is None
    async with running(store):
        store.submit(PutMeta("k", b"1"))
        store.submit(PutMeta("k", b"2"))
    assert store.meta("k") == b"2"
    store.close()


async def test_a_disk_that_refuses_ends_the_writer_with_a_sentence(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "s.db")
    sql = sqlite3.connect(tmp_path / "s.db")
    sql.execute("DROP TABLE batches")
    sql.commit()
    sql.close()
    store.submit(PutBatch(make_batch(0), NOW))
    with pytest.raises(UserError, match=r"s\.db: cannot write"):
        await store.run()
    store.close()


def test_a_file_from_a_newer_picket_is_left_alone(tmp_path: Path) -> None:
    sql = sqlite3.connect(tmp_path / "s.db")
    sql.execute("PRAGMA user_version = 99")
    sql.close()
    with pytest.raises(UserError, match="newer Picket"):
        Store(tmp_path / "s.db")


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"not a database" * 100)
    with pytest.raises(UserError, match="cannot open the store"):
        Store(tmp_path / "s.db")


def test_only_we_may_read_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "state" / "s.db")
    assert (tmp_path / "state" / "s.db").stat().st_mode & 0o777 == 0o600
    store.close()


class XorSealer:
    """Not secret, but seals; and notices when a row was moved."""

    def seal(self, body: bytes, place: bytes) -> bytes:
        return len(place).to_bytes(2, "big") + place + bytes(b ^ 0x5A for b in body)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        size = int.from_bytes(sealed[:2], "big")
        if sealed[2 : 2 + size] != place:
            raise PeerError("sealed for another place")
        return bytes(b ^ 0x5A for b in sealed[2 + size :])


async def test_bodies_lie_sealed_and_bound_to_their_row(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db", XorSealer())
    async with running(store):
        await put(store, make_batch(0, b"a needle in the haystack"), make_batch(1))
    store.close()
    sql = sqlite3.connect(tmp_path / "s.db")
    (body,) = sql.execute("SELECT body FROM batches WHERE number = 0").fetchone()
    assert b"needle" not in body
    sql.execute("UPDATE batches SET body = ? WHERE number = 1", (body,))
    sql.commit()
    sql.close()
    again = Store(tmp_path / "s.db", XorSealer())
    with pytest.raises(UserError, match="tampered"):
        list(again.load())
    again.close()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, 20)), max_size=40)
)
def test_ranges_are_what_a_dictionary_would_say(
    tmp_path_factory: pytest.TempPathFactory, puts: list[tuple[bytes, int]]
) -> None:
    path = tmp_path_factory.mktemp("store") / "s.db"
    model: dict[tuple[bytes, int], bytes] = {}

    async def go() -> None:
        store = Store(path)
        async with running(store):
            for who, number in puts:
                batch = make_batch(number, who, NodeId(who * 32))
                model.setdefault((who, number), batch.encoded)
                store.submit(PutBatch(batch, NOW))
            for who in (b"a", b"b"):
                held = store.range(NodeId(who * 32), INCARNATION, 5, 15, 99)
                assert held == [
                    (n, encoded)
                    for (author, n), encoded in sorted(model.items())
                    if author == who and 5 <= n <= 15
                ]
        store.close()

    trio.run(go)


async def test_what_is_old_or_too_much_is_prunable_and_what_lasts_stays(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "s.db")
    async with running(store):
        for number in range(10):
            store.submit(PutBatch(make_batch(number), NOW))
    size = len(make_batch(0).encoded)

    assert store.prunable(AUTHOR, 0, 10 * size) == []
    assert store.prunable(AUTHOR, NOW + 1, 10 * size) == [(INCARNATION, 10)]
    assert store.prunable(AUTHOR, 0, 4 * size + 10) == [(INCARNATION, 6)]
    async with running(store):
        store.submit(Forget(AUTHOR, INCARNATION, 6))
    assert len(held(store, 0, 99)) == 4
    store.close()


WRITER = """
import sys
sys.path.insert(0, {root!r})
import importlib.util, pathlib, trio
spec = importlib.util.spec_from_file_location("t", {file!r})
t = importlib.util.module_from_spec(spec); spec.loader.exec_module(t)
async def main():
    store = t.Store(pathlib.Path({path!r}))
    async with t.running(store):
        for n in range(100_000):
            await t.put(store, t.make_batch(n))
            print(n, flush=True)
trio.run(main)
"""


@pytest.mark.live
@pytest.mark.parametrize("acknowledged", [0, 7, 40])
def test_kill_9_loses_nothing_that_was_acknowledged(
    tmp_path: Path, acknowledged: int
) -> None:
    path, root = tmp_path / "s.db", Path(__file__).parents[2]
    code = WRITER.format(root=str(root), file=__file__, path=str(path))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        last = -1
        for line in child.stdout:
            last = int(line)
            if last >= acknowledged:
                break
        os.kill(child.pid, signal.SIGKILL)
        for line in child.stdout:
            last = int(line)
    assert last >= acknowledged
    store = Store(path)
    held = list(store.load())
    assert held[: last + 1] == [make_batch(n).encoded for n in range(last + 1)]
    store.close()


@pytest.mark.parametrize("size", [1, 2, 7, 128, 300])
def test_a_commit_puts_in_all_by_few_statements_of_few_shapes(size: int) -> None:
    """What a statement was given stays in memory for as long as the statement does."""
    batch = make_batch(0)
    room = ROWS_BYTES_MAX // 4
    long = attrs.evolve(batch, encoded=bytes(room + 1))
    for one, rows_max in ((batch, ROWS_MAX), (long, 2)):
        writes: list[Write] = [PutBatch(one, NOW)] * size
        cut = list(_slices(writes, ROWS_MAX))
        assert [write for some in cut for write in some] == writes
        assert all(len(some) in (1, 2, 4, 8, 16, 32, 64, 128) for some in cut)
        assert max(map(len, cut)) <= rows_max
        assert len(cut) <= size // rows_max + 8
