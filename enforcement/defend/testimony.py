"""How often a node may speak about one subject: once a second, with a count."""

import attrs

from enforcement import limits
from enforcement.effects import Subject
from gossip.units import UnixMs


@attrs.define
class WitnessBudget:
    """When each subject was last spoken of. One object for all gates of a daemon."""

    _last: dict[Subject, tuple[UnixMs, int]] = attrs.field(
        init=False, factory=dict, repr=False
    )

    def spend(self, subject: Subject, now_ms: UnixMs) -> int:
        """How many sightings to report now; 0 means keep silent, it is counted."""
        then_ms, silent = self._last.pop(subject, (UnixMs(0), 0))
        if abs(now_ms - then_ms) < limits.WITNESS_EVERY_MS:
            self._last[subject] = (then_ms, silent + 1)
            return 0
        self._last[subject] = (now_ms, 0)
        if len(self._last) > limits.WITNESSED_MAX:
            del self._last[next(iter(self._last))]
        return silent + 1
