"""Author budgets: how fast one member may speak. They delay, they never discard.

A virtual clock for each author (the generic cell rate algorithm, ITU-T I.371):
each entry moves it on by `ENTRY_MS`, a proof by `PROOF_MS`, since judging one takes
as long as many voices; who is more than `BURST_MS` ahead of the present waits. What comes along the tree is measured by our clock; what is
fetched to catch up by the author's stamps, since it was said long ago.
"""

from typing import Final

import attrs

from gossip.ledger.batch import Batch
from gossip.ledger.entries import Entry, Proof, Report
from gossip.units import NodeId, UnixMs

ENTRY_MS: Final = 2
PROOF_MS: Final = 20
BURST_MS: Final = 10_000
"""5 000 entries at once, 500 a second for good; of proofs a tenth."""


@attrs.define
class Budget:
    """Every author's virtual clock."""

    _clocks: dict[NodeId, int] = attrs.field(init=False, factory=dict)

    def not_before(self, batch: Batch, now: UnixMs, *, live: bool) -> UnixMs:
        """When this batch may be admitted; at most ``now`` if at once."""
        return UnixMs(self._after(batch, now, live=live) - BURST_MS)

    def spend(self, batch: Batch, now: UnixMs, *, live: bool) -> None:
        """The batch was admitted."""
        self._clocks[batch.author] = self._after(batch, now, live=live)

    def _after(self, batch: Batch, now: UnixMs, *, live: bool) -> int:
        begin = now if live else min(now, batch.issued_at_ms)
        clock = max(self._clocks.get(batch.author, 0), begin)
        return clock + sum(map(_cost_ms, batch.entries))


def _cost_ms(entry: Entry) -> int:
    said = entry.said
    proves = isinstance(said, Report) and isinstance(said.evidence, Proof)
    return PROOF_MS if proves else ENTRY_MS
