"""Terms: how long a quarantine lasts, the first time and the next."""

import hashlib
from typing import Final

from gossip.ledger.entries import Subject

TERM_MS: Final = 5 * 60_000
TERM_MS_MAX: Final = 24 * 3_600_000
UNDATED_TERM_MS: Final = 3_650 * 86_400_000
"""Until operators release it, for those who date their lies themselves."""
DAY_MS: Final = 86_400_000
_MICRO: Final = 1_000_000


def term_ms(subject: Subject, times: int) -> int:
    """How long the ``times``-th quarantine lasts: 5 min, doubling, at most a day.

    The ±10 % jitter is a hash, so that every node draws the same.
    """
    base: int = min(TERM_MS * 2 ** min(times - 1, 20), TERM_MS_MAX)
    seed = hashlib.sha256(str(subject).encode() + times.to_bytes(8, "big")).digest()
    spread = int.from_bytes(seed[:4], "big") % 200_001 - 100_000
    return base + base * spread // _MICRO
