"""Conduct: how a peer behaves as a carrier, whoever wrote what it carries.

A peer that lets us wait loses its place in the tree, then the link; a peer that
passes on something no honest node would pass on loses the link at once. What
an author says is not its carriers' fault, and old sins fade by half every
`HALF_LIFE_MS`.
"""

from typing import Final

import attrs

from gossip.units import NodeId, UnixMs

HALF_LIFE_MS: Final = 600_000
DEMOTE_AT: Final = 3.0
PART_AT: Final = 12.0


@attrs.define
class _Record:
    sins: float = 0.0
    at_ms: int = 0


@attrs.define
class Conduct:
    """Every linked peer's record."""

    _records: dict[NodeId, _Record] = attrs.field(init=False, factory=dict)

    def let_us_wait(self, peer: NodeId, now: UnixMs) -> float:
        """It offered something and did not deliver; its sins until now."""
        record = self._records.setdefault(peer, _Record(at_ms=now))
        record.sins = self._faded(record, now) + 1.0
        record.at_ms = now
        return record.sins

    def _faded(self, record: _Record, now: UnixMs) -> float:
        age_ms = max(0, now - record.at_ms)
        return record.sins * float(0.5 ** (age_ms / HALF_LIFE_MS))
