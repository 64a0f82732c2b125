"""Many signatures at once: beside the event loop in batches, on the spot when few.

::

    ask ─▶ waiting ──32 to 128──▶ cut ──────▶ worker threads ────┐
              └──the few that are left, at last──▶ on the spot ──┴─▶ answer

A hop to a worker thread costs about as much as one verification, and both
providers let go of the interpreter while they verify: so few are checked where
they are, and many are spread over the processors while the loop goes on. What a
thread does next is cut before it is done: it would wait long for a busy loop.
"""

import contextlib
import os
import queue
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import attrs
import trio

from gossip.effects import VERIFY_FEW, VERIFY_MAX
from gossip.errors import LocalError
from gossip.suite import Claim, Suite
from node.keys.suites.loading import LiboqsSuite

BATCH_MIN: Final = VERIFY_FEW
"""Fewer claims than this are checked on the spot."""
BATCH_MAX: Final = 128
CUT_MAX: Final = 2
"""Batches under way for each thread: one that it checks, and one that comes next."""
TURN_S: Final = 0.000_1
"""A thread that is done with a signature waits for the interpreter this long at most
while the loop is busy. With Python's own 5 ms workers all but stand still then."""


@attrs.define(eq=False)
class _Asked:
    ticket: int
    claims: Sequence[Claim]
    holds: tuple[bool, ...] | None = None


class BatchVerifier:
    """Checks claims for one daemon, never on more threads than processors.

    Args:
        answer: Told each ticket and, for each of its claims, whether `Suite.verify`
            would have accepted; in the event loop, in the order asked.
        more: Whether more will be asked soon, so that few may wait for company.
    """

    def __init__(
        self,
        suite: Suite,
        answer: Callable[[int, tuple[bool, ...]], None],
        more: Callable[[], bool],
        threads: int | None = None,
    ) -> None:
        self._suite = suite
        self._answer = answer
        self._more = more
        self._threads = threads or threads_for(suite)
        self._limiter = trio.CapacityLimiter(self._threads)
        self._waiting: deque[_Asked] = deque()
        self._cut: queue.SimpleQueue[list[_Asked]] = queue.SimpleQueue()
        self._under_way = 0
        self._working = 0
        self._unanswered: deque[_Asked] = deque()
        self._checked = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery | None = None
        self.claims_waiting = 0
        """Asked for, and not yet under way."""

    async def run(self) -> None:
        """Give work to threads until cancelled."""
        sys.setswitchinterval(TURN_S)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                self.go_on()
                while True:
                    while self._answer_first():
                        await trio.lowlevel.checkpoint()
                    self.go_on()
                    await self._checked.park()
            finally:
                self._nursery = None

    def ask(self, ticket: int, claims: Sequence[Claim]) -> None:
        """Queue up to `VERIFY_MAX` claims; `go_on` is to follow."""
        if not 0 < len(claims) <= VERIFY_MAX:
            raise LocalError(f"asked to verify {len(claims)} signatures at once")
        asked = _Asked(ticket, claims)
        self._waiting.append(asked)
        self._unanswered.append(asked)
        self.claims_waiting += len(claims)

    def go_on(self) -> None:
        """Begin what can begin now."""
        while self._waiting and self._under_way < CUT_MAX * self._threads:
            if self.claims_waiting < BATCH_MIN:
                if self._more() or len(self._waiting) < len(self._unanswered):
                    return
                few = self._take(self.claims_waiting)
                _note(few, self._suite.verify_many(_claims(few)))
                while self._answer_first():
                    pass
            elif self._nursery is None:
                return  # `run` is about to begin, or is over
            else:
                self._under_way += 1
                self._cut.put(
                    self._take(batch_size(self.claims_waiting, self._threads))
                )
                if self._working < self._threads:
                    self._working += 1
                    self._nursery.start_soon(self._work)

    def _take(self, size: int) -> list[_Asked]:
        """Whole asks off the queue: about ``size`` claims, `BATCH_MAX` at most."""
        taken: list[_Asked] = []
        count = 0
        while self._waiting and count < size:
            if count + len(self._waiting[0].claims) > BATCH_MAX:
                break
            taken.append(self._waiting.popleft())
            count += len(taken[-1].claims)
        self.claims_waiting -= count
        return taken

    async def _work(self) -> None:
        """One thread, for as long as there is something to check."""
        token = trio.lowlevel.current_trio_token()
        while not self._cut.empty():
            await trio.to_thread.run_sync(self._check, token, limiter=self._limiter)
        self._working -= 1

    def _check(self, token: trio.lowlevel.TrioToken) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                batch = self._cut.get_nowait()
                holds = self._suite.verify_many(_claims(batch))
                token.run_sync_soon(self._on_checked, batch, holds)

    def _on_checked(self, batch: list[_Asked], holds: list[bool]) -> None:
        self._under_way -= 1
        _note(batch, holds)
        self.go_on()
        self._checked.unpark_all()

    def _answer_first(self) -> bool:
        """Answer who asked first, if that is known by now."""
        if not self._unanswered or self._unanswered[0].holds is None:
            return False
        asked = self._unanswered.popleft()
        self._answer(asked.ticket, asked.holds or ())
        return True


def threads_for(suite: Suite) -> int:
    """A thread on each processor; but one that never asks for the interpreter keeps a
    processor busy, and the loop needs one too."""
    processors = os.cpu_count() or 1
    alone = isinstance(suite, LiboqsSuite) and suite.verifies_at_once
    return max(1, processors - alone)


def batch_size(waiting: int, threads: int) -> int:
    """Spread over all threads, but 32 to 128 a batch."""
    return max(BATCH_MIN, min(BATCH_MAX, -(-waiting // threads)))


def _claims(batch: Sequence[_Asked]) -> list[Claim]:
    return [claim for asked in batch for claim in asked.claims]


def _note(batch: Sequence[_Asked], holds: list[bool]) -> None:
    at = 0
    for asked in batch:
        asked.holds = tuple(holds[at : at + len(asked.claims)])
        at += len(asked.claims)
