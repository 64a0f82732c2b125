"""The store: what the node may not forget, in one SQLite file, one writer.

::

    loop ──submit──▶ gathered ──▶ queue ──▶ writer thread: BEGIN, all of it, COMMIT
      ▲                                          │                        (fsync)
      └──────────────── on_durable() ◀───────────┘

Whatever waits when a commit ends shares the next one, so under load an fsync is
shared by many and alone it is waited for by one. What nobody waits for, such as
audit and others' batches, never makes an own batch wait for an fsync of its own:
it is gathered for a while, and the writer is not even woken for it.
`synchronous=FULL`: when `on_durable` is called the write survives a power cut.
"""

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import trio

from gossip.errors import UserError
from gossip.ledger.audit_heads import AuditHead
from gossip.ledger.batch import Batch
from gossip.units import Incarnation, NodeId, UnixMs
from node.config import AuditConfig
from node.database import (
    Database,
    IdentitySealer,
    PutBatch,
    Sealer,
    TrimAudit,
    Write,
)

GROUP_MAX: Final = 512
PATIENCE_S: Final = 0.3
"""How long what nobody waits for waits for company: fsyncs are dear, and shared."""

_Waiting: TypeAlias = tuple[Write, Callable[[], None] | None]
_BatchKey: TypeAlias = tuple[bytes, bytes, int]


class Store:
    """The loop's side of the store. Its methods never wait for the disk."""

    def __init__(
        self,
        path: Path,
        sealer: Sealer | None = None,
        keep: AuditConfig | None = None,
    ) -> None:
        """Open the store; see `Database`."""
        used = sealer or IdentitySealer()
        self._path, self._sealer = path, used
        self._writer = Database(path, used, keep)
        self._reader = Database(path, used)
        self._gathered: list[_Waiting] = []
        self._some_gathered = trio.Event()
        self._queue: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        self._unwritten: dict[_BatchKey, bytes] = {}
        self.on_commit: Callable[[float, int], None] = lambda _seconds, _writes: None
        """Called in the loop after each commit with its seconds and writes."""

    def submit(
        self, write: Write, on_durable: Callable[[], None] | None = None
    ) -> None:
        """Queue a write; ``on_durable`` is called in the loop once it is safe."""
        if isinstance(write, PutBatch):
            self._unwritten[_key(write.batch)] = write.batch.encoded
        self._gathered.append((write, on_durable))
        if on_durable is not None or len(self._gathered) >= GROUP_MAX:
            self._hand_over()
        elif len(self._gathered) == 1:
            self._some_gathered.set()

    async def settle(self) -> None:
        """Wait until all that was submitted before is safe."""
        safe = trio.Event()
        self.submit(TrimAudit(UnixMs(0)), safe.set)
        await safe.wait()

    def _hand_over(self) -> None:
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    @property
    def waiting(self) -> int:
        """Groups of writes not yet taken by the writer."""
        return self._queue.qsize() + bool(self._gathered)

    async def run(self) -> None:
        """Write until `stop`; what was submitted before it is written first.

        Raises:
            UserError: the disk refuses. Nothing after that is promised.
        """
        token = trio.lowlevel.current_trio_token()
        refused: UserError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hand_over_in_time)
            try:
                await trio.to_thread.run_sync(
                    self._write, token, limiter=trio.CapacityLimiter(1)
                )
            except UserError as error:
                refused = error
            nursery.cancel_scope.cancel()
        if refused is not None:
            raise refused

    async def _hand_over_in_time(self) -> None:
        while True:
            await self._some_gathered.wait()
            await trio.sleep(PATIENCE_S)
            self._some_gathered = trio.Event()
            self._hand_over()

    def stop(self) -> None:
        """Let `run` return once all that was submitted is written."""
        self._hand_over()
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

    def audit_head(self) -> AuditHead:
        """Where the audit trail begins and ends, as far as it is durable."""
        return self._reader.audit_head()

    async def verify_audit(self, signed: Sequence[AuditHead]) -> AuditHead:
        """Go through the whole audit trail, beside the loop; see `Trail.verify`."""

        def verify() -> AuditHead:
            database = Database(self._path, self._sealer)
            try:
                return database.verify_audit(signed)
            finally:
                database.close()

        return await trio.to_thread.run_sync(verify)

    def meta(self, key: str) -> bytes | None:
        """A value put by `PutMeta`, once durable."""
        return self._reader.meta(key)

    def metas(self, prefix: str) -> list[tuple[str, bytes]]:
        """Every (key, value) put by `PutMeta` whose key begins so, once durable."""
        return self._reader.metas(prefix)

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
        """What shares the next commit, and whether more may follow."""
        group: list[_Waiting] = []
        item = self._queue.get()
        while item is not None:
            group += item
            if len(group) >= GROUP_MAX or self._queue.empty():
                break
            item = self._queue.get()
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
