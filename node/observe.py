"""What observe mode let be: counted by what, by which rule, and about whom.

In observe mode nothing is cut off, so this is how operators learn what would
have been, before they enforce. Held since the start of the daemon, and bounded.
"""

from typing import Final

import attrs

from gossip.units import UnixMs
from node.jsonlines import Json

KINDS_MAX: Final = 4_096


@attrs.define
class Seen:
    """One kind of would-be denial."""

    count: int
    first_ms: UnixMs
    last_ms: UnixMs


@attrs.define
class Observations:
    """Counts; the kind unheard of for longest is forgotten first."""

    _seen: dict[tuple[str, str, str], Seen] = attrs.field(init=False, factory=dict)

    def note(self, what: str, rule: str, whom: str, now: UnixMs) -> None:
        """``what`` (gate, isolation, quarantine, tools) would have hit ``whom``."""
        key = (what, rule, whom)
        seen = self._seen.pop(key, None) or Seen(0, now, now)
        seen.count += 1
        seen.last_ms = now
        self._seen[key] = seen
        if len(self._seen) > KINDS_MAX:
            del self._seen[next(iter(self._seen))]

    @property
    def total(self) -> int:
        """How many would-be denials in all."""
        return sum(seen.count for seen in self._seen.values())

    def tell(self) -> Json:
        """Every kind, the most frequent first."""
        ranked = sorted(self._seen.items(), key=lambda item: (-item[1].count, item[0]))
        return [
            {
                "what": what,
                "rule": rule,
                "whom": whom,
                "count": seen.count,
                "first_ms": seen.first_ms,
                "last_ms": seen.last_ms,
            }
            for (what, rule, whom), seen in ranked
        ]
