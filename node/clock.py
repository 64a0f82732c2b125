"""The two clocks. The only module that may read them."""

import time
from typing import Protocol

import attrs

from gossip.units import MonoMs, UnixMs


class Clock(Protocol):
    """What the daemon asks for the time; tests hand in another."""

    def unix_ms(self) -> UnixMs:
        """Wall-clock milliseconds since 1970. May jump."""
        ...

    def mono_ms(self) -> MonoMs:
        """Milliseconds since this clock was made. Never jumps."""
        ...


@attrs.frozen
class SystemClock:
    """The machine's clocks."""

    _born_ns: int = attrs.field(init=False, factory=time.monotonic_ns)

    def unix_ms(self) -> UnixMs:
        return UnixMs(time.time_ns() // 1_000_000)

    def mono_ms(self) -> MonoMs:
        return MonoMs((time.monotonic_ns() - self._born_ns) // 1_000_000)


def unix_us() -> int:
    """Wall-clock microseconds since 1970, for stamps that are only shown."""
    return time.time_ns() // 1_000
