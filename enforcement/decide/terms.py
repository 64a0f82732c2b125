"""Terms: how long a quarantine lasts, the first time and the next."""

import hashlib
from typing import Final

import attrs

from gossip.ledger.entries import Subject

TERM_MS: Final = 5 * 60_000
TERM_MS_MAX: Final = 24 * 3_600_000
UNENDING_MS: Final = 253_370_764_800_000
"""The year 9999: until operators release it, for those who date their lies themselves."""
DAY_MS: Final = 86_400_000
_MICRO: Final = 1_000_000


def term_ms(subject: Subject, times: int) -> int:
    """How long the ``times``-th quarantine lasts: 5 min, doubling, at most a day.

    The ±10 % jitter is a hash, so that every node draws the same; a subject has one
    for all its terms, so that a further step never makes a term shorter.
    """
    base: int = min(TERM_MS * 2 ** min(times - 1, 20), TERM_MS_MAX)
    seed = hashlib.sha256(str(subject).encode() + b"\0" * 7 + b"\1").digest()
    spread = int.from_bytes(seed[:4], "big") % 200_001 - 100_000
    return base + base * spread // _MICRO


@attrs.define
class Backoff:
    """How far a subject's terms went up, and until when they last.

    What comes within one term of what began it is one step; what comes later is the
    next, and each clean day takes one back. Each lasts the term of its step from its
    own beginning, and the last end counts. So to add anything, wherever in the past,
    never makes a step lower nor an end earlier.
    """

    subject: Subject
    times: int = 0
    until_ms: int = 0
    _step_ms: int = attrs.field(init=False, default=0)
    """Until when what comes is of the same step."""

    def add(self, at_ms: int) -> int:
        """Something began at a time, none before the last one's; when its term ends."""
        if at_ms >= self._step_ms:
            self.times = self.left(at_ms) + 1
            self._step_ms = at_ms + term_ms(self.subject, self.times)
        end = at_ms + term_ms(self.subject, self.times)
        self.extend(end)
        return end

    def left(self, at_ms: int) -> int:
        """How many steps are left at a time, if nothing began since the last one."""
        clean_days = max(0, at_ms - self.until_ms) // DAY_MS
        return max(0, self.times - clean_days)

    def extend(self, until_ms: int) -> None:
        """It lasts at least so long."""
        self.until_ms = max(self.until_ms, until_ms)

    def cut(self, at_ms: int) -> None:
        """Operators end it; what comes next is the next step."""
        self.until_ms = min(self.until_ms, at_ms)
        self._step_ms = min(self._step_ms, at_ms)
