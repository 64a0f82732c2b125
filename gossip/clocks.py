"""Clocks: how far our own is from those of the peers, by what they say it is.

A node whose clock runs ahead is not heard, since stamps from the future are
ignored; nobody but itself can mend that, so it has to know. Each `Root` and each
`Tell` names the sender's time. The median holds against any minority of liars.
Nothing is decided by it: it is shown, and a person is told.
"""

from typing import Final

import attrs

from gossip.limits import FUTURE_MS_MAX
from gossip.units import NodeId, UnixMs

WRONG_MS: Final = FUTURE_MS_MAX // 4
"""From here on a person is told; well before anything is ignored."""

NEAR_MS: Final = 100
"""What is nearer may be but the way that frames take."""


@attrs.define
class Clocks:
    """What each linked peer last said of its clock."""

    _ahead: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    """By how many ms each peer's clock is ahead of ours, less the way here."""

    def hear(self, peer: NodeId, told_ms: UnixMs, now: UnixMs) -> None:
        """A peer named its time."""
        self._ahead[peer] = told_ms - now

    def forget(self, peer: NodeId) -> None:
        """Its link is gone."""
        self._ahead.pop(peer, None)

    @property
    def offset_ms(self) -> int | None:
        """Our clock less the median peer's; None before anybody told.

        Right but for the time that a frame is under way. Of an even number of peers
        the one of the middle two that agrees with us more: a doubt is no alarm.
        """
        ahead = sorted(self._ahead.values())
        if not ahead:
            return None
        middle = ahead[(len(ahead) - 1) // 2], ahead[len(ahead) // 2]
        return -min(middle, key=abs)


def is_wrong(offset_ms: int | None) -> bool:
    """Whether a person should mend this node's clock."""
    return offset_ms is not None and abs(offset_ms) >= WRONG_MS


def tell_offset(offset_ms: int) -> str:
    """One sentence about our clock, beside the median peer's."""
    if abs(offset_ms) < NEAR_MS:
        return "this clock agrees with the median peer's"
    side = "ahead of" if offset_ms > 0 else "behind"
    told = f"this clock is {abs(offset_ms) / 1_000:.1f} s {side} the median peer's"
    if not is_wrong(offset_ms):
        return told
    limit = FUTURE_MS_MAX // 1_000
    if abs(offset_ms) <= FUTURE_MS_MAX:
        return f"{told}; mend it, from {limit} s on what is said is ignored"
    whose = "what this node says" if offset_ms > 0 else "what others say"
    return f"{told}; mend it, {whose} is ignored while it is more than {limit} s"
