"""A limit on everything that grows, in one file, units last in each name."""

from typing import Final

DAY_MS: Final = 86_400_000

# What travels
ENTRY_BODY_BYTES_MAX: Final = 65_536
BATCH_ENTRIES_MAX: Final = 64
BATCH_BYTES_MAX: Final = 262_144
FRAME_BYTES_MAX: Final = 524_288
CHAIN_BYTES_MAX: Final = 16_384
ACT_BYTES_MAX: Final = 65_536

# What is remembered
RETENTION_MS: Final = 30 * DAY_MS
RETENTION_BYTES: Final = 256 << 20
AUTHOR_BYTES_MIN: Final = 4 << 20
"""An author's share of the store, however many members there are."""
LASTING_BYTES_MIN: Final = 16 << 20
"""An author's share, besides, of what is kept for good: a new key each day for two
years and a half."""
AHEAD_PER_FEED_MAX: Final = 1_024
PARKED_BATCHES_MAX: Final = 256
DELAYED_BATCHES_MAX: Final = 1_024
INCARNATIONS_PER_AUTHOR_MAX: Final = 4_096

# Time
FUTURE_MS_MAX: Final = 120_000
OPERATIONAL_LIFE_MS: Final = DAY_MS
BACKDATED_MS: Final = 3_600_000
"""A fresh operational key's life begins so long ago, so that a node whose clock runs
ahead is still linked with, and learns that it does."""
OPERATIONAL_LIFE_MS_MAX: Final = 2 * DAY_MS
RENEWAL_LIFE_MS: Final = 90 * DAY_MS
RENEWAL_LIFE_MS_MAX: Final = 100 * DAY_MS
AGENT_LIFE_MS_MAX: Final = 2 * DAY_MS
ACT_LIFE_MS_MAX: Final = 366 * DAY_MS

# Names
NAME_CHARS_MAX: Final = 64
ROLES_MAX: Final = 16
NODES_MAX: Final = 10_000
OPERATORS_MAX: Final = 32
