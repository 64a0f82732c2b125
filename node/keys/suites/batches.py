"""Many signatures at once: off the event loop in batches, inline when few wait.

A hop to a worker thread costs about as much as one verification, and both
providers let go of the interpreter while they verify: so few are checked where
they are, and many are spread over the processors.
"""

import os
from collections.abc import Sequence
from typing import Final

import trio

from gossip.suite import Claim, Suite

BATCH_MIN: Final = 32
"""Fewer claims than this are checked inline."""
BATCH_MAX: Final = 128
INLINE_STRETCH: Final = 8
"""Inline claims between two chances for other tasks to run: 1.5 ms at most."""


class BatchVerifier:
    """Checks claims for one daemon, never on more threads than processors."""

    def __init__(self, suite: Suite, threads: int | None = None) -> None:
        self._suite = suite
        self._threads = threads or os.cpu_count() or 1
        self._limiter = trio.CapacityLimiter(self._threads)

    async def verify(self, claims: Sequence[Claim]) -> list[bool]:
        """True where `Suite.verify` would have accepted, in the order given."""
        if len(claims) < BATCH_MIN:
            return await self._inline(claims)
        size = batch_size(len(claims), self._threads)
        batches = [claims[at : at + size] for at in range(0, len(claims), size)]
        verdicts: list[list[bool]] = [[] for _ in batches]

        async def check(number: int) -> None:
            verdicts[number] = await trio.to_thread.run_sync(
                self._suite.verify_many, batches[number], limiter=self._limiter
            )

        async with trio.open_nursery() as nursery:
            for number in range(len(batches)):
                nursery.start_soon(check, number)
        return [verdict for batch in verdicts for verdict in batch]

    async def _inline(self, claims: Sequence[Claim]) -> list[bool]:
        verdicts: list[bool] = []
        for at in range(0, len(claims), INLINE_STRETCH):
            verdicts += self._suite.verify_many(claims[at : at + INLINE_STRETCH])
            await trio.lowlevel.checkpoint()
        return verdicts


def batch_size(waiting: int, threads: int) -> int:
    """Spread over all threads, but 32 to 128 a batch."""
    return max(BATCH_MIN, min(BATCH_MAX, -(-waiting // threads)))
