"""How many voices it takes: from the size of the cluster, and from what it was.

A member that leaves must not make it easier, for the next two hours, to convict
those who stay: N grows at once and falls late.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from typing import Final

import attrs

from gossip.units import UnixMs

MICRO: Final = 1_000_000
"""Voices and thresholds are counted in millionths."""
FALL_MS: Final = 2 * 3_600_000
"""How late a smaller N takes effect."""
BURST_MS: Final = 5 * 60_000
"""The time in which the valve lets only 2 % of N through."""


@attrs.frozen(kw_only=True)
class Thresholds:
    """How many voices it takes, from the size of the cluster.

    Attributes:
        members: N, the members with a voice, the quarantined included.
        colluders: f, how many may lie together; None means floor((N-1)/3).
    """

    members: int
    colluders: int | None = None

    @cached_property
    def f(self) -> int:
        """How many colluding liars are tolerated."""
        return (self.members - 1) // 3 if self.colluders is None else self.colluders

    @cached_property
    def m(self) -> int:
        """How many honest mistakes are tolerated: 5 % of N, from N = 7 on."""
        return -(-self.members * 5 // 100) if self.members >= 7 else 0

    @cached_property
    def threshold(self) -> int:
        """What the sum of voices must exceed, in millionths."""
        return (self.f + self.m) * MICRO

    @cached_property
    def voices_convict(self) -> bool:
        """Below four nodes only proofs do."""
        return self.members >= 4

    @cached_property
    def valve(self) -> int:
        """How many nodes voices may cut off at once: min(10 % of N, f), at least 1."""
        return max(1, min(self.members // 10, self.f))

    @cached_property
    def burst(self) -> int:
        """How many nodes voices may cut off within `BURST_MS`: 2 % of N, at least 1."""
        return max(1, self.members * 2 // 100)


@attrs.frozen
class Census:
    """N as it changed: ``(since, members)``, in order of time; never empty.

    The first count holds from the beginning of time.
    """

    changes: tuple[tuple[UnixMs, int], ...]
    colluders: int | None = None

    @classmethod
    def of(cls, thresholds: Thresholds) -> "Census":
        """A cluster whose size never changed."""
        return cls(((UnixMs(0), thresholds.members),), thresholds.colluders)

    @classmethod
    def grown(
        cls, thresholds: Thresholds, since_ms: Sequence[UnixMs], colluders: int | None
    ) -> "Census":
        """A cluster of so many at first, and one more at each of these times."""
        first = thresholds.members - len(since_ms)
        grown = ((at, first + n) for n, at in enumerate(since_ms, 1))
        return cls(((UnixMs(0), first), *grown), colluders)

    def at(self, at_ms: int) -> Thresholds:
        """The thresholds in force: of the largest N of the last two hours."""
        if len(self.changes) == 1:
            return self._thresholds[self.changes[0][1]]
        first = max(0, bisect_right(self.changes, at_ms - FALL_MS, key=_since) - 1)
        last = max(1, bisect_right(self.changes, at_ms, key=_since))
        members = max(count for _, count in self.changes[first:last])
        return self._thresholds[members]

    @cached_property
    def _thresholds(self) -> dict[int, Thresholds]:
        return {
            count: Thresholds(members=count, colluders=self._tolerated(count))
            for _, count in self.changes
        }

    def _tolerated(self, members: int) -> int | None:
        """What operators set is never more than so many members can bear."""
        if self.colluders is None:
            return None
        return min(self.colluders, (members - 1) // 3)


def _since(change: tuple[UnixMs, int]) -> int:
    return change[0]
