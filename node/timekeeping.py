"""Timekeeping: tells whoever runs this node when its clock is not the cluster's.

What a node says under a stamp more than two minutes ahead is ignored by all others,
and one that is behind ignores them; so the offset is a metric, a line of `picket
status` and `picket doctor`, and a warning in the log.
"""

from typing import Final

import attrs
import trio

from gossip.clocks import Clocks, is_wrong, tell_offset
from node.log import Log
from node.metrics import Metrics

LOOK_S: Final = 5.0


@attrs.define
class Timekeeper:
    """Looks at the offset now and then."""

    clocks: Clocks
    metrics: Metrics
    log: Log
    _told: bool = attrs.field(init=False, default=False)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await trio.sleep(LOOK_S)

    def look(self) -> None:
        """Set the metric; warn once when the clock goes wrong, say when it is mended."""
        offset_ms = self.clocks.offset_ms
        if offset_ms is None:
            return
        self.metrics.clock_offset_seconds.set(offset_ms / 1_000)
        wrong = is_wrong(offset_ms)
        if wrong and not self._told:
            self.log.warn(tell_offset(offset_ms))
        elif self._told and not wrong:
            self.log.info(tell_offset(offset_ms))
        self._told = wrong
